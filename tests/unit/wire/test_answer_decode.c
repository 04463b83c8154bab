/* Decoders on what servers should not send: tool calls that are told apart by id, number, name or
 * not at all; limits; answers out of order; a reader that stops; encoders whose output is full. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/chat_queue.h"
#include "tests/unit/wire/answer_run.h"

/* ---- tool calls ---- */

struct recorder {
    struct buf text;
    size_t stop_after; /* events; 0: never */
    size_t count;
};

static bool record(const struct chat_event *e, void *ctx)
{
    struct recorder *r = ctx;

    answer_run_print(e, &r->text);
    return ++r->count != r->stop_after;
}

/* "index|id|name|arguments", '-' for none; "t:TEXT" is text in between. */
static enum err take(struct chat_queue *q, const char *step)
{
    struct chat_queue_call call = {.index = -1};
    struct slice *parts[] = {NULL, &call.id, &call.name, &call.arguments};
    struct slice rest = slice_str(step);

    if (slice_starts(rest, SLICE("t:")))
        return chat_queue_text(q, CHAT_BLOCK_TEXT, slice_from(rest, 2), slice_make("", 0));
    for (size_t i = 0; i < 4; i++) {
        const char *bar = i < 3 ? memchr(rest.p, '|', rest.n) : NULL;
        struct slice part = slice_make(rest.p, bar ? (size_t)(bar - rest.p) : rest.n);
        rest = slice_from(rest, part.n + 1);
        if (slice_eq(part, SLICE("-")))
            continue;
        if (i == 0)
            call.index = part.p[0] - '0';
        else
            *parts[i] = part;
    }
    return chat_queue_call(q, &call);
}

static void run_calls(const char *const *steps, const char *want, enum err want_err)
{
    struct recorder r = {.count = 0};
    struct chat_queue_sink sink = {
        .fn = record, .ctx = &r, .answer_id = SLICE("x"), .max_held_bytes = 64};
    struct chat_queue q;
    enum err err = ERR_OK;

    buf_init(&r.text, 65536);
    chat_queue_init(&q, &sink, 0);
    for (size_t i = 0; steps[i] && !err; i++)
        err = take(&q, steps[i]);
    if (!err)
        err = chat_queue_finish(&q);
    assert_int_equal(err, want_err);
    if (want && !slice_eq(buf_slice(&r.text), slice_str(want)))
        fail_msg("%s...: got\n%.*s\nwant\n%s", steps[0], SLICE_ARG(buf_slice(&r.text)), want);
    chat_queue_clear(&q);
    assert_int_equal(sink.held_bytes, 0);
    buf_clear(&r.text);
}

#define STEPS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define CALL(i, id, name, args)                                                                    \
    "BLOCK_START " i " tool_call id=\"" id "\" name=\"" name "\"\nDELTA " i " tool_call \"" args   \
    "\"\nBLOCK_STOP " i " tool_call\n"

