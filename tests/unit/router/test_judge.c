/* What texts, vectors and a model's word tell about two answers; what may be spent in a day. */
#include <cmocka.h>
#include <stdlib.h>
#include "base/rng.h"
#include "router/judge.h"

static const struct {
    enum judge_verdict expected;
    const char *a, *b;
} texts[] = {
    {JUDGE_SAME, "Paris.", "paris"},
    {JUDGE_SAME, "  The capital\n is Paris. ", "The capital is Paris"},
    {JUDGE_SAME, "**42**", "42"},
    {JUDGE_SAME, "", ""},
    {JUDGE_SAME, "{\"a\": 1, \"b\": [1.0]}", "{\"b\":[1],\"a\":1}"},
    {JUDGE_UNKNOWN, "{\"a\": 1}", "{\"a\": 2}"},
    {JUDGE_DIFFERENT, "{\"a\": 1", "{\"a\": 2"}, /* no JSON: short texts with other numbers */
    {JUDGE_DIFFERENT, "It is 42.", "It is 43."},
    {JUDGE_DIFFERENT, "twelve", "13"},
    {JUDGE_SAME, "It costs 1,000 euros", "it costs 1,000 euros!"},
    {JUDGE_UNKNOWN, "Go to settings and choose reset.", "Open the settings, then reset."},
    {JUDGE_UNKNOWN, "Paris", "Lyon"},
    {JUDGE_UNKNOWN, "yes", ""},
};

static void what_texts_tell(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct slice a = slice_str(texts[i].a), b = slice_str(texts[i].b);
        if (judge_texts(a, b) != texts[i].expected || judge_texts(b, a) != texts[i].expected)
            fail_msg("\"%s\" and \"%s\": %s", texts[i].a, texts[i].b,
                     judge_verdict_name(judge_texts(a, b)));
    }
}

static void what_vectors_tell(void **state)
{
    struct slice a = SLICE("Open the settings and choose reset."),
                 b = SLICE("Choose reset in the settings."),
                 other = SLICE("Open the settings and never choose reset."),
                 number = SLICE("Open the 2 settings and choose reset.");

    (void)state;
    assert_int_equal(judge_vectors(0.97, a, b), JUDGE_SAME);
    assert_int_equal(judge_vectors(0.97, a, other), JUDGE_UNKNOWN); /* a gate is between them */
    assert_int_equal(judge_vectors(0.97, a, number), JUDGE_UNKNOWN);
    assert_int_equal(judge_vectors(0.8, a, b), JUDGE_UNKNOWN);
    assert_int_equal(judge_vectors(0.05, a, b), JUDGE_DIFFERENT);
    assert_int_equal(judge_vectors(-1, a, b), JUDGE_DIFFERENT);
}

static const struct {
    enum judge_verdict expected;
    const char *text;
} replies[] = {
    {JUDGE_SAME, "{\"same\": true}"},
    {JUDGE_DIFFERENT, "{\"same\":false}"},
    {JUDGE_SAME, "```json\n{\"same\": true, \"why\": \"both say Paris\"}\n```"},
    {JUDGE_DIFFERENT, "Here it is: {\"same\": false}."},
    {JUDGE_UNKNOWN, ""},
    {JUDGE_UNKNOWN, "true"},
    {JUDGE_UNKNOWN, "{\"same\": \"true\"}"},
    {JUDGE_UNKNOWN, "{\"same\": 1}"},
    {JUDGE_UNKNOWN, "{\"equal\": true}"},
    {JUDGE_UNKNOWN, "{\"same\": true"},
    {JUDGE_UNKNOWN, "} {"},
    {JUDGE_UNKNOWN, "{\"same\": true} {\"same\": false}"},  /* whose word is it? */
    {JUDGE_DIFFERENT, "{\"same\": true, \"same\": false}"}, /* as every parser has it */
};

static void what_a_model_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++)
        if (judge_reply(slice_str(replies[i].text)) != replies[i].expected)
            fail_msg("%s", replies[i].text);
}

static void any_bytes(void **state)
{
    struct rng r;
    char a[200], b[200];

    (void)state;
    rng_seed(&r, 9);
    for (int round = 0; round < 2000; round++) {
        size_t n = rng_below(&r, sizeof a), m = rng_below(&r, sizeof b);
        static const char some[] = "{}\"same: true,false[]\\ 12.5\n\xff\x80";
        for (size_t i = 0; i < n; i++)
            a[i] = some[rng_below(&r, sizeof some)];
        for (size_t i = 0; i < m; i++)
            b[i] = some[rng_below(&r, sizeof some)];
        assert_int_equal(judge_texts(slice_make(a, n), slice_make(b, m)),
                         judge_texts(slice_make(b, m), slice_make(a, n)));
        assert_int_equal(judge_texts(slice_make(a, n), slice_make(a, n)), JUDGE_SAME);
        (void)judge_reply(slice_make(a, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_texts_tell),
        cmocka_unit_test(what_vectors_tell),
        cmocka_unit_test(what_a_model_says),
        cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
