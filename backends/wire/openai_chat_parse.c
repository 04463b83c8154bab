/* OpenAI Chat Completions request -> chat. Owns nothing; called for a request whose route may leave
 * the dialect. Member names in the order of the API reference.
 *
 * Known beyond the reference, because clients send them: cache_control on parts and tools
 * (OpenRouter), top_k (vLLM and others), reasoning_content or reasoning in an assistant's turn (the
 * thinking a server sent, echoed), index in echoed tool calls, annotations in echoed answers. */
#include "backends/wire/chat_reader.h"
#include "backends/wire/openai_chat.h"

/* ---- content parts ---- */

static bool read_image(struct chat_reader *r, struct json_value v, struct chat_part *p)
{
    struct json_value url = {0}, detail = {0};
    const struct chat_field fields[] = {{"url", CHAT_STRING, &url},
                                        {"detail", CHAT_STRING, &detail}};

    if (v.text.n == 0)
        return chat_missing(r, "image_url");
    if (v.type == JSON_STRING) { /* not in the reference, but understood by several servers */
        chat_set_url(p, chat_text(r, v));
        return true;
    }
    chat_enter(r, "image_url");
    if (!CHAT_READ(r, v, fields))
        return false;
    if (url.text.n == 0)
        return chat_missing(r, "url");
    chat_leave(r);
    chat_set_url(p, chat_text(r, url));
    p->detail = chat_text(r, detail);
    return true;
}

static bool read_file(struct chat_reader *r, struct json_value v, struct chat_part *p)
{
    struct json_value data = {0}, name = {0}, id = {0};
    const struct chat_field fields[] = {
        {"file_data", CHAT_STRING, &data},
        {"filename", CHAT_STRING, &name},
        {"file_id", CHAT_STRING, &id},
    };

    if (v.text.n == 0)
        return chat_missing(r, "file");
    chat_enter(r, "file");
    if (!CHAT_READ(r, v, fields))
        return false;
    if (data.text.n == 0 && id.text.n == 0)
        return chat_missing(r, "file_data");
    chat_leave(r);
    if (data.text.n)
        chat_set_url(p, chat_text(r, data));
    p->name = chat_text(r, name);
    p->file_id = chat_text(r, id);
    return true;
}

/* The members of any part; which of them belong depends on its type. */
struct part_members {
    struct json_value type, text, refusal, image, audio, file, cache;
};

static bool add_part(struct chat_reader *r, const struct part_members *v, int at,
                     struct chat_part ***end)
{
    static const struct {
        const char *type;
        enum chat_part_kind kind;
    } kinds[] = {{"text", CHAT_PART_TEXT},
                 {"refusal", CHAT_PART_REFUSAL},
                 {"image_url", CHAT_PART_IMAGE},
                 {"input_audio", CHAT_PART_AUDIO},
                 {"file", CHAT_PART_DOCUMENT}};
    struct chat_part *p;
    size_t i = 0;

    if (v->type.text.n == 0)
        return chat_missing(r, "type");
    while (i < sizeof(kinds) / sizeof(kinds[0]) && !chat_is(r, v->type, kinds[i].type))
        i++;
    if (i == sizeof(kinds) / sizeof(kinds[0]))
        return chat_unknown_at(r, "type", v->type);
    p = chat_add_part(r, end, kinds[i].kind, at);
    if (!p)
        return false;
    p->cache_control = chat_raw(v->cache);
    if (p->kind == CHAT_PART_IMAGE)
        return read_image(r, v->image, p);
    if (p->kind == CHAT_PART_AUDIO)
        return chat_read_audio(r, v->audio, p);
    if (p->kind == CHAT_PART_DOCUMENT)
        return read_file(r, v->file, p);
    p->text = chat_text(r, p->kind == CHAT_PART_TEXT ? v->text : v->refusal);
    return chat_given(p->text) || chat_missing(r, p->kind == CHAT_PART_TEXT ? "text" : "refusal");
}