static void test_calls_told_apart(void **state)
{
    (void)state;
    /* all numbered 0, ids differ */
    run_calls(STEPS("0|a|f|{}", "0|b|f|[1]"), CALL("0", "a", "f", "{}") CALL("1", "b", "f", "[1]"),
              ERR_OK);
    /* the same, the second without an id: a name begins a call once the one before is whole */
    run_calls(STEPS("0|a|f|{}", "0|-|f|[1]"),
              CALL("0", "a", "f", "{}") CALL("1", "call_anuvm0BurlQ69bJsR8UuxQwW", "f", "[1]"),
              ERR_OK);
    /* a new id in each chunk of one call */
    run_calls(STEPS("0|a|f|[", "0|b|-|]"),
              "BLOCK_START 0 tool_call id=\"a\" name=\"f\"\nDELTA 0 tool_call \"[\"\n"
              "DELTA 0 tool_call \"]\"\nBLOCK_STOP 0 tool_call\n",
              ERR_OK);
    /* id and name in each chunk */
    run_calls(STEPS("0|a|f|[", "0|a|f|]"),
              "BLOCK_START 0 tool_call id=\"a\" name=\"f\"\nDELTA 0 tool_call \"[\"\n"
              "DELTA 0 tool_call \"]\"\nBLOCK_STOP 0 tool_call\n",
              ERR_OK);
    /* no number: what has neither id nor name goes with the last call */
    run_calls(STEPS("-|a|f|", "-|-|-|{}", "-|b|g|", "-|-|-|{}"),
              CALL("0", "a", "f", "{}") CALL("1", "b", "g", "{}"), ERR_OK);
    /* the id comes first, the name later, the other call in between */
    run_calls(STEPS("0|a|-|", "1|b|g|{}", "0|-|f|{}"),
              CALL("0", "a", "f", "{}") CALL("1", "b", "g", "{}"), ERR_OK);
    /* fragments of a number nobody began: of the last call */
    run_calls(STEPS("0|a|f|", "7|-|-|{}"), CALL("0", "a", "f", "{}"), ERR_OK);
    /* brackets in strings and escapes end nothing; white space after the end is no fault */
    run_calls(STEPS("0|a|f|{\"]}\\\"", "1|b|g|{}", "0|-|-|\":1}", "0|-|-| \n"),
              "BLOCK_START 0 tool_call id=\"a\" name=\"f\"\n"
              "DELTA 0 tool_call \"{\\\"]}\\\\\\\"\"\nDELTA 0 tool_call \"\\\":1}\"\n"
              "BLOCK_STOP 0 tool_call\n" CALL("1", "b", "g", "{}"),
              ERR_OK);
    /* text waits for its turn too */
    run_calls(STEPS("0|a|f|[", "t:x", "t:y", "0|-|-|]", "t:z"),
              "BLOCK_START 0 tool_call id=\"a\" name=\"f\"\nDELTA 0 tool_call \"[\"\n"
              "DELTA 0 tool_call \"]\"\nBLOCK_STOP 0 tool_call\nBLOCK_START 1 text\n"
              "DELTA 1 text \"xy\"\nDELTA 1 text \"z\"\nBLOCK_STOP 1 text\n",
              ERR_OK);
}

static void test_calls_refused(void **state)
{
    (void)state;
    run_calls(STEPS("0|-|-|{}"), "", ERR_UPSTREAM_PROTOCOL); /* nobody's */
    run_calls(STEPS("0|a|-|{}"), "", ERR_UPSTREAM_PROTOCOL); /* never named */
    run_calls(STEPS("0|a|f|{}", "1|b|g|", "0|-|-|{}"), NULL, ERR_UPSTREAM_PROTOCOL); /* over */
    run_calls(STEPS("0|a|f|[", "1|b|g|0123456789012345678901234567890123456789",
                    "2|c|h|0123456789012345678901234567890123456789"),
              NULL, ERR_UPSTREAM_TOO_LARGE); /* 64 bytes may wait */
}

static void test_many_blocks(void **state)
{
    struct recorder r = {.count = 0};
    struct chat_queue_sink sink = {.fn = record, .ctx = &r, .max_held_bytes = 64};
    struct chat_queue q;
    char label[1024];
    struct chat_queue_call call = {.index = 0, .name = SLICE("f"), .fresh = true};
    enum err err = ERR_OK;
    size_t n = 0;

    (void)state;
    buf_init(&r.text, 1 << 20);
    chat_queue_init(&q, &sink, 0);
    while (!err && n <= CHAT_QUEUE_MAX_BLOCKS) {
        err = chat_queue_call(&q, &call);
        n++;
    }
    assert_int_equal(err, ERR_UPSTREAM_TOO_LARGE);
    assert_int_equal(n, CHAT_QUEUE_MAX_BLOCKS + 1);
    chat_queue_clear(&q);
    memset(label, 'x', sizeof(label));
    call.id = slice_make(label, sizeof(label));
    assert_int_equal(chat_queue_call(&q, &call), ERR_UPSTREAM_TOO_LARGE);
    chat_queue_clear(&q);
    buf_clear(&r.text);
}

/* ---- answers that are none ---- */

