/* ZIP archives: both methods, every cut and every changed byte, and archives that are wrong in one
 * way each. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "gateway/zip_archive.h"
#include "zip_make.h"

struct got {
    struct buf bytes;
    size_t stop_at; /* 0: never */
};

static bool take(struct slice piece, void *ctx)
{
    struct got *g = ctx;
    assert_int_equal(buf_append_slice(&g->bytes, piece), ERR_OK);
    return !g->stop_at || buf_len(&g->bytes) < g->stop_at;
}

static void expect_content(const struct zip_archive *z, const char *name, struct slice want)
{
    struct got g = {.stop_at = 0};
    struct err_text t = {""};
    const struct zip_entry *e = zip_archive_find(z, slice_str(name));
    assert_non_null(e);
    buf_init(&g.bytes, (size_t)64 << 20);
    if (zip_archive_extract(e, take, &g, &t) != ERR_OK)
        fail_msg("%s", t.s);
    assert_true(slice_eq(buf_slice(&g.bytes), want));
    buf_clear(&g.bytes);
}

static void test_reads(void **state)
{
    (void)state;
    size_t n = 300000;
    char *big = malloc(n);
    assert_non_null(big);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * i >> 7);
    const struct zip_make_file files[] = {
        {.name = "m/model.bin", .data = {big, n}, .deflate = true},
        {.name = "m/stored", .data = {big, n}},
        {.name = "m/empty", .data = SLICE("")},
        {.name = "m/packed-empty", .data = SLICE(""), .deflate = true},
        {.name = "m/", .data = SLICE("")},
    };
    struct buf b;
    struct zip_archive *z;
    struct err_text t;
    zip_make(files, 5, "a comment with PK\x05\x06 in it, which is not the end", &b);
    assert_int_equal(zip_archive_open(buf_slice(&b), &z, &t), ERR_OK);
    assert_int_equal(zip_archive_count(z), 5);
    assert_true(slice_eq(zip_archive_at(z, 0)->name, SLICE("m/")));
    expect_content(z, "m/model.bin", slice_make(big, n));
    expect_content(z, "m/stored", slice_make(big, n));
    expect_content(z, "m/empty", SLICE(""));
    expect_content(z, "m/packed-empty", SLICE(""));
    assert_null(zip_archive_find(z, SLICE("m/none")));
    assert_null(zip_archive_at(z, 5));
    /* A sink may stop. */
    struct got g = {.stop_at = 1000};
    buf_init(&g.bytes, (size_t)1 << 20);
    assert_int_equal(zip_archive_extract(zip_archive_find(z, SLICE("m/model.bin")), take, &g, &t),
                     ERR_INTERNAL);
    buf_clear(&g.bytes);
    zip_archive_free(z);
    buf_clear(&b);
    free(big);
}

