/* Answers that are kept and given again: what of each golden answer is kept, the exact bytes that
 * every client reads of it later (tests/golden/replay), and that these say what the server said. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/answer_record.h"
#include "backends/wire/answer_replay.h"
#include "tests/unit/wire/answer_run.h"

#define MAX_BYTES (1 << 20)
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

static const struct sample {
    const char *name; /* in tests/golden/answers */
    const char *form; /* in.sse, in.json */
    int64_t n;
    enum answer_worth worth;
} samples[] = {
    {"openai_text", "in.sse", 1, ANSWER_GOOD},
    {"openai_text", "in.json", 1, ANSWER_GOOD},
    {"openai_logprobs", "in.sse", 1, ANSWER_GOOD},
    {"openai_logprobs", "in.json", 1, ANSWER_GOOD},
    {"openai_n2", "in.sse", 2, ANSWER_UNFINISHED}, /* one choice met its length */
    {"openai_no_done", "in.sse", 1, ANSWER_GOOD},
    {"openai_tools", "in.sse", 1, ANSWER_CALLS_TOOLS},
    {"openai_tools", "in.json", 1, ANSWER_CALLS_TOOLS},
    {"openai_refusal", "in.sse", 1, ANSWER_REFUSED},
    {"openai_refusal", "in.json", 1, ANSWER_REFUSED},
    {"openai_cut", "in.sse", 1, ANSWER_UNFINISHED},
    {"openai_length_tool", "in.sse", 1, ANSWER_UNFINISHED},
    {"openai_error", "in.json", 1, ANSWER_MALFORMED},
    {"azure_filter", "in.sse", 1, ANSWER_REFUSED},
    {"deepseek", "in.sse", 1, ANSWER_GOOD},
    {"deepseek", "in.json", 1, ANSWER_GOOD},
    {"vllm", "in.sse", 1, ANSWER_GOOD},
    {"openrouter", "in.sse", 1, ANSWER_GOOD},
    {"openrouter_error", "in.sse", 1, ANSWER_MALFORMED},
    {"mistral", "in.sse", 1, ANSWER_UNFINISHED},
    {"anthropic_text", "in.sse", 1, ANSWER_GOOD},
    {"anthropic_text", "in.json", 1, ANSWER_GOOD},
    {"anthropic_thinking", "in.sse", 1, ANSWER_GOOD},
    {"anthropic_thinking_tools", "in.json", 1, ANSWER_CALLS_TOOLS},
    {"anthropic_stop_sequence", "in.sse", 1, ANSWER_GOOD},
    {"anthropic_tools", "in.sse", 1, ANSWER_CALLS_TOOLS},
    {"anthropic_refusal", "in.sse", 1, ANSWER_REFUSED},
    {"anthropic_max_tokens", "in.sse", 1, ANSWER_UNFINISHED},
    {"anthropic_cut", "in.sse", 1, ANSWER_UNFINISHED},
    {"anthropic_error", "in.sse", 1, ANSWER_MALFORMED},
    {"anthropic_server_tool", "in.json", 1, ANSWER_MALFORMED},
};

static const enum wire_api apis[] = {WIRE_CHAT, WIRE_MESSAGES, WIRE_RESPONSES};

