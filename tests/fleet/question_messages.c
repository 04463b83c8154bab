/* See question.h. The members of Anthropic's Messages API (API reference, "Create a Message";
 * guides "Tool use", "Extended thinking", "Structured outputs"), checked as strictly as that API
 * checks them: what a translator gets wrong there is refused here too. Called by question_parse. */
#include <ctype.h>
#include "tests/fleet/answer.h"
#include "tests/fleet/question_int.h"
#include "tests/fleet/text.h"

#define STOPS_MAX           ((size_t)8)
#define NAME_MAX_BYTES      128
#define THINKING_MIN_BUDGET 1024

#define NO(p, ...) (refusal_say((p)->no, 400, NULL, NULL, __VA_ARGS__), false)

enum thinking { THINKING_OFF, THINKING_ADAPTIVE, THINKING_BUDGET };

/* Where the conversation stands while its messages are read. */
struct turns {
    size_t users, others;
    struct slice *calls; /* of the last assistant message, not answered yet */
    size_t call_count;
    bool begins_with_thinking; /* the last assistant message does */
    bool in_loop;              /* the last message has a tool's result */
    bool after_user;           /* the last turn is a user's */
};

/* One block of a message. */
struct block {
    size_t message, index;
    bool user;
    struct json_value v;
    struct slice type;
};

/* The texts of a message, joined; in the arena, with room for all of them. */
struct joined {
    char *p;
    size_t n;
};

static bool is_text(struct json_value v, struct slice text)
{
    return v.type == JSON_STRING && v.text.n == text.n + 2 &&
           slice_eq(slice_make(v.text.p + 1, text.n), text);
}

/* A string member, decoded. */
static bool string_member(struct question_parse *p, struct json_value object, struct slice name,
                          struct slice *out)
{
    struct json_value v;
    if (!question_given(object, name, &v) || v.type != JSON_STRING)
        return false;
    *out = question_decode(p, v);
    return true;
}

static bool is_name(struct slice s, size_t max)
{
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '_' && s.p[i] != '-')
            return false;
    return s.n && s.n <= max;
}

/* ---- blocks ---- */

static bool read_text(struct question_parse *p, const struct block *b, struct joined *all)
{
    struct slice text;
    struct json_value citations;
    struct json_iter it;
    struct json_member m;
    if (!string_member(p, b->v, SLICE("text"), &text))
        return NO(p, "messages.%zu.content.%zu.text: Field required", b->message, b->index);
    if (!text_strip(text).n)
        return NO(p,
                  "messages.%zu.content.%zu: text content blocks must contain non-whitespace "
                  "text",
                  b->message, b->index);
    if (b->user && question_given(b->v, SLICE("citations"), &citations)) {
        json_iter_init(&it, citations);
        if (citations.type == JSON_ARRAY && json_iter_next(&it, &m))
            p->q->since_2026 = "citations";
    }
    memcpy(all->p + all->n, text.p, text.n);
    all->n += text.n;
    p->text_bytes += text.n;
    return true;
}

static bool read_image(struct question_parse *p, const struct block *b)
{
    static const char *const media[] = {"image/jpeg", "image/png", "image/gif", "image/webp"};
    struct json_value source;
    struct slice kind, type, data, url;
    p->images++;
    if (!question_given(b->v, SLICE("source"), &source) ||
        !string_member(p, source, SLICE("type"), &kind))
        return NO(p, "messages.%zu.content.%zu.image.source: Field required", b->message, b->index);
    if (slice_eq(kind, SLICE("url")))
        return (string_member(p, source, SLICE("url"), &url) &&
                (slice_starts(url, SLICE("https://")) || slice_starts(url, SLICE("http://")))) ||
               NO(p, "messages.%zu.content.%zu.image.source.url: Only HTTP(S) URLs are supported.",
                  b->message, b->index);
    if (!slice_eq(kind, SLICE("base64")) || !string_member(p, source, SLICE("media_type"), &type) ||
        !string_member(p, source, SLICE("data"), &data) || !data.n)
        return NO(p, "messages.%zu.content.%zu.image.source.base64: media_type and data required",
                  b->message, b->index);
    for (size_t i = 0; i < sizeof media / sizeof *media; i++)
        if (slice_eq(type, slice_str(media[i])))
            return true;
    return NO(p,
              "messages.%zu.content.%zu.image.source.base64.media_type: Input should be "
              "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'",
              b->message, b->index);
}

