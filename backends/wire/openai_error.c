/* OpenAI error answers. Pure. Classifying happens once per failed attempt, so it may take its time:
 * it decides whether money is spent again. Providers agree on little; what is known of them is
 * data, in the table below, first match wins.
 *
 * Order of trust: error.code and error.type where they are specific, then well-known sentences of
 * the message (only with statuses where they can mean what they say: prompts are echoed in
 * messages), then the HTTP status, then the general types. */
#include "backends/wire/openai_error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/wire/member.h"

/* What the error says of itself; decoded, NUL-terminated, cut to fit. */
struct told {
    int status; /* of HTTP, or of the body where HTTP says nothing; 0: unknown */
    char code[64], type[64], inner_code[64], message[1024];
};

/* code: all of error.code, .type, .status or .innererror.code; message: some part of it. */
enum where { IN_CODE, IN_MESSAGE };

struct rule {
    enum where where;
    const char *text; /* ASCII case-insensitive */
    enum err err;
};

static const struct rule rules[] = {
    /* The prompt does not fit. */
    {IN_CODE, "context_length_exceeded", ERR_UPSTREAM_CONTEXT_LENGTH},   /* OpenAI, Azure, Groq */
    {IN_CODE, "exceed_context_size_error", ERR_UPSTREAM_CONTEXT_LENGTH}, /* llama.cpp, type */
    {IN_MESSAGE, "maximum context length", ERR_UPSTREAM_CONTEXT_LENGTH}, /* OpenAI, vLLM, Mistral */
    {IN_MESSAGE, "maximum model length", ERR_UPSTREAM_CONTEXT_LENGTH},   /* vLLM */
    {IN_MESSAGE, "available context size", ERR_UPSTREAM_CONTEXT_LENGTH}, /* llama.cpp */
    {IN_MESSAGE, "model's context length", ERR_UPSTREAM_CONTEXT_LENGTH}, /* SGLang */
    {IN_MESSAGE, "exceeds the context length", ERR_UPSTREAM_CONTEXT_LENGTH},           /* Ollama */
    {IN_MESSAGE, "exceeds the maximum number of tokens", ERR_UPSTREAM_CONTEXT_LENGTH}, /* Gemini */
    {IN_MESSAGE, "context window", ERR_UPSTREAM_CONTEXT_LENGTH}, /* OpenAI Responses, LM Studio */
    {IN_MESSAGE, "prompt is too long", ERR_UPSTREAM_CONTEXT_LENGTH},                 /* Anthropic */
    {IN_MESSAGE, "input is too long", ERR_UPSTREAM_CONTEXT_LENGTH},                  /* Bedrock */
    {IN_MESSAGE, "`inputs` tokens + `max_new_tokens`", ERR_UPSTREAM_CONTEXT_LENGTH}, /* TGI */

    /* The prompt is not wanted. */
    {IN_CODE, "content_filter", ERR_UPSTREAM_CONTENT_FILTER},               /* Azure */
    {IN_CODE, "ResponsibleAIPolicyViolation", ERR_UPSTREAM_CONTENT_FILTER}, /* Azure, innererror */
    {IN_CODE, "content_policy_violation", ERR_UPSTREAM_CONTENT_FILTER},     /* OpenAI */
    {IN_CODE, "moderation_blocked", ERR_UPSTREAM_CONTENT_FILTER},           /* OpenAI images */
    {IN_CODE, "data_inspection_failed", ERR_UPSTREAM_CONTENT_FILTER},       /* Alibaba */
    {IN_CODE, "DataInspectionFailed", ERR_UPSTREAM_CONTENT_FILTER},         /* Alibaba */
    {IN_MESSAGE, "content management policy", ERR_UPSTREAM_CONTENT_FILTER}, /* Azure */
    {IN_MESSAGE, "Content Exists Risk", ERR_UPSTREAM_CONTENT_FILTER},       /* DeepSeek */
    {IN_MESSAGE, "input was flagged", ERR_UPSTREAM_CONTENT_FILTER}, /* OpenRouter, with 403 */

    /* The money is used up. Not by message with 429: Gemini says "exceeded your current quota" for
       a rate. */
    {IN_CODE, "insufficient_quota", ERR_UPSTREAM_QUOTA},           /* OpenAI, with 429 */
    {IN_CODE, "billing_hard_limit_reached", ERR_UPSTREAM_QUOTA},   /* OpenAI */
    {IN_CODE, "billing_not_active", ERR_UPSTREAM_QUOTA},           /* OpenAI, with 429 */
    {IN_MESSAGE, "credit balance is too low", ERR_UPSTREAM_QUOTA}, /* Anthropic, with 400 */
    {IN_MESSAGE, "Insufficient Balance", ERR_UPSTREAM_QUOTA},      /* DeepSeek, with 402 */

    /* The model or the path is not there. */
    {IN_CODE, "model_not_found", ERR_UPSTREAM_NOT_FOUND},            /* OpenAI, Groq */
    {IN_CODE, "model_decommissioned", ERR_UPSTREAM_NOT_FOUND},       /* Groq, with 400 */
    {IN_CODE, "DeploymentNotFound", ERR_UPSTREAM_NOT_FOUND},         /* Azure */
    {IN_CODE, "invalid_model", ERR_UPSTREAM_NOT_FOUND},              /* Mistral, with 400 */
    {IN_CODE, "not_supported_error", ERR_UPSTREAM_NOT_FOUND},        /* llama.cpp, with 501 */
    {IN_MESSAGE, "is not a valid model ID", ERR_UPSTREAM_NOT_FOUND}, /* OpenRouter, with 400 */

    /* The key is not right. */
    {IN_CODE, "invalid_api_key", ERR_UPSTREAM_AUTH},      /* OpenAI, Groq */
    {IN_MESSAGE, "API key not valid", ERR_UPSTREAM_AUTH}, /* Gemini, with 400 */

    /* Too much at once. */
    {IN_CODE, "rate_limit_exceeded", ERR_UPSTREAM_RATE_LIMITED},
    {IN_CODE, "overloaded_error", ERR_UPSTREAM_OVERLOADED},  /* Anthropic, with 529 */
    {IN_CODE, "unavailable_error", ERR_UPSTREAM_OVERLOADED}, /* llama.cpp loading, with 503 */
    {IN_CODE, "capacity_exceeded", ERR_UPSTREAM_OVERLOADED}, /* Groq flex, with 498 */
};

