/* Reads along with answers. Owns the text and the calls it has collected; lives beside the attempt,
 * on its worker; fed by answer.c's filters and translators with what they have parsed anyway, so
 * that a piece of text costs one copy. */
#include "backends/wire/answer_signals.h"

#include <stdlib.h>
#include "backends/wire/anthropic_decode.h"
#include "backends/wire/answer_phrases.h"
#include "backends/wire/json_text.h"
#include "backends/wire/member.h"
#include "base/mem.h"

enum { SCRATCH_ID, SCRATCH_NAME, SCRATCH_ARGUMENTS };

static bool on_queued(const struct chat_event *e, void *ctx)
{
    answer_signals_event(ctx, e);
    return true;
}

void answer_signals_init(struct answer_signals *s, size_t max_bytes)
{
    *s = (struct answer_signals){.max_bytes = max_bytes};
    buf_init(&s->text, max_bytes);
    for (size_t i = 0; i < sizeof s->scratch / sizeof s->scratch[0]; i++)
        buf_init(&s->scratch[i], max_bytes);
    s->sink = (struct chat_queue_sink){
        .fn = on_queued, .ctx = s, .answer_id = SLICE(""), .max_held_bytes = max_bytes};
    chat_queue_init(&s->queue, &s->sink, 0);
}

void answer_signals_clear(struct answer_signals *s)
{
    for (size_t i = 0; i < s->call_count; i++) {
        buf_clear(&s->calls[i].name);
        buf_clear(&s->calls[i].arguments);
    }
    free(s->calls);
    buf_clear(&s->text);
    for (size_t i = 0; i < sizeof s->scratch / sizeof s->scratch[0]; i++)
        buf_clear(&s->scratch[i]);
    chat_queue_clear(&s->queue);
    answer_signals_init(s, s->max_bytes);
}

/* ---- text ---- */

/* What follows a piece that did not fit is not kept either: text has no holes. */
static void add_text(struct answer_signals *s, struct slice text)
{
    if (!s->cut && buf_append_slice(&s->text, text))
        s->cut = true;
}

/* Decoded where it will lie, which takes no more room than it does with its quotes. */
static void add_string(struct answer_signals *s, struct json_value v)
{
    char *room;
    size_t room_bytes;

    if (s->cut || v.type != JSON_STRING || v.text.n <= 2)
        return;
    if (buf_reserve(&s->text, v.text.n, &room, &room_bytes)) {
        s->cut = true;
        return;
    }
    buf_commit(&s->text, json_string_decode(v.text, room, room_bytes));
}

static void add_thinking(struct answer_signals *s, struct json_value v)
{
    if (v.type == JSON_STRING)
        s->thinking_bytes += (int64_t)v.text.n - 2;
}

/* ---- calls ---- */

static void begin_call(struct answer_signals *s, struct slice name)
{
    struct answer_call *c;

    s->prefilled = false;
    if (s->call_count == ANSWER_SIGNALS_MAX_CALLS || name.n > s->max_bytes - s->call_bytes) {
        s->cut = true;
        return;
    }
    if ((s->call_count & (s->call_count - 1)) == 0) /* room is the power of two at or above */
        s->calls = mem_resize(s->calls, s->call_count ? 2 * s->call_count : 1, sizeof *s->calls);
    c = &s->calls[s->call_count++];
    buf_init(&c->name, s->max_bytes);
    buf_init(&c->arguments, s->max_bytes);
    s->call_bytes += name.n;
    if (buf_append_slice(&c->name, name))
        s->cut = true;
}

static void add_arguments(struct answer_signals *s, struct slice json)
{
    struct answer_call *c = s->call_count ? &s->calls[s->call_count - 1] : NULL;

    if (s->cut || !c)
        return;
    if (json.n > s->max_bytes - s->call_bytes || buf_append_slice(&c->arguments, json)) {
        s->cut = true;
        return;
    }
    s->call_bytes += json.n;
}