static bool read_call(struct question_parse *p, const struct block *b, struct turns *t)
{
    struct slice id, name;
    struct json_value input;
    if (!string_member(p, b->v, SLICE("id"), &id) || !is_name(id, 256))
        return NO(p,
                  "messages.%zu.content.%zu.tool_use.id: String should match pattern "
                  "'^[a-zA-Z0-9_-]+$'",
                  b->message, b->index);
    if (!string_member(p, b->v, SLICE("name"), &name) || !is_name(name, NAME_MAX_BYTES))
        return NO(p,
                  "messages.%zu.content.%zu.tool_use.name: String should match pattern "
                  "'^[a-zA-Z0-9_-]{1,128}$'",
                  b->message, b->index);
    if (!question_given(b->v, SLICE("input"), &input) || input.type != JSON_OBJECT)
        return NO(p, "messages.%zu.content.%zu.tool_use.input: Input should be a valid dictionary",
                  b->message, b->index);
    t->calls[t->call_count++] = id;
    return true;
}

/* Takes the call that the result answers off the list. */
static bool answers_call(struct turns *t, struct slice id)
{
    for (size_t i = 0; i < t->call_count; i++) {
        if (!slice_eq(t->calls[i], id))
            continue;
        t->calls[i] = t->calls[--t->call_count];
        return true;
    }
    return false;
}

static bool read_blocks(struct question_parse *p, struct block *b, struct json_value content,
                        struct turns *t, struct joined *text);

static bool read_result(struct question_parse *p, const struct block *b, struct turns *t)
{
    struct slice id;
    struct json_value content;
    struct joined text = {0};
    struct block inner = {.message = b->message, .user = true};
    if (!string_member(p, b->v, SLICE("tool_use_id"), &id))
        return NO(p, "messages.%zu.content.%zu.tool_result.tool_use_id: Field required", b->message,
                  b->index);
    if (!answers_call(t, id))
        return NO(p,
                  "messages.%zu.content.%zu: unexpected `tool_use_id` found in `tool_result` "
                  "blocks: %.*s. Each `tool_result` block must have a corresponding `tool_use` "
                  "block in the previous message.",
                  b->message, b->index, SLICE_ARG(id));
    t->in_loop = true;
    if (!question_given(b->v, SLICE("content"), &content))
        return true;
    if (content.type == JSON_STRING) {
        p->text_bytes += question_decode(p, content).n;
        return true;
    }
    text.p = arena_alloc(p->arena, content.text.n + 1);
    return content.type == JSON_ARRAY ? read_blocks(p, &inner, content, NULL, &text)
                                      : NO(p,
                                           "messages.%zu.content.%zu.tool_result.content: Input "
                                           "should be a string or an array",
                                           b->message, b->index);
}

/* A signature is the model's own word that it thought so: another model's does not hold. */
static bool read_thinking(struct question_parse *p, const struct block *b)
{
    struct slice thinking, signature;
    if (!string_member(p, b->v, SLICE("thinking"), &thinking) ||
        !string_member(p, b->v, SLICE("signature"), &signature))
        return NO(p, "messages.%zu.content.%zu.thinking.signature: Field required", b->message,
                  b->index);
    if (!slice_eq(signature, answer_signature(p->q->model, thinking, p->arena)))
        return NO(p, "messages.%zu.content.%zu: Invalid `signature` in `thinking` block",
                  b->message, b->index);
    return true;
}

/* t is NULL inside a tool's result, where only texts and images may stand. */
static bool read_block(struct question_parse *p, struct block *b, struct turns *t,
                       struct joined *text)
{
    bool first = b->index == 0;
    if (!string_member(p, b->v, SLICE("type"), &b->type))
        return NO(p, "messages.%zu.content.%zu.type: Field required", b->message, b->index);
    if (slice_eq(b->type, SLICE("text")))
        return read_text(p, b, text);
    if (slice_eq(b->type, SLICE("image")) && b->user)
        return read_image(p, b);
    if (slice_eq(b->type, SLICE("document")) && b->user)
        return true;
    if (t && slice_eq(b->type, SLICE("tool_result")) && b->user)
        return first || t->in_loop ? read_result(p, b, t)
                                   : NO(p,
                                        "messages.%zu.content.%zu: `tool_result` blocks must "
                                        "come first in a message",
                                        b->message, b->index);
    if (t && slice_eq(b->type, SLICE("tool_use")) && !b->user)
        return read_call(p, b, t);
    if (t && !b->user && slice_eq(b->type, SLICE("thinking"))) {
        t->begins_with_thinking |= first;
        return read_thinking(p, b);
    }
    if (t && !b->user && slice_eq(b->type, SLICE("redacted_thinking"))) {
        t->begins_with_thinking |= first;
        return true;
    }
    return NO(p,
              "messages.%zu.content.%zu: Input tag '%.*s' found using 'type' does not match any "
              "of the expected tags",
              b->message, b->index, SLICE_ARG(b->type));
}

