/* OpenAI Responses request -> chat. Owns nothing; called by the gateway for /v1/responses. */
#include "backends/wire/responses_chat.h"

#include "backends/wire/chat_reader.h"

/* Where the next item goes. */
struct input {
    struct chat_message **end;      /* of the chat's list */
    struct chat_message *assistant; /* the turn that goes on; NULL after anything else */
    struct chat_part **parts;       /* its end */
};

/* ---- content parts ---- */

struct part_members {
    struct json_value type, text, refusal, image_url, detail, file_id, file_data, file_url,
        filename, audio;
};

static bool fill_part(struct chat_reader *r, const struct part_members *v, struct chat_part *p)
{
    switch (p->kind) {
    case CHAT_PART_TEXT:
        p->text = chat_text(r, v->text);
        return chat_given(p->text) || chat_missing(r, "text");
    case CHAT_PART_REFUSAL:
        p->text = chat_text(r, v->refusal);
        return chat_given(p->text) || chat_missing(r, "refusal");
    case CHAT_PART_IMAGE:
        if (v->image_url.text.n)
            chat_set_url(p, chat_text(r, v->image_url));
        p->file_id = chat_text(r, v->file_id);
        p->detail = chat_text(r, v->detail);
        return v->image_url.text.n || v->file_id.text.n || chat_missing(r, "image_url");
    case CHAT_PART_DOCUMENT:
        if (v->file_data.text.n)
            chat_set_url(p, chat_text(r, v->file_data));
        else
            p->url = chat_text(r, v->file_url);
        p->file_id = chat_text(r, v->file_id);
        p->name = chat_text(r, v->filename);
        return chat_given(p->data) || chat_given(p->url) || chat_given(p->file_id) ||
               chat_missing(r, "file_data");
    case CHAT_PART_AUDIO:
        return chat_read_audio(r, v->audio, p);
    case CHAT_PART_THINKING:
    case CHAT_PART_REDACTED_THINKING:
    case CHAT_PART_TOOL_CALL:
    case CHAT_PART_TOOL_RESULT:
        break;
    }
    return true;
}

static bool add_part(struct chat_reader *r, const struct part_members *v, int at,
                     struct chat_part ***end)
{
    static const struct {
        const char *type;
        enum chat_part_kind kind;
    } kinds[] = {{"input_text", CHAT_PART_TEXT},   {"output_text", CHAT_PART_TEXT},
                 {"text", CHAT_PART_TEXT},         {"refusal", CHAT_PART_REFUSAL},
                 {"input_image", CHAT_PART_IMAGE}, {"input_file", CHAT_PART_DOCUMENT},
                 {"input_audio", CHAT_PART_AUDIO}};
    struct chat_part *p;

    if (v->type.text.n == 0)
        return chat_missing(r, "type");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!chat_is(r, v->type, kinds[i].type))
            continue;
        p = chat_add_part(r, end, kinds[i].kind, at);
        return p && fill_part(r, v, p);
    }
    return chat_unknown_at(r, "type", v->type);
}

static bool read_part(struct chat_reader *r, struct json_value part, int at, void *end)
{
    struct part_members v = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &v.type},           {"text", CHAT_STRING, &v.text},
        {"refusal", CHAT_STRING, &v.refusal},     {"image_url", CHAT_STRING, &v.image_url},
        {"detail", CHAT_STRING, &v.detail},       {"file_id", CHAT_STRING, &v.file_id},
        {"file_data", CHAT_STRING, &v.file_data}, {"file_url", CHAT_STRING, &v.file_url},
        {"filename", CHAT_STRING, &v.filename},   {"input_audio", CHAT_OBJECT, &v.audio},
        {"annotations", CHAT_ARRAY, NULL}, /* of an echoed answer */
        {"logprobs", CHAT_ARRAY, NULL},    /* likewise */
    };

    return CHAT_READ(r, part, fields) && add_part(r, &v, at, end);
}

static bool read_content(struct chat_reader *r, const char *name, struct json_value content,
                         struct chat_part ***end)
{
    return content.text.n ? chat_read_content(r, name, content, read_part, end)
                          : chat_missing(r, name);
}

/* ---- items ---- */

struct item_members {
    struct json_value type, role, content, call_id, name, arguments, output, summary, encrypted;
};

/* Calls, thinking and texts of an assistant that follow each other are one turn. */
static bool assistant_turn(struct chat_reader *r, struct input *in, int at)
{
    if (in->assistant)
        return true;
    in->assistant = chat_add_message(r, &in->end, CHAT_ASSISTANT, at);
    if (in->assistant)
        in->parts = &in->assistant->parts;
    return in->assistant != NULL;
}

