/* Reads OpenAI-like answers. Owns the SSE parser, the choices' queues and decoded strings of one
 * answer; lives in the request, on its worker. A whole reply goes the way of a single chunk: a
 * message is read as a delta is. */
#include "backends/wire/openai_decode.h"

#include <stdlib.h>

#include "backends/wire/json_text.h"
#include "backends/wire/member.h"
#include "backends/wire/openai_choice.h"
#include "backends/wire/openai_error.h"
#include "backends/wire/openai_usage.h"
#include "base/mem.h"

#define STOP_SEQUENCE_BYTES 128 /* a longer one is not reported */

struct openai_decode_choice {
    struct chat_queue queue;
    bool seen, finished;
    enum chat_finish finish;
    char stop_sequence[STOP_SEQUENCE_BYTES];
    size_t stop_sequence_bytes;
};

/* What one chunk or reply holds, the last member of each name. */
struct chunk {
    struct slice data;
    struct json_value id, model, choices, usage, groq, error, object; /* text.n == 0 when absent */
};

/* One element of choices. */
struct element {
    int64_t index;
    struct json_value message, finish_reason, stop_reason, logprobs, usage;
    bool failed; /* an error member of its own (OpenRouter) */
};

void openai_decode_init(struct openai_decode *d, const struct openai_decode_options *options,
                        chat_event_fn fn, void *ctx)
{
    size_t max_event_bytes = options->max_event_bytes;

    *d = (struct openai_decode){
        .options = *options,
        .sink = {.fn = fn, .ctx = ctx, .max_held_bytes = options->max_held_bytes},
    };
    sse_init(&d->sse, max_event_bytes);
    d->sse.report_all = true;
    buf_init(&d->id, max_event_bytes);
    buf_init(&d->name, max_event_bytes);
    buf_init(&d->text, max_event_bytes);
}

void openai_decode_clear(struct openai_decode *d)
{
    sse_clear(&d->sse);
    for (size_t i = 0; i < d->choice_count; i++)
        chat_queue_clear(&d->choices[i].queue);
    free(d->choices);
    d->choices = NULL;
    d->choice_count = 0;
    buf_clear(&d->id);
    buf_clear(&d->name);
    buf_clear(&d->text);
}

static void deliver(struct openai_decode *d, const struct chat_event *e)
{
    if (!d->sink.stopped)
        d->sink.stopped = !d->sink.fn(e, d->sink.ctx);
}

static enum err decode_text(struct json_value v, struct buf *scratch, struct slice *out)
{
    return json_text(v, scratch, out) ? ERR_UPSTREAM_TOO_LARGE : ERR_OK;
}

/* ---- messages and deltas ---- */

static enum err take_text(struct openai_decode *d, struct chat_queue *q, enum chat_block kind,
                          struct json_value v, struct slice *logprobs)
{
    struct slice text, logs = *logprobs;
    enum err err = decode_text(v, &d->text, &text);

    if (err || (text.n == 0 && logs.n == 0))
        return err;
    *logprobs = slice_make("", 0);
    return chat_queue_text(q, kind, text, logs);
}

/* Mistral: [{"type":"thinking","thinking":[{"type":"text","text":"..."}]},
 * {"type":"text","text":"..."}]. Depth is that of the API: thinking holds texts, not thinking. */
static enum err take_parts(struct openai_decode *d, struct chat_queue *q, enum chat_block kind,
                           struct json_value parts, struct slice *logprobs)
{
    struct json_iter it;
    struct json_member part, m;
    enum err err = ERR_OK;

    json_iter_init(&it, parts);
    while (!err && json_iter_next(&it, &part)) {
        if (json_get(part.value, SLICE("text"), &m))
            err = take_text(d, q, kind, m.value, logprobs);
        else if (kind != CHAT_BLOCK_THINKING && json_get(part.value, SLICE("thinking"), &m))
            err = m.value.type == JSON_ARRAY
                      ? take_parts(d, q, CHAT_BLOCK_THINKING, m.value, logprobs)
                      : take_text(d, q, CHAT_BLOCK_THINKING, m.value, logprobs);
    }
    return err;
}

static enum err take_call(struct openai_decode *d, struct chat_queue *q, struct json_value element)
{
    struct chat_queue_call call = {.fresh = d->whole};
    struct openai_choice_call read;
    enum err err;

    if (!openai_choice_call_read(element, &read))
        return ERR_UPSTREAM_PROTOCOL;
    call.index = read.index;
    if ((err = decode_text(read.id, &d->id, &call.id)) ||
        (err = decode_text(read.name, &d->name, &call.name)))
        return err;
    if (read.arguments.type == JSON_OBJECT)
        call.arguments = read.arguments.text;
    else if ((err = decode_text(read.arguments, &d->text, &call.arguments)))
        return err;
    return chat_queue_call(q, &call);
}

