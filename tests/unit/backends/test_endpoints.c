/* Choice, limits, ejection and probes, with a fake clock. */
#include <pthread.h>
#include <cmocka.h>

#include "backends/endpoints.h"

#define SECOND INT64_C(1000000)

static struct endpoint_shared shared[4];
static struct endpoint_shared *const eps[4] = {&shared[0], &shared[1], &shared[2], &shared[3]};
static struct rng rng;

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        shared[i] = (struct endpoint_shared){.in_flight = 0};
    rng_seed(&rng, 42);
    return 0;
}

static void fail_times(int i, int times, int64_t now_us)
{
    for (int n = 0; n < times; n++) {
        shared[i].in_flight++;
        endpoint_release(&shared[i], ERR_UPSTREAM_CONNECT, -1, now_us);
    }
}

static void test_registry(void **state)
{
    struct endpoint_registry *r = endpoint_registry_new();
    struct endpoint_shared *a = endpoint_registry_bind(r, "b1", "http://x/v1");

    (void)state;
    assert_ptr_equal(a, endpoint_registry_bind(r, "b1", "http://x/v1"));
    assert_ptr_not_equal(a, endpoint_registry_bind(r, "b2", "http://x/v1"));
    assert_ptr_not_equal(a, endpoint_registry_bind(r, "b1", "http://y/v1"));
    endpoint_registry_free(r);
}

/* A closed loop of 40 requests over servers of 10, 10, 20 and 80 ms: who is quicker gets more, and
 * nobody starves. */
static void test_distribution(void **state)
{
    static const int64_t latency_us[4] = {10000, 10000, 20000, 80000};
    enum { IN_FLIGHT = 40 };
    int where[IN_FLIGHT], count[4] = {0};
    int64_t until_us[IN_FLIGHT] = {0}, now_us = SECOND;

    (void)state;
    for (int i = 0; i < IN_FLIGHT; i++)
        where[i] = -1;
    for (int step = 0; step < 20000; step++, now_us += 1000) {
        for (int i = 0; i < IN_FLIGHT; i++) {
            if (where[i] >= 0 && until_us[i] <= now_us) {
                endpoint_release(eps[where[i]], ERR_OK, latency_us[where[i]], now_us);
                where[i] = -1;
            }
            if (where[i] < 0) {
                where[i] = endpoint_acquire(eps, 4, 0, -1, now_us, &rng);
                assert_in_range(where[i], 0, 3);
                count[where[i]]++;
                until_us[i] = now_us + latency_us[where[i]];
            }
        }
    }
    assert_true(count[0] > count[2] && count[2] > count[3]);
    assert_true(count[3] > 0);
    assert_in_range(count[0] * 100 / count[1], 90, 111); /* equals are treated alike */
    assert_in_range(count[0] * 10 / count[3], 40, 1000);
}

/* A newcomer without a figure is asked once, then judged by its load until the figure is there. */
static void test_unknown_latency(void **state)
{
    int count[2] = {0};

    (void)state;
    shared[0].ewma_us = 50000;
    shared[0].ewma_at_us = SECOND;
    for (int i = 0; i < 100; i++)
        count[endpoint_acquire(eps, 2, 0, -1, SECOND, &rng)]++;
    assert_in_range(count[0], 45, 55);
    assert_in_range(count[1], 45, 55);
}

static void test_old_slowness_is_forgotten(void **state)
{
    (void)state;
    shared[0].ewma_us = 10000;
    shared[1].ewma_us = 5000000;
    shared[0].ewma_at_us = shared[1].ewma_at_us = SECOND;
    for (int i = 0; i < 50; i++) {
        int at = endpoint_acquire(eps, 2, 0, -1, 2 * SECOND, &rng);

        assert_int_equal(at, 0);
        endpoint_release(eps[at], ERR_OK, 10000, 2 * SECOND);
    }
    shared[0].ewma_at_us = 60 * SECOND; /* has been busy all the time */
    assert_int_equal(endpoint_acquire(eps, 2, 0, -1, 60 * SECOND, &rng), 1);
}

