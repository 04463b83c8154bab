/* Writes OpenAI Responses. Owns the answer so far; lives in the request, on its worker. Called for
 * each event of a translated stream. The same functions write an item when it begins (nothing in
 * it), when it is done, and in the response that holds all of them. */
#include "backends/wire/responses_encode.h"

#include "backends/wire/json_pen.h"

/* What the API shows when the request said nothing. */
#define ECHO_DEFAULT                                                                               \
    "\"instructions\":null,\"max_output_tokens\":null,\"metadata\":{},"                            \
    "\"parallel_tool_calls\":true,\"previous_response_id\":null,"                                  \
    "\"reasoning\":{\"effort\":null,\"summary\":null},\"store\":false,\"temperature\":null,"       \
    "\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\",\"tools\":[],"             \
    "\"top_p\":null,\"truncation\":\"disabled\""

#define DELTA_HEAD_MAX_BYTES 1024 /* names of events and ids are shorter */

/* How an item or a response stands. */
enum status { IN_PROGRESS, COMPLETED, INCOMPLETE, FAILED };

static const char *const status_names[] = {
    [IN_PROGRESS] = "in_progress",
    [COMPLETED] = "completed",
    [INCOMPLETE] = "incomplete",
    [FAILED] = "failed",
};

/* What items and responses are written from. */
struct source {
    const struct chat_answer *answer;
    const struct chat_encode_options *options;
    const char *id;
};

static struct source source_of(const struct responses_encode *e)
{
    return (struct source){&e->answer, &e->options, e->id};
}

void responses_encode_init(struct responses_encode *e, const struct chat_encode_options *options)
{
    *e = (struct responses_encode){.options = *options};
    chat_answer_init(&e->answer, options->max_answer_bytes);
    buf_init(&e->delta_head, DELTA_HEAD_MAX_BYTES);
    buf_init(&e->delta_item, DELTA_HEAD_MAX_BYTES);
}

void responses_encode_clear(struct responses_encode *e)
{
    chat_answer_clear(&e->answer);
    buf_clear(&e->delta_head);
    buf_clear(&e->delta_item);
}

/* ---- items ---- */

/* A quoted id, the same in every event that names it: prefix, the answer's id, a number. */
static void put_id(struct json_pen *pen, struct source s, struct slice prefix, int64_t number)
{
    JSON_PEN(pen, "\"");
    json_pen_raw(pen, prefix);
    json_pen_raw(pen, slice_str(s.id));
    if (number >= 0) {
        JSON_PEN(pen, "_");
        json_pen_int(pen, number);
    }
    JSON_PEN(pen, "\"");
}

static void put_item_id(struct json_pen *pen, struct source s, size_t i)
{
    static const struct slice prefixes[] = {
        [CHAT_BLOCK_TEXT] = {"msg_", 4},     [CHAT_BLOCK_REFUSAL] = {"msg_", 4},
        [CHAT_BLOCK_THINKING] = {"rs_", 3},  [CHAT_BLOCK_REDACTED_THINKING] = {"rs_", 3},
        [CHAT_BLOCK_TOOL_CALL] = {"fc_", 3},
    };

    put_id(pen, s, prefixes[s.answer->blocks[i].kind], (int64_t)i);
}

static void put_logprobs(struct json_pen *pen, const struct chat_answer_block *b)
{
    JSON_PEN(pen, "[");
    json_pen_line(pen, buf_slice(&b->logprobs));
    JSON_PEN(pen, "]");
}

/* The one part of a message or of a summary, with that text. */
static void put_part(struct json_pen *pen, const struct chat_answer_block *b, bool empty)
{
    struct slice text = empty ? SLICE("") : buf_slice(&b->text);

    if (b->kind == CHAT_BLOCK_THINKING) {
        JSON_PEN(pen, "{\"type\":\"summary_text\",\"text\":");
        json_pen_string(pen, text);
    } else if (b->kind == CHAT_BLOCK_REFUSAL) {
        JSON_PEN(pen, "{\"type\":\"refusal\",\"refusal\":");
        json_pen_string(pen, text);
    } else {
        JSON_PEN(pen, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":");
        if (empty)
            JSON_PEN(pen, "[]");
        else
            put_logprobs(pen, b);
        JSON_PEN(pen, ",\"text\":");
        json_pen_string(pen, text);
    }
    JSON_PEN(pen, "}");
}

static void put_encrypted(struct json_pen *pen, const struct chat_encode_options *o,
                          const struct chat_answer_block *b)
{
    const struct buf *content = b->kind == CHAT_BLOCK_THINKING ? &b->signature : &b->text;

    if (!o->encrypted_reasoning || buf_len(content) == 0)
        return;
    JSON_PEN(pen, ",\"encrypted_content\":");
    json_pen_string(pen, buf_slice(content));
}

