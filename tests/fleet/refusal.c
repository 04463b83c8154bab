/* See refusal.h. Called by api.c, control.c and reply.c. */
#include "tests/fleet/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include "tests/fleet/text.h"

static const char *openai_type(int status, const char *code)
{
    if (code && strcmp(code, "insufficient_quota") == 0)
        return "insufficient_quota";
    if (status == 429)
        return "requests";
    if (status == 529)
        return "overloaded_error";
    return status >= 500 || status < 400 ? "server_error" : "invalid_request_error";
}

static const char *anthropic_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 402:
        return "billing_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 504:
        return "timeout_error";
    case 529:
        return "overloaded_error";
    default:
        return status >= 500 || status < 400 ? "api_error" : "invalid_request_error";
    }
}

void refusal_say(struct refusal *r, int status, const char *param, const char *code,
                 const char *fmt, ...)
{
    va_list ap;
    *r = (struct refusal){
        .status = status, .param = param, .code = code, .retry_after_s = -1, .retry_after_ms = -1};
    va_start(ap, fmt);
    vsnprintf(r->message, sizeof r->message, fmt, ap);
    va_end(ap);
}

static void member(struct buf *out, const char *name, const char *value)
{
    TEXT_ADD(out, ",\"%s\":", name);
    if (value)
        text_json(out, slice_str(value));
    else
        TEXT_LIT(out, "null");
}

static void print_openai(const struct refusal *r, struct buf *out)
{
    TEXT_LIT(out, "{\"error\":{\"message\":");
    text_json(out, slice_str(r->message));
    member(out, "type", openai_type(r->status, r->code));
    member(out, "param", r->param);
    member(out, "code", r->code);
    TEXT_LIT(out, "}}");
}

static void print_anthropic(const struct refusal *r, uint64_t serial, struct buf *out)
{
    TEXT_ADD(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
             anthropic_type(r->status));
    text_json(out, slice_str(r->message));
    if (r->code && strncmp(r->code, "thread_", 7) == 0)
        TEXT_ADD(out, ",\"details\":{\"error_code\":\"%s\",\"unsupported\":[\"model\"]}", r->code);
    TEXT_ADD(out, "},\"request_id\":\"req_%016llx\"}", (unsigned long long)serial);
}

void refusal_print(const struct refusal *r, enum dialect d, uint64_t serial, struct buf *out)
{
    if (d == DIALECT_ANTHROPIC)
        print_anthropic(r, serial, out);
    else
        print_openai(r, out);
}
