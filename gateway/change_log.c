/* Owns the file descriptor and the digest of the last line. Called by api_cache.c, on the control
 * thread. */
#include "gateway/change_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "gateway/json_put.h"

struct change_log {
    char *path; /* owned */
    int fd;     /* -1: not open yet */
    bool torn;  /* the last line has no end: a crash cut it off */
    char before[DIGEST_HEX_BYTES];
};

struct change_log *change_log_new(const char *path)
{
    struct change_log *l = mem_zalloc(1, sizeof *l);

    l->path = mem_strdup(slice_str(path));
    l->fd = -1;
    return l;
}

void change_log_free(struct change_log *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    free(l->path);
    free(l);
}

static enum err fail(const struct change_log *l, const char *what, struct err_text *t)
{
    err_say(t, "%s: %s: %s", l->path, what, strerror(errno));
    return ERR_INTERNAL;
}

/* The end of the file, from the start of a line on; the caller frees it. NULL: it cannot be read.
 */
static char *read_end(const struct change_log *l, size_t *n)
{
    struct stat st;
    char *text = NULL;

    if (fstat(l->fd, &st) != 0)
        return NULL;
    off_t from =
        st.st_size > (off_t)CHANGE_LOG_TAIL_BYTES ? st.st_size - (off_t)CHANGE_LOG_TAIL_BYTES : 0;
    size_t want = (size_t)(st.st_size - from);
    text = mem_alloc(want + 1);
    ssize_t got = pread(l->fd, text, want, from);
    if (got < 0) {
        free(text);
        return NULL;
    }
    *n = (size_t)got;
    const char *line = from > 0 ? memchr(text, '\n', *n) : NULL;
    if (line) {
        size_t skip = (size_t)(line - text) + 1;
        *n -= skip;
        memmove(text, text + skip, *n);
    }
    return text;
}

/* The next line of s without its end; false: there is none that is whole. */
static bool next_line(struct slice *s, struct slice *line)
{
    const char *end = s->n ? memchr(s->p, '\n', s->n) : NULL;

    if (!end)
        return false;
    *line = slice_make(s->p, (size_t)(end - s->p));
    *s = slice_from(*s, line->n + 1);
    return true;
}

static void remember(struct change_log *l, struct slice line)
{
    digest_hex(digest_of(line), l->before);
}

enum err change_log_ready(struct change_log *l, struct err_text *t)
{
    size_t n = 0;

    if (l->fd >= 0)
        return ERR_OK;
    l->fd = open(l->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (l->fd < 0)
        return fail(l, "changes cannot be recorded", t);
    char *text = read_end(l, &n);
    if (!text) {
        close(l->fd);
        l->fd = -1;
        return fail(l, "cannot be read", t);
    }
    struct slice rest = slice_make(text, n), line;
    remember(l, SLICE(""));
    while (next_line(&rest, &line))
        remember(l, line);
    l->torn = rest.n > 0;
    if (l->torn)
        remember(l, rest);
    free(text);
    return ERR_OK;
}

enum err change_log_append(struct change_log *l, json_t *record, struct err_text *t)
{
    enum err err = change_log_ready(l, t);
    char *line = NULL;

    if (err != ERR_OK)
        goto out;
    json_put_time(record, "at", clock_wall_us());
    json_put_text(record, "before", l->before);
    line = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    mem_need(line);
    size_t n = strlen(line), begin = l->torn;
    char *all = mem_alloc(n + 2);
    all[0] = '\n';
    memcpy(all + begin, line, n);
    all[begin + n] = '\n';
    ssize_t written = write(l->fd, all, begin + n + 1);
    free(all);
    if (written != (ssize_t)(begin + n + 1)) {
        err = fail(l, "a change was not recorded", t);
        close(l->fd); /* what is there is looked at anew */
        l->fd = -1;
    } else {
        l->torn = false;
        remember(l, slice_make(line, n));
    }
out:
    free(line);
    json_decref(record);
    return err;
}

static bool names(const json_t *record, const char *before)
{
    const char *said = json_string_value(json_object_get(record, "before"));

    return said && strcmp(said, before) == 0;
}

json_t *change_log_tail(struct change_log *l, size_t most, struct err_text *t)
{
    char before[DIGEST_HEX_BYTES] = "";
    json_t *changes = json_array();
    bool whole = true;
    size_t n = 0;
    char *text;

    if (change_log_ready(l, t) != ERR_OK || !(text = read_end(l, &n))) {
        json_decref(changes);
        return NULL;
    }
    struct slice rest = slice_make(text, n), line;
    while (next_line(&rest, &line)) {
        json_t *record = json_loadb(line.p, line.n, 0, NULL);
        if (!record || (before[0] && !names(record, before)))
            whole = false;
        digest_hex(digest_of(line), before);
        if (record)
            json_array_append_new(changes, record);
        if (json_array_size(changes) > most)
            json_array_remove(changes, 0);
    }
    free(text);
    json_t *o = json_object();
    json_put(o, "changes", changes);
    json_put_bool(o, "whole", whole);
    return o;
}