/* When nothing above matched and there is no HTTP status to go by. */
static const struct rule general[] = {
    {IN_CODE, "rate_limit_error", ERR_UPSTREAM_RATE_LIMITED},
    {IN_CODE, "RESOURCE_EXHAUSTED", ERR_UPSTREAM_RATE_LIMITED}, /* Gemini */
    {IN_CODE, "UNAVAILABLE", ERR_UPSTREAM_OVERLOADED},          /* Gemini */
    {IN_MESSAGE, "overloaded", ERR_UPSTREAM_OVERLOADED},
    {IN_CODE, "authentication_error", ERR_UPSTREAM_AUTH},
    {IN_CODE, "permission_error", ERR_UPSTREAM_AUTH},
    {IN_CODE, "not_found_error", ERR_UPSTREAM_NOT_FOUND},
    {IN_CODE, "invalid_request_error", ERR_UPSTREAM_REJECTED},
    {IN_CODE, "BadRequestError", ERR_UPSTREAM_REJECTED},  /* vLLM, SGLang */
    {IN_CODE, "INVALID_ARGUMENT", ERR_UPSTREAM_REJECTED}, /* Gemini */
};

/* ---- what the body says ---- */

static void take_text(struct json_value object, struct slice name, char *out, size_t out_bytes)
{
    struct json_member m;
    size_t n = 0;

    if (!json_get(object, name, &m))
        return;
    if (m.value.type == JSON_STRING)
        n = json_string_decode(m.value.text, out, out_bytes - 1);
    else if (m.value.type == JSON_NUMBER)
        n = (size_t)snprintf(out, out_bytes, "%.*s", SLICE_ARG(m.value.text));
    else
        return;
    /* Cut at a character boundary the decoder may have written less: zeroed before. */
    out[n < out_bytes - 1 ? n : out_bytes - 1] = 0;
}

/* The object that holds message, type and code: under "error" (OpenAI and most), at the top (old
 * vLLM, Mistral); Gemini wraps all in a list. */
static bool find_error(struct slice body, struct json_value *error, struct told *told)
{
    struct json_value v = {JSON_OBJECT, json_trim(body)};
    struct json_member m;
    struct json_iter it;

    if (!json_validate(v.text, NULL))
        return false;
    if (v.text.p[0] == '[') {
        v.type = JSON_ARRAY;
        json_iter_init(&it, v);
        if (!json_iter_next(&it, &m))
            return false;
        v = m.value;
    } else if (v.text.p[0] != '{') {
        return false;
    }
    *error = v;
    if (!json_get(v, SLICE("error"), &m))
        return v.type == JSON_OBJECT;
    if (m.value.type == JSON_STRING) /* {"error": "..."}: Ollama's own API, TGI */
        json_string_decode(m.value.text, told->message, sizeof(told->message) - 1);
    if (m.value.type == JSON_OBJECT)
        *error = m.value;
    return true;
}

