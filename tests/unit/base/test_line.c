/* Digits of integers, and lines put together from pieces: equal to what printf makes of the same.
 */
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/decimal.h"
#include "base/line.h"

static void check_both(int64_t v)
{
    char want[32], out[DECIMAL_BYTES];
    size_t n = decimal_put_signed(v, out);

    snprintf(want, sizeof want, "%" PRId64, v);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(out, want, n);
    n = decimal_put((uint64_t)v, out);
    snprintf(want, sizeof want, "%" PRIu64, (uint64_t)v);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(out, want, n);
}

static void test_decimals(void **state)
{
    uint64_t power = 1;

    (void)state;
    check_both(0);
    check_both(INT64_MAX);
    check_both(INT64_MIN);
    for (int digits = 0; digits < 20; digits++, power *= 10)
        for (int off = -1; off <= 1; off++) {
            check_both((int64_t)(power + (uint64_t)off));
            check_both(-(int64_t)(power + (uint64_t)off));
        }
}

/* Every length of room: what is written is the beginning of the whole, and nothing lies behind. */
static void test_cut(void **state)
{
    static const char whole[] = "peer=::1 ms=-12 n=18446744";
    char room[sizeof whole + 1];

    (void)state;
    for (size_t max = 0; max < sizeof room; max++) {
        memset(room, '#', sizeof room);
        struct line l = line_in(room, max);
        line_put(&l, SLICE("peer="));
        line_put(&l, SLICE("::1"));
        line_put(&l, slice_make(NULL, 0));
        line_put(&l, SLICE(" ms="));
        line_put_int(&l, -12);
        line_put(&l, SLICE(" n="));
        line_put_int(&l, 18446744);
        size_t want = max < sizeof whole - 1 ? max : sizeof whole - 1;
        assert_int_equal(l.n, want);
        assert_memory_equal(line_slice(&l).p, whole, want);
        for (size_t i = max; i < sizeof room; i++)
            assert_int_equal(room[i], '#');
    }
}

static void test_copy(void **state)
{
    char out[5] = "####";

    (void)state;
    line_copy(out, sizeof out, SLICE("abc"));
    assert_string_equal(out, "abc");
    line_copy(out, sizeof out, SLICE("abcdef"));
    assert_string_equal(out, "abcd");
    line_copy(out, 1, SLICE("abc"));
    assert_string_equal(out, "");
    assert_int_equal(out[1], 'b');
}

static void test_in_an_arena(void **state)
{
    const struct slice parts[] = {SLICE("a"), {NULL, 0}, SLICE("\n"), SLICE("bc")};
    struct arena a;

    (void)state;
    arena_init(&a, 256);
    assert_string_equal(arena_join(&a, parts, 4), "a\nbc");
    assert_string_equal(arena_join(&a, NULL, 0), "");
    assert_true(slice_eq(arena_decimal(&a, INT64_MIN), SLICE("-9223372036854775808")));
    assert_true(slice_eq(arena_decimal(&a, 0), SLICE("0")));
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_in_an_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
