/* See render_messages.h. Anthropic API reference, "Create a Message" and "Streaming Messages".
 * Called by api.c. */
#include "tests/fleet/render_messages.h"

#include "tests/fleet/events.h"
#include "tests/fleet/text.h"

/* ---- parts ---- */

static const struct answer_choice *choice_of(const struct render *r)
{
    return &r->answer->choices[0];
}

/* input_told: message_start's usage has the prompt's tokens (some servers tell them at the end
 * only).
 */
static void usage(const struct render *r, struct buf *b, bool input_told, long long output)
{
    const int64_t *t = r->answer->tokens;
    long long fresh = input_told ? (long long)t[TOK_INPUT] : 0;
    long long read = input_told ? (long long)t[TOK_CACHED_INPUT] : 0;
    long long written = input_told ? (long long)t[TOK_CACHE_WRITE] : 0;
    if (fault_get(r->faults, FAULT_NO_USAGE))
        return;
    TEXT_ADD(b,
             ",\"usage\":{\"input_tokens\":%lld,\"cache_creation_input_tokens\":%lld,"
             "\"cache_read_input_tokens\":%lld,\"cache_creation\":{\"ephemeral_5m_input_tokens\":"
             "%lld,\"ephemeral_1h_input_tokens\":0},\"output_tokens\":%lld",
             fresh, written, read, written, output);
    if (output > 1 && t[TOK_REASONING])
        TEXT_ADD(b, ",\"output_tokens_details\":{\"thinking_tokens\":%lld}",
                 (long long)t[TOK_REASONING]);
    TEXT_LIT(b, ",\"service_tier\":\"standard\"}");
}

static long long all_output(const struct render *r)
{
    return (long long)(r->answer->tokens[TOK_OUTPUT] + r->answer->tokens[TOK_REASONING]);
}

static void extra(const struct render *r, struct buf *b)
{
    const struct fault *f = fault_get(r->faults, FAULT_EXTRA);
    if (!f || !f->text.n)
        return;
    TEXT_LIT(b, ",");
    TEXT_SLICE(b, f->text);
}

static void head(const struct render *r, struct buf *b)
{
    TEXT_ADD(b, "{\"id\":\"msg_%024llx\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
             (unsigned long long)r->serial);
    text_json(b, slice_str(r->model->name));
    TEXT_LIT(b, ",\"content\":[");
}

