/* The canary's alarm: it hears what is worse, says nothing of what is not, and is seldom wrong. */
#include <cmocka.h>
#include <math.h>
#include "base/rng.h"
#include "router/decide/alarm.h"

static void test_closed_form(void **state)
{
    double none[2] = {0, 0}, share[2] = {0.25, 0.75}, one[2] = {1, 0};

    (void)state;
    assert_true(fabs(alarm_evidence(none, share, 2)) < 1e-9);
    /* a first event says nothing: both sides give it the same probability */
    assert_true(fabs(alarm_evidence(one, share, 2)) < 1e-9);
    one[0] = 2; /* (k r + 1) / ((k + 1) r) for the second */
    assert_true(fabs(alarm_evidence(one, share, 2) - log((25.0 + 1) / (101.0 * 0.25))) < 1e-9);
}

static void test_direction(void **state)
{
    (void)state;
    assert_true(
        alarm_is_worse((struct alarm_group){90, 100}, (struct alarm_group){100, 1000}, 0.01));
    assert_false(
        alarm_is_worse((struct alarm_group){1, 100}, (struct alarm_group){900, 1000}, 0.01));
    assert_false(
        alarm_is_worse((struct alarm_group){10, 100}, (struct alarm_group){100, 1000}, 0.01));
    assert_false(alarm_is_worse((struct alarm_group){0, 0}, (struct alarm_group){100, 1000}, 0.01));
    assert_false(alarm_is_worse((struct alarm_group){5, 5}, (struct alarm_group){0, 0}, 0.01));
    assert_false(alarm_is_worse((struct alarm_group){90, 100}, (struct alarm_group){100, 1000}, 0));
}

/* Of 200 runs of 4,000 answers, looked at after each, few are alarmed where nothing is wrong, and
 * all where the canary fails three times as often. */
static int alarms(double canary_fails, uint64_t seed)
{
    struct rng rng;
    int alarmed = 0;

    rng_seed(&rng, seed);
    for (int run = 0; run < 200; run++) {
        struct alarm_group g[2] = {{0, 0}, {0, 0}};
        bool heard = false;

        for (int i = 0; i < 4000 && !heard; i++) {
            int which = rng_unit(&rng) < 0.1 ? 0 : 1;

            g[which].answers++;
            g[which].failures += rng_unit(&rng) < (which == 0 ? canary_fails : 0.1);
            heard = alarm_is_worse(g[0], g[1], 0.01);
        }
        alarmed += heard;
    }
    return alarmed;
}

static void test_rates(void **state)
{
    (void)state;
    assert_true(alarms(0.1, 1) <= 4);
    assert_int_equal(alarms(0.3, 2), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_closed_form),
                                       cmocka_unit_test(test_direction),
                                       cmocka_unit_test(test_rates)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
