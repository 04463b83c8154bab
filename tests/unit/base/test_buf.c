/* base/buf: the ceiling, failed appends, compaction; a seeded random walk against a plain array. */
#include <cmocka.h>
#include "base/buf.h"
#include "base/rng.h"

static void test_append_consume(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_slice(&b).n, 0);
    assert_non_null(buf_slice(&b).p);
    assert_int_equal(buf_append_slice(&b, SLICE("hello")), ERR_OK);
    assert_int_equal(buf_append(&b, NULL, 0), ERR_OK);
    assert_int_equal(buf_printf(&b, " %d", 7), ERR_OK);
    assert_true(slice_eq(buf_slice(&b), SLICE("hello 7")));
    buf_consume(&b, 6);
    assert_true(slice_eq(buf_slice(&b), SLICE("7")));
    buf_consume(&b, 1);
    assert_int_equal(b.head, 0);
    buf_clear(&b);
    assert_int_equal(b.max_bytes, 100);
}

static void test_the_ceiling_holds_and_a_failure_changes_nothing(void **state)
{
    (void)state;
    struct buf b;
    char *room = NULL;
    size_t room_bytes = 0;
    buf_init(&b, 10);
    assert_int_equal(buf_append(&b, "12345678", 8), ERR_OK);
    assert_int_equal(buf_append(&b, "abc", 3), ERR_TOO_LARGE);
    assert_int_equal(buf_printf(&b, "%s", "abc"), ERR_TOO_LARGE);
    assert_int_equal(buf_reserve(&b, 3, &room, &room_bytes), ERR_TOO_LARGE);
    assert_int_equal(buf_append(&b, "x", SIZE_MAX), ERR_TOO_LARGE);
    assert_true(slice_eq(buf_slice(&b), SLICE("12345678")));
    assert_int_equal(buf_append(&b, "ab", 2), ERR_OK);
    assert_true(b.cap <= 10);
    buf_consume(&b, 4);
    assert_int_equal(buf_reserve(&b, 4, &room, &room_bytes), ERR_OK);
    assert_int_equal(room_bytes, 4);
    assert_int_equal(buf_append(&b, "wxyz", 4), ERR_OK);
    assert_true(slice_eq(buf_slice(&b), SLICE("5678abwxyz")));
    buf_clear(&b);

    buf_init(&b, 600);
    assert_int_equal(buf_printf(&b, "%600d", 1), ERR_OK); /* exactly full, no byte for a NUL */
    assert_int_equal(buf_len(&b), 600);
    assert_int_equal(buf_printf(&b, "%600d", 1), ERR_TOO_LARGE);
    buf_clear(&b);

    buf_init(&b, 0);
    assert_int_equal(buf_append(&b, "x", 1), ERR_TOO_LARGE);
    assert_int_equal(buf_append(&b, "", 0), ERR_OK);
    buf_clear(&b);
}

static void test_shrink_gives_back_only_empty_storage(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(buf_printf(&b, "%9000d", 1), ERR_OK);
    buf_shrink(&b, 4096);
    assert_int_equal(buf_len(&b), 9000);
    buf_reset(&b);
    buf_shrink(&b, 1 << 20);
    assert_non_null(b.data);
    buf_shrink(&b, 4096);
    assert_null(b.data);
    buf_clear(&b);
}

/* The buffer must behave like an array that bytes are appended to and taken from the front of. */
static void test_random_walk(void **state)
{
    (void)state;
    enum { MAX = 5000 };
    static unsigned char model[MAX];
    size_t len = 0;
    struct rng r;
    struct buf b;
    rng_seed(&r, 1);
    buf_init(&b, MAX);
    for (int step = 0; step < 20000; step++) {
        size_t n = rng_below(&r, rng_below(&r, 4) ? 60 : 2500);
        if (rng_below(&r, 2)) {
            unsigned char bytes[2500];
            for (size_t i = 0; i < n; i++)
                bytes[i] = (unsigned char)rng_u64(&r);
            enum err e = buf_append(&b, bytes, n);
            assert_int_equal(e, len + n > MAX ? ERR_TOO_LARGE : ERR_OK);
            if (!e) {
                memcpy(model + len, bytes, n);
                len += n;
            }
        } else {
            n = n > len ? len : n;
            buf_consume(&b, n);
            memmove(model, model + n, len - n);
            len -= n;
        }
        assert_int_equal(buf_len(&b), len);
        assert_memory_equal(buf_slice(&b).p, model, len);
        assert_true(b.cap <= MAX);
    }
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_consume),
        cmocka_unit_test(test_the_ceiling_holds_and_a_failure_changes_nothing),
        cmocka_unit_test(test_shrink_gives_back_only_empty_storage),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
