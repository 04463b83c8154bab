/* The gate: counting, announcing the last use, and no gap between "nobody is in" and "nobody gets
 * in" with threads at it. */
#include <pthread.h>
#include <sched.h>
#include <cmocka.h>

#include "backends/gate.h"
#include "base/clock.h"

#define USERS  3
#define ROUNDS 3000

static void test_counts_and_announces(void **state)
{
    struct gate g = {0};

    (void)state;
    assert_false(gate_enter(&g));
    gate_open(&g, false);
    assert_true(gate_enter(&g) && gate_enter(&g));
    assert_int_equal(gate_uses(&g), 2);
    assert_false(gate_close_if_idle(&g));
    assert_false(gate_leave(&g)); /* not the last */
    assert_false(gate_leave(&g)); /* nobody asked */
    assert_true(gate_enter(&g));
    gate_open(&g, true);
    assert_true(gate_enter(&g));
    assert_false(gate_leave(&g));
    assert_true(gate_leave(&g));
    assert_true(gate_enter(&g));
    gate_open(&g, false); /* no longer watched */
    assert_false(gate_leave(&g));
    assert_true(gate_close_if_idle(&g));
    assert_false(gate_enter(&g));
}

static void test_closing_lets_uses_end(void **state)
{
    struct gate g = {0};
    int64_t began_us = clock_mono_us();

    (void)state;
    gate_open(&g, false);
    assert_true(gate_enter(&g) && gate_enter(&g));
    gate_close(&g);
    assert_false(gate_enter(&g));
    assert_int_equal(gate_uses(&g), 2);
    assert_false(gate_leave(&g));
    gate_open(&g, false); /* the next incarnation, while a use of the last one goes on */
    assert_true(gate_enter(&g));
    assert_int_equal(gate_uses(&g), 2);
    gate_close(&g);
    assert_false(gate_leave(&g));
    assert_true(gate_leave(&g));
    assert_int_equal(gate_uses(&g), 0);
    assert_true(g.last_use_us >= began_us);
}

/* ---- threads ---- */

struct place {
    struct gate gate;
    long thing; /* the keeper's while the gate is closed and empty; a sanitizer looks on */
    _Atomic int announced;
    _Atomic bool over;
};

static void *visit(void *arg)
{
    struct place *p = arg;
    long sum = 0;

    while (!p->over) {
        if (gate_enter(&p->gate)) {
            sum += p->thing;
            p->announced += gate_leave(&p->gate);
        } else {
            sched_yield();
        }
    }
    return sum < 0 ? p : NULL;
}

static void test_nobody_slips_in(void **state)
{
    struct place p = {.thing = 1};
    pthread_t users[USERS];

    (void)state;
    for (int i = 0; i < USERS; i++)
        assert_int_equal(pthread_create(&users[i], NULL, visit, &p), 0);
    for (int i = 0; i < ROUNDS; i++) {
        gate_open(&p.gate, i % 2);
        if (i % 3) {
            while (!gate_close_if_idle(&p.gate))
                sched_yield();
        } else {
            gate_close(&p.gate);
            while (gate_uses(&p.gate) > 0)
                sched_yield();
        }
        p.thing = i;
    }
    p.over = true;
    for (int i = 0; i < USERS; i++) {
        void *failed;

        pthread_join(users[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(gate_uses(&p.gate), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_and_announces),
        cmocka_unit_test(test_closing_lets_uses_end),
        cmocka_unit_test(test_nobody_slips_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
