/* base/slice, base/list, base/utf8, base/mem: the small things everything stands on. */
#include <cmocka.h>
#include <stdlib.h>
#include "base/list.h"
#include "base/mem.h"
#include "base/slice.h"
#include "base/utf8.h"

static void test_slices(void **state)
{
    (void)state;
    struct slice none = {NULL, 0};
    assert_true(slice_eq(none, SLICE("")));
    assert_true(slice_ieq(SLICE("HoSt"), SLICE("hOsT")));
    assert_false(slice_ieq(SLICE("host"), SLICE("hosts")));
    assert_false(slice_eq(slice_make("a\0b", 3), slice_make("a\0c", 3)));
    assert_true(slice_starts(SLICE("abc"), none));
    assert_false(slice_starts(SLICE("ab"), SLICE("abc")));
    assert_true(slice_eq(slice_from(SLICE("abc"), 1), SLICE("bc")));
    assert_int_equal(slice_from(SLICE("abc"), 9).n, 0);
    assert_true(slice_eq(slice_trim(SLICE(" \ta b\t ")), SLICE("a b")));
    assert_int_equal(slice_trim(SLICE(" \t ")).n, 0);
    assert_int_equal(slice_str(NULL).n, 0);
    char *copy = mem_strdup(slice_make("abc", 2));
    assert_string_equal(copy, "ab");
    free(copy);
}

struct item {
    int value;
    struct list link;
};

static void test_lists(void **state)
{
    (void)state;
    struct list head;
    struct item items[4];
    int sum = 0;
    list_init(&head);
    assert_true(list_empty(&head));
    for (int i = 0; i < 4; i++) {
        items[i].value = i;
        if (i % 2)
            list_push_back(&head, &items[i].link);
        else
            list_push_front(&head, &items[i].link);
    }
    const int order[] = {2, 0, 1, 3};
    size_t at = 0;
    LIST_FOREACH (it, &head)
        assert_int_equal(CONTAINER_OF(it, struct item, link)->value, order[at++]);
    LIST_FOREACH_SAFE (it, &head) {
        sum += CONTAINER_OF(it, struct item, link)->value;
        list_remove(it);
    }
    assert_int_equal(sum, 6);
    assert_true(list_empty(&head));
    list_remove(&items[0].link); /* twice is harmless */
}

/* A plain encoder, as the judge of the decoder: exactly what it makes is well formed. */
static size_t encode(uint32_t c, unsigned char out[4])
{
    if (c < 0x80)
        return out[0] = (unsigned char)c, 1;
    if (c < 0x800) {
        out[0] = (unsigned char)(0xC0 | c >> 6);
        out[1] = (unsigned char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xE0 | c >> 12);
        out[1] = (unsigned char)(0x80 | (c >> 6 & 63));
        out[2] = (unsigned char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | c >> 18);
    out[1] = (unsigned char)(0x80 | (c >> 12 & 63));
    out[2] = (unsigned char)(0x80 | (c >> 6 & 63));
    out[3] = (unsigned char)(0x80 | (c & 63));
    return 4;
}

/* Every sequence of three bytes, and of four whose lead is 0xF0..0xFF (the last byte at the edges
 * of its range). */
static void test_utf8_exhaustively(void **state)
{
    (void)state;
    static unsigned char
        valid3[1 << 24 >> 3]; /* bit: the three bytes are a well-formed character */
    for (uint32_t c = 0x800; c < 0x10000; c++) {
        unsigned char b[4];
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        encode(c, b);
        uint32_t k = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
        valid3[k >> 3] |= (unsigned char)(1 << (k & 7));
    }
    for (uint32_t k = 0; k < 1 << 24; k++) {
        char b[3] = {(char)(k >> 16), (char)(k >> 8), (char)k};
        unsigned lead = k >> 16, second = k >> 8 & 255;
        size_t expect = lead < 0x80   ? 1
                        : lead < 0xE0 ? (lead >= 0xC2 && (second & 0xC0) == 0x80 ? 2 : 0)
                                      : (valid3[k >> 3] >> (k & 7) & 1 ? 3 : 0);
        if (utf8_char_bytes(b, 3) != expect)
            fail_msg("%02x %02x %02x", lead, second, k & 255);
    }
    for (uint32_t k = 0; k < 1 << 20; k++) {
        static const unsigned char lasts[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
        uint32_t lead = 0xF0 | k >> 16, second = k >> 8 & 255, third = k & 255;
        uint32_t top = (lead & 7) << 18 | (second & 63) << 12;
        bool lead_ok = lead <= 0xF4 && (second & 0xC0) == 0x80 && top >= 0x10000 && top <= 0x10FFFF;
        for (size_t i = 0; i < sizeof lasts; i++) {
            char b[4] = {(char)lead, (char)second, (char)third, (char)lasts[i]};
            bool ok = lead_ok && (third & 0xC0) == 0x80 && (lasts[i] & 0xC0) == 0x80;
            if (utf8_char_bytes(b, 4) != (ok ? 4 : 0))
                fail_msg("%02x %02x %02x %02x", lead, second, third, lasts[i]);
        }
    }
    size_t exact = 0;
    for (uint32_t c = 0x10000; c < 0x110000; c++) {
        unsigned char b[4];
        encode(c, b);
        exact += utf8_char_bytes((const char *)b, 4) == 4;
        assert_int_equal(utf8_char_bytes((const char *)b, 3), 0);
    }
    assert_int_equal(exact, 0x100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_utf8_exhaustively),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
