/* base/clock: the text form, before and after 1970, and that time moves on. */
#include <cmocka.h>
#include "base/clock.h"

static void test_rfc3339(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {INT64_C(1795248285123999), "2026-11-21T08:04:45.123Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000000, "1969-12-31T23:59:59.000Z"},
        {-999001,
         "1969-12-31T23:59:59.000Z"}, /* the same second again, and back to an earlier one */
        {-998000, "1969-12-31T23:59:59.002Z"},
        {INT64_C(1795248285007000), "2026-11-21T08:04:45.007Z"},
        {INT64_C(1795248286000000), "2026-11-21T08:04:46.000Z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[25];
        clock_rfc3339(rows[i].us, out, sizeof out);
        assert_string_equal(out, rows[i].text);
    }
    char small[5];
    clock_rfc3339(0, small, sizeof small);
    assert_string_equal(small, "1970");
}

static void test_time_moves_forward(void **state)
{
    (void)state;
    int64_t before = clock_mono_us(), wall = clock_wall_us();
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_mono_us();
        assert_true(now >= before);
        before = now;
    }
    assert_true(wall > INT64_C(1700000000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_time_moves_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