static bool read_message(struct chat_reader *r, const struct item_members *v, int at,
                         struct input *in)
{
    enum chat_role role = CHAT_USER;
    struct chat_message *m;
    struct chat_part **parts;

    if (v->role.text.n == 0)
        return chat_missing(r, "role");
    if (chat_is(r, v->role, "assistant"))
        return assistant_turn(r, in, at) && read_content(r, "content", v->content, &in->parts);
    if (chat_is(r, v->role, "system"))
        role = CHAT_SYSTEM;
    else if (chat_is(r, v->role, "developer"))
        role = CHAT_DEVELOPER;
    else if (!chat_is(r, v->role, "user"))
        return chat_fail(r, "role",
                         "Invalid value. Supported values are: 'assistant', 'system', 'developer', "
                         "and 'user'.");
    in->assistant = NULL;
    m = chat_add_message(r, &in->end, role, at);
    if (!m)
        return false;
    parts = &m->parts;
    return read_content(r, "content", v->content, &parts);
}

static bool read_call(struct chat_reader *r, const struct item_members *v, int at, struct input *in)
{
    if (v->call_id.text.n == 0 || v->name.text.n == 0)
        return chat_missing(r, v->call_id.text.n == 0 ? "call_id" : "name");
    return assistant_turn(r, in, at) &&
           chat_add_call(r, &in->parts, 0, v->call_id, v->name, v->arguments);
}

static bool read_output(struct chat_reader *r, const struct item_members *v, int at,
                        struct input *in)
{
    struct chat_message *m;
    struct chat_part **end, **inner, *p;

    if (v->call_id.text.n == 0)
        return chat_missing(r, "call_id");
    in->assistant = NULL;
    m = chat_add_message(r, &in->end, CHAT_TOOL, at);
    if (!m)
        return false;
    end = &m->parts;
    p = chat_add_part(r, &end, CHAT_PART_TOOL_RESULT, 0);
    if (!p)
        return false;
    p->id = chat_text(r, v->call_id);
    inner = &p->parts;
    return read_content(r, "output", v->output, &inner);
}

/* The texts of the summary, a paragraph each. */
static bool read_summary(struct chat_reader *r, struct json_value summary, struct slice *out)
{
    struct json_iter it;
    struct json_member m, text;
    struct slice all = SLICE(""), one;

    json_iter_init(&it, summary);
    while (json_iter_next(&it, &m)) {
        if (!json_get(m.value, SLICE("text"), &text) || text.value.type != JSON_STRING)
            return chat_wrong_type(r, "summary", "an array of summary texts", m.value);
        one = chat_text(r, text.value);
        if (all.n == 0) {
            all = one;
            continue;
        }
        char *joined = arena_alloc(r->arena, all.n + 2 + one.n);
        memcpy(joined, all.p, all.n);
        memcpy(joined + all.n, "\n\n", 2);
        if (one.n)
            memcpy(joined + all.n + 2, one.p, one.n);
        all = slice_make(joined, all.n + 2 + one.n);
    }
    *out = all;
    return true;
}

static bool read_reasoning(struct chat_reader *r, const struct item_members *v, int at,
                           struct input *in)
{
    struct chat_part *p;

    if (!assistant_turn(r, in, at))
        return false;
    p = chat_add_part(r, &in->parts, CHAT_PART_THINKING, 0);
    if (!p)
        return false;
    p->text = SLICE("");
    p->signature = chat_text(r, v->encrypted);
    return v->summary.text.n == 0 || read_summary(r, v->summary, &p->text);
}

static bool add_item(struct chat_reader *r, const struct item_members *v, int at, struct input *in)
{
    if (v->type.text.n == 0 || chat_is(r, v->type, "message"))
        return read_message(r, v, at, in);
    if (chat_is(r, v->type, "function_call"))
        return read_call(r, v, at, in);
    if (chat_is(r, v->type, "function_call_output"))
        return read_output(r, v, at, in);
    if (chat_is(r, v->type, "reasoning"))
        return read_reasoning(r, v, at, in);
    return chat_unknown_at(r, "type", v->type); /* built-in tools, item_reference */
}