static struct slice load(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *bytes;
    long n;

    if (!f)
        fail_msg("cannot read %s", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    n = ftell(f);
    rewind(f);
    assert_non_null(bytes = malloc((size_t)n + 1));
    assert_int_equal(fread(bytes, 1, (size_t)n, f), (size_t)n);
    fclose(f);
    return slice_make(bytes, (size_t)n);
}

static struct slice load_sample(const struct sample *s)
{
    char path[256];

    snprintf(path, sizeof path, "tests/golden/answers/%s.%s", s->name, s->form);
    return load(path);
}

static void drop(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

static enum wire_dialect server_of(const struct sample *s)
{
    return strncmp(s->name, "anthropic", 9) == 0 ? WIRE_ANTHROPIC : WIRE_OPENAI;
}

static bool is_stream(const struct sample *s)
{
    return strcmp(s->form, "in.sse") == 0;
}

static struct answer_record_options record_options(const struct sample *s)
{
    return (struct answer_record_options){
        .api = server_of(s) == WIRE_ANTHROPIC ? WIRE_MESSAGES : WIRE_CHAT,
        .server = server_of(s),
        .n = s->n,
        .created_s = 1763700000,
        .max_bytes = MAX_BYTES,
        .max_event_bytes = MAX_BYTES,
    };
}

static struct answer_options replay_options(enum wire_api api, enum wire_dialect server)
{
    return (struct answer_options){
        .api = api,
        .server = server,
        .n = 1,
        .include_usage = true,
        .show_requested = true,
        .encrypted_reasoning = true,
        .requested_model = SLICE("auto"),
        .request_id = SLICE("req-9"),
        .created_s = 1763711111,
        .prompt_tokens = 11,
        .max_event_bytes = MAX_BYTES,
        .max_answer_bytes = MAX_BYTES,
    };
}

/* A stream in two pieces; step > 0: in pieces of that size instead. */
static enum answer_worth record_stream(const struct answer_record_options *opt, struct slice in,
                                       size_t cut, size_t step, struct buf *out)
{
    struct answer_record *r = answer_record_new(opt);
    enum answer_worth worth;

    if (step == 0) {
        answer_record_feed(r, slice_make(in.p, cut));
        answer_record_feed(r, slice_from(in, cut));
    }
    for (size_t at = 0; step && at < in.n; at += step)
        answer_record_feed(r, slice_make(in.p + at, step < in.n - at ? step : in.n - at));
    worth = answer_record_end(r, out);
    answer_record_free(r);
    return worth;
}

/* What is kept of a sample. */
static enum answer_worth record(const struct sample *s, struct slice in, struct buf *out)
{
    struct answer_record_options opt = record_options(s);
    enum answer_worth worth;

    if (is_stream(s))
        return record_stream(&opt, in, in.n, 0, out);
    worth = answer_record_whole(&opt, in);
    if (worth == ANSWER_GOOD)
        assert_int_equal(buf_append_slice(out, in), ERR_OK);
    return worth;
}

static void test_worth(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct slice in = load_sample(&samples[i]);
        struct buf kept;
        enum answer_worth worth;

        buf_init(&kept, MAX_BYTES);
        worth = record(&samples[i], in, &kept);
        if (worth != samples[i].worth)
            fail_msg("%s.%s: %s", samples[i].name, samples[i].form, answer_worth_name(worth));
        assert_int_equal(buf_len(&kept) > 0, worth == ANSWER_GOOD);
        buf_clear(&kept);
        drop(in);
    }
}

static void test_splits(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct answer_record_options opt = record_options(&samples[i]);
        struct slice in;
        struct buf want, got;

        if (!is_stream(&samples[i]))
            continue;
        in = load_sample(&samples[i]);
        buf_init(&want, MAX_BYTES);
        buf_init(&got, MAX_BYTES);
        record(&samples[i], in, &want);
        for (size_t cut = 0; cut <= in.n + 1; cut++) {
            buf_reset(&got);
            assert_int_equal(
                record_stream(&opt, in, cut > in.n ? 0 : cut, cut > in.n ? 1 : 0, &got),
                samples[i].worth);
            assert_true(slice_eq(buf_slice(&got), buf_slice(&want)));
        }
        buf_clear(&want);
        buf_clear(&got);
        drop(in);
    }
}

/* A stream that breaks off is kept only when it had said all and why it stopped; then what is kept
 * has the same words. */
static void test_torn(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct answer_record_options opt = record_options(&samples[i]);
        const char *ends = server_of(&samples[i]) == WIRE_ANTHROPIC ? "\"stop_reason\":\""
                                                                    : "\"finish_reason\":\"";
        struct slice in;
        struct buf got;

        if (!is_stream(&samples[i]) || samples[i].worth != ANSWER_GOOD)
            continue;
        in = load_sample(&samples[i]);
        buf_init(&got, MAX_BYTES);
        for (size_t n = 0; n < in.n; n++) {
            buf_reset(&got);
            if (record_stream(&opt, slice_make(in.p, n), n, 0, &got) != ANSWER_GOOD)
                assert_int_equal(buf_len(&got), 0);
            else
                assert_non_null(memmem(in.p, n, ends, strlen(ends)));
        }
        buf_clear(&got);
        drop(in);
    }
}

