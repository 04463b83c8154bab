/* weir.json, both ways, and a folder held against it. Called by 'weir model'. */
#include "router/encoder/model_record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/atomic_file.h"
#include "base/buf.h"
#include "router/encoder/json_file.h"

#define RECORD_NAME  "weir.json"
#define RECORD_BYTES ((size_t)64 << 10)

/* ---- writing ---- */

static enum err put_string(struct buf *b, const char *before, const char *s)
{
    char quoted[6 * 1024 + 3];
    size_t n = json_string_encode(slice_str(s), quoted, sizeof quoted);
    return buf_printf(b, "%s%.*s", before, (int)n, quoted);
}

static enum err put_file(struct buf *b, const struct model_record_file *f, bool first)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(f->digest, hex);
    enum err e = put_string(b, first ? "\n    " : ",\n    ", f->path);
    return e == ERR_OK ? buf_printf(b,
                                    ": {\"bytes\": %" PRIu64 ", \"sha256\": \"%s\", "
                                    "\"pinned\": %s}",
                                    f->bytes, hex, f->pinned ? "true" : "false")
                       : e;
}

static enum err put_all(struct buf *b, const struct model_record *r, const char *prefix)
{
    enum err e = put_string(b, "{\n  \"model\": ", r->model);
    if (e == ERR_OK)
        e = put_string(b, ",\n  \"source\": ", r->source);
    if (e == ERR_OK)
        e = put_string(b, ",\n  \"licence\": ", r->licence);
    if (e == ERR_OK && prefix[0])
        e = put_string(b, ",\n  \"prefix\": ", prefix);
    if (e == ERR_OK)
        e = buf_printf(b, ",\n  \"files\": {");
    for (size_t i = 0; i < r->count && e == ERR_OK; i++)
        e = put_file(b, &r->files[i], i == 0);
    return e == ERR_OK ? buf_printf(b, "\n  }\n}\n") : e;
}

enum err model_record_write(const char *folder, const struct model_record *r, const char *prefix,
                            struct err_text *t)
{
    char path[JSON_FILE_PATH];
    struct buf b;
    buf_init(&b, RECORD_BYTES);
    int n = snprintf(path, sizeof path, "%s/%s", folder, RECORD_NAME);
    enum err e = ERR_INTERNAL;
    if (n < 0 || (size_t)n >= sizeof path || put_all(&b, r, prefix) != ERR_OK)
        err_say(t, "%.200s: the record of the model is too long", folder);
    else
        e = atomic_file_write(path, 0644, buf_slice(&b), t);
    buf_clear(&b);
    return e;
}

/* ---- reading ---- */

static enum err read_file(struct json_file *f, const struct json_member *m,
                          struct model_record_file *out)
{
    char hex[DIGEST_HEX_BYTES];
    struct json_value bytes;
    int64_t n;
    if (m->value.type != JSON_OBJECT || m->key_escaped || m->key.n >= sizeof out->path)
        return json_file_refuse(f, "a file is not described by an object");
    snprintf(out->path, sizeof out->path, "%.*s", SLICE_ARG(m->key));
    if (out->path[0] == '/' || strstr(out->path, ".."))
        return json_file_refuse(f, "'%s' leaves the folder", out->path);
    enum err e = json_file_string(f, m->value, "sha256", true, hex, sizeof hex);
    if (e != ERR_OK)
        return e;
    if (!digest_parse(slice_str(hex), &out->digest))
        return json_file_refuse(f, "'sha256' of %s is not 64 hex digits", out->path);
    if (!json_file_member(m->value, "bytes", &bytes) || !json_int(bytes, &n) || n < 0)
        return json_file_refuse(f, "'bytes' of %s is not a size", out->path);
    out->bytes = (uint64_t)n;
    out->pinned = false;
    return json_file_bool(f, m->value, "pinned", false, &out->pinned);
}

static enum err read_record(struct json_file *f, struct model_record *out)
{
    struct json_value files;
    struct json_iter it;
    struct json_member m;
    enum err e = json_file_string(f, f->root, "model", false, out->model, sizeof out->model);
    if (e == ERR_OK)
        e = json_file_string(f, f->root, "source", false, out->source, sizeof out->source);
    if (e == ERR_OK)
        e = json_file_string(f, f->root, "licence", false, out->licence, sizeof out->licence);
    if (e != ERR_OK)
        return e;
    if (!json_file_member(f->root, "files", &files)) {
        err_say(f->t, "%s: it lists no files", f->path);
        return ERR_NOT_FOUND;
    }
    if (files.type != JSON_OBJECT)
        return json_file_refuse(f, "'files' is not an object");
    for (json_iter_init(&it, files); e == ERR_OK && json_iter_next(&it, &m);) {
        if (out->count == MODEL_RECORD_FILES)
            return json_file_refuse(f, "more than %d files", MODEL_RECORD_FILES);
        e = read_file(f, &m, &out->files[out->count++]);
    }
    return e;
}

enum err model_record_read(const char *folder, struct model_record *out, struct err_text *t)
{
    struct json_file f;
    *out = (struct model_record){.count = 0};
    enum err e = json_file_open(&f, folder, RECORD_NAME, JSON_OBJECT, t);
    if (e != ERR_OK)
        return e;
    e = read_record(&f, out);
    json_file_close(&f);
    return e;
}

/* ---- holding a folder against it ---- */

/* The record's files, then those that the registry knows, whose pins replace what was recorded. */
static enum err expectations(const char *folder, const struct model_entry *known,
                             struct model_record *out, struct err_text *t)
{
    enum err e = model_record_read(folder, out, t);
    if (e != ERR_OK && (e != ERR_NOT_FOUND || !known))
        return e;
    for (size_t i = 0; known && i < known->file_count; i++) {
        const struct model_file *f = &known->files[i];
        size_t at = 0;
        while (at < out->count && strcmp(out->files[at].path, f->path) != 0)
            at++;
        if (!f->sha256 || at == MODEL_RECORD_FILES)
            continue;
        struct model_record_file *x = &out->files[at];
        if (at == out->count)
            out->count++;
        snprintf(x->path, sizeof x->path, "%s", f->path);
        x->pinned = digest_parse(slice_str(f->sha256), &x->digest);
    }
    return ERR_OK;
}

static enum model_file_state look_at(const char *folder, const struct model_record_file *f)
{
    char path[JSON_FILE_PATH];
    struct digest d;
    snprintf(path, sizeof path, "%s/%s", folder, f->path);
    if (!digest_file(path, &d))
        return errno == ENOENT ? MODEL_FILE_MISSING : MODEL_FILE_CHANGED;
    if (!digest_eq(d, f->digest))
        return MODEL_FILE_CHANGED;
    return f->pinned ? MODEL_FILE_PINNED : MODEL_FILE_RECORDED;
}

enum err model_record_verify(const char *folder, const struct model_entry *known,
                             model_record_fn on_file, void *ctx, struct err_text *t)
{
    struct model_record r;
    enum err e = expectations(folder, known, &r, t);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < r.count; i++) {
        enum model_file_state state = look_at(folder, &r.files[i]);
        if (on_file)
            on_file(r.files[i].path, state, ctx);
        if (e != ERR_OK || state == MODEL_FILE_PINNED || state == MODEL_FILE_RECORDED)
            continue;
        e = ERR_BAD_WEIGHTS;
        err_say(t, "%s/%s: %s", folder, r.files[i].path,
                state == MODEL_FILE_MISSING ? "missing" : "not the file that it should be");
    }
    return e;
}
