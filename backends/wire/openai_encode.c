/* Writes OpenAI chat completions. Owns the head that all chunks of a stream share, written once;
 * lives in the request, on its worker. Called for each event of a translated stream. */
#include "backends/wire/openai_encode.h"

#include <stdlib.h>

#include "backends/wire/chat_id.h"
#include "backends/wire/json_pen.h"
#include "backends/wire/openai_stream.h"
#include "base/mem.h"

#define HEAD_MAX_BYTES 65536

struct openai_encode_choice {
    bool role_sent;
    int calls;      /* tool calls that were opened */
    bool arguments; /* the open one has some */
    bool bare;      /* thinking is "reasoning" */
};

void openai_encode_init(struct openai_encode *e, const struct chat_encode_options *options)
{
    *e = (struct openai_encode){.options = *options};
    buf_init(&e->head, HEAD_MAX_BYTES);
}

void openai_encode_clear(struct openai_encode *e)
{
    buf_clear(&e->head);
    free(e->choices);
    e->choices = NULL;
    e->choice_count = 0;
}

/* ---- parts that streams and replies share ---- */

/* id, object, created, model: the members that open every object of this dialect. */
static void put_head(struct json_pen *pen, const struct chat_encode_options *o, struct slice object,
                     struct slice id, struct slice model)
{
    char body[CHAT_ID_BYTES];

    chat_id_body(id, o->fallback_id, body);
    JSON_PEN(pen, "{\"id\":\"chatcmpl-");
    json_pen_raw(pen, slice_str(body));
    JSON_PEN(pen, "\",\"object\":\"");
    json_pen_raw(pen, object);
    JSON_PEN(pen, "\",\"created\":");
    json_pen_int(pen, o->created_s);
    JSON_PEN(pen, ",\"model\":");
    json_pen_string(pen, o->model.n ? o->model : model);
}