static void test_tools_allowed(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct answer_record_options opt = record_options(&samples[i]);
        struct slice in;
        struct buf kept;
        enum answer_worth worth;

        if (samples[i].worth != ANSWER_CALLS_TOOLS)
            continue;
        in = load_sample(&samples[i]);
        opt.tool_calls = true;
        buf_init(&kept, MAX_BYTES);
        worth = is_stream(&samples[i]) ? record_stream(&opt, in, in.n, 0, &kept)
                                       : answer_record_whole(&opt, in);
        assert_int_equal(worth, ANSWER_GOOD);
        buf_clear(&kept);
        drop(in);
    }
}

static void test_bounded(void **state)
{
    const struct sample s = {"openai_text", "in.sse", 1, ANSWER_LARGE};
    const struct sample w = {"openai_text", "in.json", 1, ANSWER_LARGE};
    struct answer_record_options opt = record_options(&s);
    struct slice in = load_sample(&s), whole = load_sample(&w);
    struct buf kept;

    (void)state;
    buf_init(&kept, MAX_BYTES);
    opt.max_bytes = 16;
    assert_int_equal(record_stream(&opt, in, in.n, 0, &kept), ANSWER_LARGE);
    assert_int_equal(answer_record_whole(&opt, whole), ANSWER_LARGE);
    opt = record_options(&s);
    opt.max_event_bytes = 32;
    assert_int_equal(record_stream(&opt, in, 40, 0, &kept), ANSWER_LARGE);
    assert_int_equal(buf_len(&kept), 0);
    drop(in);
    drop(whole);
}

/* ---- replays ---- */

static void replay_both(enum wire_api api, enum wire_dialect server, struct slice kept,
                        struct buf *whole, struct buf *stream)
{
    struct answer_options opt = replay_options(api, server);
    struct answer_whole out;
    struct arena a;

    arena_init(&a, 1024);
    assert_int_equal(answer_replay_whole(&opt, kept, &a, &out), ERR_OK);
    for (size_t i = 0; i < out.count; i++)
        assert_int_equal(buf_append_slice(whole, out.pieces[i]), ERR_OK);
    assert_int_equal(answer_replay_stream(&opt, kept, stream), ERR_OK);
    arena_clear(&a);
}

static void put(struct buf *out, const char *title, const char *what, struct slice bytes)
{
    assert_int_equal(buf_printf(out, "== %s %s\n", what, title), ERR_OK);
    assert_int_equal(buf_append_slice(out, bytes), ERR_OK);
    if (bytes.n && bytes.p[bytes.n - 1] != '\n')
        assert_int_equal(buf_append(out, "\n", 1), ERR_OK);
}

static void compare(const struct sample *s, struct slice got)
{
    char path[256];
    struct slice want;

    snprintf(path, sizeof path, "tests/golden/replay/%s.%s.out", s->name, s->form + 3);
    if (getenv("WEIR_GOLDEN_UPDATE")) {
        FILE *f = fopen(path, "wb");

        assert_non_null(f);
        assert_int_equal(fwrite(got.p, 1, got.n, f), got.n);
        fclose(f);
    }
    want = load(path);
    if (!slice_eq(got, want))
        fail_msg("%s: got\n%.*s\nwant\n%.*s", path, SLICE_ARG(got), SLICE_ARG(want));
    drop(want);
}

static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct slice in;
        struct buf kept, text;

        if (samples[i].worth != ANSWER_GOOD)
            continue;
        in = load_sample(&samples[i]);
        buf_init(&kept, MAX_BYTES);
        buf_init(&text, 16 << 20);
        assert_int_equal(record(&samples[i], in, &kept), ANSWER_GOOD);
        put(&text, "body", "kept", buf_slice(&kept));
        for (size_t k = 0; k < COUNT(apis); k++) {
            struct buf whole, stream;

            buf_init(&whole, MAX_BYTES);
            buf_init(&stream, MAX_BYTES);
            replay_both(apis[k], server_of(&samples[i]), buf_slice(&kept), &whole, &stream);
            put(&text, "whole", wire_api_name(apis[k]), buf_slice(&whole));
            put(&text, "stream", wire_api_name(apis[k]), buf_slice(&stream));
            buf_clear(&whole);
            buf_clear(&stream);
        }
        compare(&samples[i], buf_slice(&text));
        buf_clear(&kept);
        buf_clear(&text);
        drop(in);
    }
}