static void put_status(struct json_pen *pen, enum status status)
{
    JSON_PEN(pen, ",\"status\":\"");
    json_pen_raw(pen, slice_str(status_names[status]));
    JSON_PEN(pen, "\"");
}

/* Item number i; in progress it is empty still. */
static void put_item(struct json_pen *pen, struct source s, size_t i, enum status status)
{
    const struct chat_answer_block *b = &s.answer->blocks[i];
    bool empty = status == IN_PROGRESS;

    JSON_PEN(pen, "{\"id\":");
    put_item_id(pen, s, i);
    switch (b->kind) {
    case CHAT_BLOCK_TEXT:
    case CHAT_BLOCK_REFUSAL:
        JSON_PEN(pen, ",\"type\":\"message\"");
        put_status(pen, status);
        JSON_PEN(pen, ",\"role\":\"assistant\",\"content\":[");
        if (!empty)
            put_part(pen, b, false);
        JSON_PEN(pen, "]");
        break;
    case CHAT_BLOCK_THINKING:
    case CHAT_BLOCK_REDACTED_THINKING:
        JSON_PEN(pen, ",\"type\":\"reasoning\",\"summary\":[");
        if (!empty && b->kind == CHAT_BLOCK_THINKING && buf_len(&b->text))
            put_part(pen, b, false);
        JSON_PEN(pen, "]");
        if (!empty)
            put_encrypted(pen, s.options, b);
        break;
    case CHAT_BLOCK_TOOL_CALL:
        JSON_PEN(pen, ",\"type\":\"function_call\"");
        put_status(pen, status);
        JSON_PEN(pen, ",\"call_id\":");
        json_pen_string(pen, b->id);
        JSON_PEN(pen, ",\"name\":");
        json_pen_string(pen, b->name);
        JSON_PEN(pen, ",\"arguments\":");
        if (empty)
            JSON_PEN(pen, "\"\"");
        else
            json_pen_string(pen, buf_len(&b->text) ? buf_slice(&b->text) : SLICE("{}"));
        break;
    }
    JSON_PEN(pen, "}");
}

/* ---- responses ---- */

static void put_usage(struct json_pen *pen, const struct chat_answer *a)
{
    const struct token_usage *u = &a->usage;
    int64_t input = u->n[TOK_INPUT] + u->n[TOK_CACHED_INPUT] + u->n[TOK_CACHE_WRITE];
    int64_t output = u->n[TOK_OUTPUT] + u->n[TOK_REASONING];

    JSON_PEN(pen, "{\"input_tokens\":");
    json_pen_int(pen, input);
    JSON_PEN(pen, ",\"input_tokens_details\":{\"cached_tokens\":");
    json_pen_int(pen, u->n[TOK_CACHED_INPUT]);
    JSON_PEN(pen, ",\"cache_write_tokens\":");
    json_pen_int(pen, u->n[TOK_CACHE_WRITE]);
    JSON_PEN(pen, "},\"output_tokens\":");
    json_pen_int(pen, output);
    JSON_PEN(pen, ",\"output_tokens_details\":{\"reasoning_tokens\":");
    json_pen_int(pen, u->n[TOK_REASONING]);
    JSON_PEN(pen, "},\"total_tokens\":");
    json_pen_int(pen, input + output);
    JSON_PEN(pen, "}");
}

/* The last item of an answer that was cut is incomplete itself. */
static void put_output(struct json_pen *pen, struct source s, enum status status)
{
    const struct chat_answer *a = s.answer;
    bool first = true;

    JSON_PEN(pen, ",\"output\":[");
    for (size_t i = 0; i < a->count && status != IN_PROGRESS; i++) {
        bool cut = i + 1 == a->count && status != COMPLETED;
        if (a->blocks[i].choice != 0)
            continue;
        if (!first)
            JSON_PEN(pen, ",");
        first = false;
        put_item(pen, s, i, cut ? INCOMPLETE : COMPLETED);
    }
    JSON_PEN(pen, "]");
}

/* The few codes that this API has, and context_length_exceeded, by which agents know to compact. */
static struct slice error_code(enum err e)
{
    if (e == ERR_UPSTREAM_CONTEXT_LENGTH)
        return SLICE("context_length_exceeded");
    if (err_http_status(e) == 429)
        return SLICE("rate_limit_exceeded");
    return err_http_status(e) < 500 ? SLICE("invalid_prompt") : SLICE("server_error");
}

