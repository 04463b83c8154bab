/* The error table, expanded from err.def. Immutable once the process runs; any thread; called by
 * everybody. */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

struct err_row {
    const char *upper;
    int status;
    enum err_retry retry;
    const char *type, *code, *text;
};

static const struct err_row rows[ERR_COUNT] = {
#define ERR(name, status, retry, type, code, text)                                                 \
    [ERR_##name] = {#name, status, ERR_RETRY_##retry, type, code, text},
#include "base/err.def"
#undef ERR
};

/* The preprocessor cannot lower a name's case: the lower-case names are made once, before main. */
static char names[ERR_COUNT][40];

__attribute__((constructor)) static void names_init(void)
{
    for (size_t i = 0; i < ERR_COUNT; i++)
        for (size_t j = 0; rows[i].upper[j] && j + 1 < sizeof names[i]; j++) {
            char c = rows[i].upper[j];
            names[i][j] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        }
}

static const struct err_row *row(enum err e)
{
    assert(e < ERR_COUNT);
    return &rows[e];
}

const char *err_name(enum err e)
{
    assert(e < ERR_COUNT);
    return names[e];
}

int err_http_status(enum err e)
{
    return row(e)->status;
}

enum err_retry err_retry(enum err e)
{
    return row(e)->retry;
}

const char *err_openai_type(enum err e)
{
    return row(e)->type;
}

const char *err_openai_code(enum err e)
{
    return row(e)->code;
}

const char *err_text(enum err e)
{
    return row(e)->text;
}

void err_say(struct err_text *t, const char *fmt, ...)
{
    if (!t)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->s, sizeof t->s, fmt, ap);
    va_end(ap);
}
