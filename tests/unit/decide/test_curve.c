/* Calibration: what the truth is, is found; what is not known stays where it was. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "router/decide/curve.h"
#include "router/decide/logistic.h"

static void simulate(struct rng *r, double level, double tilt, int answers, double *good,
                     double *bad)
{
    memset(good, 0, TALLY_BINS * sizeof *good);
    memset(bad, 0, TALLY_BINS * sizeof *bad);
    for (int i = 0; i < answers; i++) {
        int b = (int)rng_below(r, TALLY_BINS);
        double p = logistic(level + tilt * logit(curve_middle(b)));
        *(rng_unit(r) < p ? &good[b] : &bad[b]) += 1;
    }
}

static double error_of(const struct curve *c, double level, double tilt)
{
    double sum = 0;

    for (int b = 0; b < TALLY_BINS; b++)
        sum += fabs(c->p[b] - logistic(level + tilt * logit(curve_middle(b)))) / TALLY_BINS;
    return sum;
}

static void labels_find_the_truth(void **state)
{
    struct rng r;
    struct curve identity, c;
    double good[TALLY_BINS], bad[TALLY_BINS], few = 0, many = 0, none;

    (void)state;
    rng_seed(&r, 1);
    curve_identity(&identity);
    none = error_of(&identity, -1.5, 0.6);
    for (int round = 0; round < 20; round++) {
        simulate(&r, -1.5, 0.6, 50, good, bad);
        curve_fit(&c, &identity, good, bad, 0.5);
        few += error_of(&c, -1.5, 0.6) / 20;
        simulate(&r, -1.5, 0.6, 3000, good, bad);
        curve_fit(&c, &identity, good, bad, 0.5);
        many += error_of(&c, -1.5, 0.6) / 20;
        assert_true(fabs(c.labels - 3000) < 1e-6);
        for (int b = 1; b < TALLY_BINS; b++)
            assert_true(c.p[b] >= c.p[b - 1]);
    }
    assert_true(none > 0.2 && few < 0.08 && many < 0.025);
}

static void nothing_seen_changes_nothing(void **state)
{
    struct curve identity, c;
    double zero[TALLY_BINS] = {0};

    (void)state;
    curve_identity(&identity);
    curve_fit(&c, &identity, zero, zero, 2);
    for (int b = 0; b < TALLY_BINS; b++)
        assert_true(fabs(c.p[b] - identity.p[b]) < 1e-6);
    assert_true(c.labels == 0 && fabs(c.level_var - 0.5) < 1e-6);
}

/* All right, all wrong, everything in one bin, a score that is upside down: finite, ascending. */
static void extremes_stay_finite(void **state)
{
    struct curve identity, c;
    double none[TALLY_BINS] = {0}, lots[TALLY_BINS], up[TALLY_BINS], down[TALLY_BINS];

    (void)state;
    curve_identity(&identity);
    for (int b = 0; b < TALLY_BINS; b++) {
        lots[b] = 1e12;
        up[b] = 100.0 * b;
        down[b] = 100.0 * (TALLY_BINS - b);
    }
    const double *cases[][2] = {{lots, none}, {none, lots}, {down, up}, {up, down}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        curve_fit(&c, &identity, cases[i][0], cases[i][1], 0.5);
        for (int b = 0; b < TALLY_BINS; b++) {
            assert_true(isfinite(c.p[b]) && c.p[b] > 0 && c.p[b] < 1);
            assert_true(b == 0 || c.p[b] >= c.p[b - 1]);
        }
        assert_true(isfinite(c.level_var) && c.level_var > 0);
    }
}

static void drift_is_followed_and_bounded(void **state)
{
    struct curve c;
    struct curve_residual r = {0};
    double good[TALLY_BINS] = {0}, bad[TALLY_BINS] = {0};

    (void)state;
    curve_identity(&c);
    assert_true(curve_shift_of(&r, 4) == 0);
    bad[11] = 60; /* what was sure goes wrong */
    curve_residual_add(&r, &c, good, bad);
    assert_true(curve_shift_of(&r, 4) == -3);
    double before = c.p[11];
    curve_shift(&c, -3);
    assert_true(fabs(logit(c.p[11]) - (logit(before) - 3)) < 1e-9);
}

static void chance_is_no_drift(void **state)
{
    struct curve_residual r = {.surplus = 5, .information = 25}; /* one standard error */

    (void)state;
    assert_true(curve_shift_of(&r, 4) == 0);
    r.surplus = -7.5;
    assert_true(fabs(curve_shift_of(&r, 4) + 0.5 * 7.5 / 29) < 1e-12);
    r.surplus = -10;
    assert_true(fabs(curve_shift_of(&r, 4) + 10.0 / 29) < 1e-12);
}

static void what_a_score_tells(void **state)
{
    struct curve c;
    double even[TALLY_BINS], one[TALLY_BINS] = {[4] = 1}, tempered[TALLY_BINS];

    (void)state;
    for (int b = 0; b < TALLY_BINS; b++)
        even[b] = 1.0 / TALLY_BINS;
    curve_identity(&c);
    assert_true(curve_auroc(&c, even) > 0.8);
    assert_true(curve_auroc(&c, one) == 0.5);
    curve_temper(&c, 0, even, tempered);
    assert_true(fabs(tempered[0] - tempered[11]) < 1e-12);
    curve_temper(&c, 1, even, tempered);
    assert_true(fabs(tempered[3] - c.p[3]) < 1e-9);
    double before = 0, after = 0;
    curve_temper(&c, 0.5, even, tempered);
    for (int b = 0; b < TALLY_BINS; b++)
        before += even[b] * c.p[b], after += even[b] * tempered[b];
    assert_true(fabs(before - after) < 1e-3 && tempered[0] > c.p[0] && tempered[11] < c.p[11]);
    curve_flatten(&c, even);
    assert_true(fabs(c.p[0] - c.p[11]) < 1e-12 && curve_auroc(&c, even) < 0.5 + 1e-9);
}

static void scores_fall_into_bins(void **state)
{
    (void)state;
    assert_int_equal(curve_bin(0), 0);
    assert_int_equal(curve_bin(-1), 0);
    assert_int_equal(curve_bin(1), TALLY_BINS - 1);
    assert_int_equal(curve_bin(7), TALLY_BINS - 1);
    assert_int_equal(curve_bin((double)NAN), 0);
    for (int b = 0; b < TALLY_BINS; b++)
        assert_int_equal(curve_bin(curve_middle(b)), b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_find_the_truth), cmocka_unit_test(nothing_seen_changes_nothing),
        cmocka_unit_test(extremes_stay_finite),  cmocka_unit_test(drift_is_followed_and_bounded),
        cmocka_unit_test(chance_is_no_drift),    cmocka_unit_test(what_a_score_tells),
        cmocka_unit_test(scores_fall_into_bins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
