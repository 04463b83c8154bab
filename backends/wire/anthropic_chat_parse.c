/* Anthropic Messages request -> chat. Owns nothing; called for a request whose route may leave the
 * dialect, and for count_tokens. `system` becomes a first message of role SYSTEM. */
#include "backends/wire/anthropic_chat.h"
#include "backends/wire/chat_reader.h"

/* ---- sources of images and documents ---- */

static bool read_source(struct chat_reader *r, struct json_value source, struct chat_part *p)
{
    struct json_value type = {0}, media_type = {0}, data = {0}, url = {0}, file_id = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &type},       {"media_type", CHAT_STRING, &media_type},
        {"data", CHAT_STRING, &data},       {"url", CHAT_STRING, &url},
        {"file_id", CHAT_STRING, &file_id},
    };
    const char *missing = NULL;

    if (source.text.n == 0)
        return chat_missing(r, "source");
    if (source.type != JSON_OBJECT)
        return chat_wrong_type(r, "source", "an object", source);
    chat_enter(r, "source");
    if (!CHAT_READ(r, source, fields))
        return false;
    if (chat_is(r, type, "base64"))
        missing = media_type.text.n == 0 ? "media_type" : data.text.n == 0 ? "data" : NULL;
    else if (chat_is(r, type, "url"))
        missing = url.text.n == 0 ? "url" : NULL;
    else if (chat_is(r, type, "file"))
        missing = file_id.text.n == 0 ? "file_id" : NULL;
    else if (type.text.n == 0)
        missing = "type";
    else if (!chat_unknown_at(r, "type", type)) /* text and content documents */
        return false;
    if (missing)
        return chat_missing(r, missing);
    chat_leave(r);
    p->media_type = chat_text(r, media_type);
    p->data = chat_text(r, data);
    p->url = chat_text(r, url);
    p->file_id = chat_text(r, file_id);
    return true;
}

/* ---- blocks ---- */

/* The members of any block; which of them belong depends on its type. Server tools' blocks give
 * some of them values of other types: source and content are looked at where they are used. */
struct block_members {
    struct json_value type, text, thinking, signature, data, source, title, context, citations, id,
        name, input, tool_use_id, content, is_error, cache;
};

static bool read_result_block(struct chat_reader *r, struct json_value block, int at, void *end);

static bool read_document(struct chat_reader *r, const struct block_members *v, struct chat_part *p)
{
    struct json_value enabled = {0};
    const struct chat_field fields[] = {{"enabled", CHAT_BOOL, &enabled}};

    p->name = chat_text(r, v->title);
    if (v->context.text.n && !chat_unknown_at(r, "context", v->context))
        return false;
    if (v->citations.text.n) {
        chat_enter(r, "citations");
        if (!CHAT_READ(r, v->citations, fields))
            return false;
        chat_leave(r);
        if (chat_flag(enabled) == CHAT_YES && !chat_unknown_at(r, "citations", v->citations))
            return false;
    }
    return read_source(r, v->source, p);
}

static bool read_tool_use(struct chat_reader *r, const struct block_members *v, struct chat_part *p)
{
    if (v->id.text.n == 0 || v->name.text.n == 0 || v->input.text.n == 0)
        return chat_missing(r, v->id.text.n == 0 ? "id" : v->name.text.n == 0 ? "name" : "input");
    if (v->input.type != JSON_OBJECT)
        return chat_wrong_type(r, "input", "an object", v->input);
    p->id = chat_text(r, v->id);
    p->name = chat_text(r, v->name);
    p->text = v->input.text;
    return true;
}

static bool read_tool_result(struct chat_reader *r, const struct block_members *v,
                             struct chat_part *p)
{
    struct chat_part **inner = &p->parts;

    if (v->tool_use_id.text.n == 0)
        return chat_missing(r, "tool_use_id");
    if (v->content.text.n && v->content.type != JSON_STRING && v->content.type != JSON_ARRAY)
        return chat_wrong_type(r, "content", "one of a string or an array", v->content);
    p->id = chat_text(r, v->tool_use_id);
    p->is_error = chat_flag(v->is_error) == CHAT_YES;
    return chat_read_content(r, "content", v->content, read_result_block, &inner);
}

