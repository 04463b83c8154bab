/* Owns nothing. Called by cmd_cache*.c. */
#include "gateway/cli/cache_client.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/ascii.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "gateway/cli/progress.h"
#include "policies/policy_value.h"

#define PATH_BYTES 8000

json_t *cache_client_where(const struct cli_args *a, size_t *count)
{
    static const char *const conditions[] = {"scope",  "tag",    "model",  "route",      "class",
                                             "prefix", "id",     "answer", "source",     "older",
                                             "newer",  "pinned", "dead",   "quarantined"};
    json_t *where = json_object();

    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
        const char *value = cli_value(a, conditions[i]);
        bool flag = strcmp(conditions[i], "pinned") == 0 || strcmp(conditions[i], "dead") == 0 ||
                    strcmp(conditions[i], "quarantined") == 0;
        if (value)
            json_object_set_new(where, conditions[i], json_string(flag ? "true" : value));
    }
    *count = json_object_size(where);
    return where;
}

static void add_escaped(struct buf *b, const char *s)
{
    enum err e = ERR_OK;

    for (; *s && e == ERR_OK; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = ascii_is_alnum(c) || c == '-' || c == '_' || c == '.';
        e = plain ? buf_append(b, s, 1) : buf_printf(b, "%%%02X", c);
    }
    (void)e; /* cut at PATH_BYTES: the server says what is missing */
}

static void add_pair(struct buf *b, const char *key, const char *value)
{
    struct slice so_far = buf_slice(b);
    const char *mark = so_far.n && memchr(so_far.p, '?', so_far.n) ? "&" : "?";

    if (buf_printf(b, "%s%s=", mark, key) == ERR_OK)
        add_escaped(b, value);
}

char *cache_client_path(const char *path, json_t *where, const char *cursor, const char *limit)
{
    struct buf b;
    const char *key;
    json_t *value;

    buf_init(&b, PATH_BYTES);
    enum err e = buf_append_slice(&b, slice_str(path));
    (void)e;
    json_object_foreach(where, key, value)
    {
        add_pair(&b, key, json_string_value(value));
    }
    if (cursor)
        add_pair(&b, "cursor", cursor);
    if (limit)
        add_pair(&b, "limit", limit);
    char *all = mem_strdup(buf_slice(&b));
    buf_clear(&b);
    return all;
}

char *cache_client_name(const char *path, const char *name)
{
    struct buf b;

    buf_init(&b, PATH_BYTES);
    if (buf_append_slice(&b, slice_str(path)) == ERR_OK)
        add_escaped(&b, name);
    char *all = mem_strdup(buf_slice(&b));
    buf_clear(&b);
    return all;
}

bool cache_client_walk(struct admin_client *c, const struct cache_client_walk *w)
{
    char *cursor = mem_strdup(SLICE("0"));
    uint64_t looked_at = 0;
    struct progress p;
    json_t *step;

    progress_begin(&p, w->doing, PROGRESS_COUNT);
    do {
        step = w->ask(c, cursor, w->ctx);
        if (!step)
            break;
        w->take(step, w->ctx);
        looked_at += (uint64_t)admin_client_int(step, "looked_at");
        progress_update(&p, looked_at, 0);
        free(cursor);
        cursor = mem_strdup(slice_str(admin_client_text(step, "cursor")));
        json_decref(step);
    } while (*cursor && strcmp(cursor, "0") != 0);
    progress_end(&p);
    free(cursor);
    return c->code == EXIT_CODE_OK;
}

/* ---- what is printed ---- */

void cache_client_print_line(FILE *f, const char *text, size_t columns)
{
    size_t n = strlen(text), shown = 0;

    for (size_t i = 0, step; i < n; i += step, shown++) {
        unsigned char c = (unsigned char)text[i];
        step = utf8_char_bytes(text + i, n - i);
        if (columns && shown + 1 >= columns && i + step < n) {
            fputs("...", f);
            return;
        }
        if (step == 0) {
            step = 1;
            fputc('?', f);
        } else if (c == '\n' || c == '\t') {
            fputs(c == '\n' ? "\\n" : "\\t", f);
        } else if (c < 0x20 || c == 0x7F || (c == 0xC2 && (unsigned char)text[i + 1] < 0xA0)) {
            fprintf(f, "\\x%02x", c); /* C0 and C1: a terminal would obey them */
        } else {
            fwrite(text + i, 1, step, f);
        }
    }
}

const char *cache_client_span(const char *time, char *out, size_t out_bytes)
{
    static const struct {
        int64_t s;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    const char *hint;
    int64_t at_us = 0, s;

    if (value_time(slice_str(time), &at_us, &hint)) {
        snprintf(out, out_bytes, "?");
        return out;
    }
    s = (at_us - clock_wall_us()) / 1000000;
    if (s < 0)
        s = -s;
    size_t i = 0;
    while (i < 3 && s < units[i].s)
        i++;
    snprintf(out, out_bytes, "%lld%c", (long long)(s / units[i].s), units[i].unit);
    return out;
}
