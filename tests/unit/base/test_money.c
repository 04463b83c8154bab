/* base/money: exact both ways, and what is refused. */
#include <cmocka.h>
#include "base/money.h"
#include "base/rng.h"

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t nano;
    } good[] = {
        {"0", 0},
        {"2", INT64_C(2000000000)},
        {"2.00", INT64_C(2000000000)},
        {"0.0375", 37500000},
        {"0.000000001", 1},
        {"999999999.999999999", INT64_C(999999999999999999)},
        {"1000000000", INT64_C(1000000000000000000)},
        {"1000000000.000000000", INT64_C(1000000000000000000)},
    };
    static const char *const bad[] = {
        "",
        " ",
        "1 ",
        " 1",
        "-1",
        "+1",
        "1e-4",
        "1E2",
        ".5",
        "5.",
        ".",
        "1.2.3",
        "1,5",
        "0x10",
        "inf",
        "nan",
        "007",
        "00.5",
        "1_0",
        "1000000001",
        "1000000000.000000001",
        "$1",
        "1.-5",
        "1.0000000000",
        "99999999999999999999999999",
        "0.1234567890",
    };
    nanousd v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(money_parse_usd(slice_str(good[i].text), &v));
        assert_int_equal(v, good[i].nano);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (money_parse_usd(slice_str(bad[i]), &v))
            fail_msg("accepted: %s", bad[i]);
    assert_false(money_parse_usd(slice_make("1\0", 2), &v));
    assert_true(money_parse_usd(slice_make("123", 2), &v)); /* the slice ends, not the string */
    assert_int_equal(v, 12 * NANOUSD_PER_USD);
}

static void test_format(void **state)
{
    (void)state;
    static const struct {
        int64_t nano;
        const char *text;
    } rows[] = {
        {0, "0.00"},
        {1500000000, "1.50"},
        {2100, "0.0000021"},
        {123456, "0.000123456"},
        {1, "0.000000001"},
        {-1, "-0.000000001"},
        {-1500000000, "-1.50"},
        {100000000000, "100.00"},
        {INT64_MAX, "9223372036.854775807"},
        {INT64_MIN, "-9223372036.854775808"},
    };
    char out[32];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(money_format_usd(rows[i].nano, out, sizeof out), rows[i].text);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 3);
    for (int i = 0; i < 20000; i++) {
        nanousd v = (nanousd)(rng_below(&r, UINT64_C(1000000000000000001)) >> rng_below(&r, 60)),
                back = -1;
        char out[32];
        assert_true(money_parse_usd(slice_str(money_format_usd(v, out, sizeof out)), &back));
        assert_int_equal(back, v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