static void stream_fails(enum answer_dialect from, const char *in, enum err want)
{
    struct answer_run r;

    answer_run_stream(&r, from, slice_str(in), strlen(in), 0, 1);
    if (r.err != want)
        fail_msg("%s\n%s, not %s", in, err_name(r.err), err_name(want));
    answer_run_clear(&r);
}

#define OPEN  "data: {\"id\":\"x\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
#define START "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\"}}\n\n"
#define TEXT                                                                                       \
    "data: "                                                                                       \
    "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\"}}\n\n"
#define STOP "data: {\"type\":\"message_stop\"}\n\n"

static void test_openai_refused(void **state)
{
    (void)state;
    stream_fails(RUN_OPENAI, "", ERR_UPSTREAM_CUT);
    stream_fails(RUN_OPENAI, "data: [DONE]\n\n", ERR_UPSTREAM_CUT);
    stream_fails(RUN_OPENAI, OPEN, ERR_UPSTREAM_CUT);
    stream_fails(RUN_OPENAI, OPEN "data: {\n\n", ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_OPENAI, OPEN "data: {\"choices\":[{\"index\":128}]}\n\n",
                 ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_OPENAI, OPEN "data: {\"choices\":[{\"index\":-1}]}\n\n",
                 ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_OPENAI, OPEN "data: {\"choices\":[{\"delta\":{\"tool_calls\":[7]}}]}\n\n",
                 ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_OPENAI,
                 OPEN
                 "data: {\"choices\":[{\"finish_reason\":\"insufficient_system_resource\"}]}\n\n",
                 ERR_UPSTREAM_OVERLOADED);
    stream_fails(RUN_OPENAI, OPEN "data: {\"choices\":[{\"error\":{\"code\":502}}]}\n\n",
                 ERR_UPSTREAM_SERVER_ERROR);
    stream_fails(RUN_OPENAI, OPEN "event: error\ndata: out of memory\n\n",
                 ERR_UPSTREAM_SERVER_ERROR);
    stream_fails(RUN_OPENAI, "data: {\"object\":\"error\",\"message\":\"x\",\"code\":429}\n\n",
                 ERR_UPSTREAM_RATE_LIMITED);
    /* wrong types are nothing, not faults */
    stream_fails(
        RUN_OPENAI,
        "data: {\"id\":7,\"model\":[],\"usage\":3,\"error\":null,\"choices\":[7,null,"
        "{\"delta\":8,\"logprobs\":9,\"finish_reason\":{},\"index\":\"a\"},"
        "{\"delta\":{\"content\":{},\"tool_calls\":{},\"refusal\":1}}]}\n\ndata: [DONE]\n\n",
        ERR_OK);
}

static void test_anthropic_refused(void **state)
{
    (void)state;
    stream_fails(RUN_ANTHROPIC, "", ERR_UPSTREAM_CUT);
    stream_fails(RUN_ANTHROPIC, START, ERR_UPSTREAM_CUT);
    stream_fails(RUN_ANTHROPIC, START STOP, ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_ANTHROPIC, START START, ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_ANTHROPIC, TEXT, ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_ANTHROPIC, "data: {\"type\":\"message_start\"}\n\n", ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_ANTHROPIC,
                 START TEXT
                 "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"
                 "\"input_json_delta\",\"partial_json\":\"{\"}}\n\n",
                 ERR_UPSTREAM_PROTOCOL); /* not of its block's type */
    stream_fails(RUN_ANTHROPIC,
                 START TEXT
                 "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":"
                 "\"text_delta\",\"text\":\"x\"}}\n\n",
                 ERR_UPSTREAM_PROTOCOL); /* of no open block */
    stream_fails(RUN_ANTHROPIC, START TEXT "data: {\"type\":\"content_block_delta\"}\n\n",
                 ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_ANTHROPIC,
                 START "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":"
                       "\"web_search_tool_result\"}}\n\n",
                 ERR_UPSTREAM_PROTOCOL);
    stream_fails(RUN_ANTHROPIC,
                 START "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"new\"}}\n\n",
                 ERR_OK);
}