static bool read_text_block(struct chat_reader *r, const struct block_members *v,
                            struct chat_part *p)
{
    p->text = chat_text(r, v->text);
    if (v->citations.text.n && v->citations.type == JSON_ARRAY) {
        struct json_iter it; /* an echoed answer says which documents it cites: [] is none */
        struct json_member m;
        json_iter_init(&it, v->citations);
        if (json_iter_next(&it, &m) && !chat_unknown_at(r, "citations", v->citations))
            return false;
    }
    return chat_given(p->text) || chat_missing(r, "text");
}

static bool fill_block(struct chat_reader *r, const struct block_members *v, struct chat_part *p)
{
    switch (p->kind) {
    case CHAT_PART_TEXT:
        return read_text_block(r, v, p);
    case CHAT_PART_THINKING:
        p->text = chat_text(r, v->thinking);
        p->signature = chat_text(r, v->signature);
        return chat_given(p->text) || chat_missing(r, "thinking");
    case CHAT_PART_REDACTED_THINKING:
        p->data = chat_text(r, v->data);
        return chat_given(p->data) || chat_missing(r, "data");
    case CHAT_PART_IMAGE:
        return read_source(r, v->source, p);
    case CHAT_PART_DOCUMENT:
        return read_document(r, v, p);
    case CHAT_PART_TOOL_CALL:
        return read_tool_use(r, v, p);
    case CHAT_PART_TOOL_RESULT:
        return read_tool_result(r, v, p);
    case CHAT_PART_REFUSAL:
    case CHAT_PART_AUDIO:
        break;
    }
    return true;
}

static bool add_block(struct chat_reader *r, const struct block_members *v, bool in_result, int at,
                      struct chat_part ***end)
{
    static const struct {
        const char *type;
        enum chat_part_kind kind;
        bool in_result; /* may stand in a tool's result */
    } kinds[] = {
        {"text", CHAT_PART_TEXT, true},
        {"image", CHAT_PART_IMAGE, true},
        {"document", CHAT_PART_DOCUMENT, true},
        {"tool_use", CHAT_PART_TOOL_CALL, false},
        {"tool_result", CHAT_PART_TOOL_RESULT, false},
        {"thinking", CHAT_PART_THINKING, false},
        {"redacted_thinking", CHAT_PART_REDACTED_THINKING, false},
    };
    struct chat_part *p;

    if (v->type.text.n == 0)
        return chat_missing(r, "type");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!chat_is(r, v->type, kinds[i].type) || (in_result && !kinds[i].in_result))
            continue;
        p = chat_add_part(r, end, kinds[i].kind, at);
        if (!p)
            return false;
        p->cache_control = chat_raw(v->cache);
        return fill_block(r, v, p);
    }
    return chat_unknown_at(r, "type", v->type); /* server tools, search results */
}

static bool read_any_block(struct chat_reader *r, struct json_value block, bool in_result, int at,
                           struct chat_part ***end)
{
    struct block_members v = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &v.type},
        {"text", CHAT_STRING, &v.text},
        {"thinking", CHAT_STRING, &v.thinking},
        {"signature", CHAT_STRING, &v.signature},
        {"data", CHAT_STRING, &v.data},
        {"source", CHAT_ANY, &v.source},
        {"title", CHAT_STRING, &v.title},
        {"context", CHAT_STRING, &v.context},
        {"citations", CHAT_OBJECT | CHAT_ARRAY, &v.citations},
        {"id", CHAT_STRING, &v.id},
        {"name", CHAT_STRING, &v.name},
        {"input", CHAT_ANY, &v.input},
        {"tool_use_id", CHAT_STRING, &v.tool_use_id},
        {"content", CHAT_ANY, &v.content},
        {"is_error", CHAT_BOOL, &v.is_error},
        {"cache_control", CHAT_OBJECT, &v.cache},
    };

    return CHAT_READ(r, block, fields) && add_block(r, &v, in_result, at, end);
}

static bool read_block(struct chat_reader *r, struct json_value block, int at, void *end)
{
    return read_any_block(r, block, false, at, end);
}