static enum err take_calls(struct openai_decode *d, struct chat_queue *q, struct json_value calls)
{
    struct json_iter it;
    struct json_member m;
    enum err err = ERR_OK;

    if (calls.type != JSON_ARRAY)
        return ERR_OK;
    json_iter_init(&it, calls);
    while (!err && json_iter_next(&it, &m))
        err = take_call(d, q, m.value);
    return err;
}

/* Would nobody miss it? */
static bool says_nothing(struct json_value v)
{
    struct json_iter it;
    struct json_member m;

    switch (v.type) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_STRING:
        return v.text.n <= 2;
    case JSON_ARRAY:
    case JSON_OBJECT:
        json_iter_init(&it, v);
        return !json_iter_next(&it, &m);
    case JSON_TRUE:
    case JSON_NUMBER:
        break;
    }
    return false;
}

/* In the order in which a model writes: thinking, text, tool calls. */
static enum err take_message(struct openai_decode *d, struct chat_queue *q,
                             struct json_value message, struct slice logprobs)
{
    struct json_value reasoning = {0}, content = {0}, refusal = {0}, calls = {0};
    struct slice name = SLICE("");
    struct json_iter it;
    struct json_member m;
    enum err err = ERR_OK;

    if (message.type != JSON_OBJECT)
        return ERR_OK;
    json_iter_init(&it, message);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("content")))
            content = m.value;
        else if (member_is(&m, SLICE("reasoning_content")))
            reasoning = m.value, name = SLICE(""); /* servers that send both say the same in both */
        else if (member_is(&m, SLICE("reasoning")) && reasoning.type != JSON_STRING)
            reasoning = m.value, name = SLICE("reasoning");
        else if (member_is(&m, SLICE("refusal")))
            refusal = m.value;
        else if (member_is(&m, SLICE("tool_calls")))
            calls = m.value;
        else if (!member_is(&m, SLICE("role")) && !member_is(&m, SLICE("reasoning")))
            d->lossy |= !says_nothing(m.value);
    }
    d->sink.thinking_name = name;
    if (reasoning.type == JSON_STRING && reasoning.text.n > 2)
        err = take_text(d, q, CHAT_BLOCK_THINKING, reasoning, &logprobs);
    if (!err && content.type == JSON_ARRAY) {
        d->lossy = true; /* it comes out as one text */
        err = take_parts(d, q, CHAT_BLOCK_TEXT, content, &logprobs);
    } else if (!err && content.type == JSON_STRING) {
        err = take_text(d, q, CHAT_BLOCK_TEXT, content, &logprobs);
    }
    if (!err && refusal.type == JSON_STRING && refusal.text.n > 2)
        err = take_text(d, q, CHAT_BLOCK_REFUSAL, refusal, &logprobs);
    return err ? err : take_calls(d, q, calls);
}

/* ---- choices ---- */

static enum err choice_at(struct openai_decode *d, int64_t index, struct openai_decode_choice **out)
{
    size_t count;

    if (index < 0 || index >= CHAT_MAX_CHOICES)
        return ERR_UPSTREAM_PROTOCOL;
    count = (size_t)index + 1;
    if (count > d->choice_count) {
        d->choices = mem_resize(d->choices, count, sizeof(*d->choices));
        for (size_t i = d->choice_count; i < count; i++) {
            d->choices[i] = (struct openai_decode_choice){0};
            chat_queue_init(&d->choices[i].queue, &d->sink, (int)i);
        }
        d->choice_count = count;
    }
    *out = &d->choices[index];
    return ERR_OK;
}

static struct element read_element(struct json_value v)
{
    struct element e = {0};
    struct json_iter it;
    struct json_member m;

    if (v.type != JSON_OBJECT)
        return e;
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("index"))) {
            if (!json_int(m.value, &e.index))
                e.index = 0;
        } else if (member_is(&m, SLICE("delta")) || member_is(&m, SLICE("message"))) {
            e.message = m.value;
        } else if (member_is(&m, SLICE("finish_reason"))) {
            e.finish_reason = m.value;
        } else if (member_is(&m, SLICE("stop_reason"))) { /* vLLM: the stop string, or a token id */
            e.stop_reason = m.value;
        } else if (member_is(&m, SLICE("logprobs"))) {
            e.logprobs = m.value;
        } else if (member_is(&m, SLICE("usage"))) {
            e.usage = m.value;
        } else if (member_is(&m, SLICE("error"))) {
            e.failed = m.value.type == JSON_OBJECT || m.value.type == JSON_STRING;
        }
    }
    return e;
}