static void test_large_event(void **state)
{
    char *big = malloc(70000);

    (void)state;
    assert_non_null(big);
    memset(big, 'x', 70000);
    memcpy(big, "data: ", 6);
    big[69999] = 0;
    stream_fails(RUN_OPENAI, big, ERR_UPSTREAM_TOO_LARGE);
    stream_fails(RUN_ANTHROPIC, big, ERR_UPSTREAM_TOO_LARGE);
    free(big);
}

/* ---- readers ---- */

static const char two_calls[] =
    "data: {\"id\":\"x\",\"choices\":[{\"delta\":{\"content\":\"a\",\"tool_calls\":["
    "{\"index\":0,\"id\":\"p\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}},"
    "{\"index\":1,\"id\":\"q\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}},"
    "{\"index\":0,\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

/* Whoever says "no more" hears no more, and nothing is lost. */
static void test_reader_stops(void **state)
{
    struct openai_decode_options options = {
        .n = 1, .max_event_bytes = 4096, .max_held_bytes = 4096};
    size_t all = 0;

    (void)state;
    for (size_t stop = 0; stop <= all + 1; stop++) {
        struct recorder r = {.stop_after = stop};
        struct openai_decode d;

        buf_init(&r.text, 65536);
        openai_decode_init(&d, &options, record, &r);
        assert_int_equal(openai_decode_feed(&d, slice_str(two_calls)), ERR_OK);
        if (stop == 0)
            assert_int_equal(openai_decode_end(&d), ERR_OK);
        else if (stop < all)
            assert_int_equal(openai_decode_end(&d), d.started ? d.err : ERR_UPSTREAM_CUT);
        if (stop == 0)
            all = r.count;
        assert_true(stop == 0 || r.count <= stop);
        openai_decode_clear(&d);
        buf_clear(&r.text);
    }
    assert_int_equal(all, 14);
}

/* ---- encoders ---- */

static const struct chat_event script[] = {
    {.kind = CHAT_START, .id = {"x", 1}, .name = {"m", 1}},
    {.kind = CHAT_BLOCK_START, .block = CHAT_BLOCK_THINKING},
    {.kind = CHAT_DELTA, .block = CHAT_BLOCK_THINKING, .text = {"t", 1}},
    {.kind = CHAT_BLOCK_STOP, .block = CHAT_BLOCK_THINKING},
    {.kind = CHAT_BLOCK_START, .block = CHAT_BLOCK_TOOL_CALL, .id = {"c", 1}, .name = {"f", 1}},
    {.kind = CHAT_BLOCK_STOP, .block = CHAT_BLOCK_TOOL_CALL},
    {.kind = CHAT_FINISH, .finish = CHAT_FINISH_TOOL_CALLS},
    {.kind = CHAT_USAGE},
    {.kind = CHAT_END},
};
#define SCRIPT (sizeof(script) / sizeof(script[0]))

union encoder {
    struct openai_encode openai;
    struct anthropic_encode anthropic;
    struct responses_encode responses;
};

static void encoder_init(union encoder *e, enum answer_dialect to)
{
    struct chat_encode_options o = answer_run_options();

    if (to == RUN_OPENAI)
        openai_encode_init(&e->openai, &o);
    else if (to == RUN_ANTHROPIC)
        anthropic_encode_init(&e->anthropic, &o);
    else
        responses_encode_init(&e->responses, &o);
}

static enum err encoder_on(union encoder *e, enum answer_dialect to, const struct chat_event *event,
                           struct buf *out)
{
    if (to == RUN_OPENAI)
        return openai_encode_on(&e->openai, event, out);
    return to == RUN_ANTHROPIC ? anthropic_encode_on(&e->anthropic, event, out)
                               : responses_encode_on(&e->responses, event, out);
}

static void encoder_clear(union encoder *e, enum answer_dialect to)
{
    if (to == RUN_OPENAI)
        openai_encode_clear(&e->openai);
    else if (to == RUN_ANTHROPIC)
        anthropic_encode_clear(&e->anthropic);
    else
        responses_encode_clear(&e->responses);
}

/* Whatever room there is, out holds whole events only, the first so many of those that all would
 * make. */
