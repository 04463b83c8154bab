/* Every part of an encoder changes its fingerprint; the text form goes both ways. */
#include <cmocka.h>
#include "router/encoder/fingerprint.h"

static struct fingerprint_parts parts(void)
{
    return (struct fingerprint_parts){
        .weights = digest_of(SLICE("w")),
        .tokenizer = digest_of(SLICE("t")),
        .pooling = "mean",
        .normalize = true,
        .prefix = SLICE("query: "),
        .max_tokens = 256,
    };
}

static void each_part_counts(void **state)
{
    (void)state;
    struct fingerprint_parts p = parts();
    struct fingerprint base = fingerprint_space(&p);
    assert_true(fingerprint_eq(base, fingerprint_space(&p)));
    struct fingerprint_parts others[6];
    for (size_t i = 0; i < 6; i++)
        others[i] = parts();
    others[0].weights = digest_of(SLICE("w2"));
    others[1].tokenizer = digest_of(SLICE("t2"));
    others[2].pooling = "cls";
    others[3].normalize = false;
    others[4].prefix = SLICE("query:");
    others[5].max_tokens = 512;
    for (size_t i = 0; i < 6; i++)
        assert_false(fingerprint_eq(base, fingerprint_space(&others[i])));
}

static void precision_separates_vectors_not_spaces(void **state)
{
    (void)state;
    struct fingerprint_parts p = parts();
    struct fingerprint space = fingerprint_space(&p), seen[ENCODER_PRECISIONS];
    for (int i = 0; i < ENCODER_PRECISIONS; i++) {
        seen[i] = fingerprint_full(space, (enum encoder_precision)i);
        assert_false(fingerprint_eq(seen[i], space));
        for (int j = 0; j < i; j++)
            assert_false(fingerprint_eq(seen[i], seen[j]));
    }
}

static void text_form(void **state)
{
    (void)state;
    struct fingerprint_parts p = parts();
    struct fingerprint f = fingerprint_space(&p), back;
    char hex[FINGERPRINT_TEXT_BYTES];
    fingerprint_text(f, hex);
    assert_int_equal(strlen(hex), 2 * FINGERPRINT_BYTES);
    assert_true(fingerprint_parse(slice_str(hex), &back));
    assert_true(fingerprint_eq(f, back));
    assert_false(fingerprint_parse(slice_make(hex, 31), &back));
    hex[3] = 'x';
    assert_false(fingerprint_parse(slice_str(hex), &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_counts),
        cmocka_unit_test(precision_separates_vectors_not_spaces),
        cmocka_unit_test(text_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