/* ,"stop_reason":...,"stop_sequence":... */
static void stop(const struct render *r, struct buf *b)
{
    const struct answer_choice *c = choice_of(r);
    const char *reason = c->call_count                      ? "tool_use"
                         : strcmp(c->finish, "length") == 0 ? "max_tokens"
                         : c->stop.n                        ? "stop_sequence"
                                                            : "end_turn";
    if (fault_get(r->faults, FAULT_NO_FINISH))
        TEXT_LIT(b, "\"stop_reason\":null,\"stop_sequence\":");
    else
        TEXT_ADD(b, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (c->stop.n)
        text_json(b, c->stop);
    else
        TEXT_LIT(b, "null");
}

/* ---- whole ---- */

static void whole_blocks(const struct answer_choice *c, struct buf *b)
{
    if (c->thinking.n) {
        TEXT_LIT(b, "{\"type\":\"thinking\",\"thinking\":");
        text_json(b, c->thinking);
        TEXT_LIT(b, ",\"signature\":");
        text_json(b, c->signature);
        TEXT_LIT(b, "},");
    }
    for (size_t i = 0; i < c->call_count; i++) {
        TEXT_ADD(b, "%s{\"type\":\"tool_use\",\"id\":\"%.*s\",\"name\":", i ? "," : "",
                 SLICE_ARG(c->calls[i].id));
        text_json(b, c->calls[i].name);
        TEXT_LIT(b, ",\"input\":");
        TEXT_SLICE(b, c->calls[i].arguments);
        TEXT_LIT(b, "}");
    }
    if (c->call_count)
        return;
    TEXT_LIT(b, "{\"type\":\"text\",\"text\":");
    text_json(b, c->text);
    TEXT_LIT(b, "}");
}

struct slice render_messages_whole(const struct render *r)
{
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    head(r, &b);
    whole_blocks(choice_of(r), &b);
    TEXT_LIT(&b, "],");
    stop(r, &b);
    usage(r, &b, true, all_output(r));
    extra(r, &b);
    TEXT_LIT(&b, "}");
    struct slice body = text_take(&b, r->arena);
    buf_clear(&b);
    return body;
}

/* ---- streams ---- */

static void end(struct events *e, const char *name)
{
    extra(e->r, &e->b);
    TEXT_LIT(&e->b, "}");
    events_end(e, name);
}

static void start_event(struct events *e)
{
    bool told = !fault_get(e->r->faults, FAULT_USAGE_IN_LAST);
    TEXT_LIT(&e->b, "{\"type\":\"message_start\",\"message\":");
    head(e->r, &e->b);
    TEXT_LIT(&e->b, "],\"stop_reason\":null,\"stop_sequence\":null");
    usage(e->r, &e->b, told, told); /* a token has been made when the first event leaves */
    TEXT_LIT(&e->b, "}");
    end(e, "message_start");
}

/* What follows "content_block": is written by the caller, then block_started. */
static void block_start(struct events *e, size_t index, const char *type)
{
    TEXT_ADD(&e->b,
             "{\"type\":\"content_block_start\",\"index\":%zu,\"content_block\":{\"type\":\"%s\"",
             index, type);
}

static void block_started(struct events *e, size_t index)
{
    TEXT_LIT(&e->b, "}");
    end(e, "content_block_start");
    if (index)
        return;
    TEXT_LIT(&e->b, "{\"type\":\"ping\"");
    end(e, "ping");
}

static void block_delta(struct events *e, size_t index, const char *type, const char *member,
                        struct slice text)
{
    TEXT_ADD(&e->b,
             "{\"type\":\"content_block_delta\",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":",
             index, type, member);
    text_json(&e->b, text);
    TEXT_LIT(&e->b, "}");
    end(e, "content_block_delta");
}

static void block_stop(struct events *e, size_t index)
{
    TEXT_ADD(&e->b, "{\"type\":\"content_block_stop\",\"index\":%zu", index);
    end(e, "content_block_stop");
}

static void thinking_block(struct events *e, const struct answer_choice *c, size_t index)
{
    struct slice rest = c->thinking;
    block_start(e, index, "thinking");
    TEXT_LIT(&e->b, ",\"thinking\":\"\",\"signature\":\"\"");
    block_started(e, index);
    while (rest.n) {
        size_t before = e->pieces; /* thinking has a count of its own */
        struct slice text = events_pieces(e, &rest, 0);
        e->pieces = before;
        block_delta(e, index, "thinking_delta", "thinking", text);
    }
    block_delta(e, index, "signature_delta", "signature", c->signature);
    block_stop(e, index);
}

static void call_block(struct events *e, const struct answer_call *call, size_t index)
{
    struct slice name = call->name, rest = call->arguments;
    for (; name.n; e->pieces++)
        answer_piece(&name);
    block_start(e, index, "tool_use");
    TEXT_ADD(&e->b, ",\"id\":\"%.*s\",\"name\":", SLICE_ARG(call->id));
    text_json(&e->b, call->name);
    TEXT_LIT(&e->b, ",\"input\":{}");
    block_started(e, index);
    block_delta(e, index, "input_json_delta", "partial_json", SLICE("")); /* as the API begins */
    while (rest.n)
        block_delta(e, index, "input_json_delta", "partial_json", events_pieces(e, &rest, 0));
    block_stop(e, index);
}

static void text_block(struct events *e, const struct answer_choice *c, size_t index)
{
    struct slice rest = c->text;
    block_start(e, index, "text");
    TEXT_LIT(&e->b, ",\"text\":\"\"");
    block_started(e, index);
    while (rest.n)
        block_delta(e, index, "text_delta", "text", events_pieces(e, &rest, c->pieces));
    block_stop(e, index);
}

static void stop_events(struct events *e)
{
    TEXT_LIT(&e->b, "{\"type\":\"message_delta\",\"delta\":{");
    stop(e->r, &e->b);
    TEXT_LIT(&e->b, "}");
    usage(e->r, &e->b, true, all_output(e->r));
    end(e, "message_delta");
    TEXT_LIT(&e->b, "{\"type\":\"message_stop\"");
    end(e, "message_stop");
}

struct reply_event *render_messages_stream(const struct render *r, size_t *n)
{
    const struct answer_choice *c = choice_of(r);
    struct events e;
    size_t index = 0;
    events_init(&e, r);
    start_event(&e);
    if (c->thinking.n)
        thinking_block(&e, c, index++);
    for (size_t i = 0; i < c->call_count; i++)
        call_block(&e, &c->calls[i], index++);
    if (!c->call_count)
        text_block(&e, c, index);
    stop_events(&e);
    return events_done(&e, n);
}

/* ---- models ---- */

void render_messages_model(const struct model *m, struct buf *out)
{
    TEXT_LIT(out, "{\"type\":\"model\",\"id\":");
    text_json(out, slice_str(m->name));
    TEXT_LIT(out, ",\"display_name\":");
    text_json(out, slice_str(m->name));
    TEXT_LIT(out, ",\"created_at\":\"2025-01-01T00:00:00Z\"}");
}
