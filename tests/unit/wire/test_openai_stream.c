/* The stream filter: golden streams of many servers whole, cut anywhere and byte by byte; the
 * shapes of stripping and renaming; completeness; errors inside streams; hostile input. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/openai_reply.h"

#define MAX_EVENT 65536

/* ---- golden streams ---- */

struct golden {
    const char *name;
    enum wire_api api;
    int64_t n;
    int64_t usage[TOK_KINDS]; /* input, cached, cache write, output, reasoning; all -1: none */
    int64_t deltas, output_bytes;
};

static const struct golden goldens[] = {
    {"openai", WIRE_CHAT, 1, {176, 1024, 0, 9, 0}, 2, 36},
    {"openai_tools", WIRE_CHAT, 1, {81, 0, 0, 34, 0}, 3, 40},
    {"openai_n2", WIRE_CHAT, 2, {-1, -1, -1, -1, -1}, 2, 7},
    {"vllm_continuous", WIRE_CHAT, 1, {40, 0, 0, 3, 0}, 2, 4},
    {"llama_cpp", WIRE_CHAT, 1, {31, 0, 0, 2, 0}, 1, 5},
    {"groq", WIRE_CHAT, 1, {18, 0, 0, 5, 0}, 1, 2},
    {"mistral", WIRE_CHAT, 1, {13, 0, 0, 3, 0}, 1, 3},
    {"azure", WIRE_CHAT, 1, {21, 0, 0, 2, 0}, 1, 3},
    {"deepseek", WIRE_CHAT, 1, {56, 64, 0, 9, 301}, 2, 6},
    {"openrouter", WIRE_CHAT, 1, {4, 0, 6, 4, 0}, 1, 4},
    {"gemini_crlf", WIRE_CHAT, 1, {8, 0, 0, 3, 83}, 2, 5},
    {"completions", WIRE_COMPLETIONS, 1, {5, 0, 0, 2, 0}, 2, 10},
    {"odd", WIRE_CHAT, 1, {3, 0, 0, 2, 0}, 2, 2},
};
#define GOLDENS (sizeof(goldens) / sizeof(goldens[0]))

static struct slice load(const char *name, const char *kind, bool must)
{
    char path[256], *bytes = NULL;
    FILE *f;
    long n;

    snprintf(path, sizeof(path), "tests/golden/wire/%s.%s.sse", name, kind);
    f = fopen(path, "rb");
    if (!f && must)
        fail_msg("cannot read %s", path);
    if (!f)
        return slice_make(NULL, 0);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    n = ftell(f);
    rewind(f);
    assert_non_null(bytes = malloc((size_t)n));
    assert_int_equal(fread(bytes, 1, (size_t)n, f), (size_t)n);
    fclose(f);
    return slice_make(bytes, (size_t)n);
}

