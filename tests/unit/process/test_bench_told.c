/* Figures of streams over seeds, in some of which one never comes about. */
#include <cmocka.h>
#include <math.h>
#include "gateway/cli/bench_told.h"

#define NEVER ((double)NAN)

static struct bench_spread spread(double a, double b, double c)
{
    const struct bench_told t[] = {{.recovered = a}, {.recovered = b}, {.recovered = c}};

    return bench_told_spread(t, 3, &t[0].recovered);
}

static void of_all_seeds(void **state)
{
    struct bench_spread s = spread(1500, 1000, 2000);
    const struct bench_told two[] = {{.pulls = 3, .success = 0.5}, {.pulls = 5, .success = 0.7}};

    (void)state;
    assert_float_equal(s.mean, 1500, 1e-9);
    assert_float_equal(s.least, 1000, 0);
    assert_float_equal(s.most, 2000, 0);
    s = bench_told_spread(two, 2, &two[0].success);
    assert_float_equal(s.mean, 0.6, 1e-9);
    assert_float_equal(s.most, 0.7, 0);
    assert_float_equal(bench_told_spread(two, 2, &two[0].pulls).least, 3, 0);
}

/* Whichever seed it is. */
static void what_never_comes_about_in_one_is_its_most(void **state)
{
    const struct bench_spread s[] = {spread(NEVER, 1000, 2000), spread(1000, NEVER, 2000),
                                     spread(2000, 1000, NEVER)};

    (void)state;
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
        assert_true(isnan(s[i].mean));
        assert_float_equal(s[i].least, 1000, 0);
        assert_true(isnan(s[i].most));
    }
    assert_true(isnan(spread(NEVER, NEVER, NEVER).least));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_all_seeds),
        cmocka_unit_test(what_never_comes_about_in_one_is_its_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
