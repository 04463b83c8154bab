/* Reads choices. Pure; called for each chunk of each stream: no decoding, no copies. */
#include "backends/wire/openai_choice.h"

#include "backends/wire/member.h"

static int64_t string_bytes(struct json_value v)
{
    return v.type == JSON_STRING ? (int64_t)v.text.n - 2 : 0;
}

/* {"name": "...", "arguments": "..."}: what the model had to write. */
static int64_t function_bytes(struct json_value function)
{
    struct json_iter it;
    struct json_member m;
    int64_t sum = 0;

    if (function.type != JSON_OBJECT)
        return 0;
    json_iter_init(&it, function);
    while (json_iter_next(&it, &m))
        if (member_is(&m, SLICE("arguments")) || member_is(&m, SLICE("name")))
            sum += string_bytes(m.value);
    return sum;
}

static int64_t tool_bytes(struct json_value calls)
{
    struct json_iter it;
    struct json_member call, function;
    int64_t sum = 0;

    if (calls.type != JSON_ARRAY)
        return 0;
    json_iter_init(&it, calls);
    while (json_iter_next(&it, &call))
        if (json_get(call.value, SLICE("function"), &function))
            sum += function_bytes(function.value);
    return sum;
}

/* A message or a delta. Any string but the role counts: content, refusal, reasoning_content
 * (DeepSeek, vLLM), reasoning (Groq, OpenRouter). */
static int64_t message_bytes(struct json_value message)
{
    struct json_iter it;
    struct json_member m;
    int64_t sum = 0;

    if (message.type != JSON_OBJECT)
        return 0;
    json_iter_init(&it, message);
    while (json_iter_next(&it, &m)) {
        if (m.value.type == JSON_STRING)
            sum += member_is(&m, SLICE("role")) ? 0 : string_bytes(m.value);
        else if (member_is(&m, SLICE("tool_calls")))
            sum += tool_bytes(m.value);
        else if (member_is(&m, SLICE("function_call")))
            sum += function_bytes(m.value);
    }
    return sum;
}

void openai_choice_read(struct json_value element, struct openai_choice *out)
{
    struct json_iter it;
    struct json_member m;

    *out = (struct openai_choice){0};
    if (element.type != JSON_OBJECT)
        return;
    json_iter_init(&it, element);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("index"))) {
            if (!json_int(m.value, &out->index))
                out->index = 0;
        } else if (member_is(&m, SLICE("delta")) || member_is(&m, SLICE("message"))) {
            out->text_bytes += message_bytes(m.value);
            out->message = m.value;
        } else if (member_is(&m, SLICE("text"))) {
            out->text_bytes += string_bytes(m.value);
            out->text = m.value;
        } else if (member_is(&m, SLICE("logprobs"))) {
            out->logprobs = m.value;
        } else if (member_is(&m, SLICE("finish_reason"))) {
            out->finish_reason = m.value;
            out->finished = string_bytes(m.value) > 0;
            out->truncated = value_is_text(m.value, SLICE("length"));
            out->failed |= value_is_text(m.value, SLICE("error"));
        } else if (member_is(&m, SLICE("error"))) {
            out->failed |= m.value.type == JSON_OBJECT || m.value.type == JSON_STRING;
        } else if (member_is(&m, SLICE("usage"))) {
            out->usage = m.value;
        }
    }
}

/* ---- why it ended ---- */

static const struct finish_name {
    struct slice name;
    enum chat_finish finish;
    enum err err; /* the answer was broken off for want of the server, not of the model */
} finish_names[] = {
    {{"stop", 4}, CHAT_FINISH_STOP, ERR_OK},
    {{"length", 6}, CHAT_FINISH_LENGTH, ERR_OK},
    {{"tool_calls", 10}, CHAT_FINISH_TOOL_CALLS, ERR_OK},
    {{"function_call", 13}, CHAT_FINISH_TOOL_CALLS, ERR_OK},
    {{"content_filter", 14}, CHAT_FINISH_FILTER, ERR_OK},
    {{"model_length", 12}, CHAT_FINISH_LENGTH, ERR_OK},          /* Mistral */
    {{"max_tokens", 10}, CHAT_FINISH_LENGTH, ERR_OK},            /* Gemini */
    {{"safety", 6}, CHAT_FINISH_FILTER, ERR_OK},                 /* Gemini */
    {{"error", 5}, CHAT_FINISH_STOP, ERR_UPSTREAM_SERVER_ERROR}, /* OpenRouter,
                                                                    Mistral */
    {{"insufficient_system_resource", 28},
     CHAT_FINISH_STOP,
     ERR_UPSTREAM_OVERLOADED},                          /* DeepSeek */
    {{"abort", 5}, CHAT_FINISH_STOP, ERR_UPSTREAM_CUT}, /* vLLM */
};

bool openai_choice_finish(struct json_value reason, enum chat_finish *finish, enum err *err)
{
    struct slice name = slice_make(reason.text.p + 1, reason.text.n - 2);

    *finish = CHAT_FINISH_STOP;
    *err = ERR_OK;
    for (size_t i = 0; i < sizeof(finish_names) / sizeof(finish_names[0]); i++) {
        if (!slice_ieq(name, finish_names[i].name))
            continue;
        *finish = finish_names[i].finish;
        *err = finish_names[i].err;
        return true;
    }
    return false;
}

/* ---- calls of tools ---- */

bool openai_choice_call_read(struct json_value element, struct openai_choice_call *out)
{
    struct json_value function = {0};
    struct json_iter it;
    struct json_member m;

    *out = (struct openai_choice_call){.index = -1};
    if (element.type != JSON_OBJECT)
        return false;
    json_iter_init(&it, element);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("index")))
            out->index = json_int(m.value, &out->index) ? out->index : -1;
        else if (member_is(&m, SLICE("id")))
            out->id = m.value;
        else if (member_is(&m, SLICE("function")))
            function = m.value;
    }
    if (json_get(function, SLICE("name"), &m))
        out->name = m.value;
    if (json_get(function, SLICE("arguments"), &m))
        out->arguments = m.value;
    return true;
}