static void without_spaces(struct buf *b)
{
    char *to = b->data + b->head;

    for (const char *at = to; at < b->data + b->tail; at++)
        if (*at != ' ' && *at != '\n')
            *to++ = *at;
    b->tail = (size_t)(to - b->data);
}

/* The reply of an answer under one id: what it says, whatever framing it came in. */
static void content_of(struct answer_run *r, enum answer_dialect dialect, struct buf *out)
{
    struct chat_encode_options opt = answer_run_options();

    assert_int_equal(r->err, ERR_OK);
    r->answer.id = SLICE("");
    opt.model = SLICE("auto");
    if (dialect == RUN_OPENAI)
        assert_int_equal(openai_encode_reply(&r->answer, &opt, out), ERR_OK);
    else
        assert_int_equal(anthropic_encode_reply(&r->answer, &opt, out), ERR_OK);
    without_spaces(out); /* logprobs pass as they were laid out */
}

static void same_content(const struct sample *s, struct slice in, struct slice whole,
                         struct slice stream)
{
    enum answer_dialect d = server_of(s) == WIRE_ANTHROPIC ? RUN_ANTHROPIC : RUN_OPENAI;
    struct buf want, got[2];
    struct answer_run r;

    buf_init(&want, MAX_BYTES);
    buf_init(&got[0], MAX_BYTES);
    buf_init(&got[1], MAX_BYTES);
    if (is_stream(s))
        answer_run_stream(&r, d, in, in.n, 0, s->n);
    else
        answer_run_whole(&r, d, in);
    content_of(&r, d, &want);
    answer_run_clear(&r);
    answer_run_whole(&r, d, whole);
    content_of(&r, d, &got[0]);
    answer_run_clear(&r);
    answer_run_stream(&r, d, stream, stream.n, 0, s->n);
    content_of(&r, d, &got[1]);
    answer_run_clear(&r);
    for (int i = 0; i < 2; i++) {
        if (!slice_eq(buf_slice(&want), buf_slice(&got[i])))
            fail_msg("%s.%s: the replay says\n%.*s\nthe server said\n%.*s", s->name, s->form,
                     SLICE_ARG(buf_slice(&got[i])), SLICE_ARG(buf_slice(&want)));
        buf_clear(&got[i]);
    }
    buf_clear(&want);
}

/* To a client of the server's own dialect a replay says what the server said: texts, thinking,
 * logprobs, finish reasons, usage. */
static void test_equal(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct slice in;
        struct buf kept, whole, stream;
        enum wire_api api;

        if (samples[i].worth != ANSWER_GOOD)
            continue;
        in = load_sample(&samples[i]);
        api = server_of(&samples[i]) == WIRE_ANTHROPIC ? WIRE_MESSAGES : WIRE_CHAT;
        buf_init(&kept, MAX_BYTES);
        buf_init(&whole, MAX_BYTES);
        buf_init(&stream, MAX_BYTES);
        record(&samples[i], in, &kept);
        replay_both(api, server_of(&samples[i]), buf_slice(&kept), &whole, &stream);
        same_content(&samples[i], in, buf_slice(&whole), buf_slice(&stream));
        buf_clear(&kept);
        buf_clear(&whole);
        buf_clear(&stream);
        drop(in);
    }
}

/* A kept body that lost its end, or in which a byte is wrong, is refused before a byte went out, or
 * is still a reply. */
