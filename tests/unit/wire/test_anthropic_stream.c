/* The pass-through filter on Anthropic streams: what passes byte for byte, what is held back or
 * renamed, completeness, usage, errors; each stream cut at every byte. And the errors of that
 * dialect. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/anthropic_error.h"
#include "backends/wire/anthropic_stream.h"

#define START                                                                                      \
    "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\","     \
    "\"model\" : \"claude\",\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":3,"         \
    "\"output_tokens\":1},\"new\":1.50}}\r\n\r\n"
#define RENAMED                                                                                    \
    "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\","     \
    "\"model\" : \"a\\\"b\",\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":3,"         \
    "\"output_tokens\":1},\"new\":1.50}}\r\n\r\n"
#define REST                                                                                       \
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"             \
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"                                     \
    ": comment\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n"                                     \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"             \
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi \\u00e9\"}}\n\n"                             \
    "event: vendor_event\ndata: {\"type\":\"vendor_event\",\"x\":[1e400]}\n\n"                     \
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"           \
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"          \
    "\"max_tokens\"},\"usage\":{\"output_tokens\":7}}\n\n"
#define STOP "event: message_stop\ndata: {\"type\":\"message_stop\" , \"x\":1}\n\n"

static enum err feed(struct anthropic_stream *s, struct slice in, struct buf *out)
{
    char *copy = malloc(in.n + 1);
    enum err err;

    assert_non_null(copy);
    memcpy(copy, in.p, in.n);
    err = anthropic_stream_feed(s, slice_make(copy, in.n), out);
    free(copy);
    return err;
}

static void check(struct slice got, const char *want, size_t cut)
{
    if (!slice_eq(got, slice_str(want)))
        fail_msg("cut at %zu: got\n%.*s\nwant\n%s", cut, SLICE_ARG(got), want);
}

static void run(const char *in, struct slice rename, const char *want)
{
    for (size_t cut = 0; cut <= strlen(in); cut++) {
        struct anthropic_stream s;
        struct buf out;

        anthropic_stream_init(&s, rename, 4096);
        buf_init(&out, 65536);
        assert_int_equal(feed(&s, slice_make(in, cut), &out), ERR_OK);
        assert_int_equal(feed(&s, slice_from(slice_str(in), cut), &out), ERR_OK);
        assert_true(anthropic_stream_complete(&s));
        assert_true(anthropic_stream_exhausted(&s));
        assert_int_equal(anthropic_stream_end(&s, &out), ERR_OK);
        check(buf_slice(&out), want, cut);
        assert_true(s.has_usage && s.truncated);
        assert_int_equal(s.usage.n[TOK_INPUT], 25);
        assert_int_equal(s.usage.n[TOK_CACHED_INPUT], 3);
        assert_int_equal(s.usage.n[TOK_OUTPUT], 7);
        assert_int_equal(s.deltas, 1);
        assert_int_equal(s.output_bytes, 9);
        anthropic_stream_clear(&s);
        buf_clear(&out);
    }
}

static void test_passes(void **state)
{
    (void)state;
    run(START REST STOP "event: late\ndata: x\n\n", slice_make(NULL, 0), START REST STOP);
    run(": early\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n" START REST STOP,
        slice_make(NULL, 0), START REST STOP);
}

static void test_renames(void **state)
{
    (void)state;
    run(START REST STOP, SLICE("a\"b"), RENAMED REST STOP);
    run("data: {\"type\":\"message_start\",\ndata: \"message\":{\"model\":\"c\",\n"
        "data: \"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":3}}}\n\n" REST STOP,
        SLICE("m"),
        "event: message_start\ndata: {\"type\":\"message_start\", \"message\":{\"model\":\"m\", "
        "\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":3}}}\n\n" REST STOP);
}

/* Cut before the stop_reason it is no answer; cut after it, it is one, with a proper end. */
static void test_cut(void **state)
{
    const char in[] = START REST;
    const size_t whole = sizeof(in) - 1;

    (void)state;
    for (size_t n = 0; n <= whole; n++) {
        struct anthropic_stream s;
        struct buf out;
        bool complete = n >= whole;

        anthropic_stream_init(&s, slice_make(NULL, 0), 4096);
        buf_init(&out, 65536);
        assert_int_equal(feed(&s, slice_make(in, n), &out), ERR_OK);
        assert_int_equal(anthropic_stream_complete(&s), complete);
        assert_false(anthropic_stream_exhausted(&s));
        assert_int_equal(anthropic_stream_end(&s, &out), complete ? ERR_OK : ERR_INTERNAL);
        if (complete)
            check(buf_slice(&out),
                  START REST "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", n);
        anthropic_stream_clear(&s);
        buf_clear(&out);
    }
}

