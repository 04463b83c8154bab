/* See the header. Sources: OpenAI API reference, "Create chat completion", "Create completion",
 * "Create a model response"; Anthropic API reference, "Create a Message". */
#include "backends/wire/ask_turn.h"

#include "backends/wire/member.h"

static bool part_is_text(struct json_value part)
{
    struct json_member type;

    /* OpenAI and Anthropic say "text", Responses "input_text". */
    return json_get(part, SLICE("type"), &type) && (value_is_text(type.value, SLICE("text")) ||
                                                    value_is_text(type.value, SLICE("input_text")));
}

static bool part_is_result(struct json_value part)
{
    struct json_member type;

    return json_get(part, SLICE("type"), &type) && value_is_text(type.value, SLICE("tool_result"));
}

/* The text of a message's content: the string itself, or its last text part. */
static struct slice content_text(struct json_value content, bool *has_result)
{
    struct slice text = {NULL, 0};
    struct json_iter it;
    struct json_member part, value;

    *has_result = false;
    if (content.type == JSON_STRING)
        return content.text;
    if (content.type != JSON_ARRAY)
        return text;
    json_iter_init(&it, content);
    while (json_iter_next(&it, &part)) {
        if (part.value.type != JSON_OBJECT)
            continue;
        *has_result = *has_result || part_is_result(part.value);
        if (part_is_text(part.value) && json_get(part.value, SLICE("text"), &value) &&
            value.value.type == JSON_STRING)
            text = value.value.text;
    }
    return text;
}

/* Items of Responses that are no messages. */
static enum ask_speaker speaker_of_item(struct json_value type)
{
    static const struct slice results[] = {
        {"function_call_output", 20},
        {"custom_tool_call_output", 23},
        {"computer_call_output", 20},
        {"local_shell_call_output", 23},
    };

    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        if (value_is_text(type, results[i]))
            return ASK_BY_TOOL;
    return ASK_BY_ASSISTANT; /* calls, reasoning: what the model said before */
}

static enum ask_speaker speaker_of(struct json_value message)
{
    struct json_member role, type;

    if (!json_get(message, SLICE("role"), &role)) {
        if (json_get(message, SLICE("type"), &type) && !value_is_text(type.value, SLICE("message")))
            return speaker_of_item(type.value);
        return ASK_BY_NOBODY;
    }
    if (value_is_text(role.value, SLICE("user")))
        return ASK_BY_USER;
    if (value_is_text(role.value, SLICE("assistant")))
        return ASK_BY_ASSISTANT;
    if (value_is_text(role.value, SLICE("tool")) || value_is_text(role.value, SLICE("function")))
        return ASK_BY_TOOL;
    if (value_is_text(role.value, SLICE("system")) || value_is_text(role.value, SLICE("developer")))
        return ASK_BY_SYSTEM;
    return ASK_BY_NOBODY;
}

static void take_message(struct ask_turn *turn, struct json_value message)
{
    struct json_member content;
    struct slice text;
    bool has_result;

    turn->speaker = message.type == JSON_OBJECT ? speaker_of(message) : ASK_BY_NOBODY;
    if (turn->speaker != ASK_BY_USER)
        return;
    if (!json_get(message, SLICE("content"), &content)) {
        turn->user_turns++;
        return;
    }
    text = content_text(content.value, &has_result);
    if (has_result) { /* Anthropic's tool results are the user's message */
        turn->speaker = ASK_BY_TOOL;
        if (text.n == 0)
            return;
    }
    turn->user_turns++;
    turn->text = text;
}

/* Which member of the request holds the conversation. */
static struct slice member_of(enum wire_api api)
{
    switch (api) {
    case WIRE_CHAT:
    case WIRE_MESSAGES:
        return SLICE("messages");
    case WIRE_COMPLETIONS:
        return SLICE("prompt");
    case WIRE_EMBEDDINGS:
    case WIRE_RESPONSES:
    case WIRE_APIS:
        break;
    }
    return SLICE("input");
}

struct ask_turn ask_turn_of(enum wire_api api, struct slice body)
{
    struct ask_turn turn = {.speaker = ASK_BY_NOBODY};
    struct json_iter it;
    struct json_member list, message;

    if (!json_get((struct json_value){JSON_OBJECT, json_trim(body)}, member_of(api), &list))
        return turn;
    if (list.value.type == JSON_STRING) {
        turn = (struct ask_turn){ASK_BY_USER, list.value.text, 1};
    } else if (list.value.type == JSON_ARRAY && api != WIRE_COMPLETIONS && api != WIRE_EMBEDDINGS) {
        json_iter_init(&it, list.value);
        while (json_iter_next(&it, &message))
            take_message(&turn, message.value);
    }
    return turn;
}