static bool read_part(struct chat_reader *r, struct json_value part, int at, void *end)
{
    struct part_members v = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &v.type},
        {"text", CHAT_STRING, &v.text},
        {"refusal", CHAT_STRING, &v.refusal},
        {"image_url", CHAT_STRING | CHAT_OBJECT, &v.image},
        {"input_audio", CHAT_OBJECT, &v.audio},
        {"file", CHAT_OBJECT, &v.file},
        {"cache_control", CHAT_OBJECT, &v.cache},
    };

    return CHAT_READ(r, part, fields) && add_part(r, &v, at, end);
}

static bool read_content(struct chat_reader *r, struct json_value content, struct chat_part ***end)
{
    return chat_read_content(r, "content", content, read_part, end);
}

/* ---- tool calls ---- */

static bool read_call(struct chat_reader *r, struct json_value call, int at, void *end)
{
    struct json_value id = {0}, type = {0}, function = {0}, name = {0}, arguments = {0};
    const struct chat_field fields[] = {
        {"id", CHAT_STRING, &id},
        {"type", CHAT_STRING, &type},
        {"function", CHAT_OBJECT, &function},
        {"index", CHAT_NUMBER, NULL},
    };
    const struct chat_field inside[] = {{"name", CHAT_STRING, &name},
                                        {"arguments", CHAT_STRING, &arguments}};

    if (!CHAT_READ(r, call, fields))
        return false;
    if (type.text.n && !chat_is(r, type, "function"))
        return chat_unknown_at(r, "type", type);
    if (id.text.n == 0 || function.text.n == 0)
        return chat_missing(r, id.text.n == 0 ? "id" : "function");
    chat_enter(r, "function");
    if (!CHAT_READ(r, function, inside))
        return false;
    if (name.text.n == 0)
        return chat_missing(r, "name");
    chat_leave(r);
    return chat_add_call(r, end, at, id, name, arguments);
}

/* ---- messages ---- */

struct message_members {
    struct json_value role, content, name, refusal, tool_calls, tool_call_id, thinking, cache;
};

static bool role_of(struct chat_reader *r, struct json_value v, enum chat_role *role)
{
    static const char *const names[] = {
        [CHAT_SYSTEM] = "system",       [CHAT_DEVELOPER] = "developer", [CHAT_USER] = "user",
        [CHAT_ASSISTANT] = "assistant", [CHAT_TOOL] = "tool",
    };

    if (v.text.n == 0)
        return chat_missing(r, "role");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (chat_is(r, v, names[i])) {
            *role = (enum chat_role)i;
            return true;
        }
    return chat_fail(r, "role",
                     "Invalid value: '%.*s'. Supported values are: 'system', 'developer', 'user', "
                     "'assistant' and 'tool'.",
                     (int)(v.text.n < 66 ? v.text.n - 2 : 64), v.text.p + 1);
}

static bool read_assistant(struct chat_reader *r, const struct message_members *v,
                           struct chat_part ***end)
{
    struct chat_part *p;

    if (v->thinking.text.n) {
        p = chat_add_part(r, end, CHAT_PART_THINKING, 0);
        if (!p)
            return false;
        p->text = chat_text(r, v->thinking);
    }
    if (!read_content(r, v->content, end))
        return false;
    if (v->refusal.text.n) {
        p = chat_add_part(r, end, CHAT_PART_REFUSAL, 0);
        if (!p)
            return false;
        p->text = chat_text(r, v->refusal);
    }
    return chat_read_list(r, "tool_calls", v->tool_calls, read_call, end);
}

static bool read_tool_result(struct chat_reader *r, const struct message_members *v,
                             struct chat_part ***end)
{
    struct chat_part *p = chat_add_part(r, end, CHAT_PART_TOOL_RESULT, 0), **inner;

    if (!p)
        return false;
    if (v->tool_call_id.text.n == 0)
        return chat_missing(r, "tool_call_id");
    if (v->content.text.n == 0)
        return chat_missing(r, "content");
    p->id = chat_text(r, v->tool_call_id);
    p->cache_control = chat_raw(v->cache);
    inner = &p->parts;
    return read_content(r, v->content, &inner);
}

static bool add_message(struct chat_reader *r, const struct message_members *v, int at,
                        struct chat_message ***end)
{
    enum chat_role role = CHAT_USER;
    struct chat_message *m;
    struct chat_part **parts;