static void fails(const char *in, enum err want, const char *passed)
{
    for (size_t cut = 0; cut <= strlen(in); cut++) {
        struct anthropic_stream s;
        struct buf out;
        enum err err;

        anthropic_stream_init(&s, slice_make(NULL, 0), 512);
        buf_init(&out, 65536);
        err = feed(&s, slice_make(in, cut), &out);
        if (!err)
            err = feed(&s, slice_from(slice_str(in), cut), &out);
        assert_int_equal(err, want);
        assert_int_equal(anthropic_stream_feed(&s, SLICE(STOP), &out), want);
        assert_false(anthropic_stream_complete(&s));
        assert_int_equal(anthropic_stream_end(&s, &out), ERR_INTERNAL);
        check(buf_slice(&out), passed, cut);
        anthropic_stream_clear(&s);
        buf_clear(&out);
    }
}

static void test_errors(void **state)
{
    char big[1024];

    (void)state;
    fails(START "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
                "\"message\":\"Overloaded\"}}\n\n" REST,
          ERR_UPSTREAM_OVERLOADED, START);
    fails(START "data: {\"error\":{\"message\":\"x\",\"type\":\"rate_limit_error\"}}\n\n",
          ERR_UPSTREAM_RATE_LIMITED, START);
    fails(START "event: error\ndata: out of luck\n\n", ERR_UPSTREAM_SERVER_ERROR, START);
    fails(START "data: {\"type\":\n\n", ERR_UPSTREAM_PROTOCOL, START);
    fails("data: [1]\n\n", ERR_UPSTREAM_PROTOCOL, "");
    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = 0;
    fails(big, ERR_UPSTREAM_TOO_LARGE, "");
}

/* A full buffer is an error, not a part of an event. */
static void test_full(void **state)
{
    (void)state;
    for (size_t room = 1; room < sizeof(START) - 1; room++) {
        struct anthropic_stream s;
        struct buf out;

        anthropic_stream_init(&s, SLICE("claude"), 4096);
        buf_init(&out, room);
        assert_int_equal(anthropic_stream_feed(&s, SLICE(START), &out), ERR_UPSTREAM_TOO_LARGE);
        assert_int_equal(buf_len(&out), 0);
        anthropic_stream_clear(&s);
        buf_clear(&out);
    }
}