static void put_usage(struct json_pen *pen, const struct token_usage *u)
{
    int64_t prompt = u->n[TOK_INPUT] + u->n[TOK_CACHED_INPUT] + u->n[TOK_CACHE_WRITE];
    int64_t completion = u->n[TOK_OUTPUT] + u->n[TOK_REASONING];

    JSON_PEN(pen, "{\"prompt_tokens\":");
    json_pen_int(pen, prompt);
    JSON_PEN(pen, ",\"completion_tokens\":");
    json_pen_int(pen, completion);
    JSON_PEN(pen, ",\"total_tokens\":");
    json_pen_int(pen, prompt + completion);
    JSON_PEN(pen, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    json_pen_int(pen, u->n[TOK_CACHED_INPUT]);
    if (u->n[TOK_CACHE_WRITE]) {
        JSON_PEN(pen, ",\"cache_write_tokens\":");
        json_pen_int(pen, u->n[TOK_CACHE_WRITE]);
    }
    JSON_PEN(pen, "},\"completion_tokens_details\":{\"reasoning_tokens\":");
    json_pen_int(pen, u->n[TOK_REASONING]);
    JSON_PEN(pen, "}}");
}

/* A pause has no name here; "length" at least says that the answer is not all. */
static struct slice finish_name(enum chat_finish finish)
{
    switch (finish) {
    case CHAT_FINISH_STOP:
    case CHAT_FINISH_STOP_SEQUENCE:
        return SLICE("stop");
    case CHAT_FINISH_LENGTH:
    case CHAT_FINISH_PAUSE:
        return SLICE("length");
    case CHAT_FINISH_TOOL_CALLS:
        return SLICE("tool_calls");
    case CHAT_FINISH_FILTER:
        return SLICE("content_filter");
    }
    return SLICE("stop");
}

/* Servers name a model's thinking in one of two ways; the client of such a server knows which. */
static bool is_bare(struct slice name)
{
    return slice_eq(name, SLICE("reasoning"));
}

/* The member of a message or delta that holds a block's text; empty when there is none. */
static struct slice text_member(enum chat_block kind, bool bare)
{
    switch (kind) {
    case CHAT_BLOCK_TEXT:
        return SLICE("content");
    case CHAT_BLOCK_REFUSAL:
        return SLICE("refusal");
    case CHAT_BLOCK_THINKING:
        return bare ? SLICE("reasoning") : SLICE("reasoning_content");
    case CHAT_BLOCK_REDACTED_THINKING:
    case CHAT_BLOCK_TOOL_CALL:
        break;
    }
    return SLICE("");
}

/* ---- chunks ---- */

/* data: {...,"choices":[{"index":0,"delta": */
static void chunk_begin(struct json_pen *pen, const struct openai_encode *e, int choice)
{
    json_pen_raw(pen, buf_slice(&e->head));
    JSON_PEN(pen, "{\"index\":");
    if (choice == 0)
        JSON_PEN(pen, "0");
    else
        json_pen_int(pen, choice);
    JSON_PEN(pen, ",\"delta\":");
}

/* finish: "" for null */
static void chunk_end(struct json_pen *pen, const struct openai_encode *e, struct slice finish)
{
    if (finish.n) {
        JSON_PEN(pen, ",\"finish_reason\":\"");
        json_pen_raw(pen, finish);
        JSON_PEN(pen, "\"}]");
    } else {
        JSON_PEN(pen, ",\"finish_reason\":null}]");
    }
    if (e->options.include_usage)
        JSON_PEN(pen, ",\"usage\":null}\n\n");
    else
        JSON_PEN(pen, "}\n\n");
}

static enum err write_head(struct openai_encode *e, const struct chat_event *event)
{
    struct json_pen pen;

    buf_reset(&e->head);
    json_pen_begin(&pen, &e->head);
    JSON_PEN(&pen, "data: ");
    put_head(&pen, &e->options, SLICE("chat.completion.chunk"), event->id, event->name);
    JSON_PEN(&pen, ",\"choices\":[");
    return json_pen_end(&pen);
}

static struct openai_encode_choice *choice_at(struct openai_encode *e, int index)
{
    size_t count = (size_t)index + 1;

    if (count > e->choice_count) {
        e->choices = mem_resize(e->choices, count, sizeof(*e->choices));
        for (size_t i = e->choice_count; i < count; i++)
            e->choices[i] = (struct openai_encode_choice){0};
        e->choice_count = count;
    }
    return &e->choices[index];
}

static void put_role(struct json_pen *pen, struct openai_encode *e, int choice)
{
    if (choice_at(e, choice)->role_sent)
        return;
    chunk_begin(pen, e, choice);
    JSON_PEN(pen, "{\"role\":\"assistant\",\"content\":\"\"}");
    chunk_end(pen, e, slice_make("", 0));
}

static void put_call_start(struct json_pen *pen, struct openai_encode *e,
                           const struct chat_event *event)
{
    chunk_begin(pen, e, event->choice);
    JSON_PEN(pen, "{\"tool_calls\":[{\"index\":");
    json_pen_int(pen, choice_at(e, event->choice)->calls);
    JSON_PEN(pen, ",\"id\":");
    json_pen_string(pen, event->id);
    JSON_PEN(pen, ",\"type\":\"function\",\"function\":{\"name\":");
    json_pen_string(pen, event->name);
    JSON_PEN(pen, ",\"arguments\":\"\"}}]}");
    chunk_end(pen, e, slice_make("", 0));
}

static void put_arguments(struct json_pen *pen, struct openai_encode *e, int choice,
                          struct slice text)
{
    chunk_begin(pen, e, choice);
    JSON_PEN(pen, "{\"tool_calls\":[{\"index\":");
    json_pen_int(pen, choice_at(e, choice)->calls - 1);
    JSON_PEN(pen, ",\"function\":{\"arguments\":");
    json_pen_string(pen, text);
    JSON_PEN(pen, "}}]}");
    chunk_end(pen, e, slice_make("", 0));
}

static void put_delta(struct json_pen *pen, struct openai_encode *e, const struct chat_event *event)
{
    struct slice member = text_member(event->block, choice_at(e, event->choice)->bare);

    if (event->block == CHAT_BLOCK_TOOL_CALL && event->text.n)
        put_arguments(pen, e, event->choice, event->text);
    if (member.n == 0)
        return;
    chunk_begin(pen, e, event->choice);
    JSON_PEN(pen, "{\"");
    json_pen_raw(pen, member);
    JSON_PEN(pen, "\":");
    json_pen_string(pen, event->text);
    JSON_PEN(pen, "}");
    if (event->logprobs.n) {
        JSON_PEN(pen, ",\"logprobs\":{\"content\":");
        json_pen_line(pen, event->logprobs);
        JSON_PEN(pen, ",\"refusal\":null}");
    }
    chunk_end(pen, e, slice_make("", 0));
}

static void put_finish(struct json_pen *pen, struct openai_encode *e,
                       const struct chat_event *event)
{
    chunk_begin(pen, e, event->choice);
    JSON_PEN(pen, "{}");
    chunk_end(pen, e, finish_name(event->finish));
}

static void put_end(struct json_pen *pen, struct openai_encode *e)
{
    if (e->options.include_usage && e->has_usage) {
        json_pen_raw(pen, buf_slice(&e->head));
        JSON_PEN(pen, "],\"usage\":");
        put_usage(pen, &e->usage);
        JSON_PEN(pen, "}\n\n");
    }
    JSON_PEN(pen, "data: [DONE]\n\n");
}

static enum err write_error(const struct chat_event *event, struct buf *out)
{
    struct err_text message;

    err_say(&message, "%.*s", SLICE_ARG(event->text));
    return openai_stream_error(event->err, event->text.n ? message.s : NULL, out);
}

static void write_event(struct json_pen *pen, struct openai_encode *e,
                        const struct chat_event *event)
{
    switch (event->kind) {
    case CHAT_START:
        put_role(pen, e, 0);
        break;
    case CHAT_BLOCK_START:
        put_role(pen, e, event->choice);
        if (event->block == CHAT_BLOCK_TOOL_CALL)
            put_call_start(pen, e, event);
        break;
    case CHAT_DELTA:
        put_delta(pen, e, event);
        break;
    case CHAT_BLOCK_STOP: /* a call without arguments: clients parse what they joined */
        if (event->block == CHAT_BLOCK_TOOL_CALL && !choice_at(e, event->choice)->arguments)
            put_arguments(pen, e, event->choice, SLICE("{}"));
        break;
    case CHAT_FINISH:
        put_role(pen, e, event->choice);
        put_finish(pen, e, event);
        break;
    case CHAT_PING:
        JSON_PEN(pen, ": ping\n\n");
        break;
    case CHAT_END:
        put_end(pen, e);
        break;
    case CHAT_SIGNATURE:
    case CHAT_USAGE:
    case CHAT_ERROR:
        break;
    }
}

/* What the encoder remembers of an event that was written. */
static void note(struct openai_encode *e, const struct chat_event *event)
{
    struct openai_encode_choice *c = choice_at(e, event->choice);

    c->role_sent |= event->kind == CHAT_START || event->kind == CHAT_BLOCK_START;
    if (event->kind == CHAT_BLOCK_START && event->block == CHAT_BLOCK_TOOL_CALL) {
        c->calls++;
        c->arguments = false;
    }
    if (event->kind == CHAT_BLOCK_START && event->block == CHAT_BLOCK_THINKING)
        c->bare = is_bare(event->name);
    if (event->kind == CHAT_DELTA && event->block == CHAT_BLOCK_TOOL_CALL && event->text.n)
        c->arguments = true;
    if (event->kind == CHAT_USAGE) {
        e->usage = event->usage;
        e->has_usage = true;
    }
    e->finished += event->kind == CHAT_FINISH;
    e->ended |= event->kind == CHAT_END || event->kind == CHAT_ERROR;
}

enum err openai_encode_on(struct openai_encode *e, const struct chat_event *event, struct buf *out)
{
    struct json_pen pen;
    enum err err = ERR_OK;

    if (e->ended || event->choice < 0 || event->choice >= CHAT_MAX_CHOICES)
        return ERR_INTERNAL;
    if (event->kind == CHAT_START)
        err = write_head(e, event);
    else if (event->kind == CHAT_ERROR)
        err = write_error(event, out);
    else if (buf_len(&e->head) == 0 || (event->kind == CHAT_END && e->finished == 0))
        err = ERR_INTERNAL;
    if (err)
        return err;
    json_pen_begin(&pen, out);
    write_event(&pen, e, event);
    err = json_pen_end(&pen);
    if (!err)
        note(e, event);
    return err;
}

/* ---- whole replies ---- */

/* The blocks of one kind as one string; null when there is none. Several come from dialects whose
 * text is interrupted by tool calls. */
static void put_joined(struct json_pen *pen, const struct chat_answer *a, int choice,
                       enum chat_block kind)
{
    struct buf joined;
    bool any = false;

    buf_init(&joined, a->max_bytes);
    for (size_t i = 0; i < a->count; i++) {
        const struct chat_answer_block *b = &a->blocks[i];
        if (b->choice != choice || b->kind != kind)
            continue;
        any = true;
        if (!pen->err)
            pen->err = buf_append_slice(&joined, buf_slice(&b->text));
    }
    if (any)
        json_pen_string(pen, buf_slice(&joined));
    else
        JSON_PEN(pen, "null");
    buf_clear(&joined);
}

/* Thinking of which only the signature came says nothing, in a stream neither: NULL. */
static const struct chat_answer_block *first_thinking(const struct chat_answer *a, int choice)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->blocks[i].choice == choice && a->blocks[i].kind == CHAT_BLOCK_THINKING &&
            buf_len(&a->blocks[i].text) > 0)
            return &a->blocks[i];
    return NULL;
}