static void set_finish(struct answer_signals *s, enum chat_finish finish)
{
    if (s->finished)
        return; /* the first reason counts: some servers repeat it beside the usage */
    if (chat_queue_finish(&s->queue))
        s->cut = true;
    s->finished = true;
    s->finish = chat_finish_settle(finish, s->call_count > 0);
    if (s->finish == CHAT_FINISH_STOP_SEQUENCE)
        s->finish = CHAT_FINISH_STOP;
    s->refused |= finish == CHAT_FINISH_FILTER;
}

/* ---- OpenAI ---- */

static void take_call(struct answer_signals *s, struct json_value element)
{
    struct openai_choice_call read;
    struct chat_queue_call call = {.index = -1};

    if (!openai_choice_call_read(element, &read) ||
        json_text(read.id, &s->scratch[SCRATCH_ID], &call.id) ||
        json_text(read.name, &s->scratch[SCRATCH_NAME], &call.name) ||
        json_text(read.arguments, &s->scratch[SCRATCH_ARGUMENTS], &call.arguments)) {
        s->cut = true;
        return;
    }
    call.index = read.index;
    if (read.arguments.type == JSON_OBJECT)
        call.arguments = read.arguments.text;
    if (chat_queue_call(&s->queue, &call))
        s->cut = true;
}

static void take_calls(struct answer_signals *s, struct json_value calls)
{
    struct json_iter it;
    struct json_member m;

    if (calls.type != JSON_ARRAY)
        return;
    json_iter_init(&it, calls);
    while (json_iter_next(&it, &m))
        take_call(s, m.value);
}

/* Mistral's content: parts of text and of thinking. */
static void take_parts(struct answer_signals *s, struct json_value parts)
{
    struct json_iter it;
    struct json_member part, m;

    json_iter_init(&it, parts);
    while (json_iter_next(&it, &part))
        if (json_get(part.value, SLICE("text"), &m))
            add_string(s, m.value);
        else if (json_get(part.value, SLICE("thinking"), &m))
            s->thinking_bytes += (int64_t)m.value.text.n;
}

static void take_message(struct answer_signals *s, struct json_value message)
{
    struct json_iter it;
    struct json_member m;

    if (message.text.n == 0 || message.type != JSON_OBJECT)
        return;
    json_iter_init(&it, message);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("content"))) {
            if (m.value.type == JSON_ARRAY)
                take_parts(s, m.value);
            else
                add_string(s, m.value);
        } else if (member_is(&m, SLICE("tool_calls"))) {
            take_calls(s, m.value);
        } else if (member_is(&m, SLICE("refusal"))) {
            s->refused |= m.value.type == JSON_STRING && m.value.text.n > 2;
            add_string(s, m.value);
        } else if (member_is(&m, SLICE("reasoning_content")) || member_is(&m, SLICE("reasoning"))) {
            add_thinking(s, m.value);
        }
    }
}

void answer_signals_openai(struct answer_signals *s, const struct openai_choice *choice)
{
    enum chat_finish finish;
    enum err err;

    if (choice->index != 0)
        return;
    take_message(s, choice->message);
    add_string(s, choice->text);
    token_logprobs_read(&s->tokens, choice->logprobs);
    if (!choice->finished)
        return;
    openai_choice_finish(choice->finish_reason, &finish, &err);
    set_finish(s, finish);
}

/* ---- Anthropic ---- */

static bool has_members(struct json_value v)
{
    struct json_iter it;
    struct json_member m;

    if (v.type != JSON_OBJECT)
        return false;
    json_iter_init(&it, v);
    return json_iter_next(&it, &m);
}

static void take_block(struct answer_signals *s, struct json_value block)
{
    struct json_member type, m;

    if (!json_get(block, SLICE("type"), &type))
        return;
    if (value_is_text(type.value, SLICE("text")) && json_get(block, SLICE("text"), &m)) {
        add_string(s, m.value);
    } else if (value_is_text(type.value, SLICE("thinking")) &&
               json_get(block, SLICE("thinking"), &m)) {
        add_thinking(s, m.value);
    } else if (value_is_text(type.value, SLICE("tool_use")) && json_get(block, SLICE("name"), &m)) {
        struct slice name;

        if (json_text(m.value, &s->scratch[SCRATCH_NAME], &name))
            s->cut = true;
        begin_call(s, name);
        if (!s->cut && json_get(block, SLICE("input"), &m) && has_members(m.value)) {
            add_arguments(s, m.value.text);
            s->prefilled = true;
        }
    }
}