/* A result nests once. */
static bool read_result_block(struct chat_reader *r, struct json_value block, int at, void *end)
{
    return read_any_block(r, block, true, at, end);
}

/* ---- messages and system ---- */

static bool read_system_block(struct chat_reader *r, struct json_value block, int at, void *end)
{
    struct chat_part ***parts = end;
    struct json_value type = {0}, text = {0}, cache = {0}, citations = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &type},
        {"text", CHAT_STRING, &text},
        {"cache_control", CHAT_OBJECT, &cache},
        {"citations", CHAT_ARRAY, &citations},
    };
    struct chat_part *p;

    if (!CHAT_READ(r, block, fields))
        return false;
    if (type.text.n == 0 || text.text.n == 0)
        return chat_missing(r, type.text.n == 0 ? "type" : "text");
    if (!chat_is(r, type, "text"))
        return chat_fail(r, "type", "The system prompt consists of text blocks.");
    p = chat_add_part(r, parts, CHAT_PART_TEXT, at);
    if (!p)
        return false;
    p->text = chat_text(r, text);
    p->cache_control = chat_raw(cache);
    return true;
}

static bool read_system(struct chat_reader *r, struct json_value system, struct chat_message ***end)
{
    struct chat_message *m;
    struct chat_part **parts;

    if (system.text.n == 0)
        return true;
    m = chat_add_message(r, end, CHAT_SYSTEM, -1);
    if (!m)
        return false;
    parts = &m->parts;
    return chat_read_content(r, "system", system, read_system_block, &parts);
}

/* Later instructions may stand among the messages (guide "Mid-conversation system messages"). */
static bool read_message(struct chat_reader *r, struct json_value message, int at, void *end)
{
    struct json_value role = {0}, content = {0};
    const struct chat_field fields[] = {{"role", CHAT_STRING, &role},
                                        {"content", CHAT_STRING | CHAT_ARRAY, &content}};
    struct chat_message *m;
    struct chat_part **parts;
    bool system;

    if (!CHAT_READ(r, message, fields))
        return false;
    if (role.text.n == 0 || content.text.n == 0)
        return chat_missing(r, role.text.n == 0 ? "role" : "content");
    system = chat_is(r, role, "system");
    if (!system && !chat_is(r, role, "user") && !chat_is(r, role, "assistant"))
        return chat_fail(r, "role",
                         "Unexpected role: the Messages API has 'user', 'assistant' and 'system'.");
    m = chat_add_message(r, end,
                         system                     ? CHAT_SYSTEM
                         : chat_is(r, role, "user") ? CHAT_USER
                                                    : CHAT_ASSISTANT,
                         at);
    if (!m)
        return false;
    parts = &m->parts;
    return chat_read_content(r, "content", content, system ? read_system_block : read_block,
                             &parts);
}

static bool read_messages(struct chat_reader *r, struct json_value messages,
                          struct chat_message **end)
{
    struct chat_message **first = end;

    if (messages.text.n == 0)
        return chat_missing(r, "messages");
    if (!chat_read_list(r, "messages", messages, read_message, &end))
        return false;
    return *first || chat_fail(r, "messages", "messages: at least one message is required");
}

/* ---- tools ---- */

static bool read_tool(struct chat_reader *r, struct json_value tool, int at, void *end)
{
    struct json_value type = {0};
    struct chat_tool_members v = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &type},
        {"name", CHAT_STRING, &v.name},
        {"description", CHAT_STRING, &v.description},
        {"input_schema", CHAT_OBJECT, &v.parameters},
        {"strict", CHAT_BOOL, &v.strict},
        {"cache_control", CHAT_OBJECT, &v.cache},
        {"eager_input_streaming", CHAT_BOOL, NULL}, /* when fragments are sent, not which */
    };

    if (!CHAT_READ(r, tool, fields))
        return false;
    if (type.text.n && !chat_is(r, type, "custom")) /* of Anthropic's servers or clients */
        return chat_unknown_at(r, "type", type);
    if (v.name.text.n == 0 || v.parameters.text.n == 0)
        return chat_missing(r, v.name.text.n == 0 ? "name" : "input_schema");
    return chat_add_tool(r, end, at, &v);
}

