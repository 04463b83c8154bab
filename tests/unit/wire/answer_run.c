/* One answer through everything. Ends the process on what must not happen in any input: an encoder
 * that refuses what a decoder delivered. */
#include "tests/unit/wire/answer_run.h"

#include <stdio.h>
#include <stdlib.h>

#include "backends/wire/json_pen.h"

#define MAX_EVENT  65536
#define MAX_HELD   65536
#define MAX_ANSWER (1 << 20)
#define MAX_OUT    (16 << 20)

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "answer_run: %s\n", what);
    abort();
}

struct chat_encode_options answer_run_options(void)
{
    return (struct chat_encode_options){
        .model = SLICE("auto"),
        .fallback_id = SLICE("req-7"),
        .created_s = 1763700000,
        .include_usage = true,
        .input_tokens = 11,
        .encrypted_reasoning = true,
        .max_answer_bytes = MAX_ANSWER,
    };
}

/* ---- the trace ---- */

static const char *const kind_names[] = {
    [CHAT_START] = "START",           [CHAT_BLOCK_START] = "BLOCK_START",
    [CHAT_DELTA] = "DELTA",           [CHAT_SIGNATURE] = "SIGNATURE",
    [CHAT_BLOCK_STOP] = "BLOCK_STOP", [CHAT_FINISH] = "FINISH",
    [CHAT_USAGE] = "USAGE",           [CHAT_PING] = "PING",
    [CHAT_ERROR] = "ERROR",           [CHAT_END] = "END",
};
static const char *const block_names[] = {
    [CHAT_BLOCK_TEXT] = "text",           [CHAT_BLOCK_REFUSAL] = "refusal",
    [CHAT_BLOCK_THINKING] = "thinking",   [CHAT_BLOCK_REDACTED_THINKING] = "redacted_thinking",
    [CHAT_BLOCK_TOOL_CALL] = "tool_call",
};
static const char *const finish_names[] = {
    [CHAT_FINISH_STOP] = "stop",     [CHAT_FINISH_STOP_SEQUENCE] = "stop_sequence",
    [CHAT_FINISH_LENGTH] = "length", [CHAT_FINISH_TOOL_CALLS] = "tool_calls",
    [CHAT_FINISH_FILTER] = "filter", [CHAT_FINISH_PAUSE] = "pause",
};

static void put_field(struct json_pen *pen, const char *name, struct slice text)
{
    json_pen_raw(pen, slice_str(name));
    json_pen_string(pen, text);
}

static void put_usage(struct json_pen *pen, const struct token_usage *u)
{
    JSON_PEN(pen, " usage=");
    if (u->source == USAGE_NONE)
        JSON_PEN(pen, "none");
    for (int k = 0; k < TOK_KINDS && u->source != USAGE_NONE; k++) {
        if (k)
            JSON_PEN(pen, ",");
        json_pen_int(pen, u->n[k]);
    }
}

void answer_run_print(const struct chat_event *e, struct buf *out)
{
    bool in_block = e->kind == CHAT_BLOCK_START || e->kind == CHAT_DELTA ||
                    e->kind == CHAT_SIGNATURE || e->kind == CHAT_BLOCK_STOP;
    struct json_pen pen;

    json_pen_begin(&pen, out);
    json_pen_raw(&pen, slice_str(kind_names[e->kind]));
    if (e->choice) {
        JSON_PEN(&pen, " choice=");
        json_pen_int(&pen, e->choice);
    }
    if (in_block) {
        JSON_PEN(&pen, " ");
        json_pen_int(&pen, e->block_index);
        JSON_PEN(&pen, " ");
        json_pen_raw(&pen, slice_str(block_names[e->block]));
    }
    if (e->kind == CHAT_FINISH) {
        JSON_PEN(&pen, " ");
        json_pen_raw(&pen, slice_str(finish_names[e->finish]));
    }
    if (e->kind == CHAT_START ||
        (e->kind == CHAT_BLOCK_START && e->block == CHAT_BLOCK_TOOL_CALL)) {
        put_field(&pen, " id=", e->id);
        put_field(&pen, e->kind == CHAT_START ? " model=" : " name=", e->name);
    }
    if (e->text.n)
        put_field(&pen, " ", e->text);
    if (e->logprobs.n) {
        JSON_PEN(&pen, " logprobs=");
        json_pen_line(&pen, e->logprobs);
    }
    if (e->kind == CHAT_START || e->kind == CHAT_USAGE)
        put_usage(&pen, &e->usage);
    JSON_PEN(&pen, "\n");
    must(json_pen_end(&pen) == ERR_OK, "trace");
}

/* ---- running ---- */