    if (!role_of(r, v->role, &role))
        return false;
    m = chat_add_message(r, end, role, at);
    if (!m)
        return false;
    parts = &m->parts;
    if (role == CHAT_TOOL) /* its name is the function's: the call says it already */
        return read_tool_result(r, v, &parts);
    m->name = chat_text(r, v->name);
    if (v->tool_call_id.text.n && !chat_unknown_at(r, "tool_call_id", v->tool_call_id))
        return false;
    if (role == CHAT_ASSISTANT)
        return read_assistant(r, v, &parts);
    if (v->tool_calls.text.n && !chat_unknown_at(r, "tool_calls", v->tool_calls))
        return false;
    if (v->content.text.n == 0)
        return chat_missing(r, "content");
    return read_content(r, v->content, &parts);
}

static bool read_message(struct chat_reader *r, struct json_value message, int at, void *end)
{
    struct message_members v = {0};
    const struct chat_field fields[] = {
        {"role", CHAT_STRING, &v.role},
        {"content", CHAT_STRING | CHAT_ARRAY, &v.content},
        {"name", CHAT_STRING, &v.name},
        {"refusal", CHAT_STRING, &v.refusal},
        {"tool_calls", CHAT_ARRAY, &v.tool_calls},
        {"tool_call_id", CHAT_STRING, &v.tool_call_id},
        {"reasoning_content", CHAT_STRING, &v.thinking},
        {"reasoning", CHAT_STRING, &v.thinking},
        {"reasoning_details", CHAT_ARRAY, NULL}, /* the same thinking once more, signed */
        {"annotations", CHAT_ARRAY, NULL},       /* of an echoed answer */
        {"cache_control", CHAT_OBJECT, &v.cache},
    };

    return CHAT_READ(r, message, fields) && add_message(r, &v, at, end);
}

static bool read_messages(struct chat_reader *r, struct json_value messages)
{
    struct chat_message **end = &r->chat->messages;

    if (messages.text.n == 0)
        return chat_missing(r, "messages");
    if (!chat_read_list(r, "messages", messages, read_message, &end))
        return false;
    return r->chat->messages || chat_fail(r, "messages", "Invalid 'messages': empty array.");
}

/* ---- tools ---- */

static bool read_function(struct chat_reader *r, struct json_value function, int at,
                          struct json_value cache, struct chat_tool ***end)
{
    struct chat_tool_members v = {.cache = cache};
    const struct chat_field fields[] = {
        {"name", CHAT_STRING, &v.name},
        {"description", CHAT_STRING, &v.description},
        {"parameters", CHAT_OBJECT, &v.parameters},
        {"strict", CHAT_BOOL, &v.strict},
    };

    chat_enter(r, "function");
    if (!CHAT_READ(r, function, fields))
        return false;
    if (v.name.text.n == 0)
        return chat_missing(r, "name");
    chat_leave(r);
    return chat_add_tool(r, end, at, &v);
}

static bool read_tool(struct chat_reader *r, struct json_value v, int at, void *end)
{
    struct json_value type = {0}, function = {0}, custom = {0}, cache = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &type},
        {"function", CHAT_OBJECT, &function},
        {"custom", CHAT_OBJECT, &custom},
        {"cache_control", CHAT_OBJECT, &cache},
    };

    if (!CHAT_READ(r, v, fields))
        return false;
    if (type.text.n == 0)
        return chat_missing(r, "type");
    if (!chat_is(r, type, "function"))
        return chat_unknown_at(r, "type", type);
    if (function.text.n == 0)
        return chat_missing(r, "function");
    return read_function(r, function, at, cache, end);
}