static void drop(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

/* Feeds [from, to) in a block of its own, so that the sanitizer sees reads beyond it. */
static enum err feed(struct openai_stream *s, struct slice in, size_t from, size_t to,
                     struct buf *out)
{
    char *copy = malloc(to - from + 1);
    enum err err;

    assert_non_null(copy);
    memcpy(copy, in.p + from, to - from);
    err = openai_stream_feed(s, slice_make(copy, to - from), out);
    free(copy);
    return err;
}

static void check_output(const char *what, size_t cut, struct slice got, struct slice want)
{
    if (!slice_eq(got, want))
        fail_msg("%s, cut at %zu: got\n%.*s\nwant\n%.*s", what, cut, SLICE_ARG(got),
                 SLICE_ARG(want));
}

static void check_counts(const struct golden *g, const struct openai_stream *s)
{
    bool reported = g->usage[0] >= 0;

    assert_int_equal(s->has_usage, reported);
    for (int k = 0; k < TOK_KINDS && reported; k++)
        if (s->usage.n[k] != g->usage[k])
            fail_msg("%s: kind %d is %lld, not %lld", g->name, k, (long long)s->usage.n[k],
                     (long long)g->usage[k]);
    assert_int_equal(s->deltas, g->deltas);
    assert_int_equal(s->output_bytes, g->output_bytes);
    assert_int_equal(s->finished, g->n);
}

/* Steps of the input: cut in two when step is 0, else pieces of that size. */
static void run_golden(const struct golden *g, bool include, struct slice in, struct slice want,
                       size_t cut, size_t step)
{
    struct openai_stream s;
    struct buf out;

    openai_stream_init(&s, g->api, g->n, include, true, slice_make(NULL, 0), MAX_EVENT);
    buf_init(&out, 1 << 20);
    if (step == 0) {
        assert_int_equal(feed(&s, in, 0, cut, &out), ERR_OK);
        assert_int_equal(feed(&s, in, cut, in.n, &out), ERR_OK);
    }
    for (size_t at = 0; step && at < in.n; at += step)
        assert_int_equal(feed(&s, in, at, at + step < in.n ? at + step : in.n, &out), ERR_OK);
    assert_true(s.done_seen);
    assert_true(s.relay.first_emitted);
    assert_true(openai_stream_complete(&s));
    assert_true(openai_stream_exhausted(&s));
    assert_int_equal(openai_stream_end(&s, &out), ERR_OK);
    check_output(g->name, cut, buf_slice(&out), want);
    check_counts(g, &s);
    openai_stream_clear(&s);
    buf_clear(&out);
}

static void run_golden_everywhere(const struct golden *g, bool include)
{
    struct slice in = load(g->name, "in", true);
    struct slice want = load(g->name, include ? "pass" : "strip", !include);
    struct slice expected = want.p ? want : in;

    for (size_t cut = 0; cut <= in.n; cut++)
        run_golden(g, include, in, expected, cut, 0);
    for (size_t step = 1; step <= 7; step++)
        run_golden(g, include, in, expected, 0, step);
    drop(in);
    drop(want);
}

static void golden_streams_stripped(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDENS; i++)
        run_golden_everywhere(&goldens[i], false);
}

static void golden_streams_passed(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDENS; i++)
        run_golden_everywhere(&goldens[i], true);
}

/* A stream that ends anywhere before its last finish_reason is not complete, and never says more
 * than the whole one. */
static void cut_streams_are_not_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDENS; i++) {
        struct slice in = load(goldens[i].name, "in", true),
                     want = load(goldens[i].name, "strip", true);
        const char *last = NULL;

        for (const char *p = in.p; (p = memmem(p, (size_t)(in.p + in.n - p), "finish_reason", 13));
             p++)
            last = p;
        for (size_t cut = 0; cut <= (size_t)(last - in.p); cut++) {
            struct openai_stream s;
            struct buf out;

            openai_stream_init(&s, goldens[i].api, goldens[i].n, false, true, slice_make(NULL, 0),
                               MAX_EVENT);
            buf_init(&out, 1 << 20);
            assert_int_equal(feed(&s, in, 0, cut, &out), ERR_OK);
            if (!strstr(goldens[i].name, "openrouter") && !strstr(goldens[i].name, "odd"))
                assert_false(openai_stream_complete(&s));
            assert_true(slice_starts(want, buf_slice(&out)));
            openai_stream_clear(&s);
            buf_clear(&out);
        }
        drop(in);
        drop(want);
    }
}

/* ---- small streams ---- */

struct small {
    const char *in, *want; /* want without [DONE] */
    bool include, rename;
    enum err err;
};

#define D(json) "data: " json "\n\n"
#define HI      D("{\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}")

