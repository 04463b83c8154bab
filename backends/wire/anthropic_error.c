/* Anthropic's error answers. Pure; once per failed attempt or refused request. What the types and
 * sentences mean is data, first match wins; where nothing matches the OpenAI table knows the rest
 * (its rows hold for any dialect) and goes by the status in the end. */
#include "backends/wire/anthropic_error.h"

#include "backends/wire/json_pen.h"
#include "backends/wire/member.h"
#include "backends/wire/openai_error.h"

#define CONTEXT_WORDS "prompt is too long"

/* Part of the message, ASCII case-insensitive; or the type, where there is no message to look for.
 * Prompts are not echoed in messages of this dialect. */
static const struct rule {
    const char *type, *in_message; /* NULL: any */
    enum err err;
} rules[] = {
    {NULL, CONTEXT_WORDS, ERR_UPSTREAM_CONTEXT_LENGTH},
    {NULL, "exceed context limit", ERR_UPSTREAM_CONTEXT_LENGTH}, /* input and max_tokens together */
    {NULL, "blocked by content filtering policy", ERR_UPSTREAM_CONTENT_FILTER},
    {NULL, "credit balance is too low", ERR_UPSTREAM_QUOTA},
    {NULL, "API usage limits", ERR_UPSTREAM_QUOTA},
    {"billing_error", NULL, ERR_UPSTREAM_QUOTA},
    {"rate_limit_error", NULL, ERR_UPSTREAM_RATE_LIMITED},
    {"overloaded_error", NULL, ERR_UPSTREAM_OVERLOADED},
    {"authentication_error", NULL, ERR_UPSTREAM_AUTH},
    {"permission_error", NULL, ERR_UPSTREAM_AUTH},
    {"not_found_error", NULL, ERR_UPSTREAM_NOT_FOUND},
    {"request_too_large", NULL, ERR_UPSTREAM_CONTEXT_LENGTH}, /* another model may take it */
    {"timeout_error", NULL, ERR_UPSTREAM_SERVER_ERROR},
    {"api_error", NULL, ERR_UPSTREAM_SERVER_ERROR},
};

/* How the API says that it cannot take an earlier turn's thinking back: the client's model thought
 * otherwise, or another did. Wordings as clients report them (anthropics/claude-code #10627,
 * #63203; AIClient2API #437); with data for signature they hold for redacted thinking. */
static const char *const thinking_refusals[] = {
    "Invalid `signature` in `thinking` block",
    "Invalid `data` in `redacted_thinking` block",
    ".thinking.signature",
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified",
};

/* HTTP status of an error -> what Anthropic calls it. */
static const struct {
    int status;
    const char *type;
} types[] = {
    {401, "authentication_error"}, {402, "billing_error"},     {403, "permission_error"},
    {404, "not_found_error"},      {413, "request_too_large"}, {429, "rate_limit_error"},
    {504, "timeout_error"},        {529, "overloaded_error"},
};

static struct json_value error_type(struct slice body)
{
    struct json_value v = {JSON_OBJECT, json_trim(body)};
    struct json_member m;
    bool found = v.text.n && v.text.p[0] == '{' && json_validate(v.text, NULL) &&
                 json_get(v, SLICE("error"), &m) && json_get(m.value, SLICE("type"), &m);

    return found ? m.value : (struct json_value){0};
}

/* Strict: a request is written anew and sent again on the strength of it. */
static bool refuses_thinking(int status, struct json_value type, const char *message)
{
    if (status != 400 || !value_is_text(type, SLICE("invalid_request_error")) ||
        !slice_starts(slice_str(message), SLICE("messages.")))
        return false;
    for (size_t i = 0; i < sizeof(thinking_refusals) / sizeof(thinking_refusals[0]); i++)
        if (strstr(message, thinking_refusals[i]))
            return true;
    return false;
}

/* Its code says what became of the thread that a request goes on with; the client can mend it by
 * sending the whole conversation, and nobody else can (SDK, lib/threads: thread_not_found,
 * thread_already_continued, thread_continue_in_flight, thread_unsupported_request). */
static bool is_about_thread(struct slice body)
{
    struct json_value root = {JSON_OBJECT, json_trim(body)};
    struct json_member m;
    struct slice prefix = SLICE("\"thread_");

    return root.text.n && root.text.p[0] == '{' && json_validate(root.text, NULL) &&
           json_get(root, SLICE("error"), &m) && json_get(m.value, SLICE("details"), &m) &&
           json_get(m.value, SLICE("error_code"), &m) && slice_starts(m.value.text, prefix);
}

enum err anthropic_error_classify(int status, struct slice body)
{
    struct json_value type = error_type(body);
    struct err_text message;

    if (is_about_thread(body))
        return ERR_UPSTREAM_REJECTED;
    openai_error_message(body, &message);
    if (refuses_thinking(status, type, message.s))
        return ERR_UPSTREAM_THINKING;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *r = &rules[i];
        if (r->type ? value_is_text(type, slice_str(r->type))
                    : strcasestr(message.s, r->in_message) != NULL)
            return r->err;
    }
    return openai_error_classify(status, body);
}

int anthropic_error_status(enum err e)
{
    if (e == ERR_OVERLOADED || e == ERR_UPSTREAM_OVERLOADED || e == ERR_UPSTREAM_BUSY)
        return 529;
    return err_http_status(e);
}

const char *anthropic_error_type(enum err e)
{
    int status = anthropic_error_status(e);

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].status == status)
            return types[i].type;
    return status >= 500 ? "api_error" : "invalid_request_error";
}

enum err anthropic_error_body(enum err e, const char *message, const char *param,
                              struct slice request_id, struct buf *out)
{
    const char *text = message && message[0] ? message : err_text(e);
    bool reword = e == ERR_UPSTREAM_CONTEXT_LENGTH && !strcasestr(text, CONTEXT_WORDS);
    struct err_text words;
    struct json_pen pen;

    err_say(&words, "%s%s", reword ? CONTEXT_WORDS ": " : "", text);
    json_pen_begin(&pen, out);
    JSON_PEN(&pen, "{\"type\":\"error\",\"error\":{\"type\":");
    json_pen_string(&pen, slice_str(anthropic_error_type(e)));
    JSON_PEN(&pen, ",\"message\":");
    json_pen_string(&pen, slice_str(words.s));
    if (e == ERR_UNTRANSLATABLE && param && strcmp(param, "thread") == 0)
        JSON_PEN(&pen, ",\"details\":{\"error_code\":\"thread_unsupported_request\","
                       "\"unsupported\":[\"thread\"]}");
    JSON_PEN(&pen, "}");
    if (request_id.n) {
        JSON_PEN(&pen, ",\"request_id\":");
        json_pen_string(&pen, request_id);
    }
    JSON_PEN(&pen, "}");
    return json_pen_end(&pen);
}