static void take_stop_sequence(struct openai_decode_choice *c, struct json_value v)
{
    size_t n;

    if (v.type != JSON_STRING || c->finish != CHAT_FINISH_STOP)
        return;
    n = json_string_decode(v.text, c->stop_sequence, sizeof(c->stop_sequence));
    if (n == 0 || n > sizeof(c->stop_sequence))
        return;
    c->stop_sequence_bytes = n;
    c->finish = CHAT_FINISH_STOP_SEQUENCE;
}

/* The first reason counts: OpenRouter repeats it beside the usage. */
static enum err take_finish(struct openai_decode *d, struct openai_decode_choice *c,
                            const struct element *e)
{
    enum err err;

    if (e->finish_reason.type != JSON_STRING || e->finish_reason.text.n <= 2 || c->finished)
        return ERR_OK;
    c->finished = true;
    d->lossy |= !openai_choice_finish(e->finish_reason, &c->finish, &err);
    if (err)
        return err;
    take_stop_sequence(c, e->stop_reason);
    return ERR_OK;
}

static struct slice logprobs_of(const struct element *e)
{
    struct json_member m;
    bool given = json_get(e->logprobs, SLICE("content"), &m) && m.value.type == JSON_ARRAY;
    struct json_iter it;
    struct json_member first;

    if (!given)
        return slice_make("", 0);
    json_iter_init(&it, m.value);
    return json_iter_next(&it, &first) ? m.value.text : slice_make("", 0);
}

static enum err take_element(struct openai_decode *d, const struct element *e)
{
    struct openai_decode_choice *c;
    enum err err = choice_at(d, e->index, &c);

    if (err)
        return err;
    c->seen = true;
    err = take_message(d, &c->queue, e->message, logprobs_of(e));
    return err ? err : take_finish(d, c, e);
}

/* ---- one chunk, or a reply ---- */

static bool on_member(const struct json_member *m, void *ctx)
{
    struct chunk *c = ctx;

    if (member_is(m, SLICE("choices")))
        c->choices = m->value;
    else if (member_is(m, SLICE("usage")))
        c->usage = m->value;
    else if (member_is(m, SLICE("id")))
        c->id = m->value;
    else if (member_is(m, SLICE("model")))
        c->model = m->value;
    else if (member_is(m, SLICE("error")))
        c->error = m->value;
    else if (member_is(m, SLICE("object")))
        c->object = m->value;
    else if (member_is(m, SLICE("x_groq")))
        c->groq = m->value;
    return true;
}

/* As in openai_stream: "error": null, "" or false is none. */
static bool is_error(const struct chunk *c)
{
    bool text = c->error.type == JSON_STRING && c->error.text.n > 2;

    return c->error.type == JSON_OBJECT || text || value_is_text(c->object, SLICE("error"));
}

static enum err fail(struct openai_decode *d, struct slice data)
{
    openai_error_message(data, &d->error);
    return openai_error_classify(d->whole ? 200 : 0, data);
}

static bool note_usage(struct openai_decode *d, struct json_value usage)
{
    struct token_usage u;

    if (!usage.text.n || !openai_usage_read(usage, &u))
        return false;
    d->has_usage = true;
    d->usage = u;
    return true;
}

static enum err start(struct openai_decode *d, const struct chunk *c)
{
    struct chat_event e = {.kind = CHAT_START};
    enum err err;

    if (d->started)
        return ERR_OK;
    if ((err = decode_text(c->id, &d->id, &e.id)) ||
        (err = decode_text(c->model, &d->name, &e.name)))
        return err;
    d->started = true;
    chat_id_body(e.id, d->options.fallback_id, d->answer_id);
    d->sink.answer_id = slice_str(d->answer_id);
    if (d->has_usage)
        e.usage = d->usage;
    deliver(d, &e);
    return ERR_OK;
}

/* *usage: of the last choice that has one (Moonshot). */
static enum err take_choices(struct openai_decode *d, const struct chunk *c,
                             struct json_value *usage)
{
    struct json_iter it;
    struct json_member m;
    enum err err = ERR_OK;

    if (c->choices.text.n == 0 || c->choices.type != JSON_ARRAY)
        return ERR_OK;
    json_iter_init(&it, c->choices);
    while (!err && json_iter_next(&it, &m)) {
        struct element e = read_element(m.value);
        if (e.failed)
            return fail(d, c->data);
        if (e.usage.text.n)
            *usage = e.usage;
        err = start(d, c);
        if (!err)
            err = take_element(d, &e);
    }
    return err;
}

