/* The diagnostics of one load: collected in any order, handed over in the order of the file.
 * Thread: the loader's. Called by policy_node, policy_bind and policy_check; read by the CLI and
 * the admin API. */
#include "policies/policy_diag_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/utf8.h"

#define QUOTE_MAX_BYTES 64

void diags_init(struct diags *d)
{
    *d = (struct diags){.arena = mem_alloc(sizeof *d->arena)};
    arena_init(d->arena, 1024);
}

void diags_clear(struct diags *d)
{
    if (!d->arena)
        return;
    arena_clear(d->arena);
    free(d->arena);
    free(d->items);
    *d = (struct diags){0};
}

/* A copy on one line, whatever the file's names hold. */
static const char *one_line(struct arena *a, const char *text)
{
    char *copy = arena_strdup(a, slice_str(text));
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return copy;
}

void diags_add(struct diags *d, enum diag_severity severity, struct diag_place place,
               const char *hint, const char *fmt, ...)
{
    if (severity == DIAG_ERROR)
        d->errors++;
    if (d->count == DIAGS_MAX)
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);

    if (d->count % 64 == 0)
        d->items = mem_resize(d->items, d->count + 64, sizeof *d->items);
    d->items[d->count++] = (struct diag){
        .severity = severity,
        .file = arena_strdup(d->arena, slice_str(place.file)),
        .line = place.line,
        .column = place.column,
        .path = one_line(d->arena, place.path ? place.path : ""),
        .message = one_line(d->arena, text),
        .hint = hint ? one_line(d->arena, hint) : NULL,
    };
}

static int by_place(const void *va, const void *vb)
{
    const struct diag *a = va, *b = vb;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    int c = strcmp(a->message, b->message);
    return c ? c : strcmp(a->path, b->path);
}

void diags_finish(struct diags *d)
{
    if (d->count > 1)
        qsort(d->items, d->count, sizeof *d->items, by_place);
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct diag *was = kept ? &d->items[kept - 1] : NULL;
        const struct diag *is = &d->items[i];
        /* One fault in an anchored block shows at every use of it: say it once, at the first. */
        if (was && is->line > 0 && was->line == is->line && was->column == is->column &&
            strcmp(was->message, is->message) == 0) {
            d->errors -= is->severity == DIAG_ERROR;
            continue;
        }
        d->items[kept++] = *is;
    }
    d->count = kept;
}

size_t diag_format(const struct diag *d, char *out, size_t out_bytes)
{
    char at[48] = "";
    if (d->line > 0)
        snprintf(at, sizeof at, ":%d:%d", d->line, d->column);
    const char *path = d->path ? d->path : "";
    int n = snprintf(out, out_bytes, "%s%s: %s: %s%s%s%s%s", d->file, at,
                     d->severity == DIAG_ERROR ? "error" : "warning", path, *path ? ": " : "",
                     d->message, d->hint ? "; " : "", d->hint ? d->hint : "");
    return n < 0 ? 0 : (size_t)n;
}

const char *diag_clean(struct arena *a, struct slice text)
{
    char out[QUOTE_MAX_BYTES + 8];
    size_t n = 0, i = 0;
    while (i < text.n && n < QUOTE_MAX_BYTES) {
        size_t step = utf8_char_bytes(text.p + i, text.n - i);
        unsigned char c = (unsigned char)text.p[i];
        if (step == 0 || c < 0x20 || c == 0x7f) {
            out[n++] = '?';
            i++;
            continue;
        }
        if (n + step > QUOTE_MAX_BYTES)
            break;
        memcpy(out + n, text.p + i, step);
        n += step;
        i += step;
    }
    return arena_printf(a, "%.*s%s", (int)n, out, i < text.n ? "..." : "");
}

const char *diag_quote(struct arena *a, struct slice text)
{
    return arena_printf(a, "'%s'", diag_clean(a, text));
}
