/* base/rng: the published sequence, bounds, and that bounded numbers are even. */
#include <cmocka.h>
#include "base/rng.h"

/* First outputs from the state 1, 2, 3, 4, as independent implementations publish them. */
static void test_known_sequence(void **state)
{
    (void)state;
    static const uint64_t expect[] = {
        UINT64_C(11520),
        UINT64_C(0),
        UINT64_C(1509978240),
        UINT64_C(1215971899390074240),
    };
    struct rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++)
        assert_int_equal(rng_u64(&r), expect[i]);
}

static void test_seeds(void **state)
{
    (void)state;
    struct rng a, b, c, d;
    rng_seed(&a, 0);
    assert_int_equal(a.s[0], UINT64_C(0xE220A8397B1DCDAF)); /* splitmix64's first output for 0 */
    rng_seed(&b, 0);
    rng_seed(&c, 1);
    rng_seed_os(&d);
    int same_ac = 0, same_ad = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t va = rng_u64(&a);
        assert_int_equal(va, rng_u64(&b));
        same_ac += va == rng_u64(&c);
        same_ad += va == rng_u64(&d);
    }
    assert_int_equal(same_ac, 0);
    assert_int_equal(same_ad, 0);
}

static void test_bounds(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 4);
    for (int i = 0; i < 10000; i++) {
        double u = rng_unit(&r);
        assert_true(u >= 0 && u < 1);
        uint64_t bound = (rng_u64(&r) >> rng_below(&r, 64)) + 1;
        if (bound)
            assert_true(rng_below(&r, bound) < bound);
        assert_int_equal(rng_below(&r, 1), 0);
    }
}

/* Chi-squared over 3 cells, 2 degrees of freedom: above 25 has probability 4e-6; the seed is fixed
 * anyway. For a bound of 3/4 of 2^64 multiplying without rejecting makes every third number twice
 * as likely, and a plain modulo does so for the lower third. */
static void test_evenness(void **state)
{
    (void)state;
    const uint64_t bound = UINT64_C(3) << 62;
    double by_rest[3] = {0}, by_third[3] = {0}, chi2_rest = 0, chi2_third = 0;
    struct rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < 30000; i++) {
        uint64_t v = rng_below(&r, bound);
        by_rest[v % 3]++;
        by_third[v / (bound / 3)]++;
    }
    for (int i = 0; i < 3; i++) {
        chi2_rest += (by_rest[i] - 10000) * (by_rest[i] - 10000) / 10000;
        chi2_third += (by_third[i] - 10000) * (by_third[i] - 10000) / 10000;
    }
    assert_true(chi2_rest < 25);
    assert_true(chi2_third < 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_sequence),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_evenness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