static void encode(struct answer_run *r, const struct chat_event *e)
{
    must(!openai_encode_on(&r->openai, e, &r->streams[RUN_OPENAI]), "openai_encode");
    must(!anthropic_encode_on(&r->anthropic, e, &r->streams[RUN_ANTHROPIC]), "anthropic_encode");
    must(!responses_encode_on(&r->responses, e, &r->streams[RUN_RESPONSES]), "responses_encode");
}

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct answer_run *r = ctx;

    answer_run_print(e, &r->trace);
    must(!chat_answer_add(&r->answer, e), "chat_answer_add");
    encode(r, e);
    return true;
}

static void init(struct answer_run *r)
{
    *r = (struct answer_run){.options = answer_run_options()};
    openai_encode_init(&r->openai, &r->options);
    anthropic_encode_init(&r->anthropic, &r->options);
    responses_encode_init(&r->responses, &r->options);
    chat_answer_init(&r->answer, MAX_ANSWER);
    buf_init(&r->trace, MAX_OUT);
    for (int i = 0; i < RUN_DIALECTS; i++) {
        buf_init(&r->streams[i], MAX_OUT);
        buf_init(&r->replies[i], MAX_OUT);
    }
}

/* As whoever drives a decoder does: its error becomes the last event, or the reply is written. */
static void settle(struct answer_run *r)
{
    struct chat_event error = {.kind = CHAT_ERROR, .err = r->err, .text = slice_str(r->error.s)};

    if (r->err) {
        encode(r, &error);
        return;
    }
    r->replied[RUN_OPENAI] = openai_encode_reply(&r->answer, &r->options, &r->replies[RUN_OPENAI]);
    r->replied[RUN_ANTHROPIC] =
        anthropic_encode_reply(&r->answer, &r->options, &r->replies[RUN_ANTHROPIC]);
    r->replied[RUN_RESPONSES] =
        responses_encode_reply(&r->answer, &r->options, &r->replies[RUN_RESPONSES]);
}

struct decoder {
    enum answer_dialect from;
    struct openai_decode openai;
    struct anthropic_decode anthropic;
};

static enum err feed(struct decoder *d, struct slice in)
{
    char *copy = malloc(in.n + 1);
    enum err err;

    must(copy != NULL, "memory");
    if (in.n)
        memcpy(copy, in.p, in.n);
    err = d->from == RUN_OPENAI ? openai_decode_feed(&d->openai, slice_make(copy, in.n))
                                : anthropic_decode_feed(&d->anthropic, slice_make(copy, in.n));
    free(copy);
    return err;
}

static enum err feed_all(struct decoder *d, struct slice in, size_t cut, size_t step)
{
    enum err err = ERR_OK;

    if (step == 0) {
        err = feed(d, slice_make(in.p, cut));
        return err ? err : feed(d, slice_from(in, cut));
    }
    for (size_t at = 0; at < in.n && !err; at += step)
        err = feed(d, slice_make(in.p + at, step < in.n - at ? step : in.n - at));
    return err;
}

void answer_run_stream(struct answer_run *r, enum answer_dialect from, struct slice in, size_t cut,
                       size_t step, int64_t n)
{
    struct openai_decode_options options = {
        .n = n,
        .fallback_id = SLICE("req-7"),
        .max_event_bytes = MAX_EVENT,
        .max_held_bytes = MAX_HELD,
    };
    struct decoder d = {.from = from};

    init(r);
    openai_decode_init(&d.openai, &options, on_event, r);
    anthropic_decode_init(&d.anthropic, MAX_EVENT, on_event, r);
    r->err = feed_all(&d, in, cut, step);
    if (!r->err)
        r->err =
            from == RUN_OPENAI ? openai_decode_end(&d.openai) : anthropic_decode_end(&d.anthropic);
    r->error = from == RUN_OPENAI ? d.openai.error : d.anthropic.error;
    settle(r);
    openai_decode_clear(&d.openai);
    anthropic_decode_clear(&d.anthropic);
}

void answer_run_whole(struct answer_run *r, enum answer_dialect from, struct slice in)
{
    init(r);
    r->err = from == RUN_OPENAI ? openai_decode_whole(in, SLICE("req-7"), on_event, r, &r->error)
                                : anthropic_decode_whole(in, on_event, r, &r->error);
    settle(r);
}

void answer_run_clear(struct answer_run *r)
{
    openai_encode_clear(&r->openai);
    anthropic_encode_clear(&r->anthropic);
    responses_encode_clear(&r->responses);
    chat_answer_clear(&r->answer);
    buf_clear(&r->trace);
    for (int i = 0; i < RUN_DIALECTS; i++) {
        buf_clear(&r->streams[i]);
        buf_clear(&r->replies[i]);
    }
}