/* "code":..,"message":.. */
static void put_error_members(struct json_pen *pen, const struct chat_event *error)
{
    JSON_PEN(pen, "\"code\":");
    json_pen_string(pen, error_code(error->err));
    JSON_PEN(pen, ",\"message\":");
    json_pen_string(pen, error->text.n ? error->text : slice_str(err_text(error->err)));
}

/* What made it end otherwise than completed. */
static void put_outcome(struct json_pen *pen, const struct chat_answer *a, enum status status,
                        const struct chat_event *error)
{
    bool filtered = a->choice_count && a->choices[0].finish == CHAT_FINISH_FILTER;

    JSON_PEN(pen, ",\"error\":");
    if (error) {
        JSON_PEN(pen, "{");
        put_error_members(pen, error);
        JSON_PEN(pen, "}");
    } else {
        JSON_PEN(pen, "null");
    }
    JSON_PEN(pen, ",\"incomplete_details\":");
    if (status != INCOMPLETE)
        JSON_PEN(pen, "null");
    else if (filtered)
        JSON_PEN(pen, "{\"reason\":\"content_filter\"}");
    else
        JSON_PEN(pen, "{\"reason\":\"max_output_tokens\"}");
}

static void put_response(struct json_pen *pen, struct source s, enum status status,
                         const struct chat_event *error)
{
    const struct chat_encode_options *o = s.options;
    const struct chat_answer *a = s.answer;

    JSON_PEN(pen, "{\"id\":");
    put_id(pen, s, SLICE("resp_"), -1);
    JSON_PEN(pen, ",\"object\":\"response\",\"created_at\":");
    json_pen_int(pen, o->created_s);
    put_status(pen, status);
    JSON_PEN(pen, ",\"background\":false");
    put_outcome(pen, a, status, error);
    JSON_PEN(pen, ",\"model\":");
    json_pen_string(pen, o->model.n ? o->model : a->model);
    put_output(pen, s, status);
    JSON_PEN(pen, ",");
    json_pen_line(pen, o->echo.n ? o->echo : SLICE(ECHO_DEFAULT));
    JSON_PEN(pen, ",\"usage\":");
    if (a->has_usage && status != IN_PROGRESS)
        put_usage(pen, a);
    else
        JSON_PEN(pen, "null");
    JSON_PEN(pen, "}");
}

static enum status status_of(const struct chat_answer_choice *c)
{
    return chat_finish_is_cut(c->finish) || c->finish == CHAT_FINISH_FILTER ? INCOMPLETE
                                                                            : COMPLETED;
}

/* ---- events ---- */

/* event: NAME, data: {"type":NAME,"sequence_number": */
static void put_event_head(struct json_pen *pen, struct slice name)
{
    JSON_PEN(pen, "event: ");
    json_pen_raw(pen, name);
    JSON_PEN(pen, "\ndata: {\"type\":\"");
    json_pen_raw(pen, name);
    JSON_PEN(pen, "\",\"sequence_number\":");
}

static void event_begin(struct json_pen *pen, struct responses_encode *e, struct slice name)
{
    put_event_head(pen, name);
    json_pen_int(pen, e->sequence++);
}

static void event_end(struct json_pen *pen)
{
    JSON_PEN(pen, "}\n\n");
}

static void put_response_event(struct json_pen *pen, struct responses_encode *e, struct slice name,
                               enum status status, const struct chat_event *error)
{
    event_begin(pen, e, name);
    JSON_PEN(pen, ",\"response\":");
    put_response(pen, source_of(e), status, error);
    event_end(pen);
}

static size_t last_item(const struct responses_encode *e)
{
    return e->answer.count - 1;
}

static void put_item_event(struct json_pen *pen, struct responses_encode *e, struct slice name,
                           enum status status)
{
    event_begin(pen, e, name);
    JSON_PEN(pen, ",\"output_index\":");
    json_pen_int(pen, (int64_t)last_item(e));
    JSON_PEN(pen, ",\"item\":");
    put_item(pen, source_of(e), last_item(e), status);
    event_end(pen);
}

/* Which item an event is about: the open one. */
static void put_item_members(struct json_pen *pen, const struct responses_encode *e)
{
    enum chat_block kind = e->answer.blocks[last_item(e)].kind;

    JSON_PEN(pen, ",\"item_id\":");
    put_item_id(pen, source_of(e), last_item(e));
    JSON_PEN(pen, ",\"output_index\":");
    json_pen_int(pen, (int64_t)last_item(e));
    if (kind == CHAT_BLOCK_THINKING)
        JSON_PEN(pen, ",\"summary_index\":0");
    else if (kind != CHAT_BLOCK_TOOL_CALL)
        JSON_PEN(pen, ",\"content_index\":0");
}

