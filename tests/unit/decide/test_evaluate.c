/* Figures on points whose answers can be worked out by hand. */
#include <cmocka.h>
#include <math.h>
#include "router/decide/evaluate.h"

static void near(double a, double b)
{
    assert_true(fabs(a - b) < 1e-6);
}

static void the_hull_keeps_the_corners(void **state)
{
    struct evaluate_point p[] = {{4, 0.9}, {1, 0.5}, {2, 0.8}, {3, 0.82}, {2, 0.7}, {5, 0.85}};
    size_t n = evaluate_hull(p, 6);

    (void)state;
    assert_int_equal(n, 3);
    near(p[0].cost, 1), near(p[1].cost, 2), near(p[2].cost, 4);
    near(evaluate_cost_at(p, n, 0.65), 1.5);
    near(evaluate_cost_at(p, n, 0.1), 1);
    assert_true(isnan(evaluate_cost_at(p, n, 0.95)));
    near(evaluate_success_at(p, n, 3), 0.85);
    near(evaluate_success_at(p, n, 9), 0.9);
    near(evaluate_success_at(p, n, 0.5), 0);
    assert_true(fabs(evaluate_aiq(p, n, 1, 2) - 0.65) < 1e-3);
    assert_true(isnan(evaluate_aiq(p, n, 2, 2)));
    struct evaluate_point one[] = {{1, 0.5}};
    assert_int_equal(evaluate_hull(one, 1), 1);
}

static void gaps_of_two_models(void **state)
{
    struct evaluate_gap g = {{1, 0.5}, {11, 0.9}};
    struct evaluate_point diagonal[] = {{6, 0.7}}, good[] = {{3, 0.8}, {6, 0.9}};

    (void)state;
    near(evaluate_apgr(diagonal, 1, &g), 0.5);
    near(evaluate_cpt(diagonal, 1, &g, 0.8), 0.8);
    near(evaluate_apgr(good, 2, &g), 0.2 * 0.375 + 0.3 * 0.875 + 0.5);
    near(evaluate_cpt(good, 2, &g, 0.5), 0.2 * 0.5 / 0.75);
    near(evaluate_apgr(good, 0, &g), 0.5);

    const struct evaluate_gap none[] = {
        {{1, 0.5}, {1, 0.9}}, {{1, 0.9}, {11, 0.9}}, {{1, 0.9}, {1, 0.9}}};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_true(isnan(evaluate_apgr(good, 2, &none[i])));
        assert_true(isnan(evaluate_cpt(good, 2, &none[i], 0.5)));
    }
}

static void quantiles_put_what_is_missing_last(void **state)
{
    double v[] = {3, (double)NAN, 1, 2};

    (void)state;
    near(evaluate_quantile(v, 4, 0), 1);
    near(evaluate_quantile(v, 4, 0.5), 2.5);
    assert_true(isnan(evaluate_quantile(v, 4, 1)));
    assert_true(isnan(evaluate_quantile(v, 0, 0.5)));

    double pair[] = {(double)NAN, 7};
    near(evaluate_quantile(pair, 2, 0), 7);
    assert_true(isnan(evaluate_quantile(pair, 2, 0.001)));
    near(evaluate_quantile(v, 3, 1), 3);
    near(evaluate_quantile(v, 4, 2.0 / 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hull_keeps_the_corners),
        cmocka_unit_test(gaps_of_two_models),
        cmocka_unit_test(quantiles_put_what_is_missing_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