static void test_damaged(void **state)
{
    const struct sample s = {"openai_text", "in.json", 1, ANSWER_GOOD};
    struct slice in = load_sample(&s);
    char *copy = malloc(in.n);
    struct buf stream;

    (void)state;
    assert_non_null(copy);
    buf_init(&stream, MAX_BYTES);
    assert_int_equal(buf_append(&stream, "x", 1), ERR_OK);
    while (in.n && in.p[in.n - 1] != '}')
        in.n--;
    for (size_t n = 0; n < 2 * in.n; n++) {
        for (size_t k = 0; k < COUNT(apis); k++) {
            struct answer_options opt = replay_options(apis[k], WIRE_OPENAI);
            struct slice body = slice_make(copy, n < in.n ? n : in.n);
            struct answer_whole out;
            struct arena a;
            enum err whole, streamed;

            memcpy(copy, in.p, in.n);
            if (n >= in.n)
                copy[n - in.n] ^= 0x15;
            arena_init(&a, 1024);
            whole = answer_replay_whole(&opt, body, &a, &out);
            streamed = answer_replay_stream(&opt, body, &stream);
            if (n < in.n)
                assert_true(whole == ERR_BAD_CACHE_ENTRY && streamed == ERR_BAD_CACHE_ENTRY);
            if (streamed != ERR_OK)
                assert_int_equal(buf_len(&stream), 1);
            buf_reset(&stream);
            assert_int_equal(buf_append(&stream, "x", 1), ERR_OK);
            arena_clear(&a);
        }
    }
    buf_clear(&stream);
    free(copy);
    drop(in);
}

static void test_long_text(void **state)
{
    struct answer_options opt = replay_options(WIRE_CHAT, WIRE_OPENAI);
    struct buf body, stream;
    const char *at, *end;
    size_t longest = 0;

    (void)state;
    buf_init(&body, MAX_BYTES);
    buf_init(&stream, MAX_BYTES);
    assert_int_equal(buf_printf(&body, "{\"id\":\"a\",\"model\":\"m\",\"choices\":[{\"index\":0,"
                                       "\"message\":{\"role\":\"assistant\",\"content\":\"x"),
                     ERR_OK);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(buf_append_slice(&body, SLICE("\xe2\x82\xac")), ERR_OK);
    assert_int_equal(buf_printf(&body, "\"},\"finish_reason\":\"stop\"}]}"), ERR_OK);
    assert_int_equal(answer_replay_stream(&opt, buf_slice(&body), &stream), ERR_OK);
    assert_true(json_validate(buf_slice(&body), NULL));
    at = buf_slice(&stream).p;
    end = at + buf_len(&stream);
    while (at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));

        assert_non_null(eol);
        if ((size_t)(eol - at) > longest)
            longest = (size_t)(eol - at);
        if (eol - at > 6 && at[6] == '{')
            assert_true(json_validate(slice_make(at + 6, (size_t)(eol - at) - 6), NULL));
        at = eol + 1;
    }
    assert_true(longest > 2048 && longest < 4096);
    buf_clear(&body);
    buf_clear(&stream);
}

