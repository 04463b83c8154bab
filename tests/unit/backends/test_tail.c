/* The ring against a plain string, in all sizes of writes; the one-line excerpt in all sizes of
 * room. */
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "backends/tail.h"
#include "base/rng.h"

#define ALL_BYTES (5 * TAIL_BYTES)

static void test_keeps_the_end(void **state)
{
    struct tail *t = calloc(1, sizeof *t);
    char *all = malloc(ALL_BYTES);
    struct rng rng;
    size_t n = 0;

    (void)state;
    rng_seed(&rng, 3);
    for (size_t i = 0; i < ALL_BYTES; i++)
        all[i] = (char)rng_u64(&rng);
    while (n < ALL_BYTES) {
        size_t some = rng_below(&rng, rng_below(&rng, 4) ? 300 : 2 * TAIL_BYTES + 2), kept;
        struct buf out;

        some = some < ALL_BYTES - n ? some : ALL_BYTES - n;
        tail_write(t, slice_make(all + n, some));
        n += some;
        kept = n < TAIL_BYTES ? n : TAIL_BYTES;
        buf_init(&out, TAIL_BYTES);
        assert_int_equal(tail_copy(t, &out), ERR_OK);
        assert_int_equal(buf_len(&out), kept);
        assert_int_equal(memcmp(buf_slice(&out).p, all + n - kept, kept), 0);
        buf_clear(&out);
    }
    free(all);
    free(t);
}

static void expect_words(const char *text, size_t room, const char *words)
{
    struct tail *t = calloc(1, sizeof *t);
    char *out = malloc(room); /* exact, so that writing on is found */

    tail_write(t, SLICE("of the run before\n"));
    uint64_t since = t->written;
    tail_write(t, slice_str(text));
    tail_last_words(t, since, out, room);
    assert_string_equal(out, words);
    free(out);
    free(t);
}

static void test_last_words(void **state)
{
    (void)state;
    expect_words("", 100, "");
    expect_words(" \r\n\t\n", 100, "");
    expect_words("no such file\n", 100, "no such file");
    expect_words("\n\nloading\r\n\x1b[31mout of memory\n\n", 100, "loading  |  [31mout of memory");
    expect_words("0123456789", 11, "...3456789"); /* room for what would fit with dots */
    expect_words("0123456789", 14, "0123456789");
    expect_words("a\nb\nc", 9, "...b | c");
    expect_words("a\nb", 1, "");
    expect_words("abc", 2, "");
    expect_words("abc", 4, "...");
}

/* Any room, any text: NUL-terminated, one line, and no more than the room (ASan looks on). */
static void test_any_room(void **state)
{
    static const char text[] = "\n\n a\nb\n\ncd\x7f\x01\n\n\nefg\xc3\xa9 end \n";
    struct tail *t = calloc(1, sizeof *t);

    (void)state;
    tail_write(t, slice_make(text, sizeof text - 1));
    for (size_t room = 1; room < 80; room++) {
        char *out = malloc(room);

        tail_last_words(t, 0, out, room);
        assert_true(strlen(out) < room);
        assert_null(strpbrk(out, "\n\r\t\x7f\x01"));
        free(out);
    }
    tail_last_words(t, 0, NULL, 0);
    tail_last_words(t, t->written, (char[2]){"x"}, 2);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_the_end),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_any_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