static void read_body(int status, struct slice body, struct told *told)
{
    struct json_value error;
    struct json_member inner;
    long number;
    char *end;

    *told = (struct told){.status = status};
    if (!find_error(body, &error, told))
        return;
    take_text(error, SLICE("code"), told->code, sizeof(told->code));
    take_text(error, SLICE("type"), told->type, sizeof(told->type));
    take_text(error, SLICE("message"), told->message, sizeof(told->message));
    if (!told->message[0])
        take_text(error, SLICE("detail"), told->message, sizeof(told->message));   /* FastAPI */
    take_text(error, SLICE("status"), told->inner_code, sizeof(told->inner_code)); /* Gemini */
    if (json_get(error, SLICE("innererror"), &inner))
        take_text(inner.value, SLICE("code"), told->inner_code, sizeof(told->inner_code));
    number = strtol(told->code, &end, 10);
    if ((status == 0 || status == 200) && end != told->code && !*end && number >= 400 &&
        number <= 599)
        told->status = (int)number;
}

void openai_error_message(struct slice body, struct err_text *out)
{
    struct told told;

    read_body(0, body, &told);
    err_say(out, "%s", told.message);
}

/* ---- deciding ---- */

static bool matches(const struct rule *r, const struct told *t)
{
    if (r->where == IN_MESSAGE)
        return strcasestr(t->message, r->text) != NULL;
    return strcasecmp(t->code, r->text) == 0 || strcasecmp(t->type, r->text) == 0 ||
           strcasecmp(t->inner_code, r->text) == 0;
}

static bool find_rule(const struct rule *table, size_t n, const struct told *t, bool messages,
                      enum err *err)
{
    for (size_t i = 0; i < n; i++) {
        if ((table[i].where == IN_MESSAGE && !messages) || !matches(&table[i], t))
            continue;
        *err = table[i].err;
        return true;
    }
    return false;
}

static enum err by_status(int status)
{
    switch (status) {
    case 401:
    case 403:
        return ERR_UPSTREAM_AUTH;
    case 402:
        return ERR_UPSTREAM_QUOTA;
    case 404:
    case 405:
    case 410:
    case 501:
        return ERR_UPSTREAM_NOT_FOUND;
    case 429:
        return ERR_UPSTREAM_RATE_LIMITED;
    case 425: /* RFC 8470: ask again */
    case 498: /* Groq: flex tier at capacity */
    case 503:
    case 529: /* Anthropic, Cloudflare: overloaded */
        return ERR_UPSTREAM_OVERLOADED;
    case 408: /* OpenAI's SDKs repeat 408 and 409 */
    case 409:
    case 499:
        return ERR_UPSTREAM_SERVER_ERROR;
    default:
        /* Redirects are not followed: the URL is not the API's. */
        if (status >= 300 && status < 400)
            return ERR_UPSTREAM_NOT_FOUND;
        return status >= 400 && status < 500 ? ERR_UPSTREAM_REJECTED : ERR_UPSTREAM_SERVER_ERROR;
    }
}

enum err openai_error_classify(int status, struct slice body)
{
    struct told t;
    enum err err;
    bool messages;

    read_body(status, body, &t);
    /* llama.cpp and Ollama have used 500 for prompts that do not fit. */
    messages = t.status != 401 && t.status != 404 && t.status != 429 && t.status != 503;
    /* Too much for this server, be it a proxy's limit or tokens per minute (Groq): another model
     * may take it, waiting does not help. */
    if (t.status == 413)
        return ERR_UPSTREAM_CONTEXT_LENGTH;
    if (find_rule(rules, sizeof(rules) / sizeof(rules[0]), &t, messages, &err))
        return err;
    if ((t.status == 0 || t.status == 200) &&
        find_rule(general, sizeof(general) / sizeof(general[0]), &t, true, &err))
        return err;
    return by_status(t.status);
}

/* ---- what the client reads ---- */

/* One member of the body: name with its punctuation, and the text as a JSON string, null when there
 * is none. */
struct part {
    struct slice name;
    const char *text;
};

static size_t put_part(const struct part *part, char *out, size_t room)
{
    size_t n = part->name.n;
    struct slice null = SLICE("null");

    if (out)
        memcpy(out, part->name.p, n);
    if (part->text)
        return n +
               json_string_encode(slice_str(part->text), out ? out + n : NULL, out ? room - n : 0);
    if (out)
        memcpy(out + n, null.p, null.n);
    return n + null.n;
}

enum err openai_error_body(enum err e, const char *message, const char *param, struct buf *out)
{
    const char *code = err_openai_code(e);
    const struct part parts[] = {
        {SLICE("{\"error\":{\"message\":"), message ? message : err_text(e)},
        {SLICE(",\"type\":"), err_openai_type(e)},
        {SLICE(",\"param\":"), param},
        {SLICE(",\"code\":"), code[0] ? code : NULL},
    };
    const size_t count = sizeof(parts) / sizeof(parts[0]);
    size_t n = 2, room_bytes, at = 0;
    char *room;
    enum err err;

    for (size_t i = 0; i < count; i++)
        n += put_part(&parts[i], NULL, 0);
    err = buf_reserve(out, n, &room, &room_bytes);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++)
        at += put_part(&parts[i], room + at, room_bytes - at);
    memcpy(room + at, "}}", 2);
    buf_commit(out, n);
    return ERR_OK;
}