/* What chat events have no name for would be missing from a replay. */
static void test_lossy(void **state)
{
#define CHAT(message, finish)                                                                      \
    "{\"id\":\"a\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":"               \
    "\"assistant\"," message "},\"finish_reason\":" finish "}]}"
#define MESSAGE(block, reason)                                                                     \
    "{\"id\":\"a\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":["      \
    "{\"type\":\"text\",\"text\":\"x\"" block "}],\"stop_reason\":" reason "}"
    static const struct {
        enum wire_dialect server;
        const char *body;
        enum answer_worth worth;
    } cases[] = {
        {WIRE_OPENAI, CHAT("\"content\":\"x\"", "\"stop\""), ANSWER_GOOD},
        {WIRE_OPENAI,
         CHAT("\"content\":\"x\",\"annotations\":[],\"audio\":null,\"tool_calls\":[]", "\"stop\""),
         ANSWER_GOOD},
        {WIRE_OPENAI, CHAT("\"content\":\"x\",\"annotations\":[{}]", "\"stop\""), ANSWER_LOSSY},
        {WIRE_OPENAI, CHAT("\"content\":\"x\",\"audio\":{\"id\":\"a\"}", "\"stop\""), ANSWER_LOSSY},
        {WIRE_OPENAI, CHAT("\"content\":\"x\",\"reasoning_details\":[1]", "\"stop\""),
         ANSWER_LOSSY},
        {WIRE_OPENAI, CHAT("\"content\":[{\"type\":\"text\",\"text\":\"x\"}]", "\"stop\""),
         ANSWER_LOSSY},
        {WIRE_OPENAI, CHAT("\"content\":\"x\"", "\"novel\""), ANSWER_LOSSY},
        {WIRE_OPENAI, CHAT("\"content\":\"x\"", "null"), ANSWER_LOSSY},
        {WIRE_OPENAI, CHAT("\"content\":\"\"", "\"stop\""), ANSWER_EMPTY},
        {WIRE_OPENAI, CHAT("\"reasoning\":\"hm\"", "\"stop\""), ANSWER_EMPTY},
        {WIRE_OPENAI, CHAT("\"content\":\"x\",\"refusal\":\"no\"", "\"stop\""), ANSWER_REFUSED},
        {WIRE_OPENAI, CHAT("\"content\":\"x\"", "\"length\""), ANSWER_UNFINISHED},
        {WIRE_OPENAI, CHAT("\"content\":\"x\"", "\"abort\""), ANSWER_UNFINISHED},
        {WIRE_OPENAI, "[]", ANSWER_MALFORMED},
        {WIRE_ANTHROPIC, MESSAGE("", "\"end_turn\""), ANSWER_GOOD},
        {WIRE_ANTHROPIC, MESSAGE(",\"citations\":[]", "\"end_turn\""), ANSWER_GOOD},
        {WIRE_ANTHROPIC, MESSAGE(",\"citations\":[{}]", "\"end_turn\""), ANSWER_LOSSY},
        {WIRE_ANTHROPIC, MESSAGE("", "\"novel\""), ANSWER_LOSSY},
        {WIRE_ANTHROPIC, MESSAGE("", "\"pause_turn\""), ANSWER_UNFINISHED},
        {WIRE_ANTHROPIC, MESSAGE("", "null"), ANSWER_UNFINISHED},
    };
#undef CHAT
#undef MESSAGE

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sample s = {cases[i].server == WIRE_ANTHROPIC ? "anthropic" : "openai", "", 1, 0};
        struct answer_record_options opt = record_options(&s);
        enum answer_worth worth = answer_record_whole(&opt, slice_str(cases[i].body));

        if (worth != cases[i].worth)
            fail_msg("%s: %s", cases[i].body, answer_worth_name(worth));
    }
}

/* Two choices, and thinking by the name that its server gave it. */
static void test_choices(void **state)
{
    struct sample s = {"openai", "in.sse", 2, ANSWER_GOOD};
    struct answer_record_options opt = record_options(&s);
    struct slice in = SLICE(
        "data: {\"id\":\"a\",\"model\":\"m\",\"choices\":[{\"index\":1,\"delta\":{\"reasoning\":"
        "\"hm\"}},{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"y\"},\"finish_reason\":"
        "\"stop\"}]}\n\ndata: [DONE]\n\n");
    struct buf kept, whole, stream;

    (void)state;
    buf_init(&kept, MAX_BYTES);
    buf_init(&whole, MAX_BYTES);
    buf_init(&stream, MAX_BYTES);
    assert_int_equal(record_stream(&opt, in, in.n, 0, &kept), ANSWER_GOOD);
    replay_both(WIRE_CHAT, WIRE_OPENAI, buf_slice(&kept), &whole, &stream);
    assert_non_null(memmem(buf_slice(&whole).p, buf_len(&whole), "\"reasoning\":\"hm\"", 16));
    assert_non_null(memmem(buf_slice(&stream).p, buf_len(&stream), "\"reasoning\":\"hm\"", 16));
    same_content(&s, in, buf_slice(&whole), buf_slice(&stream));
    buf_clear(&kept);
    buf_clear(&whole);
    buf_clear(&stream);
}

/* ---- text completions and embeddings ---- */

static const char text_stream[] =
    "data: {\"id\":\"cmpl-7\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m-1\","
    "\"choices\":[{\"text\":\"Pa\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]}\n\n"
    "data: {\"id\":\"cmpl-7\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m-1\","
    "\"choices\":[{\"text\":\"ris \\u20ac\",\"index\":0,\"logprobs\":null,"
    "\"finish_reason\":null}]}\n\n"
    "data: {\"id\":\"cmpl-7\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m-1\","
    "\"choices\":[{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"id\":\"cmpl-7\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m-1\","
    "\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n"
    "data: [DONE]\n\n";

static struct answer_record_options completion_options(void)
{
    return (struct answer_record_options){
        .api = WIRE_COMPLETIONS,
        .server = WIRE_OPENAI,
        .n = 1,
        .created_s = 1763700000,
        .max_bytes = MAX_BYTES,
        .max_event_bytes = MAX_BYTES,
    };
}

static void test_completions(void **state)
{
    struct answer_record_options opt = completion_options();
    struct answer_options replay = replay_options(WIRE_COMPLETIONS, WIRE_OPENAI);
    struct slice in = slice_make(text_stream, sizeof text_stream - 1);
    struct answer_whole out;
    struct buf kept, stream;
    struct arena a;

    (void)state;
    buf_init(&kept, MAX_BYTES);
    buf_init(&stream, MAX_BYTES);
    arena_init(&a, 1024);
    for (size_t cut = 0; cut <= in.n; cut++) {
        buf_reset(&kept);
        assert_int_equal(record_stream(&opt, in, cut, 0, &kept), ANSWER_GOOD);
        assert_true(slice_eq(
            buf_slice(&kept),
            SLICE("{\"id\":\"cmpl-stored\",\"object\":\"text_completion\",\"created\":1763700000,"
                  "\"model\":\"m-1\",\"choices\":[{\"text\":\"Paris \xe2\x82\xac\",\"index\":0,"
                  "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,"
                  "\"completion_tokens\":2,\"total_tokens\":5}}")));
    }
    assert_int_equal(answer_record_whole(&opt, buf_slice(&kept)), ANSWER_GOOD);
    assert_int_equal(answer_replay_whole(&replay, buf_slice(&kept), &a, &out), ERR_OK);
    assert_int_equal(out.usage.n[TOK_OUTPUT], 2);
    assert_int_equal(out.count, 7);
    assert_true(slice_eq(out.pieces[1], SLICE("\"cmpl-req-9\"")));
    assert_true(slice_eq(out.pieces[3], SLICE("1763711111")));
    assert_true(slice_eq(out.pieces[5], SLICE("\"auto\"")));
    assert_int_equal(answer_replay_stream(&replay, buf_slice(&kept), &stream), ERR_OK);
#define HEAD                                                                                       \
    "data: {\"id\":\"cmpl-req-9\",\"object\":\"text_completion\",\"created\":1763711111,"          \
    "\"model\":\"auto\",\"choices\":["
    assert_true(slice_eq(
        buf_slice(&stream),
        SLICE(HEAD "{\"text\":\"Paris \xe2\x82\xac\",\"index\":0,\"logprobs\":null,"
                   "\"finish_reason\":null}],\"usage\":null}\n\n" HEAD
                   "{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"stop\"}],"
                   "\"usage\":null}\n\n" HEAD "],\"usage\":{\"prompt_tokens\":3,"
                   "\"completion_tokens\":2,\"total_tokens\":5}}\n\ndata: [DONE]\n\n")));
#undef HEAD
    arena_clear(&a);
    buf_clear(&kept);
    buf_clear(&stream);
}

/* Members in another order; the last of equal ones is the one that readers take. */
static void test_order(void **state)
{
    static const struct {
        const char *body, *want;
    } cases[] = {
        {"{\"model\":\"m\",\"choices\":[{\"text\":\"a\"}],\"created\":1,\"id\":\"x\"}",
         "{\"model\":\"auto\",\"choices\":[{\"text\":\"a\"}],\"created\":1763711111,"
         "\"id\":\"cmpl-req-9\"}"},
        {"{\"choices\":[{\"text\":\"a\"}]}", "{\"choices\":[{\"text\":\"a\"}]}"},
        {"{\"id\":\"x\",\"choices\":[{\"text\":\"a\"}],\"id\":\"y\"}",
         "{\"id\":\"x\",\"choices\":[{\"text\":\"a\"}],\"id\":\"cmpl-req-9\"}"},
        {"{\"created\":null,\"id\":7,\"choices\":[{\"text\":\"a\"}]}",
         "{\"created\":null,\"id\":7,\"choices\":[{\"text\":\"a\"}]}"},
    };
    struct answer_options opt = replay_options(WIRE_COMPLETIONS, WIRE_OPENAI);

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer_whole out;
        struct arena a;
        struct buf got;

        arena_init(&a, 256);
        buf_init(&got, MAX_BYTES);
        assert_int_equal(answer_replay_whole(&opt, slice_str(cases[i].body), &a, &out), ERR_OK);
        for (size_t k = 0; k < out.count; k++)
            assert_int_equal(buf_append_slice(&got, out.pieces[k]), ERR_OK);
        assert_true(slice_eq(buf_slice(&got), slice_str(cases[i].want)));
        buf_clear(&got);
        arena_clear(&a);
    }
}

