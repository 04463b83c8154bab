/* Writes Anthropic's messages. Owns what message_delta must say at the end; lives in the request,
 * on its worker. Called for each event of a translated stream. */
#include "backends/wire/anthropic_encode.h"

#include "backends/wire/anthropic_error.h"
#include "backends/wire/chat_id.h"
#include "backends/wire/json_pen.h"
#include "backends/wire/member.h"
#include "backends/wire/openai_reply.h"

#define STOP_SEQUENCE_MAX_BYTES 4096

void anthropic_encode_init(struct anthropic_encode *e, const struct chat_encode_options *options)
{
    *e = (struct anthropic_encode){.options = *options};
    buf_init(&e->stop_sequence, STOP_SEQUENCE_MAX_BYTES);
}

void anthropic_encode_clear(struct anthropic_encode *e)
{
    buf_clear(&e->stop_sequence);
}

/* ---- parts that streams and messages share ---- */

/* Up to and with the model. */
static void put_head(struct json_pen *pen, const struct chat_encode_options *o, struct slice id,
                     struct slice model)
{
    char body[CHAT_ID_BYTES];

    chat_id_body(id, o->fallback_id, body);
    JSON_PEN(pen, "{\"id\":\"msg_");
    json_pen_raw(pen, slice_str(body));
    JSON_PEN(pen, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    json_pen_string(pen, o->model.n ? o->model : model);
}

static void put_usage(struct json_pen *pen, const struct token_usage *u)
{
    JSON_PEN(pen, "{\"input_tokens\":");
    json_pen_int(pen, u->n[TOK_INPUT]);
    JSON_PEN(pen, ",\"cache_creation_input_tokens\":");
    json_pen_int(pen, u->n[TOK_CACHE_WRITE]);
    JSON_PEN(pen, ",\"cache_read_input_tokens\":");
    json_pen_int(pen, u->n[TOK_CACHED_INPUT]);
    JSON_PEN(pen, ",\"output_tokens\":");
    json_pen_int(pen, u->n[TOK_OUTPUT] + u->n[TOK_REASONING]);
    if (u->n[TOK_REASONING]) {
        JSON_PEN(pen, ",\"output_tokens_details\":{\"thinking_tokens\":");
        json_pen_int(pen, u->n[TOK_REASONING]);
        JSON_PEN(pen, "}");
    }
    JSON_PEN(pen, "}");
}

static struct slice reason_name(enum chat_finish finish, bool refused)
{
    switch (finish) {
    case CHAT_FINISH_STOP:
        return refused ? SLICE("refusal") : SLICE("end_turn");
    case CHAT_FINISH_STOP_SEQUENCE:
        return SLICE("stop_sequence");
    case CHAT_FINISH_LENGTH:
        return SLICE("max_tokens");
    case CHAT_FINISH_TOOL_CALLS:
        return SLICE("tool_use");
    case CHAT_FINISH_FILTER:
        return SLICE("refusal");
    case CHAT_FINISH_PAUSE:
        return SLICE("pause_turn");
    }
    return SLICE("end_turn");
}

/* "stop_reason":..,"stop_sequence":.. */
static void put_stop(struct json_pen *pen, enum chat_finish finish, bool refused,
                     struct slice sequence)
{
    JSON_PEN(pen, "\"stop_reason\":\"");
    json_pen_raw(pen, reason_name(finish, refused));
    JSON_PEN(pen, "\",\"stop_sequence\":");
    if (finish == CHAT_FINISH_STOP_SEQUENCE && sequence.n)
        json_pen_string(pen, sequence);
    else
        JSON_PEN(pen, "null");
}

/* ---- events ---- */

static void put_start(struct json_pen *pen, const struct anthropic_encode *e,
                      const struct chat_event *event)
{
    struct token_usage usage = event->usage;

    /* Servers that count at the end only say 0 here. */
    if (usage.n[TOK_INPUT] + usage.n[TOK_CACHED_INPUT] + usage.n[TOK_CACHE_WRITE] == 0)
        usage.n[TOK_INPUT] = e->options.input_tokens;
    JSON_PEN(pen, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    put_head(pen, &e->options, event->id, event->name);
    JSON_PEN(pen, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    put_usage(pen, &usage);
    JSON_PEN(pen, "}}\n\n");
}

static void put_block_start(struct json_pen *pen, const struct anthropic_encode *e,
                            const struct chat_event *event)
{
    JSON_PEN(pen, "event: content_block_start\n"
                  "data: {\"type\":\"content_block_start\",\"index\":");
    json_pen_int(pen, e->blocks);
    JSON_PEN(pen, ",\"content_block\":");
    switch (event->block) {
    case CHAT_BLOCK_TEXT:
    case CHAT_BLOCK_REFUSAL:
        JSON_PEN(pen, "{\"type\":\"text\",\"text\":\"\"}");
        break;
    case CHAT_BLOCK_THINKING:
        JSON_PEN(pen, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
        break;
    case CHAT_BLOCK_REDACTED_THINKING:
        JSON_PEN(pen, "{\"type\":\"redacted_thinking\",\"data\":");
        json_pen_string(pen, event->text);
        JSON_PEN(pen, "}");
        break;
    case CHAT_BLOCK_TOOL_CALL:
        JSON_PEN(pen, "{\"type\":\"tool_use\",\"id\":");
        json_pen_string(pen, event->id);
        JSON_PEN(pen, ",\"name\":");
        json_pen_string(pen, event->name);
        JSON_PEN(pen, ",\"input\":{}}");
        break;
    }
    JSON_PEN(pen, "}\n\n");
}

/* The delta's type and the member that holds its text, as JSON up to the text; empty when the block
 * has no deltas. */
static struct slice delta_opening(const struct chat_event *event)
{
    if (event->kind == CHAT_SIGNATURE)
        return SLICE("{\"type\":\"signature_delta\",\"signature\":");
    switch (event->block) {
    case CHAT_BLOCK_TEXT:
    case CHAT_BLOCK_REFUSAL:
        return SLICE("{\"type\":\"text_delta\",\"text\":");
    case CHAT_BLOCK_THINKING:
        return SLICE("{\"type\":\"thinking_delta\",\"thinking\":");
    case CHAT_BLOCK_TOOL_CALL:
        return SLICE("{\"type\":\"input_json_delta\",\"partial_json\":");
    case CHAT_BLOCK_REDACTED_THINKING:
        break;
    }
    return SLICE("");
}

static void put_delta(struct json_pen *pen, const struct anthropic_encode *e,
                      const struct chat_event *event)
{
    struct slice opening = delta_opening(event);

    if (opening.n == 0 || event->text.n == 0)
        return;
    JSON_PEN(pen, "event: content_block_delta\n"
                  "data: {\"type\":\"content_block_delta\",\"index\":");
    json_pen_int(pen, e->blocks - 1);
    JSON_PEN(pen, ",\"delta\":");
    json_pen_raw(pen, opening);
    json_pen_string(pen, event->text);
    JSON_PEN(pen, "}}\n\n");
}

static void put_block_stop(struct json_pen *pen, const struct anthropic_encode *e)
{
    JSON_PEN(pen, "event: content_block_stop\n"
                  "data: {\"type\":\"content_block_stop\",\"index\":");
    json_pen_int(pen, e->blocks - 1);
    JSON_PEN(pen, "}\n\n");
}

static void put_end(struct json_pen *pen, const struct anthropic_encode *e)
{
    struct token_usage usage = e->usage;

    if (!e->has_usage) {
        usage.n[TOK_INPUT] = e->options.input_tokens;
        usage.n[TOK_OUTPUT] = e->deltas;
    }
    JSON_PEN(pen, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
    put_stop(pen, e->finish, e->refused, buf_slice(&e->stop_sequence));
    JSON_PEN(pen, "},\"usage\":");
    put_usage(pen, &usage);
    JSON_PEN(pen, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void put_error(struct json_pen *pen, const struct chat_event *event)
{
    struct err_text message;

    err_say(&message, "%.*s", SLICE_ARG(event->text));
    JSON_PEN(pen, "event: error\ndata: ");
    if (!pen->err)
        pen->err = anthropic_error_body(event->err, message.s, NULL, slice_make("", 0), pen->out);
    JSON_PEN(pen, "\n\n");
}

static void write_event(struct json_pen *pen, const struct anthropic_encode *e,
                        const struct chat_event *event)
{
    switch (event->kind) {
    case CHAT_START:
        put_start(pen, e, event);
        break;
    case CHAT_BLOCK_START:
        put_block_start(pen, e, event);
        break;
    case CHAT_DELTA:
    case CHAT_SIGNATURE:
        put_delta(pen, e, event);
        break;
    case CHAT_BLOCK_STOP:
        put_block_stop(pen, e);
        break;
    case CHAT_PING:
        JSON_PEN(pen, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
        break;
    case CHAT_ERROR:
        put_error(pen, event);
        break;
    case CHAT_END:
        put_end(pen, e);
        break;
    case CHAT_FINISH: /* said in message_delta, with the usage */
    case CHAT_USAGE:
        break;
    }
}

/* What the encoder remembers of an event that was written. */
static enum err note(struct anthropic_encode *e, const struct chat_event *event)
{
    e->started |= event->kind == CHAT_START;
    e->ended |= event->kind == CHAT_END || event->kind == CHAT_ERROR;
    e->deltas += event->kind == CHAT_DELTA;
    if (event->kind == CHAT_BLOCK_START) {
        e->blocks++;
        e->refused |= event->block == CHAT_BLOCK_REFUSAL;
    }
    if (event->kind == CHAT_USAGE) {
        e->usage = event->usage;
        e->has_usage = true;
    }
    if (event->kind != CHAT_FINISH)
        return ERR_OK;
    e->finished = true;
    e->finish = event->finish;
    buf_reset(&e->stop_sequence);
    return buf_append_slice(&e->stop_sequence, event->text) ? ERR_UPSTREAM_TOO_LARGE : ERR_OK;
}

static bool in_order(const struct anthropic_encode *e, const struct chat_event *event)
{
    if (e->ended || (event->kind == CHAT_START && e->started) ||
        (event->kind == CHAT_END && !e->finished))
        return false;
    return e->started || event->kind == CHAT_START || event->kind == CHAT_ERROR;
}

enum err anthropic_encode_on(struct anthropic_encode *e, const struct chat_event *event,
                             struct buf *out)
{
    struct json_pen pen;
    enum err err;

    if (event->choice > 0)
        return ERR_OK;
    if (!in_order(e, event))
        return ERR_INTERNAL;
    json_pen_begin(&pen, out);
    write_event(&pen, e, event);
    err = json_pen_end(&pen);
    return err ? err : note(e, event);
}

/* ---- whole messages ---- */

/* Arguments as the object they should be; *err tells when they are none. */
static void put_input(struct json_pen *pen, struct slice arguments, bool cut, enum err *err)
{
    struct slice json = json_trim(arguments);
    bool empty = json.n == 0 || slice_eq(json, SLICE("null"));

    if (json.n && json.p[0] == '{' && json_validate(json, NULL))
        json_pen_raw(pen, json);
    else if (empty || cut)
        JSON_PEN(pen, "{}");
    else
        *err = ERR_UPSTREAM_PROTOCOL;
}

static void put_block(struct json_pen *pen, const struct chat_answer_block *b, bool cut,
                      enum err *err)
{
    switch (b->kind) {
    case CHAT_BLOCK_TEXT:
    case CHAT_BLOCK_REFUSAL:
        JSON_PEN(pen, "{\"type\":\"text\",\"text\":");
        json_pen_string(pen, buf_slice(&b->text));
        break;
    case CHAT_BLOCK_THINKING:
        JSON_PEN(pen, "{\"type\":\"thinking\",\"thinking\":");
        json_pen_string(pen, buf_slice(&b->text));
        JSON_PEN(pen, ",\"signature\":");
        json_pen_string(pen, buf_slice(&b->signature));
        break;
    case CHAT_BLOCK_REDACTED_THINKING:
        JSON_PEN(pen, "{\"type\":\"redacted_thinking\",\"data\":");
        json_pen_string(pen, buf_slice(&b->text));
        break;
    case CHAT_BLOCK_TOOL_CALL:
        JSON_PEN(pen, "{\"type\":\"tool_use\",\"id\":");
        json_pen_string(pen, b->id);
        JSON_PEN(pen, ",\"name\":");
        json_pen_string(pen, b->name);
        JSON_PEN(pen, ",\"input\":");
        put_input(pen, buf_slice(&b->text), cut, err);
        break;
    }
    JSON_PEN(pen, "}");
}

static void put_content(struct json_pen *pen, const struct chat_answer *a, bool cut, enum err *err)
{
    bool first = true;

    JSON_PEN(pen, "[");
    for (size_t i = 0; i < a->count; i++) {
        if (a->blocks[i].choice != 0)
            continue;
        if (!first)
            JSON_PEN(pen, ",");
        first = false;
        put_block(pen, &a->blocks[i], cut, err);
    }
    JSON_PEN(pen, "]");
}

/* This dialect has no message without usage: where none was reported it is estimated. */
static struct token_usage usage_of(const struct chat_answer *a,
                                   const struct chat_encode_options *options)
{
    struct token_usage usage = {.source = USAGE_ESTIMATED};
    int64_t bytes = 0;

    if (a->has_usage)
        return a->usage;
    for (size_t i = 0; i < a->count; i++)
        bytes += (int64_t)buf_len(&a->blocks[i].text);
    usage.n[TOK_INPUT] = options->input_tokens;
    usage.n[TOK_OUTPUT] = openai_estimate_tokens(bytes);
    return usage;
}

enum err anthropic_encode_reply(const struct chat_answer *a,
                                const struct chat_encode_options *options, struct buf *out)
{
    struct token_usage usage = usage_of(a, options);
    const struct chat_answer_choice *choice;
    struct json_pen pen;
    enum err err = ERR_OK;

    if (!a->complete || a->choice_count == 0 || !a->choices[0].finished)
        return ERR_INTERNAL;
    choice = &a->choices[0];
    json_pen_begin(&pen, out);
    put_head(&pen, options, a->id, a->model);
    JSON_PEN(&pen, ",\"content\":");
    put_content(&pen, a, chat_finish_is_cut(choice->finish), &err);
    JSON_PEN(&pen, ",");
    put_stop(&pen, choice->finish, choice->refused, choice->stop_sequence);
    JSON_PEN(&pen, ",\"usage\":");
    put_usage(&pen, &usage);
    JSON_PEN(&pen, "}");
    if (err && !pen.err)
        pen.err = err;
    return json_pen_end(&pen);
}