/* Input that came with the start is said again by the deltas, where there are any. */
static void take_input(struct answer_signals *s, struct json_value fragment)
{
    struct slice json;

    if (json_text(fragment, &s->scratch[SCRATCH_ARGUMENTS], &json))
        s->cut = true;
    if (s->prefilled && json.n) {
        struct buf *arguments = &s->calls[s->call_count - 1].arguments;

        s->call_bytes -= buf_len(arguments);
        buf_reset(arguments);
        s->prefilled = false;
    }
    add_arguments(s, json);
}

static void take_delta(struct answer_signals *s, struct json_value delta)
{
    struct json_iter it;
    struct json_member m;

    if (delta.text.n == 0 || delta.type != JSON_OBJECT)
        return;
    json_iter_init(&it, delta);
    while (json_iter_next(&it, &m))
        if (member_is(&m, SLICE("text")))
            add_string(s, m.value);
        else if (member_is(&m, SLICE("thinking")))
            add_thinking(s, m.value);
        else if (member_is(&m, SLICE("partial_json")))
            take_input(s, m.value);
}

static void take_stop_reason(struct answer_signals *s, struct json_value object)
{
    struct json_member reason;
    enum chat_finish finish;

    if (!object.text.n || !json_get(object, SLICE("stop_reason"), &reason) ||
        reason.value.type != JSON_STRING)
        return;
    anthropic_event_finish(reason.value, &finish);
    set_finish(s, finish);
}

void answer_signals_anthropic(struct answer_signals *s, const struct anthropic_event *event)
{
    if (event->kind == ANTHROPIC_BLOCK_DELTA)
        take_delta(s, event->delta);
    else if (event->kind == ANTHROPIC_BLOCK_START)
        take_block(s, event->block);
    else if (event->kind == ANTHROPIC_MESSAGE_DELTA)
        take_stop_reason(s, event->delta);
}

void answer_signals_message(struct answer_signals *s, struct json_value message)
{
    struct json_iter it;
    struct json_member content, block;

    if (json_get(message, SLICE("content"), &content) && content.value.type == JSON_ARRAY) {
        json_iter_init(&it, content.value);
        while (json_iter_next(&it, &block))
            take_block(s, block.value);
    }
    take_stop_reason(s, message);
}

/* ---- between dialects ---- */

static void take_text(struct answer_signals *s, const struct chat_event *e)
{
    switch (e->block) {
    case CHAT_BLOCK_TEXT:
    case CHAT_BLOCK_REFUSAL:
        add_text(s, e->text);
        break;
    case CHAT_BLOCK_THINKING:
    case CHAT_BLOCK_REDACTED_THINKING:
        s->thinking_bytes += (int64_t)e->text.n;
        break;
    case CHAT_BLOCK_TOOL_CALL:
        add_arguments(s, e->text);
        break;
    }
    token_logprobs_content(&s->tokens, (struct json_value){JSON_ARRAY, e->logprobs});
}

void answer_signals_event(struct answer_signals *s, const struct chat_event *e)
{
    if (e->choice != 0)
        return;
    switch (e->kind) {
    case CHAT_BLOCK_START:
        s->refused |= e->block == CHAT_BLOCK_REFUSAL;
        if (e->block == CHAT_BLOCK_TOOL_CALL)
            begin_call(s, e->name);
        break;
    case CHAT_DELTA:
        take_text(s, e);
        break;
    case CHAT_FINISH:
        set_finish(s, e->finish);
        break;
    case CHAT_START:
    case CHAT_SIGNATURE:
    case CHAT_BLOCK_STOP:
    case CHAT_USAGE:
    case CHAT_PING:
    case CHAT_ERROR:
    case CHAT_END:
        break;
    }
}

/* ---- asking ---- */

bool answer_signals_refuse(const struct answer_signals *s)
{
    return s->refused || answer_phrases_refuse(buf_slice(&s->text));
}

bool answer_signals_hedge(const struct answer_signals *s)
{
    return answer_phrases_hedge(buf_slice(&s->text));
}
