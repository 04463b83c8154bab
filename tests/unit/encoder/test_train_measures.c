/* Calibration and measures against brute force and against values worked out by hand. */
#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "router/encoder/link.h"
#include "router/encoder/train/calibrate.h"
#include "router/encoder/train/metrics.h"

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-6;
}

/* ---- isotonic ---- */

/* The best non-decreasing fit by the min-max formula: y[i] = max over a <= i of min over b >= i of
 * the mean of a..b. Points have distinct, ascending scores. */
static double isotonic_at(const float *y, size_t n, size_t i)
{
    double best = -1;
    for (size_t a = 0; a <= i; a++) {
        double least = 2, sum = 0;
        for (size_t b = a; b < n; b++) {
            sum += (double)y[b];
            if (b >= i)
                least = fmin(least, sum / (double)(b - a + 1));
        }
        best = fmax(best, least);
    }
    return best;
}

static double knots_at(const struct knot *k, size_t n, float x)
{
    for (size_t i = 0; i < n; i++)
        if (k[i].x == x)
            return (double)k[i].y;
        else if (k[i].x > x) /* inside a block both ends are the same */
            return (double)k[i].y;
    return (double)k[n - 1].y;
}

static void isotonic_is_the_least_squares_fit(void **state)
{
    (void)state;
    struct rng r;
    float score[40], y[40];
    struct knot knots[100];
    rng_seed(&r, 1);
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + (size_t)rng_below(&r, 40);
        for (size_t i = 0; i < n; i++) {
            score[i] = (float)i - 3;
            y[i] = rng_unit(&r) < 0.2 + 0.6 * (double)i / (double)n;
            if (round % 2)
                y[i] = (float)rng_unit(&r);
        }
        size_t count = calibrate_isotonic(score, y, n, knots, 100);
        assert_true(count >= 1 && count <= 100);
        for (size_t i = 1; i < count; i++)
            assert_true(knots[i].x > knots[i - 1].x && knots[i].y >= knots[i - 1].y);
        for (size_t i = 0; i < n; i++)
            assert_true(fabs(knots_at(knots, count, score[i]) - isotonic_at(y, n, i)) < 1e-5);
    }
}

static void isotonic_pools_equal_scores_and_keeps_to_its_room(void **state)
{
    (void)state;
    const float score[6] = {2, 1, 2, 1, 3, 3}, y[6] = {1, 0, 0, 1, 1, 1};
    struct knot knots[64];
    size_t n = calibrate_isotonic(score, y, 6, knots, 64);
    assert_int_equal(n, 3);
    assert_true(knots[0].y == 0.5f && knots[1].y == 0.5f && knots[2].y == 1);
    static float many[1000], rise[1000];
    for (int i = 0; i < 1000; i++) {
        many[i] = (float)i;
        rise[i] = (float)i / 1000;
    }
    n = calibrate_isotonic(many, rise, 1000, knots, 64);
    assert_true(n <= 64 && n > 30);
    for (size_t i = 1; i < n; i++)
        assert_true(knots[i].y >= knots[i - 1].y);
}

/* ---- temperature and Platt ---- */

static double temperature_loss(const float *z, const int *label, size_t n, size_t c, double t)
{
    double loss = 0;
    float p[8];
    for (size_t i = 0; i < n; i++) {
        link_softmax(z + i * c, c, (float)t, p);
        loss -= log((double)p[label[i]]);
    }
    return loss;
}

static void the_temperature_is_the_best(void **state)
{
    (void)state;
    static float z[3000];
    static int label[1000];
    struct rng r;
    rng_seed(&r, 2);
    for (int i = 0; i < 1000; i++) {
        float p[3];
        double u = rng_unit(&r), below = 0;
        for (int c = 0; c < 3; c++)
            z[3 * i + c] = (float)(6 * rng_unit(&r) - 3);
        link_softmax(z + 3 * i, 3, 1, p);
        label[i] = 2;
        for (int c = 2; c >= 0; c--) {
            below += (double)p[c];
            if (u < below) {
                label[i] = c;
                break;
            }
        }
        for (int c = 0; c < 3; c++)
            z[3 * i + c] *= 2.5f; /* what was said is 2.5 times too sure */
    }
    double t = calibrate_temperature(z, label, 1000, 3);
    assert_true(fabs(t - 2.5) < 0.3);
    double best = temperature_loss(z, label, 1000, 3, t);
    assert_true(best <= temperature_loss(z, label, 1000, 3, t * 1.01));
    assert_true(best <= temperature_loss(z, label, 1000, 3, t * 0.99));
    /* All right, or all wrong: no finite optimum, a bounded answer. */
    const float sure[4] = {9, 0, 0, 9};
    const int right[2] = {0, 1}, wrong[2] = {1, 0};
    assert_true(fabs(calibrate_temperature(sure, right, 2, 2) - 0.05) < 0.01);
    assert_true(fabs(calibrate_temperature(sure, wrong, 2, 2) - 20) < 1);
    assert_true(near(calibrate_temperature(sure, right, 0, 2), 1));
}