static void test_classify(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum err err;
    } cases[] = {
        {529, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"O\"}}",
         ERR_UPSTREAM_OVERLOADED},
        {529, "", ERR_UPSTREAM_OVERLOADED},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt "
         "is "
         "too long: 2 tokens > 1 maximum\"}}",
         ERR_UPSTREAM_CONTEXT_LENGTH},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"input "
         "length and `max_tokens` exceed context limit: 1 + 2 > 2\"}}",
         ERR_UPSTREAM_CONTEXT_LENGTH},
        {413, "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"\"}}",
         ERR_UPSTREAM_CONTEXT_LENGTH},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Your "
         "credit balance is too low\"}}",
         ERR_UPSTREAM_QUOTA},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Output "
         "blocked by content filtering policy\"}}",
         ERR_UPSTREAM_CONTENT_FILTER},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"tools.0: "
         "no\"}}",
         ERR_UPSTREAM_REJECTED},
        {401, "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\"}}",
         ERR_UPSTREAM_AUTH},
        {403, "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\"}}", ERR_UPSTREAM_AUTH},
        {404, "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\"}}",
         ERR_UPSTREAM_NOT_FOUND},
        {429, "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"}}",
         ERR_UPSTREAM_RATE_LIMITED},
        {500, "{\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}", ERR_UPSTREAM_SERVER_ERROR},
        {0, "{\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}", ERR_UPSTREAM_SERVER_ERROR},
        {0, "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\"}}", ERR_UPSTREAM_QUOTA},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages."
         "1.content.0: Invalid `signature` in `thinking` block\"}}",
         ERR_UPSTREAM_THINKING},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages."
         "3.content.0: Invalid `data` in `redacted_thinking` block\"}}",
         ERR_UPSTREAM_THINKING},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages."
         "1.content.0.thinking.signature: Field required\"}}",
         ERR_UPSTREAM_THINKING},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages."
         "5.content.28: `thinking` or `redacted_thinking` blocks in the latest assistant message "
         "cannot be modified. These blocks must remain as they were in the original response.\"}}",
         ERR_UPSTREAM_THINKING},
        {422,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages."
         "1.content.0: Invalid `signature` in `thinking` block\"}}",
         ERR_UPSTREAM_REJECTED},
        {0,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages."
         "1.content.0: Invalid `signature` in `thinking` block\"}}",
         ERR_UPSTREAM_REJECTED},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"metadata."
         "x: Invalid `signature` in `thinking` block\"}}",
         ERR_UPSTREAM_REJECTED},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages."
         "1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.\"}}",
         ERR_UPSTREAM_REJECTED},
        {400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"thinking."
         "enabled.budget_tokens: Input should be greater than or equal to 1024\"}}",
         ERR_UPSTREAM_REJECTED},
        {400,
         "{\"error\":{\"type\":\"api_error\",\"message\":\"messages.1.content.0: Invalid "
         "`signature` in `thinking` block\"}}",
         ERR_UPSTREAM_SERVER_ERROR},
        {404,
         "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"thread\","
         "\"details\":{\"error_code\":\"thread_not_found\"}}}",
         ERR_UPSTREAM_REJECTED},
        {409,
         "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"thread\","
         "\"details\":{\"error_code\":\"thread_continue_in_flight\"}}}",
         ERR_UPSTREAM_REJECTED},
        {404,
         "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"model: x\","
         "\"details\":null}}",
         ERR_UPSTREAM_NOT_FOUND},
        {503, "<html>", ERR_UPSTREAM_OVERLOADED},
        {400, "\xff\x00", ERR_UPSTREAM_REJECTED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum err got = anthropic_error_classify(cases[i].status, slice_str(cases[i].body));
        if (got != cases[i].err)
            fail_msg("case %zu: %s, not %s", i, err_name(got), err_name(cases[i].err));
    }
}

static void test_bodies(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    assert_int_equal(
        anthropic_error_body(ERR_UPSTREAM_OVERLOADED, "O\"", NULL, SLICE("req_1"), &out), ERR_OK);
    check(buf_slice(&out),
          "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"O\\\"\"},"
          "\"request_id\":\"req_1\"}",
          0);
    buf_reset(&out);
    assert_int_equal(
        anthropic_error_body(ERR_UNTRANSLATABLE, "no", "thread", slice_make("", 0), &out), ERR_OK);
    check(buf_slice(&out),
          "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no\","
          "\"details\":{\"error_code\":\"thread_unsupported_request\",\"unsupported\":["
          "\"thread\"]}}}",
          0);
    buf_reset(&out);
    assert_int_equal(anthropic_stream_error(ERR_UPSTREAM_CONTEXT_LENGTH, "too many tokens",
                                            slice_make("", 0), &out),
                     ERR_OK);
    check(buf_slice(&out),
          "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","
          "\"message\":\"prompt is too long: too many tokens\"}}\n\n",
          0);
    buf_clear(&out);
    assert_int_equal(anthropic_error_status(ERR_OVERLOADED), 529);
    assert_int_equal(anthropic_error_status(ERR_UNAUTHORIZED), 401);
    for (int e = 1; e < ERR_COUNT; e++) {
        bool client = anthropic_error_status((enum err)e) < 500;
        const char *type = anthropic_error_type((enum err)e);
        assert_true(!client || strcmp(type, "api_error") != 0);
        assert_true(client || strcmp(type, "invalid_request_error") != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes), cmocka_unit_test(test_renames),
        cmocka_unit_test(test_cut),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_full),   cmocka_unit_test(test_classify),
        cmocka_unit_test(test_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