static bool read_named_choice(struct chat_reader *r, struct json_value choice)
{
    struct json_value type = {0}, function = {0}, name = {0};
    const struct chat_field fields[] = {{"type", CHAT_STRING, &type},
                                        {"function", CHAT_OBJECT, &function}};
    const struct chat_field inside[] = {{"name", CHAT_STRING, &name}};

    chat_enter(r, "tool_choice");
    if (!CHAT_READ(r, choice, fields))
        return false;
    if (type.text.n && !chat_is(r, type, "function")) { /* allowed_tools, custom */
        chat_leave(r);
        return chat_unknown_at(r, "tool_choice", choice);
    }
    if (function.text.n == 0)
        return chat_missing(r, "function");
    chat_enter(r, "function");
    if (!CHAT_READ(r, function, inside))
        return false;
    if (name.text.n == 0)
        return chat_missing(r, "name");
    chat_leave(r);
    chat_leave(r);
    r->chat->tool_choice = CHAT_CHOICE_NAMED;
    r->chat->tool_choice_name = chat_text(r, name);
    return true;
}

static bool read_choice(struct chat_reader *r, struct json_value choice)
{
    if (choice.text.n == 0)
        return true;
    if (choice.type == JSON_OBJECT)
        return read_named_choice(r, choice);
    if (chat_is(r, choice, "any")) /* Mistral's word */
        r->chat->tool_choice = CHAT_CHOICE_REQUIRED;
    else if (!chat_set_choice(r, choice))
        return chat_unknown_at(r, "tool_choice", choice);
    return true;
}

/* ---- response_format ---- */

static bool read_schema(struct chat_reader *r, struct json_value schema)
{
    struct chat_schema_members v = {0};
    const struct chat_field fields[] = {
        {"name", CHAT_STRING, &v.name},
        {"description", CHAT_STRING, &v.description},
        {"schema", CHAT_OBJECT, &v.schema},
        {"strict", CHAT_BOOL, &v.strict},
    };

    if (schema.text.n == 0)
        return chat_missing(r, "json_schema");
    chat_enter(r, "json_schema");
    if (!CHAT_READ(r, schema, fields))
        return false;
    if (v.name.text.n == 0)
        return chat_missing(r, "name");
    chat_leave(r);
    chat_set_schema(r, &v);
    return true;
}

static bool read_format(struct chat_reader *r, struct json_value format)
{
    struct json_value type = {0}, schema = {0};
    const struct chat_field fields[] = {{"type", CHAT_STRING, &type},
                                        {"json_schema", CHAT_OBJECT, &schema}};
    bool ok = true;

    if (format.text.n == 0)
        return true;
    chat_enter(r, "response_format");
    if (!CHAT_READ(r, format, fields))
        return false;
    if (type.text.n == 0)
        return chat_missing(r, "type");
    if (chat_is(r, type, "text"))
        r->chat->format = CHAT_FORMAT_TEXT;
    else if (chat_is(r, type, "json_object"))
        r->chat->format = CHAT_FORMAT_JSON_OBJECT;
    else if (chat_is(r, type, "json_schema"))
        ok = read_schema(r, schema);
    else
        ok = chat_unknown_at(r, "type", type);
    if (ok)
        chat_leave(r);
    return ok;
}

/* ---- the request ---- */

struct request_members {
    struct json_value model, messages, tools, tool_choice, parallel, format, max_completion_tokens,
        max_tokens, temperature, top_p, top_k, stop, seed, frequency_penalty, presence_penalty, n,
        logprobs, top_logprobs, logit_bias, effort, verbosity, stream, stream_options;
};

static bool read_stream(struct chat_reader *r, const struct request_members *v)
{
    struct json_value usage = {0}, throughout = {0};
    const struct chat_field fields[] = {
        {"include_usage", CHAT_BOOL, &usage},
        {"continuous_usage_stats", CHAT_BOOL, &throughout}, /* vLLM, SGLang */
        {"include_obfuscation", CHAT_BOOL, NULL},           /* padding against traffic analysis */
    };

    r->chat->stream = v->stream.type == JSON_TRUE && v->stream.text.n;
    if (v->stream_options.text.n == 0)
        return true;
    chat_enter(r, "stream_options");
    if (!CHAT_READ(r, v->stream_options, fields))
        return false;
    chat_leave(r);
    r->chat->include_usage = chat_flag(usage) == CHAT_YES;
    r->chat->usage_throughout = r->chat->include_usage && chat_flag(throughout) == CHAT_YES;
    return true;
}