static const struct small smalls[] = {
    /* where the usage member stands, and its comma */
    {D("{\"usage\":null}"), D("{}"), 0, 0, ERR_OK},
    {D("{ \"usage\" : null }"), D("{  }"), 0, 0, ERR_OK},
    {D("{\"usage\":null,\"a\":1}"), D("{\"a\":1}"), 0, 0, ERR_OK},
    {D("{ \"usage\":null , \"a\":1 }"), D("{ \"a\":1 }"), 0, 0, ERR_OK},
    {D("{\"a\":1,\"usage\":null}"), D("{\"a\":1}"), 0, 0, ERR_OK},
    {D("{\"a\":1 , \"usage\":null }"), D("{\"a\":1 }"), 0, 0, ERR_OK},
    {D("{\"a\":1,\"usage\":null,\"b\":2}"), D("{\"a\":1,\"b\":2}"), 0, 0, ERR_OK},
    {D("{\"usage\":1,\"usage\":null,\"b\":2,\"usage\":3}"), D("{\"b\":2}"), 0, 0, ERR_OK},
    {D("{\"usage\":1,\"usage\":null}"), D("{}"), 0, 0, ERR_OK},
    {D("{\"a\":1,\"usage\":1,\"usage\":null,\"b\":2}"), D("{\"a\":1,\"b\":2}"), 0, 0, ERR_OK},
    {D("{\"\\u0075sage\":null,\"a\":1}"), D("{\"a\":1}"), 0, 0, ERR_OK},
    {D("{\"a\":{\"usage\":null}}"), D("{\"a\":{\"usage\":null}}"), 0, 0, ERR_OK},
    {D("{\"usage\":null,\"choices\":[{\"usage\":null}]}"), D("{\"choices\":[{\"usage\":null}]}"), 0,
     0, ERR_OK},
    {D("{\"a\":1,\"usage\":null}"), D("{\"a\":1,\"usage\":null}"), true, 0, ERR_OK},
    /* the usage chunk */
    {D("{\"choices\":[],\"usage\":{}}"), "", 0, 0, ERR_OK},
    {D("{\"usage\":{\"prompt_tokens\":1}}"), "", 0, 0, ERR_OK},
    {D("{\"choices\":[],\"usage\":{}}"), D("{\"choices\":[],\"usage\":{}}"), true, 0, ERR_OK},
    {D("{\"choices\":[],\"usage\":null}"), D("{\"choices\":[]}"), 0, 0, ERR_OK},
    {D("{\"choices\":[{}],\"usage\":{}}"), D("{\"choices\":[{}]}"), 0, 0, ERR_OK},
    /* numbers, escapes, duplicate and unknown members stay as they were written */
    {D("{\"x\":1.0E+2,\"x\":-0,\"big\":123456789012345678901234567890,\"s\":\"\\ud800\\/"
       "\",\"usage\":null}"),
     D("{\"x\":1.0E+2,\"x\":-0,\"big\":123456789012345678901234567890,\"s\":\"\\ud800\\/\"}"), 0, 0,
     ERR_OK},
    /* renaming */
    {D("{\"model\":\"a\",\"b\":1}"), D("{\"model\":\"sho\\\"wn\",\"b\":1}"), 0, true, ERR_OK},
    {D("{\"b\":1, \"model\" : \"a\" }"), D("{\"b\":1, \"model\" : \"sho\\\"wn\" }"), 0, true,
     ERR_OK},
    {D("{\"model\":\"a\",\"usage\":null,\"model\":null}"),
     D("{\"model\":\"sho\\\"wn\",\"model\":\"sho\\\"wn\"}"), 0, true, ERR_OK},
    {D("{\"usage\":null,\"model\":\"\"}"), D("{\"model\":\"sho\\\"wn\"}"), 0, true, ERR_OK},
    {D("{\"usage\":null,\"model\":\"\"}"), D("{\"usage\":null,\"model\":\"sho\\\"wn\"}"), true,
     true, ERR_OK},
    {D("{\"b\":{\"model\":1}}"), D("{\"b\":{\"model\":1}}"), 0, true, ERR_OK},
    /* framing */
    {"event: e\r\ndata: {\"usage\":null}\r\n\r\n", "event: e\r\ndata: {}\r\n\r\n", 0, 0, ERR_OK},
    {"event: e\nid: 1\ndata: {\"a\":1,\ndata: \"usage\":null}\n\n", "event: e\ndata: {\"a\":1}\n\n",
     0, 0, ERR_OK},
    {"data: {\"a\":\ndata: 1}\n\n", "data: {\"a\":\ndata: 1}\n\n", 0, 0, ERR_OK},
    {"data:{\"a\":1}\r\r", "data:{\"a\":1}\r\r", 0, 0, ERR_OK},
    {"data: \t{\"usage\":null} \t\n\n", "data: \t{} \t\n\n", 0, 0, ERR_OK},
    /* comments: only after an event; what follows a dropped event has no line end of its own */
    {": a\n\n" HI ": b\n\n", HI ": b\n\n", 0, 0, ERR_OK},
    {"\r\n" HI "\r\n", HI "\r\n", 0, 0, ERR_OK},
    {HI "data: {\"usage\":{}}\n\n\r\n\r\n: c\n\n", HI ": c\n\n", 0, 0, ERR_OK},
    {"data: \n\n" HI "data: \n\n", HI "data: \n\n", 0, 0, ERR_OK},
    {HI "data: {\"usage\":{}}\r\n\r\n: c\r\n\r\n", HI ": c\r\n\r\n", 0, 0, ERR_OK},
    {": c\ndata: {}\n\n", ": c\ndata: {}\n\n", 0, 0, ERR_OK},
    /* the end */
    {HI "data:[DONE]\n\n" D("{}"), HI, 0, 0, ERR_OK},
    {HI "data: [DONE] \r\n\r\n", HI, 0, 0, ERR_OK},
    {HI "data: [DONE]\n\njunk\n\n", HI, 0, 0, ERR_OK},
    {HI "data: {\"cut\":", HI, 0, 0, ERR_OK},
    /* not JSON, not an object */
    {HI "data: {\"a\":1\n\n" HI, HI, 0, 0, ERR_UPSTREAM_PROTOCOL},
    {HI "data: ok\n\n", HI, 0, 0, ERR_UPSTREAM_PROTOCOL},
    {HI "data: []\n\n", HI, 0, 0, ERR_UPSTREAM_PROTOCOL},
    {HI "data: {\"a\":\"\xC3\"}\n\n", HI, 0, 0, ERR_UPSTREAM_PROTOCOL},
    {HI "data: [done]\n\n", HI, 0, 0, ERR_UPSTREAM_PROTOCOL},
    {"<html>\n\n", "", 0, 0, ERR_OK}, /* not SSE: nothing is emitted, and it will not be complete */
    /* errors in the stream */
    {HI D("{\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}") HI, HI, 0, 0,
     ERR_UPSTREAM_SERVER_ERROR},
    {HI D("{\"error\":\"boom\"}"), HI, 0, 0, ERR_UPSTREAM_SERVER_ERROR},
    {HI D("{\"error\":null}") HI, HI D("{\"error\":null}") HI, 0, 0, ERR_OK},
    {HI D("{\"error\":\"\"}"), HI D("{\"error\":\"\"}"), 0, 0, ERR_OK},
    {HI "event: error\ndata: {\"message\":\"x\"}\n\n", HI, 0, 0, ERR_UPSTREAM_SERVER_ERROR},
    {HI "event: error\ndata: oops\n\n", HI, 0, 0, ERR_UPSTREAM_SERVER_ERROR},
    {HI "event: error\ndata:\n\n", HI, 0, 0, ERR_UPSTREAM_SERVER_ERROR},
    {D("{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 "
       "tokens.\",\"code\":400}"),
     "", 0, 0, ERR_UPSTREAM_CONTEXT_LENGTH},
    {D("{\"error\":{\"code\":429,\"message\":\"slow down\"}}"), "", 0, 0,
     ERR_UPSTREAM_RATE_LIMITED},
    {HI D("{\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}],\"error\":{\"code\":\"502\","
          "\"message\":\"x\"}}"),
     HI, 0, 0, ERR_UPSTREAM_SERVER_ERROR},
    {HI D("{\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}"), HI, 0, 0,
     ERR_UPSTREAM_SERVER_ERROR},
};