static void item_event_begin(struct json_pen *pen, struct responses_encode *e, struct slice name)
{
    event_begin(pen, e, name);
    put_item_members(pen, e);
}

/* The names of the events by which a block's text comes. Redacted thinking has none. */
static const struct text_events {
    struct slice part_added, delta, done, part_done;
    struct slice member; /* of done, that repeats the text */
} text_events[] = {
    [CHAT_BLOCK_TEXT] = {{"response.content_part.added", 27},
                         {"response.output_text.delta", 26},
                         {"response.output_text.done", 25},
                         {"response.content_part.done", 26},
                         {"text", 4}},
    [CHAT_BLOCK_REFUSAL] = {{"response.content_part.added", 27},
                            {"response.refusal.delta", 22},
                            {"response.refusal.done", 21},
                            {"response.content_part.done", 26},
                            {"refusal", 7}},
    [CHAT_BLOCK_THINKING] = {{"response.reasoning_summary_part.added", 37},
                             {"response.reasoning_summary_text.delta", 37},
                             {"response.reasoning_summary_text.done", 36},
                             {"response.reasoning_summary_part.done", 36},
                             {"text", 4}},
    [CHAT_BLOCK_REDACTED_THINKING] = {{"", 0}, {"", 0}, {"", 0}, {"", 0}, {"", 0}},
    [CHAT_BLOCK_TOOL_CALL] = {{"", 0},
                              {"response.function_call_arguments.delta", 38},
                              {"response.function_call_arguments.done", 37},
                              {"", 0},
                              {"arguments", 9}},
};

static void put_part_event(struct json_pen *pen, struct responses_encode *e, struct slice name,
                           bool empty)
{
    if (name.n == 0)
        return;
    item_event_begin(pen, e, name);
    JSON_PEN(pen, ",\"part\":");
    put_part(pen, &e->answer.blocks[last_item(e)], empty);
    event_end(pen);
}

/* What all deltas of the open item have in common is written once. */
static enum err write_delta_head(struct responses_encode *e, struct slice name)
{
    struct json_pen pen;
    enum err err;

    buf_reset(&e->delta_head);
    json_pen_begin(&pen, &e->delta_head);
    put_event_head(&pen, name);
    err = json_pen_end(&pen);
    if (err)
        return err;
    buf_reset(&e->delta_item);
    json_pen_begin(&pen, &e->delta_item);
    put_item_members(&pen, e);
    JSON_PEN(&pen, ",\"delta\":");
    return json_pen_end(&pen);
}

static void open_part(struct json_pen *pen, struct responses_encode *e)
{
    const struct text_events *names = &text_events[e->answer.blocks[last_item(e)].kind];
    enum err err;

    if (e->part_open)
        return;
    put_part_event(pen, e, names->part_added, true);
    err = write_delta_head(e, names->delta);
    if (err && !pen->err)
        pen->err = err;
    e->part_open = true;
}

static void put_delta(struct json_pen *pen, struct responses_encode *e, struct slice text,
                      struct slice logprobs)
{
    const struct chat_answer_block *b = &e->answer.blocks[last_item(e)];

    if (text_events[b->kind].delta.n == 0)
        return;
    open_part(pen, e);
    json_pen_raw(pen, buf_slice(&e->delta_head));
    json_pen_int(pen, e->sequence++);
    json_pen_raw(pen, buf_slice(&e->delta_item));
    json_pen_string(pen, text);
    if (b->kind == CHAT_BLOCK_TEXT && logprobs.n) {
        JSON_PEN(pen, ",\"logprobs\":");
        json_pen_line(pen, logprobs);
    } else if (b->kind == CHAT_BLOCK_TEXT) {
        JSON_PEN(pen, ",\"logprobs\":[]");
    }
    event_end(pen);
}

/* The events that close the last item. */
static void close_item(struct json_pen *pen, struct responses_encode *e, enum status status)
{
    const struct chat_answer_block *b;
    const struct text_events *names;

    if (!e->item_done)
        return;
    e->item_done = false;
    b = &e->answer.blocks[last_item(e)];
    names = &text_events[b->kind];
    if (b->kind == CHAT_BLOCK_TOOL_CALL && buf_len(&b->text) == 0)
        put_delta(pen, e, SLICE("{}"), slice_make("", 0));
    if (b->kind == CHAT_BLOCK_TEXT || b->kind == CHAT_BLOCK_REFUSAL)
        open_part(pen, e);
    if (e->part_open) {
        item_event_begin(pen, e, names->done);
        JSON_PEN(pen, ",\"");
        json_pen_raw(pen, names->member);
        JSON_PEN(pen, "\":");
        json_pen_string(pen, buf_len(&b->text) || b->kind != CHAT_BLOCK_TOOL_CALL
                                 ? buf_slice(&b->text)
                                 : SLICE("{}"));
        if (b->kind == CHAT_BLOCK_TEXT) {
            JSON_PEN(pen, ",\"logprobs\":");
            put_logprobs(pen, b);
        }
        event_end(pen);
        put_part_event(pen, e, names->part_done, false);
    }
    put_item_event(pen, e, SLICE("response.output_item.done"), status);
}

