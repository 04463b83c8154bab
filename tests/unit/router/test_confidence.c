/* Features of answers: what each says, that nothing that is missing looks like something that is
 * there, and which answers agree. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "backends/wire/answer_signals.h"
#include "router/confidence.h"

#define MAX_BYTES 65536

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("got %.9g, want %.9g", got, want);
}

/* An OpenAI message as the answer. */
static void answer(struct answer_signals *s, const char *choice)
{
    struct openai_choice read;

    answer_signals_init(s, MAX_BYTES);
    assert_true(json_validate(slice_str(choice), NULL));
    openai_choice_read((struct json_value){JSON_OBJECT, slice_str(choice)}, &read);
    answer_signals_openai(s, &read);
}

static void names(void **state)
{
    (void)state;
    for (int i = 0; i < CONFIDENCE_FEATURES; i++) {
        assert_true(strlen(confidence_feature_name((enum confidence_feature)i)) > 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(confidence_feature_name((enum confidence_feature)i),
                                    confidence_feature_name((enum confidence_feature)k));
    }
    assert_string_equal(confidence_feature_name(CONFIDENCE_Q10), "q10");
}

static void plain(void **state)
{
    struct answer_signals s;
    struct confidence_context none = {0};
    float f[CONFIDENCE_FEATURES];

    (void)state;
    answer(&s, "{\"message\":{\"content\":\"Paris.\"},\"finish_reason\":\"stop\",\"logprobs\":{"
               "\"content\":[{\"token\":\"Paris\",\"logprob\":-0.1,\"top_logprobs\":["
               "{\"token\":\"Paris\",\"logprob\":-0.1},{\"token\":\"Lyon\",\"logprob\":-3.1}]},"
               "{\"token\":\".\",\"logprob\":-0.3,\"top_logprobs\":[]}]}}");
    confidence_features(&s, &none, f);
    near(f[CONFIDENCE_SURENESS], -log(1 - exp(-0.2)), 1e-5);
    near(f[CONFIDENCE_WINDOW], -0.2, 1e-6);
    near(f[CONFIDENCE_MARGIN], 3, 1e-6);
    near(f[CONFIDENCE_NO_LOGPROBS] + f[CONFIDENCE_NO_MARGIN], 0, 0);
    near(f[CONFIDENCE_UNFINISHED] + f[CONFIDENCE_EMPTY] + f[CONFIDENCE_REFUSAL], 0, 0);
    near(f[CONFIDENCE_LENGTH] + f[CONFIDENCE_VALID] + f[CONFIDENCE_AGREE], 0, 0);
    answer_signals_clear(&s);
}

static void bare(void **state)
{
    struct answer_signals s;
    struct confidence_context none = {0};
    float f[CONFIDENCE_FEATURES];

    (void)state;
    answer(&s, "{}");
    confidence_features(&s, &none, f);
    near(f[CONFIDENCE_NO_LOGPROBS], 1, 0);
    near(f[CONFIDENCE_NO_MARGIN], 1, 0);
    near(f[CONFIDENCE_EMPTY], 1, 0);
    near(f[CONFIDENCE_UNFINISHED], 1, 0);
    confidence_features_so_far(&s, f); /* a stream's beginning says nothing of its end */
    near(f[CONFIDENCE_EMPTY] + f[CONFIDENCE_UNFINISHED], 0, 0);
    answer_signals_clear(&s);
}

static void circumstances(void **state)
{
    struct answer_signals s;
    struct confidence_context c = {.output_tokens = 200,
                                   .usual_tokens = 100,
                                   .verdict = CONFIDENCE_FAIL,
                                   .has_earlier = true,
                                   .agreement = -1,
                                   .earlier_score = 0.9};
    float f[CONFIDENCE_FEATURES];

    (void)state;
    answer(&s, "{\"message\":{\"content\":\"I'm sorry, but I can't help with that.\"},"
               "\"finish_reason\":\"length\"}");
    confidence_features(&s, &c, f);
    near(f[CONFIDENCE_LENGTH], log(2), 1e-6);
    near(f[CONFIDENCE_UNFINISHED], 1, 0);
    near(f[CONFIDENCE_REFUSAL], 1, 0);
    near(f[CONFIDENCE_VALID], -1, 0);
    near(f[CONFIDENCE_AGREE], -1, 0);
    near(f[CONFIDENCE_EARLIER], log(9), 1e-5);
    c.earlier_score = 1; /* no infinity gets in */
    c.usual_tokens = 1e-9;
    confidence_features(&s, &c, f);
    near(f[CONFIDENCE_EARLIER], 3, 0);
    near(f[CONFIDENCE_LENGTH], 3, 0);
    answer_signals_clear(&s);
}

/* Whatever the tokens say, every feature is a number of moderate size, and the prior ranks a sure
 * answer above a doubtful one, that above a refusal and an empty one. */
static void ranks(void **state)
{
    static const char *const worse_and_worse[] = {
        "{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[{"
        "\"token\":\"x\",\"logprob\":0}]}}",
        "{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[{"
        "\"token\":\"x\",\"logprob\":-0.2}]}}",
        "{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[{"
        "\"token\":\"x\",\"logprob\":-9999}]}}",
        "{\"message\":{\"content\":\"\"},\"finish_reason\":\"length\",\"logprobs\":{\"content\":[{"
        "\"token\":\"x\",\"logprob\":-9999}]}}",
    };
    double before = 2;

    (void)state;
    for (size_t i = 0; i < sizeof worse_and_worse / sizeof worse_and_worse[0]; i++) {
        struct answer_signals s;
        struct confidence_context none = {0};
        float f[CONFIDENCE_FEATURES];
        double score;

        answer(&s, worse_and_worse[i]);
        confidence_features(&s, &none, f);
        for (int k = 0; k < CONFIDENCE_FEATURES; k++)
            assert_true(f[k] >= -9 && f[k] <= 9);
        score = confidence_score(f, NULL);
        assert_true(score > 0 && score < before);
        before = score;
        answer_signals_clear(&s);
    }
}

/* ---- agreement ---- */

#define SAID(text) "{\"message\":{\"content\":\"" text "\"}}"
#define LONG                                                                                       \
    "This sentence is longer than anything that two models would write word for word the same."
#define CALL(name, arguments)                                                                      \
    "{\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"" name                                \
    "\",\"arguments\":\"" arguments "\"}}]}}"

static void agreement(void **state)
{
    static const struct {
        const char *a, *b;
        double want;
    } cases[] = {
        {SAID("Paris"), SAID("**paris.**\\n"), 1},
        {SAID("in  Paris"), SAID("In\\nParis"), 1},
        {SAID("Paris"), SAID("Lyon"), -1},
        {SAID("!?"), SAID("!?"), 1},
        {SAID("!?"), SAID("..."), -1},
        {SAID(""), SAID(""), 1},
        {SAID("Paris"), SAID(""), -1},
        {SAID("caf\xC3\xA9"), SAID("Caf\\u00e9"), 1},
        {SAID(LONG), SAID(LONG " And more."), 0},
        {SAID("Paris"), SAID(LONG), 0},
        {SAID("{\\\"a\\\": 1, \\\"b\\\": [2]}"), SAID(" {\\\"b\\\":[2.0],\\\"a\\\":1e0}\\n"), 1},
        {SAID("{\\\"a\\\": 1}"), SAID("{\\\"a\\\": 2}"), -1},
        {CALL("f", "{\\\"x\\\":1}"), CALL("f", "{ \\\"x\\\" : 1 }"), 1},
        {CALL("f", "{\\\"x\\\":1}"), CALL("g", "{\\\"x\\\":1}"), -1},
        {CALL("f", "{\\\"x\\\":1}"), CALL("f", "{\\\"x\\\":"), -1},
        {CALL("f", "{}"), SAID("text"), -1},
        {SAID(LONG "\\nThe answer is 42."), SAID("#### 42.0"), 1},
        {SAID(LONG "\\nThe answer is 42."), SAID(LONG "\\n**Answer:** 41"), -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer_signals a, b;
        double got, back;

        answer(&a, cases[i].a);
        answer(&b, cases[i].b);
        got = confidence_agreement(&a, &b);
        back = confidence_agreement(&b, &a);
        if (fabs(got - cases[i].want) > 0 || fabs(back - got) > 0)
            fail_msg("%s and %s: %g, %g", cases[i].a, cases[i].b, got, back);
        answer_signals_clear(&a);
        answer_signals_clear(&b);
    }
}

/* ---- repeating ---- */

static double repeats(const char *x, const char *y)
{
    struct answer_signals a, b;
    double got;

    answer(&a, x);
    answer(&b, y);
    got = confidence_repeats(&a, &b);
    answer_signals_clear(&a);
    answer_signals_clear(&b);
    return got;
}

static void repeating(void **state)
{
    struct answer_signals s;
    struct confidence_context c = {.samples = 4};
    float f[CONFIDENCE_FEATURES];

    (void)state;
    near(repeats(SAID("B"), SAID("(b) Paris")), 1, 0);
    near(repeats(SAID("B"), SAID("C")), 0, 0);
    near(repeats(SAID("B"), SAID("")), 0, 0);
    near(repeats(SAID(LONG), SAID(LONG " And more.")), 14.0 / 16, 0.05);
    near(repeats(CALL("f", "{}"), SAID(LONG)), 0, 0);
    answer(&s, SAID("B"));
    for (int agree = 0; agree <= 4; agree++) {
        c.repeats = agree;
        confidence_features(&s, &c, f);
        near(f[CONFIDENCE_SAMPLED], 1, 0);
        near(f[CONFIDENCE_REPEATS], log((agree + 0.5) / (4.5 - agree)), 1e-6);
    }
    c.samples = 0; /* nothing that was not asked looks like something that was */
    confidence_features(&s, &c, f);
    near(f[CONFIDENCE_SAMPLED] + f[CONFIDENCE_REPEATS], 0, 0);
    c = (struct confidence_context){.samples = 1000, .repeats = 1000};
    confidence_features(&s, &c, f);
    near(f[CONFIDENCE_REPEATS], 3, 0);
    answer_signals_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),         cmocka_unit_test(plain), cmocka_unit_test(bare),
        cmocka_unit_test(circumstances), cmocka_unit_test(ranks), cmocka_unit_test(agreement),
        cmocka_unit_test(repeating),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
