/* Validators that are functions: what passes, what fails and where, and above all what nobody can
 * know; how several are put together. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "backends/wire/openai_chat.h"
#include "base/pattern.h"
#include "router/validate.h"

#define MAX_BYTES 4096

static void answer(struct answer_signals *s, size_t max_bytes, const char *choice)
{
    struct openai_choice read;

    answer_signals_init(s, max_bytes);
    assert_true(json_validate(slice_str(choice), NULL));
    openai_choice_read((struct json_value){JSON_OBJECT, slice_str(choice)}, &read);
    answer_signals_openai(s, &read);
}

#define SAID(text) "{\"message\":{\"content\":\"" text "\"}}"
#define CALL(name, arguments)                                                                      \
    "{\"message\":{\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"" name                   \
    "\",\"arguments\":\"" arguments "\"}}]}}"
#define FORMAT(more)                                                                               \
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_"            \
    "format\":" more "}"
#define INTEGER                                                                                    \
    FORMAT("{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{\"type\":"       \
           "\"integer\"}}}")
#define TOOLS                                                                                      \
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":"  \
    "\"function\",\"function\":{\"name\":"                                                         \
    "\"f\",\"parameters\":{\"required\":[\"a\"]}}},{\"type\":\"function\",\"function\":{\"name\":" \
    "\"g\"}}]}"

enum what { SCHEMA, OWN_SCHEMA, TOOL_ARGS, NON_EMPTY, REGEX };

struct row {
    enum what what;
    const char *request; /* NULL: not known */
    const char *choice;
    enum confidence_verdict want;
    const char *why; /* part of it */
};

static const struct row rows[] = {
    {SCHEMA, INTEGER, SAID(" 7\\n"), CONFIDENCE_PASS, ""},
    {SCHEMA, INTEGER, SAID("seven"), CONFIDENCE_FAIL, "not JSON at byte 0"},
    {SCHEMA, INTEGER, SAID("\\\"7\\\""), CONFIDENCE_FAIL, "not of type"},
    {SCHEMA, INTEGER, SAID(""), CONFIDENCE_FAIL, "not JSON"},
    {SCHEMA, INTEGER, CALL("f", "{}"), CONFIDENCE_UNKNOWN, "only calls tools"},
    {SCHEMA, INTEGER, "{\"message\":{\"refusal\":\"no\"}}", CONFIDENCE_UNKNOWN, "refused"},
    {SCHEMA, FORMAT("{\"type\":\"json_object\"}"), SAID("{}"), CONFIDENCE_PASS, ""},
    {SCHEMA, FORMAT("{\"type\":\"json_object\"}"), SAID("[]"), CONFIDENCE_FAIL,
     "not a JSON object"},
    {SCHEMA, FORMAT("{\"type\":\"text\"}"), SAID("x"), CONFIDENCE_UNKNOWN, "no schema"},
    {SCHEMA, NULL, SAID("x"), CONFIDENCE_UNKNOWN, "no schema"},
    {OWN_SCHEMA, NULL, SAID("true"), CONFIDENCE_PASS, ""},
    {OWN_SCHEMA, INTEGER, SAID("7"), CONFIDENCE_FAIL, "boolean"},
    {TOOL_ARGS, TOOLS, CALL("f", "{\\\"a\\\":1}"), CONFIDENCE_PASS, ""},
    {TOOL_ARGS, TOOLS, CALL("f", ""), CONFIDENCE_FAIL, "call of 'f': 'a' is missing"},
    {TOOL_ARGS, TOOLS, CALL("f", "[]"), CONFIDENCE_FAIL, "not an object"},
    {TOOL_ARGS, TOOLS, CALL("f", "{\\\"a"), CONFIDENCE_FAIL, "not JSON at byte 3"},
    {TOOL_ARGS, TOOLS, CALL("g", "{\\\"any\\\":1}"), CONFIDENCE_PASS, ""},
    {TOOL_ARGS, TOOLS, CALL("h", "{}"), CONFIDENCE_FAIL, "no such tool"},
    {TOOL_ARGS, NULL, CALL("f", "{}"), CONFIDENCE_FAIL, "no such tool"},
    {TOOL_ARGS, TOOLS, SAID("x"), CONFIDENCE_UNKNOWN, "no tool is called"},
    {NON_EMPTY, NULL, SAID("x"), CONFIDENCE_PASS, ""},
    {NON_EMPTY, NULL, SAID(" \\n\\t"), CONFIDENCE_FAIL, "empty"},
    {NON_EMPTY, NULL, "{}", CONFIDENCE_FAIL, "empty"},
    {NON_EMPTY, NULL, CALL("f", ""), CONFIDENCE_PASS, ""},
    {REGEX, NULL, SAID("say 42!"), CONFIDENCE_PASS, ""},
    {REGEX, NULL, SAID("forty-two"), CONFIDENCE_FAIL, "not found"},
};

