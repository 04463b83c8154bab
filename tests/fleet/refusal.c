/* See refusal.h. The type follows from the status, as with OpenAI's API. Pure. */
#include "tests/fleet/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include "tests/fleet/text.h"

static const char *type_of(int status, const char *code)
{
    if (code && strcmp(code, "insufficient_quota") == 0)
        return "insufficient_quota";
    if (status == 429)
        return "requests";
    if (status == 529)
        return "overloaded_error";
    return status >= 500 ? "server_error" : "invalid_request_error";
}

void refusal_say(struct refusal *r, int status, const char *param, const char *code,
                 const char *fmt, ...)
{
    va_list ap;
    *r = (struct refusal){.status = status,
                          .type = type_of(status, code),
                          .param = param,
                          .code = code,
                          .retry_after_s = -1,
                          .retry_after_ms = -1};
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

void refusal_print(const struct refusal *r, struct buf *out)
{
    TEXT_LIT(out, "{\"error\":{\"message\":");
    text_json(out, slice_str(r->message));
    member(out, "type", r->type);
    member(out, "param", r->param);
    member(out, "code", r->code);
    TEXT_LIT(out, "}}");
}
