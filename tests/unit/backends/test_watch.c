/* Deadlines: each fires, never early, within the promised delay; activity and holding keep a phase
 * alive, not the total. */
#include <cmocka.h>
#include <event2/event.h>

#include "backends/watch.h"
#include "base/clock.h"

struct probe {
    struct watch watch;
    struct watch_list *list;
    enum err err;
    int64_t fired_us;
    struct probe *stops; /* another one, stopped from inside the callback */
};

static void on_expired(struct watch *w, enum err err)
{
    struct probe *p = CONTAINER_OF(w, struct probe, watch);

    assert_int_equal(p->err, ERR_OK); /* once */
    p->err = err;
    p->fired_us = clock_mono_us();
    if (p->stops)
        watch_stop(&p->stops->watch);
}

struct fixture {
    struct event_base *base;
    struct watch_list list;
};

static int setup(void **state)
{
    static struct fixture f;

    f.base = event_base_new();
    assert_true(watch_list_init(&f.list, f.base));
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    watch_list_clear(&f->list);
    event_base_free(f->base);
    return 0;
}

static void run_for_ms(struct fixture *f, int64_t ms)
{
    int64_t end_us = clock_mono_us() + ms * 1000;

    while (clock_mono_us() < end_us) {
        struct timeval tv = {0, 5000};

        event_base_loopexit(f->base, &tv);
        event_base_dispatch(f->base);
    }
}

/* However long the machine takes for it; what never fires is seen by the limit. */
static void run_until_fired(struct fixture *f, const struct probe *p)
{
    int64_t limit_us = clock_mono_us() + INT64_C(60000000);

    while (p->err == ERR_OK && clock_mono_us() < limit_us)
        run_for_ms(f, 5);
}

static void test_total_and_phase(void **state)
{
    struct fixture *f = *state;
    struct probe total = {.err = ERR_OK}, phase = {.err = ERR_OK}, never = {.err = ERR_OK};
    int64_t start_us = clock_mono_us();

    watch_start(&f->list, &total.watch, on_expired, 120, start_us);
    watch_start(&f->list, &phase.watch, on_expired, -1, start_us);
    watch_phase(&phase.watch, 60, ERR_UPSTREAM_IDLE_TIMEOUT, start_us);
    watch_start(&f->list, &never.watch, on_expired, -1, start_us);
    run_until_fired(f, &total);
    run_until_fired(f, &phase);
    assert_int_equal(total.err, ERR_UPSTREAM_TOTAL_TIMEOUT);
    assert_int_equal(phase.err, ERR_UPSTREAM_IDLE_TIMEOUT);
    assert_int_equal(never.err, ERR_OK);
    assert_true(total.fired_us - start_us >= 120000);
    assert_true(phase.fired_us - start_us >= 60000);
    watch_stop(&never.watch);
    watch_stop(&never.watch); /* idempotent */
}

static void test_touch_and_hold(void **state)
{
    struct fixture *f = *state;
    struct probe busy = {.err = ERR_OK}, held = {.err = ERR_OK}, held_total = {.err = ERR_OK};
    int64_t now_us = clock_mono_us();

    watch_start(&f->list, &busy.watch, on_expired, -1, now_us);
    watch_phase(&busy.watch, 80, ERR_UPSTREAM_IDLE_TIMEOUT, now_us);
    watch_start(&f->list, &held.watch, on_expired, -1, now_us);
    watch_phase(&held.watch, 80, ERR_UPSTREAM_IDLE_TIMEOUT, now_us);
    watch_hold(&held.watch);
    watch_start(&f->list, &held_total.watch, on_expired, 100, now_us);
    watch_hold(&held_total.watch);
    int64_t longest_us = 0;
    for (int i = 0; i < 10; i++) {
        int64_t touched_us = clock_mono_us();
        watch_touch(&busy.watch);
        run_for_ms(f, 20);
        int64_t untouched_us = clock_mono_us() - touched_us;
        longest_us = untouched_us > longest_us ? untouched_us : longest_us;
    }
    assert_true(busy.err == ERR_OK || longest_us >= 75000); /* it was this test that stood still */
    assert_int_equal(held.err, ERR_OK);
    run_until_fired(f, &held_total);
    assert_int_equal(held_total.err, ERR_UPSTREAM_TOTAL_TIMEOUT);
    int64_t released_us = clock_mono_us();
    watch_release(&held.watch);
    run_for_ms(f, 40);
    assert_true(held.err == ERR_OK || /* the silence begins anew */
                clock_mono_us() - released_us >= 75000);
    run_until_fired(f, &busy);
    run_until_fired(f, &held);
    assert_int_equal(busy.err, ERR_UPSTREAM_IDLE_TIMEOUT);
    assert_int_equal(held.err, ERR_UPSTREAM_IDLE_TIMEOUT);
}

/* Two that run out in the same tick: the first one's callback stops the second, which then must not
 * fire. */
static void test_stop_inside_callback(void **state)
{
    struct fixture *f = *state;
    struct probe first = {.err = ERR_OK}, second = {.err = ERR_OK};
    int64_t now_us = clock_mono_us();

    first.stops = &second;
    watch_start(&f->list, &first.watch, on_expired, 50, now_us);
    watch_start(&f->list, &second.watch, on_expired, 50, now_us);
    run_until_fired(f, &first);
    run_for_ms(f, 100);
    assert_int_equal(first.err, ERR_UPSTREAM_TOTAL_TIMEOUT);
    assert_int_equal(second.err, ERR_OK);
    watch_start(&f->list, &second.watch, on_expired, 10,
                clock_mono_us()); /* the tick starts again after an idle time */
    run_until_fired(f, &second);
    assert_int_equal(second.err, ERR_UPSTREAM_TOTAL_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_total_and_phase, setup, teardown),
        cmocka_unit_test_setup_teardown(test_touch_and_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_inside_callback, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