static bool read_blocks(struct question_parse *p, struct block *b, struct json_value content,
                        struct turns *t, struct joined *text)
{
    struct json_iter it;
    struct json_member m;
    json_iter_init(&it, content);
    for (b->index = 0; json_iter_next(&it, &m); b->index++) {
        b->v = m.value;
        if (!read_block(p, b, t, text))
            return false;
    }
    return true;
}

/* ---- messages ---- */

/* A string or an array of blocks. *text: the texts of the message joined. */
static bool read_content(struct question_parse *p, struct block *b, struct json_value message,
                         struct turns *t, struct slice *text)
{
    struct json_value content;
    struct joined all = {0};
    if (!question_given(message, SLICE("content"), &content))
        return NO(p, "messages.%zu.content: Field required", b->message);
    if (content.type == JSON_STRING) {
        *text = question_decode(p, content);
        p->text_bytes += text->n;
        return text->n ||
               NO(p, "messages.%zu: user messages must have non-empty content", b->message);
    }
    if (content.type != JSON_ARRAY)
        return NO(p, "messages.%zu.content: Input should be a valid list", b->message);
    all.p = arena_alloc(p->arena, content.text.n + 1);
    if (!read_blocks(p, b, content, t, &all))
        return false;
    *text = slice_make(all.p, all.n);
    return b->index || NO(p, "messages.%zu: user messages must have non-empty content", b->message);
}

static bool no_call_is_open(struct question_parse *p, const struct turns *t, size_t message)
{
    return !t->call_count ||
           NO(p,
              "messages.%zu: `tool_use` ids were found without `tool_result` blocks immediately "
              "after: %.*s. Each `tool_use` block must have a corresponding `tool_result` block "
              "in the next message.",
              message, SLICE_ARG(t->calls[0]));
}

/* A string or text blocks. */
static bool read_system_texts(struct question_parse *p, struct json_value content)
{
    struct json_iter it;
    struct json_member m;
    struct slice text;
    if (content.type == JSON_STRING) {
        p->text_bytes += question_decode(p, content).n;
        return true;
    }
    if (content.type != JSON_ARRAY)
        return NO(p, "system: Input should be a valid string or list");
    json_iter_init(&it, content);
    while (json_iter_next(&it, &m)) {
        if (!string_member(p, m.value, SLICE("text"), &text) || !text_strip(text).n)
            return NO(p, "system: text content blocks must contain non-whitespace text");
        p->text_bytes += text.n;
    }
    return true;
}

static bool read_system(struct question_parse *p, struct turns *t)
{
    struct json_value system;
    if (!question_given(p->body, SLICE("system"), &system))
        return true;
    t->others++;
    return read_system_texts(p, system);
}

/* Later instructions, after a user's turn. */
static bool read_later_system(struct question_parse *p, size_t index, struct json_value message,
                              struct turns *t)
{
    struct json_value content;
    if (!t->after_user)
        return NO(p, "messages.%zu: role 'system' must follow a user message", index);
    if (!question_given(message, SLICE("content"), &content))
        return NO(p, "messages.%zu.content: Field required", index);
    t->others++;
    return read_system_texts(p, content);
}

static bool read_message(struct question_parse *p, size_t index, struct json_value message,
                         struct turns *t)
{
    struct json_value role = {0};
    struct slice text;
    question_given(message, SLICE("role"), &role);
    struct block b = {.message = index, .user = is_text(role, SLICE("user"))};
    if (is_text(role, SLICE("system")))
        return read_later_system(p, index, message, t);
    if (!b.user && !is_text(role, SLICE("assistant")))
        return NO(p, "messages.%zu.role: Input should be 'user', 'assistant' or 'system'", index);
    t->in_loop = false;
    if (!b.user)
        t->begins_with_thinking = false;
    if (!read_content(p, &b, message, t, &text))
        return false;
    if (b.user && text.n)
        p->q->text = text;
    p->q->after_tool = t->in_loop && !text.n;
    *(b.user ? &t->users : &t->others) += 1;
    t->after_user = b.user;
    return !b.user || no_call_is_open(p, t, index);
}