static void test_out_full(void **state)
{
    (void)state;
    for (int to = 0; to < RUN_DIALECTS; to++) {
        struct buf all;
        size_t ends[SCRIPT], total = SIZE_MAX;

        buf_init(&all, 65536);
        for (size_t room = 65536; room > 0; room = room == 65536 ? total - 1 : room - 1) {
            union encoder e;
            struct buf out;
            enum err err = ERR_OK;
            size_t n = 0;

            encoder_init(&e, (enum answer_dialect)to);
            buf_init(&out, room);
            for (n = 0; n < SCRIPT && !err; n++) {
                err = encoder_on(&e, (enum answer_dialect)to, &script[n], &out);
                if (room == 65536)
                    ends[n] = buf_len(&out);
            }
            if (room == 65536) {
                assert_int_equal(err, ERR_OK);
                assert_int_equal(buf_append_slice(&all, buf_slice(&out)), ERR_OK);
                total = buf_len(&all);
            } else {
                assert_int_equal(err, ERR_UPSTREAM_TOO_LARGE);
                assert_int_equal(buf_len(&out), n > 1 ? ends[n - 2] : 0);
                assert_memory_equal(buf_slice(&out).p, buf_slice(&all).p, buf_len(&out));
            }
            encoder_clear(&e, (enum answer_dialect)to);
            buf_clear(&out);
        }
        buf_clear(&all);
    }
}

/* Nothing before START but an error; no END without FINISH; nothing after END. */
static void test_out_of_order(void **state)
{
    const struct chat_event error = {.kind = CHAT_ERROR, .err = ERR_UPSTREAM_CUT};

    (void)state;
    for (int to = 0; to < RUN_DIALECTS; to++) {
        union encoder e;
        struct buf out;

        buf_init(&out, 65536);
        encoder_init(&e, (enum answer_dialect)to);
        for (size_t i = 1; i < SCRIPT; i++)
            assert_int_equal(encoder_on(&e, (enum answer_dialect)to, &script[i], &out),
                             ERR_INTERNAL);
        assert_int_equal(encoder_on(&e, (enum answer_dialect)to, &script[0], &out), ERR_OK);
        assert_int_equal(encoder_on(&e, (enum answer_dialect)to, &script[SCRIPT - 1], &out),
                         ERR_INTERNAL);
        assert_int_equal(encoder_on(&e, (enum answer_dialect)to, &error, &out), ERR_OK);
        for (size_t i = 0; i < SCRIPT; i++)
            assert_int_equal(encoder_on(&e, (enum answer_dialect)to, &script[i], &out),
                             ERR_INTERNAL);
        encoder_clear(&e, (enum answer_dialect)to);
        buf_reset(&out);
        encoder_init(&e, (enum answer_dialect)to);
        assert_int_equal(encoder_on(&e, (enum answer_dialect)to, &error, &out), ERR_OK);
        assert_true(buf_len(&out) > 0);
        encoder_clear(&e, (enum answer_dialect)to);
        buf_clear(&out);
    }
}

static void test_answer_limits(void **state)
{
    struct chat_answer a;
    size_t n;

    (void)state;
    for (size_t max = 0; max < 600; max += 7) {
        chat_answer_init(&a, max);
        for (n = 0; n < SCRIPT && chat_answer_add(&a, &script[n]) == ERR_OK; n++)
            assert_true(a.bytes <= max);
        assert_int_equal(a.complete, n == SCRIPT);
        chat_answer_clear(&a);
    }
    assert_int_equal(n, SCRIPT);
    chat_answer_init(&a, 1000);
    assert_int_equal(chat_answer_add(&a, &script[2]), ERR_INTERNAL); /* text of no block */
    chat_answer_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_told_apart),  cmocka_unit_test(test_calls_refused),
        cmocka_unit_test(test_many_blocks),       cmocka_unit_test(test_openai_refused),
        cmocka_unit_test(test_anthropic_refused), cmocka_unit_test(test_large_event),
        cmocka_unit_test(test_reader_stops),      cmocka_unit_test(test_out_full),
        cmocka_unit_test(test_out_of_order),      cmocka_unit_test(test_answer_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
