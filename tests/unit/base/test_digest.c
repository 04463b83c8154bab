/* SHA-256 against the vectors of FIPS 180-4 and its text form both ways. */

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/digest.h"

static const char empty_hex[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char abc_hex[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static void known_vectors(void **state)
{
    (void)state;
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest_of(SLICE("")), hex);
    assert_string_equal(hex, empty_hex);
    digest_hex(digest_of(SLICE("abc")), hex);
    assert_string_equal(hex, abc_hex);
}

static void a_stream_in_pieces_is_the_whole(void **state)
{
    (void)state;
    struct slice text =
        SLICE("the quick brown fox jumps over the lazy dog, sixty-four bytes and more");
    for (size_t cut = 0; cut <= text.n; cut++) {
        struct digest_stream *s = digest_stream_new();
        digest_stream_add(s, slice_make(text.p, cut));
        digest_stream_add(s, slice_from(text, cut));
        assert_true(digest_eq(digest_stream_end(s), digest_of(text)));
    }
    assert_false(digest_eq(digest_of(text), digest_of(slice_from(text, 1))));
}

static void text_form(void **state)
{
    (void)state;
    struct digest d;
    assert_true(digest_parse(slice_str(abc_hex), &d));
    assert_true(digest_eq(d, digest_of(SLICE("abc"))));
    char upper[DIGEST_HEX_BYTES];
    for (size_t i = 0; i < sizeof upper; i++)
        upper[i] = (char)(abc_hex[i] >= 'a' ? abc_hex[i] - 32 : abc_hex[i]);
    assert_true(digest_parse(slice_str(upper), &d));
    assert_true(digest_eq(d, digest_of(SLICE("abc"))));
    assert_false(digest_parse(slice_make(abc_hex, 63), &d));
    assert_false(digest_parse(SLICE(""), &d));
    char bad[DIGEST_HEX_BYTES];
    memcpy(bad, abc_hex, sizeof bad);
    bad[17] = 'g';
    assert_false(digest_parse(slice_str(bad), &d));
}

static void of_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/test_digest.XXXXXX";
    int fd = mkstemp(path);
    struct digest d;
    assert_true(fd >= 0);
    assert_true(digest_file(path, &d));
    assert_true(digest_eq(d, digest_of(SLICE(""))));
    /* More than one piece. */
    size_t n = 600000;
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(i * 7);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    assert_true(digest_file(path, &d));
    assert_true(digest_eq(d, digest_of(slice_make(text, n))));
    free(text);
    unlink(path);
    assert_false(digest_file(path, &d));
    assert_int_equal(errno, ENOENT);
    assert_false(digest_file("/tmp", &d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(a_stream_in_pieces_is_the_whole),
        cmocka_unit_test(text_form),
        cmocka_unit_test(of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
