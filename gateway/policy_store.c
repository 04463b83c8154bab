/* Owns <state_dir>/policies. Each entry is written as a file first and becomes known by its line in
 * the index after that, so that the index never names a text that is not there; an old one leaves
 * the index before its file goes. The index is small and rewritten whole, so that it is never seen
 * in part. Called by control only. */
#include "gateway/policy_store.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/mem.h"

#define INDEX_BYTES ((size_t)16 << 20)
#define ORIGIN_BYTES                                                                               \
    64 /* of "rollback to N" and the like; keeps an index line far below INDEX_BYTES / KEEP */

struct policy_store {
    char *dir;
    char *index_path;
    struct policy_store_entry *entries; /* ascending serial */
    size_t count, cap;
    int64_t last_serial; /* also of entries that were removed */
};

static char *path_in(const char *dir, const char *name)
{
    size_t n = strlen(dir) + 1 + strlen(name) + 1;
    char *path = mem_alloc(n);
    snprintf(path, n, "%s/%s", dir, name);
    return path;
}

static char *text_path(const struct policy_store *s, int64_t serial, const char *version)
{
    char name[96];
    snprintf(name, sizeof name, "%06" PRId64 "-%.32s.yaml", serial, version);
    return path_in(s->dir, name);
}

static void remember(struct policy_store *s, int64_t serial, const char *version, int64_t wall_us,
                     const char *origin)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 16;
        s->entries = mem_resize(s->entries, s->cap, sizeof *s->entries);
    }
    s->entries[s->count++] = (struct policy_store_entry){
        .serial = serial,
        .version = mem_strdup(slice_str(version)),
        .wall_us = wall_us,
        .origin = mem_strdup(slice_str(origin)),
    };
    s->last_serial = serial;
}

static void entry_free(const struct policy_store_entry *e)
{
    free(e->version);
    free(e->origin);
}

/* A version names a file: only what policy_load makes (hex digits) may come back from disk. */
static bool version_is_sane(const char *v)
{
    size_t n = strspn(v, "0123456789abcdef");
    return n > 0 && n <= 32 && v[n] == '\0';
}

/* ---- the index ---- */

static void read_index_line(struct policy_store *s, struct slice line)
{
    json_error_t fault;
    json_t *o = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &fault);
    json_int_t serial, wall_us;
    const char *version, *origin;
    if (o &&
        json_unpack(o, "{s:I,s:s,s:I,s:s}", "serial", &serial, "version", &version,
                    "loaded_wall_us", &wall_us, "origin", &origin) == 0 &&
        serial > s->last_serial && version_is_sane(version))
        remember(s, serial, version, wall_us, origin);
    json_decref(o);
}

static enum err read_index(struct policy_store *s, struct err_text *t)
{
    char *text;
    size_t n;
    enum err e = atomic_file_read(s->index_path, INDEX_BYTES, &text, &n, t);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e != ERR_OK)
        return e;
    const char *end = text + n;
    for (const char *p = text; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        if (!eol)
            break; /* not ours: lines are written whole */
        read_index_line(s, slice_make(p, (size_t)(eol - p)));
        p = eol + 1;
    }
    free(text);
    return ERR_OK;
}

/* One line with its newline, on the heap. */
static char *index_line(const struct policy_store_entry *e)
{
    json_t *o =
        json_pack("{s:I,s:s,s:I,s:s}", "serial", (json_int_t)e->serial, "version", e->version,
                  "loaded_wall_us", (json_int_t)e->wall_us, "origin", e->origin);
    char *json = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(o);
    if (!json)
        return NULL;
    size_t n = strlen(json) + 2;
    char *line = mem_alloc(n);
    snprintf(line, n, "%s\n", json);
    free(json);
    return line;
}

static size_t surplus(const struct policy_store *s)
{
    return s->count > POLICY_STORE_KEEP ? s->count - POLICY_STORE_KEEP : 0;
}

static enum err write_index(const struct policy_store *s, struct err_text *t)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) {
        err_say(t, "%s: %s", s->index_path, strerror(errno));
        return ERR_INTERNAL;
    }
    for (size_t i = surplus(s); i < s->count; i++) {
        char *line = index_line(&s->entries[i]);
        if (line)
            fputs(line, f);
        free(line);
    }
    fclose(f);
    enum err e = atomic_file_write(s->index_path, 0600, slice_make(text, n), t);
    free(text);
    return e;
}

/* ---- opening ---- */

static void drop_oldest(struct policy_store *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *path = text_path(s, s->entries[i].serial, s->entries[i].version);
        unlink(path);
        free(path);
        entry_free(&s->entries[i]);
    }
    s->count -= n;
    memmove(s->entries, s->entries + n, s->count * sizeof *s->entries);
}

struct policy_store *policy_store_open(const char *dir, struct err_text *t)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        err_say(t, "%s: %s", dir, strerror(errno));
        return NULL;
    }
    struct policy_store *s = mem_zalloc(1, sizeof *s);
    s->dir = mem_strdup(slice_str(dir));
    s->index_path = path_in(dir, "index.jsonl");
    if (read_index(s, t) != ERR_OK)
        goto fail;
    if (access(dir, W_OK | X_OK) != 0) {
        err_say(t, "%s: %s", dir, strerror(errno));
        goto fail;
    }
    return s;
fail:
    policy_store_close(s);
    return NULL;
}

void policy_store_close(struct policy_store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        entry_free(&s->entries[i]);
    free(s->entries);
    free(s->index_path);
    free(s->dir);
    free(s);
}

/* ---- entries ---- */

enum err policy_store_add(struct policy_store *s, const char *version, const char *origin,
                          struct slice text, int64_t *serial, struct err_text *t)
{
    if (s->count > 0 && strcmp(s->entries[s->count - 1].version, version) == 0) {
        *serial = s->entries[s->count - 1].serial;
        return ERR_OK;
    }
    char short_origin[ORIGIN_BYTES];
    snprintf(short_origin, sizeof short_origin, "%s", origin);
    int64_t next = s->last_serial + 1;
    char *path = text_path(s, next, version);
    enum err e = atomic_file_write(path, 0600, text, t);
    if (e == ERR_OK) {
        remember(s, next, version, clock_wall_us(), short_origin);
        e = write_index(s, t);
        if (e == ERR_OK) {
            drop_oldest(s, surplus(s));
        } else {
            entry_free(&s->entries[--s->count]);
            s->last_serial = next - 1;
            unlink(path);
        }
    }
    free(path);
    *serial = next;
    return e;
}

size_t policy_store_count(const struct policy_store *s)
{
    return s->count;
}

const struct policy_store_entry *policy_store_at(const struct policy_store *s, size_t i)
{
    return &s->entries[i];
}

const struct policy_store_entry *policy_store_find(const struct policy_store *s, int64_t serial)
{
    for (size_t i = s->count; i-- > 0;)
        if (s->entries[i].serial == serial)
            return &s->entries[i];
    return NULL;
}

enum err policy_store_text(const struct policy_store *s, const struct policy_store_entry *e,
                           char **text, size_t *n, struct err_text *t)
{
    char *path = text_path(s, e->serial, e->version);
    enum err err = atomic_file_read(path, POLICY_STORE_TEXT_BYTES, text, n, t);
    free(path);
    return err;
}