static bool read_choice(struct chat_reader *r, struct json_value choice)
{
    static const char *const names[] = {
        [CHAT_CHOICE_AUTO] = "auto",
        [CHAT_CHOICE_NONE] = "none",
        [CHAT_CHOICE_REQUIRED] = "any",
        [CHAT_CHOICE_NAMED] = "tool",
    };
    struct json_value type = {0}, name = {0}, alone = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &type},
        {"name", CHAT_STRING, &name},
        {"disable_parallel_tool_use", CHAT_BOOL, &alone},
    };

    if (choice.text.n == 0)
        return true;
    chat_enter(r, "tool_choice");
    if (!CHAT_READ(r, choice, fields))
        return false;
    if (type.text.n == 0)
        return chat_missing(r, "type");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i] && chat_is(r, type, names[i]))
            r->chat->tool_choice = (enum chat_choice)i;
    if (r->chat->tool_choice == CHAT_CHOICE_UNSET && !chat_unknown_at(r, "type", type))
        return false;
    if (r->chat->tool_choice == CHAT_CHOICE_NAMED && name.text.n == 0)
        return chat_missing(r, "name");
    chat_leave(r);
    r->chat->tool_choice_name = chat_text(r, name);
    if (alone.text.n)
        r->chat->parallel = chat_flag(alone) == CHAT_YES ? CHAT_NO : CHAT_YES;
    return true;
}

/* ---- thinking and output ---- */

static bool read_thinking(struct chat_reader *r, struct json_value thinking)
{
    struct json_value type = {0}, budget = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &type},
        {"budget_tokens", CHAT_NUMBER, &budget},
        {"display", CHAT_STRING, NULL}, /* how much of the thinking is shown */
    };

    if (thinking.text.n == 0)
        return true;
    chat_enter(r, "thinking");
    if (!CHAT_READ(r, thinking, fields))
        return false;
    if (type.text.n == 0)
        return chat_missing(r, "type");
    if (chat_is(r, type, "enabled")) {
        r->chat->thinking = CHAT_THINKING_BUDGET;
        if (budget.text.n == 0)
            return chat_missing(r, "budget_tokens");
        if (!chat_int(r, "budget_tokens", budget, 1, &r->chat->thinking_budget_tokens))
            return false;
    } else if (chat_is(r, type, "disabled")) {
        r->chat->thinking = CHAT_THINKING_OFF;
    } else if (chat_is(r, type, "adaptive")) {
        r->chat->thinking = CHAT_THINKING_ADAPTIVE;
    } else if (!chat_unknown_at(r, "type", type)) {
        return false;
    }
    chat_leave(r);
    return true;
}

static bool read_output_format(struct chat_reader *r, struct json_value format)
{
    struct json_value type = {0}, schema = {0};
    const struct chat_field fields[] = {{"type", CHAT_STRING, &type},
                                        {"schema", CHAT_OBJECT, &schema}};

    if (format.text.n == 0)
        return true;
    chat_enter(r, "format");
    if (!CHAT_READ(r, format, fields))
        return false;
    if (type.text.n == 0)
        return chat_missing(r, "type");
    if (!chat_is(r, type, "json_schema")) {
        if (!chat_unknown_at(r, "type", type))
            return false;
    } else if (schema.text.n == 0) {
        return chat_missing(r, "schema");
    } else {
        r->chat->format = CHAT_FORMAT_JSON_SCHEMA;
        r->chat->schema = chat_raw(schema);
        r->chat->schema_strict = CHAT_YES; /* the API guarantees it */
    }
    chat_leave(r);
    return true;
}

static bool read_output(struct chat_reader *r, struct json_value output)
{
    struct json_value effort = {0}, format = {0};
    const struct chat_field fields[] = {{"effort", CHAT_STRING, &effort},
                                        {"format", CHAT_OBJECT, &format}};

    if (output.text.n == 0)
        return true;
    chat_enter(r, "output_config");
    if (!CHAT_READ(r, output, fields))
        return false;
    if (!chat_read_effort(r, "effort", effort) || !read_output_format(r, format))
        return false;
    chat_leave(r);
    return true;
}

/* ---- the request ---- */

struct request_members {
    struct json_value model, messages, system, max_tokens, temperature, top_p, top_k, stops, stream,
        tools, tool_choice, thinking, output, cache, thread;
};