static void test_completions_refused(void **state)
{
    static const struct {
        const char *body;
        int64_t n;
        enum answer_worth worth;
    } cases[] = {
        {"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}", 1, ANSWER_GOOD},
        {"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}", 2, ANSWER_UNFINISHED},
        {"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\"}]}", 1, ANSWER_UNFINISHED},
        {"{\"choices\":[{\"text\":\"a\"}]}", 1, ANSWER_UNFINISHED},
        {"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"content_filter\"}]}", 1,
         ANSWER_REFUSED},
        {"{\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}", 1, ANSWER_EMPTY},
        {"{\"choices\":[]}", 1, ANSWER_UNFINISHED},
        {"{\"error\":{\"message\":\"no\"}}", 1, ANSWER_MALFORMED},
        {"[1]", 1, ANSWER_MALFORMED},
        {"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]", 1, ANSWER_MALFORMED},
    };
    struct answer_record_options opt = completion_options();
    struct buf kept;

    (void)state;
    buf_init(&kept, MAX_BYTES);
    for (size_t i = 0; i < COUNT(cases); i++) {
        opt.n = cases[i].n;
        assert_int_equal(answer_record_whole(&opt, slice_str(cases[i].body)), cases[i].worth);
    }
    opt.n = 1;
    for (size_t n = 0; n < sizeof text_stream - 1; n++) {
        struct slice torn = slice_make(text_stream, n);
        bool ended = memmem(text_stream, n, "\"stop\"}]}\n\n", 11) != NULL;

        buf_reset(&kept);
        assert_int_equal(record_stream(&opt, torn, n, 0, &kept) == ANSWER_GOOD, ended);
    }
    buf_clear(&kept);
}