static void run(const struct row *r, size_t max_bytes, struct validate_result *out)
{
    struct answer_signals s;
    struct err_text why;
    struct pattern *digits = pattern_new(SLICE("\\d+"), &why);
    struct chat chat;
    struct arena a;
    const char *param;

    arena_init(&a, 1024);
    answer(&s, max_bytes, r->choice);
    if (r->request)
        assert_int_equal(openai_chat_parse(slice_str(r->request), &a, &chat, &param, &why), ERR_OK);
    switch (r->what) {
    case SCHEMA:
        validate_json_schema(&s, r->request ? &chat : NULL, SLICE(""), out);
        break;
    case OWN_SCHEMA:
        validate_json_schema(&s, r->request ? &chat : NULL, SLICE("{\"type\":\"boolean\"}"), out);
        break;
    case TOOL_ARGS:
        validate_tool_args(&s, r->request ? &chat : NULL, out);
        break;
    case NON_EMPTY:
        validate_non_empty(&s, out);
        break;
    case REGEX:
        validate_regex(&s, digits, out);
        break;
    }
    answer_signals_clear(&s);
    arena_clear(&a);
    pattern_free(digits);
}

static void one(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct validate_result got;

        run(&rows[i], MAX_BYTES, &got);
        if (got.verdict != rows[i].want || !strstr(got.why.s, rows[i].why))
            fail_msg("row %zu: %d, %s", i, (int)got.verdict, got.why.s);
        assert_true(got.verdict == CONFIDENCE_PASS || got.why.s[0]);
        assert_true(got.score >= (got.verdict == CONFIDENCE_PASS) && got.score <= 1);
    }
}

/* Of an answer that was not kept whole nothing is refuted. */
static void too_long(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct validate_result got;

        if (rows[i].what == NON_EMPTY || strstr(rows[i].choice, "\"\"") ||
            strstr(rows[i].choice, "\"x\""))
            continue; /* these fit */
        run(&rows[i], 1, &got);
        if (got.verdict != CONFIDENCE_UNKNOWN)
            fail_msg("row %zu: %d, %s", i, (int)got.verdict, got.why.s);
    }
}

static void combine(void **state)
{
    static const struct validate_result pass = {CONFIDENCE_PASS, 1, {""}},
                                        weak = {CONFIDENCE_PASS, 0.6, {""}},
                                        fail = {CONFIDENCE_FAIL, 0, {"f"}},
                                        other = {CONFIDENCE_FAIL, 0.2, {"g"}},
                                        unknown = {CONFIDENCE_UNKNOWN, 0, {"u"}};
    static const struct {
        const struct validate_result *first, *second;
        enum confidence_verdict verdict;
        double score;
        const char *why;
    } sums[] = {
        {&pass, &pass, CONFIDENCE_PASS, 1, ""},
        {&pass, &weak, CONFIDENCE_PASS, 0.6, ""},
        {&pass, &unknown, CONFIDENCE_PASS, 1, ""},
        {&unknown, &pass, CONFIDENCE_PASS, 1, ""},
        {&unknown, &unknown, CONFIDENCE_UNKNOWN, 0, "u"},
        {&fail, &pass, CONFIDENCE_FAIL, 0, "f"},
        {&pass, &fail, CONFIDENCE_FAIL, 0, "f"},
        {&fail, &unknown, CONFIDENCE_FAIL, 0, "f"},
        {&unknown, &fail, CONFIDENCE_FAIL, 0, "f"},
        {&other, &fail, CONFIDENCE_FAIL, 0, "g"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        struct validate_result sum = {.verdict = CONFIDENCE_UNKNOWN};

        validate_combine(&sum, sums[i].first);
        validate_combine(&sum, sums[i].second);
        assert_int_equal(sum.verdict, sums[i].verdict);
        assert_true(sum.score <= sums[i].score && sum.score >= sums[i].score);
        assert_string_equal(sum.why.s, sums[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one),
        cmocka_unit_test(too_long),
        cmocka_unit_test(combine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