/* A conversation kept by the server that began it (guide "Message threads"). A request that begins
 * one has the whole conversation and goes anywhere; one that goes on with it has only what is new,
 * and nothing else of it is looked at: no other server can answer it. */
static bool read_thread(struct chat_reader *r, struct json_value thread, bool *goes_on)
{
    struct json_value type = {0};
    const struct chat_field fields[] = {{"type", CHAT_STRING, &type},
                                        {"previous_message_id", CHAT_STRING, NULL}};

    *goes_on = false;
    if (thread.text.n == 0)
        return true;
    chat_enter(r, "thread");
    if (!CHAT_READ(r, thread, fields))
        return false;
    chat_leave(r);
    *goes_on = !chat_is(r, type, "create");
    return !*goes_on || chat_unknown_at(r, "thread", thread);
}

static bool read_sampling(struct chat_reader *r, const struct request_members *v,
                          enum anthropic_call call)
{
    struct chat *c = r->chat;
    int64_t limit;

    if (v->max_tokens.text.n == 0 && call == ANTHROPIC_MESSAGES)
        return chat_missing(r, "max_tokens");
    if (v->max_tokens.text.n && !chat_int(r, "max_tokens", v->max_tokens, 0, &limit))
        return false;
    c->max_tokens = chat_raw(v->max_tokens);
    c->max_tokens_name = chat_given(c->max_tokens) ? "max_tokens" : NULL;
    c->temperature = chat_raw(v->temperature);
    c->top_p = chat_raw(v->top_p);
    c->top_k = chat_raw(v->top_k);
    c->cache_control = chat_raw(v->cache);
    /* Every stream of this API ends with its usage. */
    c->stream = v->stream.type == JSON_TRUE && v->stream.text.n;
    c->include_usage = c->stream;
    return chat_read_stops(r, "stop_sequences", v->stops, false);
}

static bool read_request(struct chat_reader *r, const struct request_members *v,
                         enum anthropic_call call)
{
    struct chat_message **end = &r->chat->messages;
    struct chat_tool **tools = &r->chat->tools;
    bool goes_on;

    if (!chat_read_model(r, v->model) || !read_thread(r, v->thread, &goes_on))
        return false;
    if (goes_on && call == ANTHROPIC_MESSAGES)
        return true;
    return read_system(r, v->system, &end) && read_messages(r, v->messages, end) &&
           chat_read_list(r, "tools", v->tools, read_tool, &tools) &&
           read_choice(r, v->tool_choice) && read_thinking(r, v->thinking) &&
           read_output(r, v->output) && read_sampling(r, v, call);
}

enum err anthropic_chat_parse(enum anthropic_call call, struct slice body, struct arena *a,
                              struct chat *out, const char **param, struct err_text *t)
{
    struct request_members v = {0};
    const struct chat_field fields[] = {
        {"model", CHAT_STRING, &v.model},
        {"messages", CHAT_ARRAY, &v.messages},
        {"system", CHAT_STRING | CHAT_ARRAY, &v.system},
        {"max_tokens", CHAT_NUMBER, &v.max_tokens},
        {"temperature", CHAT_NUMBER, &v.temperature},
        {"top_p", CHAT_NUMBER, &v.top_p},
        {"top_k", CHAT_NUMBER, &v.top_k},
        {"stop_sequences", CHAT_ARRAY, &v.stops},
        {"stream", CHAT_BOOL, &v.stream},
        {"tools", CHAT_ARRAY, &v.tools},
        {"tool_choice", CHAT_OBJECT, &v.tool_choice},
        {"thinking", CHAT_OBJECT, &v.thinking},
        {"output_config", CHAT_OBJECT, &v.output},
        {"cache_control", CHAT_OBJECT, &v.cache},
        {"thread", CHAT_OBJECT, &v.thread},
    };
    struct chat_reader r;
    struct json_value top;

    if (chat_reader_init(&r, CHAT_ANTHROPIC, body, out, a, param, t, &top) &&
        CHAT_READ(&r, top, fields))
        (void)read_request(&r, &v, call);
    return chat_reader_end(&r);
}