static void test_embeddings(void **state)
{
    struct answer_record_options opt = completion_options();
    struct answer_options replay = replay_options(WIRE_EMBEDDINGS, WIRE_OPENAI);
    struct slice body = SLICE("{\"object\":\"list\",\"data\":[{\"object\":\"embedding\","
                              "\"index\":0,\"embedding\":[0.5]}],\"model\":\"e-1\"}");
    struct answer_whole out;
    struct buf stream;
    struct arena a;

    (void)state;
    arena_init(&a, 256);
    buf_init(&stream, MAX_BYTES);
    opt.api = WIRE_EMBEDDINGS;
    assert_int_equal(answer_record_whole(&opt, body), ANSWER_GOOD);
    assert_int_equal(answer_record_whole(&opt, SLICE("{\"error\":{}}")), ANSWER_MALFORMED);
    assert_int_equal(answer_replay_whole(&replay, body, &a, &out), ERR_OK);
    assert_int_equal(out.count, 3);
    assert_true(slice_eq(out.pieces[1], SLICE("\"auto\"")));
    assert_int_equal(answer_replay_stream(&replay, body, &stream), ERR_BAD_CACHE_ENTRY);
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worth),      cmocka_unit_test(test_splits),
        cmocka_unit_test(test_torn),       cmocka_unit_test(test_tools_allowed),
        cmocka_unit_test(test_bounded),    cmocka_unit_test(test_golden),
        cmocka_unit_test(test_equal),      cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_long_text),  cmocka_unit_test(test_completions),
        cmocka_unit_test(test_embeddings), cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_choices),    cmocka_unit_test(test_completions_refused),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