static void put_calls(struct json_pen *pen, const struct chat_answer *a, int choice)
{
    bool first = true;

    for (size_t i = 0; i < a->count; i++) {
        const struct chat_answer_block *b = &a->blocks[i];
        if (b->choice != choice || b->kind != CHAT_BLOCK_TOOL_CALL)
            continue;
        json_pen_raw(pen, first ? SLICE(",\"tool_calls\":[") : SLICE(","));
        first = false;
        JSON_PEN(pen, "{\"id\":");
        json_pen_string(pen, b->id);
        JSON_PEN(pen, ",\"type\":\"function\",\"function\":{\"name\":");
        json_pen_string(pen, b->name);
        JSON_PEN(pen, ",\"arguments\":");
        json_pen_string(pen, buf_len(&b->text) ? buf_slice(&b->text) : SLICE("{}"));
        JSON_PEN(pen, "}}");
    }
    if (!first)
        JSON_PEN(pen, "]");
}

static void put_logprobs(struct json_pen *pen, const struct chat_answer *a, int choice)
{
    bool first = true;

    for (size_t i = 0; i < a->count; i++) {
        const struct chat_answer_block *b = &a->blocks[i];
        if (b->choice != choice || buf_len(&b->logprobs) == 0)
            continue;
        json_pen_raw(pen, first ? SLICE("{\"content\":[") : SLICE(","));
        first = false;
        json_pen_raw(pen, buf_slice(&b->logprobs));
    }
    json_pen_raw(pen, first ? SLICE("null") : SLICE("],\"refusal\":null}"));
}