static void run_small(const struct small *c, size_t cut)
{
    struct slice in = slice_str(c->in), want = slice_str(c->want);
    struct openai_stream s;
    struct buf out;
    enum err err;

    openai_stream_init(&s, WIRE_CHAT, 1, c->include, true,
                       c->rename ? SLICE("sho\"wn") : slice_make(NULL, 0), MAX_EVENT);
    buf_init(&out, 1 << 16);
    err = feed(&s, in, 0, cut, &out);
    if (!err)
        err = feed(&s, in, cut, in.n, &out);
    check_output(c->in, cut, buf_slice(&out), want);
    if (err != c->err)
        fail_msg("%s: %s, not %s", c->in, err_name(err), err_name(c->err));
    if (err) { /* and it stays so */
        assert_int_equal(openai_stream_feed(&s, SLICE(HI), &out), err);
        assert_int_equal(openai_stream_end(&s, &out), ERR_INTERNAL);
        check_output(c->in, cut, buf_slice(&out), want);
    }
    openai_stream_clear(&s);
    buf_clear(&out);
}

static void small_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(smalls) / sizeof(smalls[0]); i++)
        for (size_t cut = 0; cut <= strlen(smalls[i].in); cut++)
            run_small(&smalls[i], cut);
}

/* ---- completeness ---- */