static void test_broken(void **state)
{
    (void)state;
    const struct {
        struct zip_make_file file;
        const char *message;
    } rows[] = {
        {{.name = "../x", .data = SLICE("1")}, "leaves its folder"},
        {{.name = "a/../../x", .data = SLICE("1")}, "leaves its folder"},
        {{.name = "/etc/passwd", .data = SLICE("1")}, "leaves its folder"},
        {{.name = "a\\b", .data = SLICE("1")}, "leaves its folder"},
        {{.name = "a//b", .data = SLICE("1")}, "leaves its folder"},
        {{.name = "a\nb", .data = SLICE("1")}, "leaves its folder"},
        {{.name = "", .data = SLICE("1")}, "leaves its folder"},
        {{.name = "x", .local_name = "y", .data = SLICE("1")}, "another name in its local"},
        {{.name = "x", .data = SLICE("1"), .flags = 1}, "is encrypted"},
        {{.name = "x", .data = SLICE("1"), .method = 12}, "other than deflate"},
        {{.name = "x", .data = SLICE("1"), .size_add = 1}, "stored in another size"},
        {{.name = "x", .data = SLICE("1"), .packed_add = 5, .size_add = 5}, "into the directory"},
        {{.name = "x", .data = SLICE("1"), .local_add = 1}, "has no local header"},
        {{.name = "x", .data = SLICE("1"), .local_add = 1000000}, "has no local header"},
        {{.name = "x", .data = SLICE("1"), .local_add = -1}, "needs ZIP64"},
        {{.name = "x", .data = SLICE("1"), .size_add = -2}, "needs ZIP64"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        struct zip_archive *z = NULL;
        struct err_text t = {""};
        zip_make(&rows[i].file, 1, "", &b);
        assert_int_equal(zip_archive_open(buf_slice(&b), &z, &t), ERR_BAD_WEIGHTS);
        assert_null(z);
        if (!strstr(t.s, rows[i].message))
            fail_msg("expected '%s' in '%s'", rows[i].message, t.s);
        buf_clear(&b);
    }
}

/* What only unpacking can find. */
static void test_damaged_content(void **state)
{
    (void)state;
    const struct {
        struct zip_make_file file;
        const char *message;
    } rows[] = {
        {{.name = "x", .data = SLICE("abc"), .crc_add = 1}, "wrong checksum"},
        {{.name = "x", .data = SLICE("abcabcabc"), .deflate = true, .crc_add = 1},
         "wrong checksum"},
        {{.name = "x", .data = SLICE("abcabcabc"), .deflate = true, .size_add = -1},
         "more than its size"},
        {{.name = "x", .data = SLICE("abcabcabc"), .deflate = true, .size_add = 1},
         "less than its size"},
        {{.name = "x", .data = SLICE("abcabcabc"), .deflate = true, .packed_add = -2},
         "is damaged"},
        {{.name = "x", .data = SLICE("\xFF\xFF\xFF"), .method = 8}, "is damaged"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        struct zip_archive *z;
        struct err_text t = {""};
        struct got g = {.stop_at = 0};
        buf_init(&g.bytes, 1 << 20);
        zip_make(&rows[i].file, 1, "", &b);
        assert_int_equal(zip_archive_open(buf_slice(&b), &z, &t), ERR_OK);
        assert_int_equal(zip_archive_extract(zip_archive_at(z, 0), take, &g, &t), ERR_BAD_WEIGHTS);
        if (!strstr(t.s, rows[i].message))
            fail_msg("expected '%s' in '%s'", rows[i].message, t.s);
        zip_archive_free(z);
        buf_clear(&g.bytes);
        buf_clear(&b);
    }
}

static void test_twice(void **state)
{
    (void)state;
    const struct zip_make_file files[] = {{.name = "x", .data = SLICE("1")},
                                          {.name = "x", .data = SLICE("2")}};
    struct buf b;
    struct zip_archive *z;
    struct err_text t;
    zip_make(files, 2, "", &b);
    assert_int_equal(zip_archive_open(buf_slice(&b), &z, &t), ERR_BAD_WEIGHTS);
    assert_non_null(strstr(t.s, "'x' is in it twice"));
    buf_clear(&b);
}

/* Cut anywhere it is refused; with any byte changed it is refused, or read within bounds. */
static void test_every_cut_and_change(void **state)
{
    (void)state;
    const struct zip_make_file files[] = {
        {.name = "a", .data = SLICE("aaaaaaaaaaaaaaaaaaaaaaaa"), .deflate = true},
        {.name = "b", .data = SLICE("stored")}};
    struct buf made;
    struct zip_archive *z;
    struct err_text t;
    zip_make(files, 2, "", &made);
    struct slice whole = buf_slice(&made);
    char *p = malloc(whole.n);
    assert_non_null(p);
    for (size_t cut = 0; cut < whole.n; cut++) {
        char *part = malloc(cut ? cut : 1);
        assert_non_null(part);
        memcpy(part, whole.p, cut);
        assert_int_equal(zip_archive_open(slice_make(part, cut), &z, &t), ERR_BAD_WEIGHTS);
        free(part);
    }
    for (size_t at = 0; at < whole.n; at++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(p, whole.p, whole.n);
            p[at] = (char)(p[at] ^ 1 << bit);
            if (zip_archive_open(slice_make(p, whole.n), &z, &t) != ERR_OK)
                continue;
            for (size_t i = 0; i < zip_archive_count(z); i++) {
                struct got g = {.stop_at = 0};
                buf_init(&g.bytes, 1 << 20);
                (void)!zip_archive_extract(zip_archive_at(z, i), take, &g, &t);
                buf_clear(&g.bytes);
            }
            zip_archive_free(z);
        }
    free(p);
    buf_clear(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_damaged_content),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_every_cut_and_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
