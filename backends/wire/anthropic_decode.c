/* Reads Anthropic's messages. Owns the SSE parser and decoded strings of one answer; lives in the
 * request, on its worker. The content blocks of a whole message go the way of content_block_start:
 * each is a start that says everything. */
#include "backends/wire/anthropic_decode.h"

#include "backends/wire/anthropic_error.h"
#include "backends/wire/anthropic_usage.h"
#include "backends/wire/json_text.h"
#include "backends/wire/member.h"
#include "backends/wire/openai_error.h"

static const struct block_name {
    struct slice type, text; /* the block's type, and its member that holds text */
    enum chat_block block;
} block_names[] = {
    {{"text", 4}, {"text", 4}, CHAT_BLOCK_TEXT},
    {{"thinking", 8}, {"thinking", 8}, CHAT_BLOCK_THINKING},
    {{"redacted_thinking", 17}, {"data", 4}, CHAT_BLOCK_REDACTED_THINKING},
    {{"tool_use", 8}, {"input", 5}, CHAT_BLOCK_TOOL_CALL},
};

static const struct {
    struct slice type, text; /* the delta's type, and its member that holds text */
    enum chat_event_kind kind;
    enum chat_block block; /* to which it belongs */
} delta_names[] = {
    {{"text_delta", 10}, {"text", 4}, CHAT_DELTA, CHAT_BLOCK_TEXT},
    {{"thinking_delta", 14}, {"thinking", 8}, CHAT_DELTA, CHAT_BLOCK_THINKING},
    {{"signature_delta", 15}, {"signature", 9}, CHAT_SIGNATURE, CHAT_BLOCK_THINKING},
    {{"input_json_delta", 16}, {"partial_json", 12}, CHAT_DELTA, CHAT_BLOCK_TOOL_CALL},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

void anthropic_decode_init(struct anthropic_decode *d, size_t max_event_bytes, chat_event_fn fn,
                           void *ctx)
{
    *d = (struct anthropic_decode){.fn = fn, .ctx = ctx};
    sse_init(&d->sse, max_event_bytes);
    buf_init(&d->id, max_event_bytes);
    buf_init(&d->name, max_event_bytes);
    buf_init(&d->text, max_event_bytes);
    buf_init(&d->input, max_event_bytes);
}

void anthropic_decode_clear(struct anthropic_decode *d)
{
    sse_clear(&d->sse);
    buf_clear(&d->id);
    buf_clear(&d->name);
    buf_clear(&d->text);
    buf_clear(&d->input);
}

static void deliver(struct anthropic_decode *d, struct chat_event e)
{
    if (e.kind >= CHAT_BLOCK_START && e.kind <= CHAT_BLOCK_STOP) {
        e.block = d->block;
        e.block_index = d->block_count - 1;
    }
    if (!d->stopped)
        d->stopped = !d->fn(&e, d->ctx);
}

static enum err text_member(struct json_value object, struct slice name, struct buf *scratch,
                            struct slice *out)
{
    struct json_member m = {0};

    json_get(object, name, &m);
    return json_text(m.value, scratch, out) ? ERR_UPSTREAM_TOO_LARGE : ERR_OK;
}

static enum err fail(struct anthropic_decode *d, int status, struct slice data)
{
    openai_error_message(data, &d->error);
    return anthropic_error_classify(status, data);
}

/* ---- the parts of an answer ---- */

static enum err start(struct anthropic_decode *d, struct json_value message)
{
    struct chat_event e = {.kind = CHAT_START};
    struct json_member usage;
    enum err err;

    if (d->started || message.type != JSON_OBJECT)
        return ERR_UPSTREAM_PROTOCOL;
    err = text_member(message, SLICE("id"), &d->id, &e.id);
    if (!err)
        err = text_member(message, SLICE("model"), &d->name, &e.name);
    if (err)
        return err;
    if (json_get(message, SLICE("usage"), &usage) && anthropic_usage_read(usage.value, &d->usage))
        d->has_usage = true;
    d->started = true;
    e.usage = d->usage;
    deliver(d, e);
    return ERR_OK;
}

static void deliver_input(struct anthropic_decode *d)
{
    if (buf_len(&d->input))
        deliver(d, (struct chat_event){.kind = CHAT_DELTA, .text = buf_slice(&d->input)});
    buf_reset(&d->input);
}

static void close_block(struct anthropic_decode *d)
{
    if (!d->block_open)
        return;
    deliver_input(d);
    deliver(d, (struct chat_event){.kind = CHAT_BLOCK_STOP});
    d->block_open = false;
}

/* Input that came with the start waits for the stop: where deltas follow they say it (again). */
static enum err keep_input(struct anthropic_decode *d, struct json_value input)
{
    struct json_iter it;
    struct json_member m;

    if (input.type != JSON_OBJECT)
        return ERR_OK;
    json_iter_init(&it, input);
    if (!json_iter_next(&it, &m))
        return ERR_OK;
    return buf_append_slice(&d->input, input.text) ? ERR_UPSTREAM_TOO_LARGE : ERR_OK;
}

/* What a block holds as it starts: usually nothing, in a whole message all. */
static enum err fill_block(struct anthropic_decode *d, struct json_value block,
                           struct slice text_name)
{
    struct chat_event e = {.kind = CHAT_DELTA};
    struct json_member m = {0};
    enum err err;

    json_get(block, text_name, &m);
    if (d->block == CHAT_BLOCK_TOOL_CALL)
        return keep_input(d, m.value);
    if (d->block == CHAT_BLOCK_REDACTED_THINKING)
        return ERR_OK;
    err = json_text(m.value, &d->text, &e.text) ? ERR_UPSTREAM_TOO_LARGE : ERR_OK;
    if (!err && e.text.n)
        deliver(d, e);
    if (err || d->block != CHAT_BLOCK_THINKING)
        return err;
    e.kind = CHAT_SIGNATURE;
    err = text_member(block, SLICE("signature"), &d->text, &e.text);
    if (!err && e.text.n)
        deliver(d, e);
    return err;
}

static enum err open_block(struct anthropic_decode *d, struct json_value block)
{
    struct chat_event e = {.kind = CHAT_BLOCK_START};
    struct json_member cited, type = {0};
    size_t i = 0;
    enum err err = ERR_OK;

    close_block(d);
    json_get(block, SLICE("type"), &type);
    while (i < COUNT(block_names) && !value_is_text(type.value, block_names[i].type))
        i++;
    if (i == COUNT(block_names)) {
        err_say(&d->error, "The answer has a content block that cannot be translated: %.*s.",
                SLICE_ARG(type.value.text));
        return ERR_UPSTREAM_PROTOCOL;
    }
    d->block = block_names[i].block;
    if (d->block == CHAT_BLOCK_TOOL_CALL) {
        err = text_member(block, SLICE("id"), &d->id, &e.id);
        if (!err)
            err = text_member(block, SLICE("name"), &d->name, &e.name);
    } else if (d->block == CHAT_BLOCK_REDACTED_THINKING) {
        err = text_member(block, block_names[i].text, &d->text, &e.text);
    }
    if (err)
        return err;
    if (json_get(block, SLICE("citations"), &cited))
        d->lossy |= cited.value.type == JSON_ARRAY && cited.value.text.n > 2;
    d->block_count++;
    d->block_open = true;
    d->called |= d->block == CHAT_BLOCK_TOOL_CALL;
    deliver(d, e);
    return fill_block(d, block, block_names[i].text);
}

static enum err take_delta(struct anthropic_decode *d, struct json_value delta)
{
    struct json_member m, type = {0};
    struct json_iter it;
    struct chat_event e = {0};
    size_t i = 0;
    enum err err;

    json_get(delta, SLICE("type"), &type);
    while (i < COUNT(delta_names) && !value_is_text(type.value, delta_names[i].type))
        i++;
    if (i == COUNT(delta_names)) {
        d->lossy = true; /* citations, and what is to come */
        return type.value.type == JSON_STRING ? ERR_OK : ERR_UPSTREAM_PROTOCOL;
    }
    if (delta_names[i].block != d->block)
        return ERR_UPSTREAM_PROTOCOL;
    type.value = (struct json_value){0};
    json_iter_init(&it, delta);
    while (json_iter_next(&it, &m))
        if (member_is(&m, delta_names[i].text))
            type.value = m.value;
    e.kind = delta_names[i].kind;
    err = json_text(type.value, &d->text, &e.text) ? ERR_UPSTREAM_TOO_LARGE : ERR_OK;
    if (err || e.text.n == 0)
        return err;
    buf_reset(&d->input);
    anthropic_usage_pieces(&d->usage, ++d->deltas);
    deliver(d, e);
    return ERR_OK;
}

/* stop_reason and stop_sequence stand in object: message_delta's delta, or a whole message. */
static enum err finish(struct anthropic_decode *d, struct json_value object)
{
    struct chat_event e = {.kind = CHAT_FINISH};
    struct json_member reason;
    enum err err;

    if (d->finished || !json_get(object, SLICE("stop_reason"), &reason) ||
        reason.value.type != JSON_STRING)
        return ERR_OK;
    err = text_member(object, SLICE("stop_sequence"), &d->text, &e.text);
    if (err)
        return err;
    d->lossy |= !anthropic_event_finish(reason.value, &e.finish);
    e.finish = chat_finish_settle(e.finish, d->called);
    close_block(d);
    d->finished = true;
    anthropic_usage_settle(&d->usage);
    deliver(d, e);
    return ERR_OK;
}

static void note_usage(struct anthropic_decode *d, struct json_value usage)
{
    if (usage.text.n && anthropic_usage_read(usage, &d->usage))
        d->has_usage = true;
}

/* ---- the end ---- */

bool anthropic_decode_complete(const struct anthropic_decode *d)
{
    return !d->err && d->finished;
}

bool anthropic_decode_exhausted(const struct anthropic_decode *d)
{
    return anthropic_decode_complete(d) && d->stop_seen;
}

enum err anthropic_decode_end(struct anthropic_decode *d)
{
    if (d->err || d->ended)
        return d->err;
    if (!anthropic_decode_complete(d))
        return d->err = ERR_UPSTREAM_CUT;
    if (d->has_usage)
        deliver(d, (struct chat_event){.kind = CHAT_USAGE, .usage = d->usage});
    deliver(d, (struct chat_event){.kind = CHAT_END, .lossy = d->lossy});
    d->ended = true;
    return ERR_OK;
}

/* ---- entry ---- */

static enum err start_stream(struct anthropic_decode *d, struct json_value message)
{
    enum err err = start(d, message);

    if (err == ERR_OK && d->has_usage)
        d->has_usage = anthropic_usage_begin(&d->usage);
    return err;
}

static bool is_open(const struct anthropic_decode *d, const struct anthropic_event *e)
{
    int64_t index;

    return d->block_open && (!json_int(e->index, &index) || index == d->block_index);
}

static enum err take_event(struct anthropic_decode *d, const struct anthropic_event *e,
                           struct slice data)
{
    switch (e->kind) {
    case ANTHROPIC_MESSAGE_START:
        return start_stream(d, e->message);
    case ANTHROPIC_BLOCK_START:
        if (!d->started || d->finished)
            return ERR_UPSTREAM_PROTOCOL;
        if (!json_int(e->index, &d->block_index))
            d->block_index = d->block_count;
        return open_block(d, e->block);
    case ANTHROPIC_BLOCK_DELTA:
        return is_open(d, e) ? take_delta(d, e->delta) : ERR_UPSTREAM_PROTOCOL;
    case ANTHROPIC_BLOCK_STOP:
        if (!is_open(d, e))
            return ERR_UPSTREAM_PROTOCOL;
        close_block(d);
        return ERR_OK;
    case ANTHROPIC_MESSAGE_DELTA:
        if (!d->started)
            return ERR_UPSTREAM_PROTOCOL;
        note_usage(d, e->usage);
        return finish(d, e->delta);
    case ANTHROPIC_MESSAGE_STOP:
        d->stop_seen = true;
        return d->finished ? ERR_OK : ERR_UPSTREAM_PROTOCOL;
    case ANTHROPIC_PING:
        if (d->started)
            deliver(d, (struct chat_event){.kind = CHAT_PING});
        return ERR_OK;
    case ANTHROPIC_ERROR:
        return fail(d, 0, data);
    case ANTHROPIC_UNKNOWN:
        return ERR_OK;
    }
    return ERR_OK;
}

static bool on_event(const struct sse_event *e, void *ctx)
{
    struct anthropic_decode *d = ctx;
    struct anthropic_event event;

    if (json_trim(e->data).n == 0)
        return true;
    if (anthropic_event_read(e, &event))
        d->err = take_event(d, &event, e->data);
    else
        d->err = slice_eq(e->event, SLICE("error")) ? fail(d, 0, e->data) : ERR_UPSTREAM_PROTOCOL;
    return !d->err && !d->stopped && !d->stop_seen;
}

enum err anthropic_decode_feed(struct anthropic_decode *d, struct slice in)
{
    enum err err;

    if (d->err || d->stop_seen || d->stopped)
        return d->err;
    err = sse_feed(&d->sse, in, on_event, d);
    if (err && !d->err)
        d->err = err;
    return d->err;
}

static enum err take_message(struct anthropic_decode *d, struct slice body)
{
    struct json_value message = {JSON_OBJECT, json_trim(body)};
    struct json_member m, content, type = {0};
    struct json_iter it;
    enum err err;

    if (message.text.n == 0 || message.text.p[0] != '{' || !json_validate(message.text, NULL))
        return ERR_UPSTREAM_PROTOCOL;
    json_get(message, SLICE("type"), &type);
    if (!json_get(message, SLICE("content"), &content) || content.value.type != JSON_ARRAY)
        return value_is_text(type.value, SLICE("error")) || json_get(message, SLICE("error"), &m)
                   ? fail(d, 200, body)
                   : ERR_UPSTREAM_PROTOCOL;
    err = start(d, message);
    json_iter_init(&it, content.value);
    while (!err && json_iter_next(&it, &m))
        err = open_block(d, m.value);
    return err ? err : finish(d, message);
}

enum err anthropic_decode_whole(struct slice body, chat_event_fn fn, void *ctx,
                                struct err_text *error)
{
    struct anthropic_decode d;

    anthropic_decode_init(&d, body.n, fn, ctx);
    d.err = take_message(&d, body);
    if (!d.err)
        d.err = anthropic_decode_end(&d);
    if (error)
        *error = d.error;
    anthropic_decode_clear(&d);
    return d.err;
}