static void put_end(struct json_pen *pen, struct responses_encode *e)
{
    enum status status = status_of(&e->answer.choices[0]);

    put_response_event(
        pen, e, status == COMPLETED ? SLICE("response.completed") : SLICE("response.incomplete"),
        status, NULL);
}

/* Before the response was created there is none that could fail. */
static void put_error(struct json_pen *pen, struct responses_encode *e,
                      const struct chat_event *event)
{
    if (e->started) {
        put_response_event(pen, e, SLICE("response.failed"), FAILED, event);
        return;
    }
    event_begin(pen, e, SLICE("error"));
    JSON_PEN(pen, ",");
    put_error_members(pen, event);
    JSON_PEN(pen, ",\"param\":null");
    event_end(pen);
}

/* event was added to the answer already. */
static void write_event(struct json_pen *pen, struct responses_encode *e,
                        const struct chat_event *event)
{
    switch (event->kind) {
    case CHAT_START:
        chat_id_body(event->id, e->options.fallback_id, e->id);
        put_response_event(pen, e, SLICE("response.created"), IN_PROGRESS, NULL);
        put_response_event(pen, e, SLICE("response.in_progress"), IN_PROGRESS, NULL);
        e->started = true;
        break;
    case CHAT_BLOCK_START:
        e->part_open = false;
        put_item_event(pen, e, SLICE("response.output_item.added"), IN_PROGRESS);
        break;
    case CHAT_DELTA:
        put_delta(pen, e, event->text, event->logprobs);
        break;
    case CHAT_BLOCK_STOP:
        e->item_done = true;
        break;
    case CHAT_PING: /* a comment: this dialect has no such event */
        JSON_PEN(pen, ": ping\n\n");
        break;
    case CHAT_END:
        put_end(pen, e);
        break;
    case CHAT_ERROR:
        put_error(pen, e, event);
        break;
    case CHAT_SIGNATURE:
    case CHAT_FINISH:
    case CHAT_USAGE:
        break;
    }
    e->ended = event->kind == CHAT_END || event->kind == CHAT_ERROR;
}

static bool in_order(const struct responses_encode *e, const struct chat_event *event)
{
    bool finished = e->answer.choice_count && e->answer.choices[0].finished;

    if (e->ended || (event->kind == CHAT_START && e->started) ||
        (event->kind == CHAT_END && !finished))
        return false;
    return e->started || event->kind == CHAT_START || event->kind == CHAT_ERROR;
}

enum err responses_encode_on(struct responses_encode *e, const struct chat_event *event,
                             struct buf *out)
{
    int64_t sequence = e->sequence;
    struct json_pen pen;
    enum err err;

    if (event->choice > 0)
        return ERR_OK;
    if (!in_order(e, event))
        return ERR_INTERNAL;
    json_pen_begin(&pen, out);
    if (event->kind != CHAT_PING && event->kind != CHAT_ERROR) {
        bool cut = event->kind == CHAT_FINISH &&
                   (chat_finish_is_cut(event->finish) || event->finish == CHAT_FINISH_FILTER);
        close_item(&pen, e, cut ? INCOMPLETE : COMPLETED);
    }
    err = chat_answer_add(&e->answer, event);
    if (!err)
        write_event(&pen, e, event);
    if (err && !pen.err)
        pen.err = err;
    err = json_pen_end(&pen);
    if (err)
        e->sequence = sequence;
    return err;
}

enum err responses_encode_reply(const struct chat_answer *a,
                                const struct chat_encode_options *options, struct buf *out)
{
    char id[CHAT_ID_BYTES];
    struct source source = {a, options, id};
    struct json_pen pen;

    if (!a->complete || a->choice_count == 0 || !a->choices[0].finished)
        return ERR_INTERNAL;
    chat_id_body(a->id, options->fallback_id, id);
    json_pen_begin(&pen, out);
    put_response(&pen, source, status_of(&a->choices[0]), NULL);
    return json_pen_end(&pen);
}