static void test_limits_and_mask(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        assert_in_range(endpoint_acquire(eps, 4, 0, 2, SECOND, &rng), 0, 3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(shared[i].in_flight, 2);
    assert_int_equal(endpoint_acquire(eps, 4, 0, 2, SECOND, &rng), -1);
    endpoint_release(&shared[2], ERR_CLIENT_GONE, -1, SECOND);
    assert_int_equal(endpoint_acquire(eps, 4, 0, 2, SECOND, &rng), 2);
    assert_int_equal(endpoint_acquire(eps, 4, 15, -1, SECOND, &rng), -1);
    assert_int_equal(endpoint_acquire(eps, 4, 13, -1, SECOND, &rng), 1);
    assert_int_equal(endpoint_acquire(eps, 0, 0, -1, SECOND, &rng), -1);
    assert_int_equal(endpoint_acquire(eps, 1, 0, 0, SECOND, &rng),
                     -1); /* 0 is a limit, not "unset" */
}

static void test_ejection_and_probe(void **state)
{
    int64_t now_us = 10 * SECOND;

    (void)state;
    fail_times(0, 2, now_us);
    assert_true(endpoint_healthy(&shared[0], now_us));
    fail_times(0, 1, now_us);
    assert_false(endpoint_healthy(&shared[0], now_us));
    for (int i = 0; i < 200; i++)
        assert_int_equal(endpoint_acquire(eps, 2, 0, -1, now_us, &rng), 1);
    now_us += SECOND; /* the first ejection is over: one probe, the rest elsewhere */
    assert_true(endpoint_healthy(&shared[0], now_us));
    assert_int_equal(endpoint_acquire(eps, 2, 0, -1, now_us, &rng), 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(endpoint_acquire(eps, 2, 0, -1, now_us, &rng), 1);
    endpoint_release(&shared[0], ERR_UPSTREAM_RESET, -1,
                     now_us); /* one failure is enough now, and for twice as long */
    assert_false(endpoint_healthy(&shared[0], now_us + 2 * SECOND - 1));
    assert_true(endpoint_healthy(&shared[0], now_us + 2 * SECOND));
    now_us += 2 * SECOND;
    assert_int_equal(endpoint_acquire(eps, 2, 0, -1, now_us, &rng), 0);
    endpoint_release(&shared[0], ERR_OK, 1000, now_us);
    assert_true(endpoint_healthy(&shared[0], now_us));
    assert_int_equal(shared[0].ejections, 0);
}

static void test_ejection_grows_to_a_minute(void **state)
{
    int64_t now_us = 10 * SECOND, expected_us = SECOND;

    (void)state;
    fail_times(0, 3, now_us);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(shared[0].ejected_until_us, now_us + expected_us);
        now_us += expected_us;
        assert_int_equal(endpoint_acquire(eps, 1, 0, -1, now_us, &rng), 0);
        endpoint_release(&shared[0], ERR_UPSTREAM_SERVER_ERROR, 5, now_us);
        expected_us = expected_us * 2 < 60 * SECOND ? expected_us * 2 : 60 * SECOND;
    }
}

/* What was in flight when the endpoint was ejected fails too; that is one event, not twenty. */
static void test_stragglers_do_not_eject_again(void **state)
{
    (void)state;
    fail_times(0, 50, 10 * SECOND);
    assert_int_equal(shared[0].ejections, 1);
    assert_int_equal(shared[0].ejected_until_us, 11 * SECOND);
    assert_int_equal(shared[0].errors, 50);
}

static void test_all_ejected(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        fail_times(i, 3, (20 - i) * SECOND); /* the last one's ejection ends first */
    assert_int_equal(endpoint_acquire(eps, 4, 0, -1, 17 * SECOND + 1, &rng), 3);
    assert_int_equal(endpoint_acquire(eps, 4, 8, -1, 17 * SECOND + 1, &rng), 2);
}

static void test_neutral_outcomes(void **state)
{
    static const enum err neutral[] = {ERR_CLIENT_GONE, ERR_UPSTREAM_TOTAL_TIMEOUT,
                                       ERR_UPSTREAM_TOO_LARGE, ERR_DRAINING};

    (void)state;
    fail_times(0, 2, SECOND);
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
        shared[0].in_flight++;
        endpoint_release(&shared[0], neutral[i], -1, SECOND);
        assert_int_equal(shared[0].failures, 2);
    }
    shared[0].in_flight++;
    endpoint_release(&shared[0], ERR_UPSTREAM_REJECTED, 10, SECOND); /* it answered: it lives */
    assert_int_equal(shared[0].failures, 0);
    assert_int_equal(shared[0].ewma_us, 0); /* but a quick refusal says nothing about its speed */
    assert_int_equal(shared[0].in_flight, 0);
}