static bool read_item(struct chat_reader *r, struct json_value item, int at, void *in)
{
    struct item_members v = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &v.type},
        {"role", CHAT_STRING, &v.role},
        {"content", CHAT_STRING | CHAT_ARRAY, &v.content},
        {"call_id", CHAT_STRING, &v.call_id},
        {"name", CHAT_STRING, &v.name},
        {"arguments", CHAT_STRING, &v.arguments},
        {"output", CHAT_STRING | CHAT_ARRAY, &v.output},
        {"summary", CHAT_ARRAY, &v.summary},
        {"encrypted_content", CHAT_STRING, &v.encrypted},
        {"id", CHAT_STRING, NULL},     /* of an echoed item */
        {"status", CHAT_STRING, NULL}, /* likewise */
        {"phase", CHAT_STRING, NULL},  /* likewise: commentary or final answer */
    };

    return CHAT_READ(r, item, fields) && add_item(r, &v, at, in);
}

static bool add_plain(struct chat_reader *r, struct input *in, enum chat_role role,
                      struct json_value string)
{
    struct chat_message *m = chat_add_message(r, &in->end, role, -1);
    struct chat_part **parts;

    if (!m)
        return false;
    parts = &m->parts;
    return chat_add_text(r, &parts, string, 0);
}

static bool read_input(struct chat_reader *r, struct json_value instructions, struct json_value v)
{
    struct input in = {.end = &r->chat->messages};

    if (instructions.text.n && !add_plain(r, &in, CHAT_DEVELOPER, instructions))
        return false;
    if (v.text.n == 0)
        return chat_missing(r, "input");
    if (v.type == JSON_STRING)
        return add_plain(r, &in, CHAT_USER, v);
    return chat_read_list(r, "input", v, read_item, &in);
}

/* ---- tools ---- */

static bool read_tool(struct chat_reader *r, struct json_value tool, int at, void *end)
{
    struct json_value type = {0};
    struct chat_tool_members v = {0};
    const struct chat_field function[] = {
        {"type", CHAT_STRING, &type},
        {"name", CHAT_STRING, &v.name},
        {"description", CHAT_STRING, &v.description},
        {"parameters", CHAT_OBJECT, &v.parameters},
        {"strict", CHAT_BOOL, &v.strict},
    };
    struct json_member kind;

    if (json_get(tool, SLICE("type"), &kind) && kind.value.type == JSON_STRING &&
        !chat_is(r, kind.value, "function"))
        return chat_unknown_at(r, "type", kind.value); /* built-in: one refusal for its members */
    if (!CHAT_READ(r, tool, function))
        return false;
    if (type.text.n == 0 || v.name.text.n == 0)
        return chat_missing(r, type.text.n == 0 ? "type" : "name");
    return chat_add_tool(r, end, at, &v);
}

static bool read_choice(struct chat_reader *r, struct json_value choice)
{
    struct chat *c = r->chat;
    struct json_member type, name;

    if (choice.text.n == 0)
        return true;
    if (chat_set_choice(r, choice))
        return true;
    if (!json_get(choice, SLICE("type"), &type) || !chat_is(r, type.value, "function") ||
        !json_get(choice, SLICE("name"), &name) || name.value.type != JSON_STRING)
        return chat_unknown_at(r, "tool_choice", choice);
    c->tool_choice = CHAT_CHOICE_NAMED;
    c->tool_choice_name = chat_text(r, name.value);
    return true;
}

/* ---- text and reasoning ---- */

static bool read_format(struct chat_reader *r, struct json_value format)
{
    struct json_value type = {0};
    struct chat_schema_members v = {0};
    const struct chat_field fields[] = {
        {"type", CHAT_STRING, &type},
        {"name", CHAT_STRING, &v.name},
        {"description", CHAT_STRING, &v.description},
        {"schema", CHAT_OBJECT, &v.schema},
        {"strict", CHAT_BOOL, &v.strict},
    };
    struct chat *c = r->chat;

    if (format.text.n == 0)
        return true;
    chat_enter(r, "format");
    if (!CHAT_READ(r, format, fields))
        return false;
    if (type.text.n == 0)
        return chat_missing(r, "type");
    if (chat_is(r, type, "text")) {
        c->format = CHAT_FORMAT_TEXT;
    } else if (chat_is(r, type, "json_object")) {
        c->format = CHAT_FORMAT_JSON_OBJECT;
    } else if (!chat_is(r, type, "json_schema")) {
        if (!chat_unknown_at(r, "type", type))
            return false;
    } else if (v.name.text.n == 0 || v.schema.text.n == 0) {
        return chat_missing(r, v.name.text.n == 0 ? "name" : "schema");
    } else {
        chat_set_schema(r, &v);
    }
    chat_leave(r);
    return true;
}