static void put_choice(struct json_pen *pen, const struct chat_answer *a, int choice)
{
    const struct chat_answer_block *thinking = first_thinking(a, choice);

    JSON_PEN(pen, "{\"index\":");
    json_pen_int(pen, choice);
    JSON_PEN(pen, ",\"message\":{\"role\":\"assistant\",\"content\":");
    put_joined(pen, a, choice, CHAT_BLOCK_TEXT);
    if (thinking) {
        JSON_PEN(pen, ",\"");
        json_pen_raw(pen, text_member(CHAT_BLOCK_THINKING, is_bare(thinking->name)));
        JSON_PEN(pen, "\":");
        put_joined(pen, a, choice, CHAT_BLOCK_THINKING);
    }
    put_calls(pen, a, choice);
    JSON_PEN(pen, ",\"refusal\":");
    put_joined(pen, a, choice, CHAT_BLOCK_REFUSAL);
    JSON_PEN(pen, "},\"logprobs\":");
    put_logprobs(pen, a, choice);
    JSON_PEN(pen, ",\"finish_reason\":\"");
    json_pen_raw(pen, finish_name(a->choices[choice].finish));
    JSON_PEN(pen, "\"}");
}

enum err openai_encode_reply(const struct chat_answer *a, const struct chat_encode_options *options,
                             struct buf *out)
{
    struct json_pen pen;
    bool first = true;

    if (!a->complete)
        return ERR_INTERNAL;
    json_pen_begin(&pen, out);
    put_head(&pen, options, SLICE("chat.completion"), a->id, a->model);
    JSON_PEN(&pen, ",\"choices\":[");
    for (size_t i = 0; i < a->choice_count; i++) {
        if (!a->choices[i].finished)
            continue;
        if (!first)
            JSON_PEN(&pen, ",");
        first = false;
        put_choice(&pen, a, (int)i);
    }
    JSON_PEN(&pen, "]");
    if (a->has_usage) {
        JSON_PEN(&pen, ",\"usage\":");
        put_usage(&pen, &a->usage);
    }
    JSON_PEN(&pen, "}");
    return json_pen_end(&pen);
}
