/* Owns the file and the line at hand. Called by commands that read files of rows. */
#include "gateway/cli/jsonl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include "base/mem.h"

#define MAX_LINE_BYTES ((size_t)16 << 20)

struct jsonl {
    const char *path;
    gzFile file;
    char *text; /* owned */
    size_t cap, line;
};

struct jsonl *jsonl_open(const char *path, struct err_text *t)
{
    struct jsonl *f = mem_zalloc(1, sizeof *f);

    errno = 0;
    f->path = path;
    f->file = strcmp(path, "-") == 0 ? gzdopen(dup(STDIN_FILENO), "rb") : gzopen(path, "rb");
    if (f->file)
        return f;
    err_say(t, "%s: %s", path, errno ? strerror(errno) : "no memory");
    free(f);
    return NULL;
}

void jsonl_close(struct jsonl *f)
{
    if (!f)
        return;
    gzclose_r(f->file);
    free(f->text);
    free(f);
}

size_t jsonl_line(const struct jsonl *f)
{
    return f->line;
}

static enum err refuse(const struct jsonl *f, const char *what, struct err_text *t)
{
    err_say(t, "%s:%zu: %s", f->path, f->line, what);
    return ERR_BAD_REQUEST;
}

/* A line into f->text; *n 0 at the end. */
static enum err read_line(struct jsonl *f, size_t *n, struct err_text *t)
{
    int code;

    for (*n = 0; *n == 0 || f->text[*n - 1] != '\n';) {
        if (f->cap - *n < 2 && f->cap > MAX_LINE_BYTES)
            return refuse(f, "the line is longer than 16 MiB", t);
        if (f->cap - *n < 2) {
            f->cap = f->cap ? 2 * f->cap : 65536;
            f->text = mem_resize(f->text, f->cap, 1);
        }
        if (!gzgets(f->file, f->text + *n, (int)(f->cap - *n))) {
            const char *why = gzerror(f->file, &code);
            if (code != Z_OK && code != Z_STREAM_END)
                return refuse(f, code == Z_BUF_ERROR ? "the compressed file ends too early" : why,
                              t);
            break;
        }
        size_t got = strlen(f->text + *n);
        if (got == 0)
            return refuse(f, "a NUL byte", t);
        *n += got;
    }
    return ERR_OK;
}

enum err jsonl_next(struct jsonl *f, json_t **o, struct err_text *t)
{
    json_error_t fault;
    struct err_text what;
    size_t n;

    *o = NULL;
    do {
        f->line++;
        enum err err = read_line(f, &n, t);
        if (err != ERR_OK || n == 0)
            return err;
    } while (strspn(f->text, " \t\r\n") == n);
    *o = json_loadb(f->text, n, JSON_REJECT_DUPLICATES, &fault);
    if (json_is_object(*o))
        return ERR_OK;
    if (*o)
        err_say(&what, "not a JSON object");
    else
        err_say(&what, "not JSON: column %d: %.200s", fault.column, fault.text);
    json_decref(*o);
    *o = NULL;
    return refuse(f, what.s, t);
}