static bool read_text_options(struct chat_reader *r, struct json_value text)
{
    struct json_value format = {0}, verbosity = {0};
    const struct chat_field fields[] = {{"format", CHAT_OBJECT, &format},
                                        {"verbosity", CHAT_STRING, &verbosity}};

    if (text.text.n == 0)
        return true;
    chat_enter(r, "text");
    if (!CHAT_READ(r, text, fields) || !read_format(r, format))
        return false;
    chat_leave(r);
    r->chat->verbosity = chat_text(r, verbosity);
    return true;
}

static bool read_reasoning_options(struct chat_reader *r, struct json_value reasoning)
{
    struct json_value effort = {0};
    const struct chat_field fields[] = {
        {"effort", CHAT_STRING, &effort},
        {"summary", CHAT_STRING, NULL}, /* how much of the thinking is shown */
        {"generate_summary", CHAT_STRING, NULL},
    };

    if (reasoning.text.n == 0)
        return true;
    chat_enter(r, "reasoning");
    if (!CHAT_READ(r, reasoning, fields))
        return false;
    if (!chat_read_effort(r, "effort", effort))
        return false;
    chat_leave(r);
    return true;
}

/* ---- the request ---- */

struct request_members {
    struct json_value model, input, instructions, tools, tool_choice, parallel, max_output_tokens,
        temperature, top_p, top_logprobs, text, reasoning, stream, previous, store;
};

static bool read_rest(struct chat_reader *r, const struct request_members *v)
{
    struct chat *c = r->chat;
    int64_t number = 0;

    if (v->max_output_tokens.text.n &&
        !chat_int(r, "max_output_tokens", v->max_output_tokens, 1, &number))
        return false;
    if (v->top_logprobs.text.n && !chat_int(r, "top_logprobs", v->top_logprobs, 0, &number))
        return false;
    c->max_tokens = chat_raw(v->max_output_tokens);
    c->max_tokens_name = chat_given(c->max_tokens) ? "max_output_tokens" : NULL;
    c->temperature = chat_raw(v->temperature);
    c->top_p = chat_raw(v->top_p);
    if (v->top_logprobs.text.n && number > 0) {
        c->top_logprobs = chat_raw(v->top_logprobs);
        c->logprobs = CHAT_YES;
    }
    c->parallel = chat_flag(v->parallel);
    c->store = chat_flag(v->store);
    c->previous_response_id = chat_text(r, v->previous);
    /* response.completed always carries the usage. */
    c->stream = v->stream.type == JSON_TRUE && v->stream.text.n;
    c->include_usage = c->stream;
    return true;
}

static bool read_request(struct chat_reader *r, const struct request_members *v)
{
    struct chat_tool **tools = &r->chat->tools;

    return chat_read_model(r, v->model) && read_input(r, v->instructions, v->input) &&
           chat_read_list(r, "tools", v->tools, read_tool, &tools) &&
           read_choice(r, v->tool_choice) && read_text_options(r, v->text) &&
           read_reasoning_options(r, v->reasoning) && read_rest(r, v);
}

enum err responses_chat_parse(struct slice body, struct arena *a, struct chat *out,
                              const char **param, struct err_text *t)
{
    struct request_members v = {0};
    const struct chat_field fields[] = {
        {"model", CHAT_STRING, &v.model},
        {"input", CHAT_STRING | CHAT_ARRAY, &v.input},
        {"instructions", CHAT_STRING, &v.instructions},
        {"tools", CHAT_ARRAY, &v.tools},
        {"tool_choice", CHAT_STRING | CHAT_OBJECT, &v.tool_choice},
        {"parallel_tool_calls", CHAT_BOOL, &v.parallel},
        {"max_output_tokens", CHAT_NUMBER, &v.max_output_tokens},
        {"temperature", CHAT_NUMBER, &v.temperature},
        {"top_p", CHAT_NUMBER, &v.top_p},
        {"top_logprobs", CHAT_NUMBER, &v.top_logprobs},
        {"text", CHAT_OBJECT, &v.text},
        {"reasoning", CHAT_OBJECT, &v.reasoning},
        {"stream", CHAT_BOOL, &v.stream},
        {"stream_options", CHAT_OBJECT, NULL}, /* include_obfuscation: padding */
        {"previous_response_id", CHAT_STRING, &v.previous},
        {"store", CHAT_BOOL, &v.store},
    };
    struct chat_reader r;
    struct json_value top;

    if (chat_reader_init(&r, CHAT_RESPONSES, body, out, a, param, t, &top) &&
        CHAT_READ(&r, top, fields))
        (void)read_request(&r, &v);
    return chat_reader_end(&r);
}