static enum err take_object(struct openai_decode *d, struct slice data, struct slice event)
{
    struct chunk c = {.data = data};
    bool error_event = slice_eq(event, SLICE("error")), usage;
    struct json_value in_choice = {0};
    struct json_member in_groq;
    enum err err;

    if (!json_scan_object(data, on_member, &c, NULL))
        return error_event ? fail(d, data) : ERR_UPSTREAM_PROTOCOL;
    if (error_event || is_error(&c))
        return fail(d, data);
    usage = note_usage(d, c.usage); /* START tells it */
    err = take_choices(d, &c, &in_choice);
    if (err)
        return err;
    usage = usage || note_usage(d, in_choice) ||
            (json_get(c.groq, SLICE("usage"), &in_groq) && note_usage(d, in_groq.value));
    if (usage && openai_decode_complete(d))
        d->usage_final = true;
    return ERR_OK;
}

/* ---- the end ---- */

bool openai_decode_complete(const struct openai_decode *d)
{
    int64_t finished = 0, seen = 0;

    for (size_t i = 0; i < d->choice_count; i++) {
        finished += d->choices[i].finished;
        seen += d->choices[i].seen;
    }
    return !d->err && seen > 0 && (d->done_seen || (finished == seen && finished >= d->options.n));
}

bool openai_decode_exhausted(const struct openai_decode *d)
{
    return openai_decode_complete(d) && (d->done_seen || d->usage_final);
}

static enum err finish_choice(struct openai_decode *d, struct openai_decode_choice *c, int choice)
{
    struct chat_event e = {
        .kind = CHAT_FINISH,
        .choice = choice,
        .finish = chat_finish_settle(c->finish, c->queue.calls > 0),
        .text = slice_make(c->stop_sequence, c->stop_sequence_bytes),
    };
    enum err err = chat_queue_finish(&c->queue);

    d->lossy |= !c->finished;
    if (!err)
        deliver(d, &e);
    return err;
}

enum err openai_decode_end(struct openai_decode *d)
{
    struct chat_event usage = {.kind = CHAT_USAGE, .usage = d->usage};
    struct chat_event end = {.kind = CHAT_END};

    if (d->err || d->ended)
        return d->err;
    if (!openai_decode_complete(d))
        return d->err = ERR_UPSTREAM_CUT;
    if (!d->choices[0].seen) /* dialects without choices have nothing but the first */
        return d->err = ERR_UPSTREAM_PROTOCOL;
    for (size_t i = 0; i < d->choice_count && !d->err; i++)
        if (d->choices[i].seen)
            d->err = finish_choice(d, &d->choices[i], (int)i);
    if (d->err)
        return d->err;
    if (d->has_usage)
        deliver(d, &usage);
    end.lossy = d->lossy;
    deliver(d, &end);
    d->ended = true;
    return ERR_OK;
}

/* ---- entry ---- */

static void ping(struct openai_decode *d)
{
    struct chat_event e = {.kind = CHAT_PING};

    if (d->started)
        deliver(d, &e);
}

static bool on_event(const struct sse_event *e, void *ctx)
{
    struct openai_decode *d = ctx;
    struct slice data = json_trim(e->data);

    if (slice_eq(data, SLICE("[DONE]"))) {
        d->done_seen = true;
        return false;
    }
    if (data.n)
        d->err = take_object(d, data, e->event);
    else if (e->has_data && slice_eq(e->event, SLICE("error")))
        d->err = fail(d, data);
    else if (e->raw.n && e->raw.p[0] == ':')
        ping(d);
    return d->err == ERR_OK && !d->sink.stopped;
}

enum err openai_decode_feed(struct openai_decode *d, struct slice in)
{
    enum err err;

    if (d->err || d->done_seen || d->ended || d->sink.stopped)
        return d->err;
    err = sse_feed(&d->sse, in, on_event, d);
    if (err && !d->err)
        d->err = err;
    return d->err;
}

enum err openai_decode_whole(struct slice body, struct slice fallback_id, chat_event_fn fn,
                             void *ctx, struct err_text *error)
{
    struct openai_decode_options options = {
        .n = 1,
        .fallback_id = fallback_id,
        .max_event_bytes = body.n,
        .max_held_bytes = body.n,
    };
    struct openai_decode d;
    enum err err;

    openai_decode_init(&d, &options, fn, ctx);
    d.whole = d.done_seen = true; /* a reply is whole, whatever its finish reasons say */
    err = d.err = take_object(&d, body, slice_make("", 0));
    if (!err && !d.started)
        err = d.err = ERR_UPSTREAM_PROTOCOL;
    if (!err)
        err = openai_decode_end(&d);
    if (error)
        *error = d.error;
    openai_decode_clear(&d);
    return err;
}
