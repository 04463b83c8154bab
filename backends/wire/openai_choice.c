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
        } else if (member_is(&m, SLICE("text"))) {
            out->text_bytes += string_bytes(m.value);
        } else if (member_is(&m, SLICE("finish_reason"))) {
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