enum end { OPEN, COMPLETE, EXHAUSTED };

#define FIN(i, r) D("{\"choices\":[{\"index\":" #i ",\"delta\":{},\"finish_reason\":" r "}]}")
#define FINU(i, r)                                                                                 \
    D("{\"choices\":[{\"index\":" #i ",\"delta\":{},\"finish_reason\":" r                          \
      "}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}")
#define USAGE D("{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}")
#define DONE  "data: [DONE]\n\n"

static const struct {
    const char *in;
    int64_t n;
    bool include, asked;
    enum end want;
} ends[] = {
    {"", 1, 0, 1, OPEN},
    {DONE, 1, 0, 1, OPEN}, /* done, but nothing came */
    {USAGE DONE, 1, 0, 1, OPEN},
    {HI, 1, 0, 1, OPEN},
    {HI DONE, 1, 0, 1, EXHAUSTED},
    {HI FIN(0, "\"\""), 1, 0, 1, OPEN},
    {HI FIN(0, "null"), 1, 0, 1, OPEN},
    {HI FIN(0, "\"stop\""), 1, 0, 1, COMPLETE},
    {HI FIN(0, "\"stop\""), 1, 0, 0, EXHAUSTED},
    {HI FIN(0, "\"stop\""), 1, true, 0, COMPLETE},
    {HI FIN(0, "\"stop\"") USAGE, 1, 0, 1, EXHAUSTED},
    {HI FINU(0, "\"stop\""), 1, 0, 1, EXHAUSTED},
    {HI FINU(0, "\"stop\""), 1, true, 1, COMPLETE}, /* the client's usage chunk may still come */
    {HI FINU(0, "\"stop\"") USAGE, 1, true, 1, EXHAUSTED},
    {HI FINU(0, "null") FIN(0, "\"stop\""), 1, 0, 1,
     COMPLETE}, /* usage along the way is not the end's */
    {HI FIN(0, "\"stop\""), 2, 0, 0, OPEN},
    {HI FIN(0, "\"stop\"") FIN(0, "\"stop\""), 2, 0, 0, OPEN},
    {HI FIN(0, "\"stop\"") FIN(1, "\"length\""), 2, 0, 0, EXHAUSTED},
    {HI FIN(1, "\"stop\""), 1, 0, 0, OPEN}, /* choice 0 appeared and has not finished */
    {FIN(63, "\"stop\"") FIN(64, "\"stop\"") FIN(0, "\"stop\""), 3, 0, 0, EXHAUSTED},
    {HI "data: [DONE]", 1, 0, 0, OPEN},
    {HI FIN(0, "\"stop\"") "data: {\"error\":{}}\n\n", 1, 0, 0, OPEN},
};

static void completeness(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct openai_stream s;
        struct buf out;

        openai_stream_init(&s, WIRE_CHAT, ends[i].n, ends[i].include, ends[i].asked,
                           slice_make(NULL, 0), MAX_EVENT);
        buf_init(&out, 1 << 16);
        if (openai_stream_feed(&s, slice_str(ends[i].in), &out))
            assert_true(s.failed);
        if (openai_stream_complete(&s) != (ends[i].want >= COMPLETE) ||
            openai_stream_exhausted(&s) != (ends[i].want == EXHAUSTED))
            fail_msg("end %zu", i);
        assert_int_equal(openai_stream_end(&s, &out), ends[i].want == OPEN ? ERR_INTERNAL : ERR_OK);
        openai_stream_clear(&s);
        buf_clear(&out);
    }
}

/* ---- the rest ---- */

static void first_emitted_is_the_first_byte(void **state)
{
    struct openai_stream s;
    struct buf out;

    (void)state;
    openai_stream_init(&s, WIRE_CHAT, 1, false, true, slice_make(NULL, 0), MAX_EVENT);
    buf_init(&out, 1 << 16);
    assert_int_equal(openai_stream_feed(&s, SLICE(": wait\n\n" USAGE), &out), ERR_OK);
    assert_false(s.relay.first_emitted);
    assert_int_equal(buf_len(&out), 0);
    assert_int_equal(
        openai_stream_feed(&s, SLICE(D("{\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}")),
                           &out),
        ERR_OK);
    assert_true(s.relay.first_emitted);
    assert_int_equal(s.deltas, 0);
    openai_stream_clear(&s);
    buf_clear(&out);
}

