/* Doubly robust values against a world whose truth is known: two models, an answer's score, and an
 * escalation that depends on it. */
#include <cmocka.h>
#include <math.h>
#include "base/rng.h"
#include "router/report/interval.h"
#include "router/report/offpolicy.h"

/* The target: the small model first with chance 1/2, and from a bad score always on to the big one.
 * The log: the small one with 0.8; on with 0.9 after bad scores, with 0.1 after good ones. */
struct world {
    double q_is_off; /* added to all estimates */
};

static const double cost_of[2] = {1, 10}, small_good[2] = {0.3, 0.95};
#define BIG_GOOD 0.9

/* One request of the log, as steps under the target. */
static size_t one(struct rng *rng, const struct world *w, struct offpolicy_step s[2])
{
    bool small = rng_unit(rng) < 0.8, fine = rng_unit(rng) < 0.6;
    double v2 = 0.5;

    s[0] = (struct offpolicy_step){.weight = small ? 0.5 / 0.8 : 0.5 / 0.2,
                                   .reward = {cost_of[!small], 0},
                                   .q = {5 + w->q_is_off, 0.8 + w->q_is_off},
                                   .v = {5 + w->q_is_off, 0.8 + w->q_is_off}};
    if (!small) {
        s[0].reward[OFFPOLICY_SUCCESS] = rng_unit(rng) < BIG_GOOD;
        return 1;
    }
    bool on = rng_unit(rng) < (fine ? 0.1 : 0.9);
    bool good = rng_unit(rng) < (on ? BIG_GOOD : small_good[fine]);
    double target = fine ? (on ? 0 : 1) : (on ? 1 : 0);
    s[1] = (struct offpolicy_step){.weight = target / (on == !fine ? 0.9 : 0.1),
                                   .reward = {on ? cost_of[1] : 0, good},
                                   .q = {v2 + w->q_is_off, v2},
                                   .v = {v2 + w->q_is_off, v2}};
    return 2;
}

static void check(double q_is_off)
{
    const struct world w = {q_is_off};
    double truth[2] = {0.5 * 10 + 0.5 * (1 + 0.4 * 10),
                       0.5 * BIG_GOOD + 0.5 * (0.6 * small_good[1] + 0.4 * BIG_GOOD)};
    struct interval_sums sums[2] = {{.n = 0}};
    struct offpolicy_check c = {0};
    struct rng rng;

    rng_seed(&rng, 21);
    for (int i = 0; i < 20000; i++) {
        struct offpolicy_step s[2];
        size_t n = one(&rng, &w, s);
        double value[OFFPOLICY_REWARDS];
        offpolicy_value(s, n, value);
        interval_add(&sums[0], value[0]);
        interval_add(&sums[1], value[1]);
        offpolicy_check_add(&c, offpolicy_weight(s, n), 0);
    }
    for (int k = 0; k < 2; k++) {
        struct interval v = interval_mean(&sums[k], 0.05);
        assert_true(v.low < truth[k] && truth[k] < v.high);
        assert_true(v.high - v.low < 0.15 * truth[k] + (q_is_off != 0 ? 0.2 : 0));
    }
    assert_int_equal(offpolicy_verdict(&c), OFFPOLICY_VALID);
}

static void values_are_right_with_any_estimate(void **state)
{
    (void)state;
    check(0);
    check(3);
    check(-2);
}

static void logs_that_cannot_answer(void **state)
{
    struct offpolicy_check empty = {0}, unsupported = {0}, few = {0}, biased = {0}, valid = {0};

    (void)state;
    for (int i = 0; i < 1000; i++) {
        offpolicy_check_add(&unsupported, 1, i == 0 ? 0.1 : 0);
        offpolicy_check_add(&few, i % 200 ? 0 : 200, 0);
        offpolicy_check_add(&biased, i % 2 ? 0.9 : 0.8, 0);
        offpolicy_check_add(&valid, i % 2 ? 0.9 : 1.1, 0);
    }
    assert_int_equal(offpolicy_verdict(&empty), OFFPOLICY_EMPTY);
    assert_int_equal(offpolicy_verdict(&unsupported), OFFPOLICY_UNSUPPORTED);
    assert_int_equal(offpolicy_verdict(&few), OFFPOLICY_FEW);
    assert_int_equal(offpolicy_verdict(&biased), OFFPOLICY_BIASED);
    assert_int_equal(offpolicy_verdict(&valid), OFFPOLICY_VALID);
    assert_true(fabs(offpolicy_ess(&few) - 5) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_right_with_any_estimate),
        cmocka_unit_test(logs_that_cannot_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