static bool read_messages(struct question_parse *p, struct turns *t)
{
    struct json_value messages;
    struct json_iter it;
    struct json_member m;
    size_t n = 0;
    if (!question_given(p->body, SLICE("messages"), &messages))
        return NO(p, "messages: Field required");
    if (messages.type != JSON_ARRAY)
        return NO(p, "messages: Input should be a valid list");
    t->calls = ARENA_ARRAY(p->arena, struct slice, messages.text.n / 16 + 1); /* a call is longer */
    json_iter_init(&it, messages);
    for (; json_iter_next(&it, &m); n++)
        if (!read_message(p, n, m.value, t))
            return false;
    if (!n)
        return NO(p, "messages: at least one message is required");
    p->q->plain = t->users == 1 && t->others == 0 && p->images == 0;
    p->q->inputs = &p->q->text;
    p->q->input_count = 1;
    return no_call_is_open(p, t, n - 1);
}

/* ---- the rest ---- */

static bool read_stops(struct question_parse *p)
{
    struct json_value stops;
    struct json_iter it;
    struct json_member m;
    struct question *q = p->q;
    if (!question_given(p->body, SLICE("stop_sequences"), &stops))
        return true;
    if (stops.type != JSON_ARRAY)
        return NO(p, "stop_sequences: Input should be a valid list");
    json_iter_init(&it, stops);
    while (json_iter_next(&it, &m)) {
        if (m.value.type != JSON_STRING || q->stop_count == STOPS_MAX)
            return NO(p, "stop_sequences: up to %zu strings", STOPS_MAX);
        struct slice stop = question_decode(p, m.value);
        if (!text_strip(stop).n)
            return NO(p, "stop_sequences: each stop sequence must contain non-whitespace");
        q->stops[q->stop_count++] = stop;
    }
    return true;
}

static bool read_tool(struct question_parse *p, size_t index, struct json_value tool)
{
    struct question *q = p->q;
    struct question_tool *out = &q->tools[q->tool_count];
    struct json_value type, schema_type;
    if (question_given(tool, SLICE("type"), &type) && !is_text(type, SLICE("custom")))
        return true; /* a tool of the server's own: accepted, never called */
    if (!string_member(p, tool, SLICE("name"), &out->name) || !is_name(out->name, NAME_MAX_BYTES))
        return NO(p, "tools.%zu.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
                  index);
    if (!question_given(tool, SLICE("input_schema"), &out->schema) ||
        !question_given(out->schema, SLICE("type"), &schema_type) ||
        !is_text(schema_type, SLICE("object")))
        return NO(p, "tools.%zu.custom.input_schema.type: Input should be 'object'", index);
    for (size_t i = 0; i < q->tool_count; i++)
        if (slice_eq(q->tools[i].name, out->name))
            return NO(p, "tools: Tool names must be unique.");
    q->tool_count++;
    return true;
}

static bool read_choice(struct question_parse *p)
{
    struct question *q = p->q;
    struct json_value choice, type, one;
    if (!question_given(p->body, SLICE("tool_choice"), &choice))
        return true;
    if (!question_given(choice, SLICE("type"), &type))
        return NO(p, "tool_choice.type: Field required");
    if (!q->tools)
        return NO(p, "tool_choice: may only be specified while providing tools");
    if (question_given(choice, SLICE("disable_parallel_tool_use"), &one))
        q->parallel = one.type != JSON_TRUE;
    q->choice = is_text(type, SLICE("none"))   ? CHOICE_NONE
                : is_text(type, SLICE("any"))  ? CHOICE_REQUIRED
                : is_text(type, SLICE("tool")) ? CHOICE_NAMED
                                               : CHOICE_AUTO;
    if (q->choice == CHOICE_AUTO)
        return is_text(type, SLICE("auto")) ||
               NO(p, "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'");
    if (q->choice != CHOICE_NAMED)
        return true;
    if (!string_member(p, choice, SLICE("name"), &q->forced))
        return NO(p, "tool_choice.tool.name: Field required");
    for (size_t i = 0; i < q->tool_count; i++)
        if (slice_eq(q->tools[i].name, q->forced))
            return true;
    return NO(p, "tool_choice: Tool '%.*s' not found in provided tools", SLICE_ARG(q->forced));
}

static bool read_tools(struct question_parse *p)
{
    struct json_value tools;
    struct json_iter it;
    struct json_member m;
    p->q->parallel = true;
    if (question_given(p->body, SLICE("tools"), &tools)) {
        if (tools.type != JSON_ARRAY)
            return NO(p, "tools: Input should be a valid list");
        p->q->tools = question_tool_list(p, tools);
        json_iter_init(&it, tools);
        for (size_t i = 0; json_iter_next(&it, &m); i++)
            if (!read_tool(p, i, m.value))
                return false;
    }
    return read_choice(p);
}