static void error_data_is_the_event(void **state)
{
    static const char in[] = HI D("{\"error\":{\"message\":\"boom\"}}");

    (void)state;
    for (size_t cut = 0; cut < sizeof(in); cut++) {
        struct openai_stream s;
        struct buf out;
        enum err err;

        openai_stream_init(&s, WIRE_CHAT, 1, false, true, slice_make(NULL, 0), MAX_EVENT);
        buf_init(&out, 1 << 16);
        err = openai_stream_feed(&s, slice_make(in, cut), &out);
        if (!err)
            err = openai_stream_feed(&s, slice_make(in + cut, sizeof(in) - 1 - cut), &out);
        assert_int_equal(err, ERR_UPSTREAM_SERVER_ERROR);
        assert_true(slice_eq(s.error_data, SLICE("{\"error\":{\"message\":\"boom\"}}")));
        openai_stream_clear(&s);
        buf_clear(&out);
    }
}

/* An event that does not fit is left out whole: the error event that follows must be read. */
static void full_output_is_an_error(void **state)
{
    static const char in[] =
        HI D("{\"choices\":[{\"delta\":{\"content\":\"there\"}}],\"usage\":null}");

    (void)state;
    for (size_t room = 0; room < sizeof(in) + 4; room++) {
        struct openai_stream s;
        struct buf out;
        enum err err;

        openai_stream_init(&s, WIRE_CHAT, 1, false, true, slice_make(NULL, 0), MAX_EVENT);
        buf_init(&out, room);
        err = openai_stream_feed(
            &s, SLICE(HI D("{\"choices\":[{\"delta\":{\"content\":\"there\"}}],\"usage\":null}")),
            &out);
        assert_int_equal(err, room < sizeof(in) - 1 + 4 ? ERR_UPSTREAM_TOO_LARGE : ERR_OK);
        if (err && room)
            assert_int_equal(buf_len(&out), room < sizeof(HI) - 1 ? 0 : sizeof(HI) - 1);
        openai_stream_clear(&s);
        buf_clear(&out);
    }
}

static void events_have_a_limit(void **state)
{
    struct openai_stream s;
    struct buf out;
    enum err err = ERR_OK;

    (void)state;
    openai_stream_init(&s, WIRE_CHAT, 1, false, true, slice_make(NULL, 0), 1000);
    buf_init(&out, 1 << 16);
    err = openai_stream_feed(&s, SLICE(HI "data: "), &out);
    for (int i = 0; i < 100 && !err; i++)
        err = openai_stream_feed(&s, SLICE("xxxxxxxxxxxxxxxxxxxx"), &out);
    assert_int_equal(err, ERR_UPSTREAM_TOO_LARGE);
    assert_int_equal(buf_len(&out), sizeof(HI) - 1);
    openai_stream_clear(&s);
    buf_clear(&out);
}

static void own_events(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    assert_int_equal(openai_stream_error(ERR_UPSTREAM_CUT, NULL, &out), ERR_OK);
    assert_int_equal(openai_stream_error(ERR_UPSTREAM_CUT, "a \"b\"\n", &out), ERR_OK);
    check_output("error", 0, buf_slice(&out),
                 SLICE(D("{\"error\":{\"message\":\"The model's server cut its answer "
                         "short.\",\"type\":\"server_error\","
                         "\"param\":null,\"code\":\"upstream_cut\"}}")
                           D("{\"error\":{\"message\":\"a "
                             "\\\"b\\\"\\n\",\"type\":\"server_error\",\"param\":null,\"code\":"
                             "\"upstream_cut\"}}")));
    buf_clear(&out);
    buf_init(&out, 100);
    assert_int_equal(openai_stream_error(ERR_UPSTREAM_CUT, NULL, &out), ERR_TOO_LARGE);
    assert_int_equal(buf_len(&out), 0);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_streams_stripped),
        cmocka_unit_test(golden_streams_passed),
        cmocka_unit_test(cut_streams_are_not_complete),
        cmocka_unit_test(small_streams),
        cmocka_unit_test(completeness),
        cmocka_unit_test(first_emitted_is_the_first_byte),
        cmocka_unit_test(error_data_is_the_event),
        cmocka_unit_test(full_output_is_an_error),
        cmocka_unit_test(events_have_a_limit),
        cmocka_unit_test(own_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