static void *hammer(void *arg)
{
    struct rng own;
    int *over = arg;

    rng_seed_os(&own);
    for (int i = 0; i < 20000; i++) {
        int at = endpoint_acquire(eps, 4, 0, 3, SECOND, &own);

        if (at < 0)
            continue;
        *over += shared[at].in_flight > 3;
        endpoint_release(eps[at], ERR_OK, 100, SECOND);
    }
    return NULL;
}

static void test_limit_holds_across_threads(void **state)
{
    pthread_t t[8];
    int over[8] = {0};

    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, &over[i]), 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(over[i], 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(shared[i].in_flight, 0);
}

/* Two endpoints of 8 places each are 16: requests of weir's own have 4 of them together, wherever
 * they lie, and clients the rest. */
static void test_background_leaves_room(void **state)
{
    int at[16];

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_true(endpoint_background_has_room(eps, 2, 8));
        at[i] = endpoint_acquire(eps, 2, 0, 8, SECOND, &rng);
        assert_true(endpoint_background_enter(eps, 2, at[i], 8));
    }
    assert_false(endpoint_background_has_room(eps, 2, 8));
    for (int i = 0; i < 2; i++)
        assert_false(endpoint_background_enter(eps, 2, i, 8)); /* and leaves nothing behind */
    assert_int_equal(shared[0].background + shared[1].background, 4);
    for (int i = 4; i < 16; i++)
        assert_in_range(at[i] = endpoint_acquire(eps, 2, 0, 8, SECOND, &rng), 0, 1);
    assert_int_equal(endpoint_acquire(eps, 2, 0, 8, SECOND, &rng), -1);
    endpoint_background_leave(eps[at[0]]);
    assert_true(endpoint_background_has_room(eps, 2, 8)); /* whether or not the backend is full */
    assert_true(endpoint_background_has_room(eps, 2, -1));
    for (int i = 0; i < 3; i++)
        assert_true(endpoint_background_enter(eps, 2, 0, -1));
}

/* A quarter of little is one, of the whole backend. */
static void test_background_has_one_place(void **state)
{
    (void)state;
    assert_true(endpoint_background_enter(eps, 3, 2, 1));
    assert_false(endpoint_background_has_room(eps, 3, 1));
    assert_false(endpoint_background_enter(eps, 3, 0, 1));
    endpoint_background_leave(eps[2]);
    assert_true(endpoint_background_enter(eps, 3, 0, 1));
}

/* 4 x 3 places: never more than 3 of them, also when eight threads come at once. */
static void *hammer_background(void *arg)
{
    static _Atomic int inside;
    int *over = arg;
    struct rng own;

    rng_seed_os(&own);
    for (int i = 0; i < 20000; i++) {
        int at = (int)rng_below(&own, 4);

        if (!endpoint_background_enter(eps, 4, at, 3))
            continue;
        *over += atomic_fetch_add(&inside, 1) >= 3;
        atomic_fetch_sub(&inside, 1);
        endpoint_background_leave(eps[at]);
    }
    return NULL;
}

static void test_background_room_across_threads(void **state)
{
    pthread_t t[8];
    int over[8] = {0};

    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer_background, &over[i]), 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(over[i], 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(shared[i].background, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry),
        cmocka_unit_test_setup(test_distribution, setup),
        cmocka_unit_test_setup(test_unknown_latency, setup),
        cmocka_unit_test_setup(test_old_slowness_is_forgotten, setup),
        cmocka_unit_test_setup(test_limits_and_mask, setup),
        cmocka_unit_test_setup(test_ejection_and_probe, setup),
        cmocka_unit_test_setup(test_ejection_grows_to_a_minute, setup),
        cmocka_unit_test_setup(test_stragglers_do_not_eject_again, setup),
        cmocka_unit_test_setup(test_all_ejected, setup),
        cmocka_unit_test_setup(test_neutral_outcomes, setup),
        cmocka_unit_test_setup(test_limit_holds_across_threads, setup),
        cmocka_unit_test_setup(test_background_leaves_room, setup),
        cmocka_unit_test_setup(test_background_has_one_place, setup),
        cmocka_unit_test_setup(test_background_room_across_threads, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