static bool read_limits(struct chat_reader *r, const struct request_members *v)
{
    bool new_name = v->max_completion_tokens.text.n > 0;
    struct json_value limit = new_name ? v->max_completion_tokens : v->max_tokens;
    const char *name = new_name ? "max_completion_tokens" : "max_tokens";
    int64_t number;

    if (limit.text.n && !chat_int(r, name, limit, 1, &number))
        return false;
    r->chat->max_tokens_name = limit.text.n ? name : NULL;
    if (v->n.text.n && !chat_int(r, "n", v->n, 1, &number))
        return false;
    if (v->top_logprobs.text.n && !chat_int(r, "top_logprobs", v->top_logprobs, 0, &number))
        return false;
    r->chat->max_tokens = chat_raw(limit);
    r->chat->n = chat_raw(v->n);
    r->chat->top_logprobs = chat_raw(v->top_logprobs);
    return true;
}

static bool read_sampling(struct chat_reader *r, const struct request_members *v)
{
    struct chat *c = r->chat;

    c->temperature = chat_raw(v->temperature);
    c->top_p = chat_raw(v->top_p);
    c->top_k = chat_raw(v->top_k);
    c->seed = chat_raw(v->seed);
    c->frequency_penalty = chat_raw(v->frequency_penalty);
    c->presence_penalty = chat_raw(v->presence_penalty);
    c->logit_bias = chat_raw(v->logit_bias);
    c->logprobs = chat_flag(v->logprobs);
    c->verbosity = chat_text(r, v->verbosity);
    return chat_read_effort(r, "reasoning_effort", v->effort) && read_limits(r, v) &&
           chat_read_stops(r, "stop", v->stop, true);
}

static bool read_request(struct chat_reader *r, const struct request_members *v)
{
    struct chat_tool **tools = &r->chat->tools;

    r->chat->parallel = chat_flag(v->parallel);
    return chat_read_model(r, v->model) && read_messages(r, v->messages) &&
           chat_read_list(r, "tools", v->tools, read_tool, &tools) &&
           read_choice(r, v->tool_choice) && read_format(r, v->format) && read_sampling(r, v) &&
           read_stream(r, v);
}

enum err openai_chat_parse(struct slice body, struct arena *a, struct chat *out, const char **param,
                           struct err_text *t)
{
    struct request_members v = {0};
    const struct chat_field fields[] = {
        {"model", CHAT_STRING, &v.model},
        {"messages", CHAT_ARRAY, &v.messages},
        {"tools", CHAT_ARRAY, &v.tools},
        {"tool_choice", CHAT_STRING | CHAT_OBJECT, &v.tool_choice},
        {"parallel_tool_calls", CHAT_BOOL, &v.parallel},
        {"response_format", CHAT_OBJECT, &v.format},
        {"max_completion_tokens", CHAT_NUMBER, &v.max_completion_tokens},
        {"max_tokens", CHAT_NUMBER, &v.max_tokens},
        {"temperature", CHAT_NUMBER, &v.temperature},
        {"top_p", CHAT_NUMBER, &v.top_p},
        {"top_k", CHAT_NUMBER, &v.top_k},
        {"stop", CHAT_STRING | CHAT_ARRAY, &v.stop},
        {"seed", CHAT_NUMBER, &v.seed},
        {"frequency_penalty", CHAT_NUMBER, &v.frequency_penalty},
        {"presence_penalty", CHAT_NUMBER, &v.presence_penalty},
        {"n", CHAT_NUMBER, &v.n},
        {"logprobs", CHAT_BOOL, &v.logprobs},
        {"top_logprobs", CHAT_NUMBER, &v.top_logprobs},
        {"logit_bias", CHAT_OBJECT, &v.logit_bias},
        {"reasoning_effort", CHAT_STRING, &v.effort},
        {"verbosity", CHAT_STRING, &v.verbosity},
        {"stream", CHAT_BOOL, &v.stream},
        {"stream_options", CHAT_OBJECT, &v.stream_options},
    };
    struct chat_reader r;
    struct json_value top;

    if (chat_reader_init(&r, CHAT_OPENAI, body, out, a, param, t, &top) &&
        CHAT_READ(&r, top, fields))
        (void)read_request(&r, &v);
    return chat_reader_end(&r);
}