static bool read_thinking_wish(struct question_parse *p, enum thinking *out)
{
    struct json_value thinking, type = {0}, v;
    int64_t budget = 0;
    *out = THINKING_OFF;
    if (!question_given(p->body, SLICE("thinking"), &thinking))
        return true;
    question_given(thinking, SLICE("type"), &type);
    if (is_text(type, SLICE("disabled")))
        return true;
    p->q->thinking = true;
    *out = is_text(type, SLICE("adaptive")) ? THINKING_ADAPTIVE : THINKING_BUDGET;
    if (*out == THINKING_ADAPTIVE)
        return true;
    if (!is_text(type, SLICE("enabled")))
        return NO(p, "thinking.type: Input should be 'enabled', 'disabled' or 'adaptive'");
    if (!question_given(thinking, SLICE("budget_tokens"), &v) || !json_int(v, &budget) ||
        budget < THINKING_MIN_BUDGET)
        return NO(p, "thinking.enabled.budget_tokens: Input should be greater than or equal to "
                     "1024");
    return p->q->max_tokens < 0 || p->q->max_tokens > budget ||
           NO(p, "`max_tokens` must be greater than `thinking.budget_tokens`.");
}

/* What does not go together with a thinking budget. */
static bool check_thinking(struct question_parse *p, const struct turns *t)
{
    struct json_value v;
    double x;
    if (question_given(p->body, SLICE("temperature"), &v) && json_number(v, &x) && x < 1)
        return NO(p, "`temperature` may only be set to 1 when thinking is enabled.");
    if (p->q->choice == CHOICE_REQUIRED || p->q->choice == CHOICE_NAMED)
        return NO(p, "Thinking may not be enabled when tool_choice forces tool use.");
    if (t->in_loop && !t->begins_with_thinking)
        return NO(p, "messages: Expected `thinking` or `redacted_thinking`, but found `tool_use`. "
                     "When `thinking` is enabled, a final `assistant` message must start with a "
                     "thinking block.");
    return true;
}

static bool read_format(struct question_parse *p)
{
    struct json_value config, format, type;
    if (!question_given(p->body, SLICE("output_config"), &config) ||
        !question_given(config, SLICE("format"), &format))
        return true;
    if (!question_given(format, SLICE("type"), &type) || !is_text(type, SLICE("json_schema")))
        return NO(p, "output_config.format.type: Input should be 'json_schema'");
    if (!question_given(format, SLICE("schema"), &p->q->schema) || p->q->schema.type != JSON_OBJECT)
        return NO(p, "output_config.format.schema: Field required");
    p->q->format = FORMAT_JSON_SCHEMA;
    return true;
}

/* The members that steer sampling: checked, and never looked at again. */
static bool read_sampling(struct question_parse *p)
{
    static const char *const names[] = {"temperature", "top_p", "top_k"};
    struct json_value v;
    int64_t top_k;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (question_given(p->body, slice_str(names[i]), &v))
            p->q->since_2026 = names[i];
    return question_number(p, "temperature", 0, 1) && question_number(p, "top_p", 0, 1) &&
           question_int(p, "top_k", 0, INT32_MAX, &top_k);
}

/* No conversation is kept: one may be begun, which says nothing yet, and never be gone on with. */
static bool check_thread(struct question_parse *p)
{
    struct json_value thread, type = {0};
    if (!question_given(p->body, SLICE("thread"), &thread) ||
        (question_given(thread, SLICE("type"), &type) && is_text(type, SLICE("create"))))
        return true;
    refusal_say(p->no, 400, NULL, "thread_unsupported_request",
                "thread: this model does not support message threads");
    return false;
}

bool question_messages(struct question_parse *p)
{
    struct question *q = p->q;
    struct turns t = {0};
    enum thinking thinking;
    if (!check_thread(p))
        return false;
    if (!read_system(p, &t) || !read_messages(p, &t) || !read_tools(p))
        return false;
    if (q->api == API_COUNT_TOKENS)
        return true;
    if (!question_int(p, "max_tokens", 1, INT32_MAX, &q->max_tokens) ||
        !question_bool(p, "stream", &q->stream) || !read_sampling(p) || !read_stops(p) ||
        !read_format(p) || !read_thinking_wish(p, &thinking))
        return false;
    if (q->max_tokens < 0)
        return NO(p, "max_tokens: Field required");
    q->include_usage = true;
    return thinking != THINKING_BUDGET || check_thinking(p, &t);
}