static void platt_finds_the_line(void **state)
{
    (void)state;
    static float z[20000], y[20000];
    struct rng r;
    rng_seed(&r, 3);
    for (int i = 0; i < 20000; i++) {
        z[i] = (float)(4 * rng_unit(&r) - 2);
        y[i] = rng_unit(&r) < (double)link_sigmoid(1.7f * z[i] - 0.4f);
    }
    struct platt p = calibrate_platt(z, y, 20000);
    assert_true(fabs(p.a - 1.7) < 0.1 && fabs(p.b + 0.4) < 0.1);
    for (int i = 0; i < 20000; i++)
        y[i] = 1 - y[i]; /* a score that counts against itself is not used */
    p = calibrate_platt(z, y, 20000);
    assert_true(p.a == 0 && fabs(p.b) < 1);
    const float same[3] = {1, 1, 1}, all[3] = {1, 1, 1}, none[3] = {0, 0, 0};
    p = calibrate_platt(same, all, 3);
    assert_true(isfinite(p.a) && isfinite(p.b) && p.a + p.b > 0);
    p = calibrate_platt(same, none, 3);
    assert_true(isfinite(p.a) && isfinite(p.b) && p.a + p.b < 0);
}

/* ---- measures ---- */

static void auroc_counts_pairs(void **state)
{
    (void)state;
    struct rng r;
    float score[50];
    unsigned char yes[50];
    rng_seed(&r, 4);
    for (int round = 0; round < 100; round++) {
        double won = 0, pairs = 0;
        for (int i = 0; i < 50; i++) {
            score[i] = (float)rng_below(&r, 10);
            yes[i] = (unsigned char)rng_below(&r, 2);
        }
        for (int i = 0; i < 50; i++)
            for (int j = 0; j < 50; j++)
                if (yes[i] && !yes[j]) {
                    won += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
                    pairs++;
                }
        assert_true(near(metrics_auroc(score, yes, 50), won / pairs));
    }
    memset(yes, 1, sizeof yes);
    assert_true(isnan(metrics_auroc(score, yes, 50)));
}

static void reliability_by_hand(void **state)
{
    (void)state;
    const float said[4] = {0.1f, 0.1f, 0.9f, 1}, was[4] = {0, 1, 1, 1};
    struct metrics_reliability m = metrics_reliability(said, was, 4);
    assert_int_equal(m.bin[1].rows, 2);
    assert_int_equal(m.bin[13].rows + m.bin[14].rows, 2);
    /* Bins: two rows said 0.1 and half came true; 0.9 and 1 came true. */
    assert_true(fabs(m.ece - (0.5 * 0.4 + 0.25 * 0.1)) < 1e-6);
    assert_true(fabs(m.brier - (0.01 + 0.81 + 0.01) / 4) < 1e-6);
    assert_true(fabs(m.log_loss + (log(0.9) + log(0.1) + log(0.9)) / 4) < 1e-6);
    const float broken[2] = {-0.2f, 1.2f}; /* beyond the range: the outer bins, no crash */
    m = metrics_reliability(broken, was, 2);
    assert_int_equal(m.bin[0].rows + m.bin[METRICS_BINS - 1].rows, 2);
}

static void coverage_takes_the_surest_first(void **state)
{
    (void)state;
    float confidence[10];
    unsigned char right[10];
    for (int i = 0; i < 10; i++) {
        confidence[i] = (float)i;
        right[i] = i >= 4; /* the four least sure are wrong */
    }
    struct metrics_coverage m = metrics_coverage(confidence, right, 10);
    for (int i = 0; i < 6; i++)
        assert_true(m.error[i] == 0);
    assert_true(near(m.error[6], 1.0 / 7) && near(m.error[9], 0.4));
}

static void classes_by_hand(void **state)
{
    (void)state;
    const float p[4 * 3] = {0.7f, 0.2f, 0.1f, 0.5f, 0.4f, 0.1f, 0.1f, 0.8f, 0.1f, 0.3f, 0.6f, 0.1f};
    const int label[4] = {0, 1, 1, 0}; /* right, wrong, right, wrong; class 2 has no rows */
    struct metrics_classes m;
    metrics_classes_init(&m, p, label, 4, 3);
    assert_true(near(m.accuracy, 0.5));
    assert_int_equal(m.confusion[0 * 3 + 0], 1);
    assert_int_equal(m.confusion[1 * 3 + 0], 1);
    assert_int_equal(m.confusion[0 * 3 + 1], 1);
    assert_true(near(m.class[0].precision, 0.5) && near(m.class[0].recall, 0.5));
    assert_true(near(m.macro_f1, 0.5)); /* over the two classes that have rows */
    assert_true(isnan(m.class[2].auroc));
    assert_true(fabs(m.log_loss + (log(0.7) + log(0.4) + log(0.8) + log(0.3)) / 4) < 1e-6);
    metrics_classes_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(isotonic_is_the_least_squares_fit),
        cmocka_unit_test(isotonic_pools_equal_scores_and_keeps_to_its_room),
        cmocka_unit_test(the_temperature_is_the_best),
        cmocka_unit_test(platt_finds_the_line),
        cmocka_unit_test(auroc_counts_pairs),
        cmocka_unit_test(reliability_by_hand),
        cmocka_unit_test(coverage_takes_the_surest_first),
        cmocka_unit_test(classes_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
