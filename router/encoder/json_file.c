/* JSON files of a model's folder. Owns one text at a time; called by bert_config and model_store
 * while a model is opened. */
#include "router/encoder/json_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/atomic_file.h"

enum err json_file_refuse(const struct json_file *f, const char *fmt, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    err_say(f->t, "%s: %s", f->path, what);
    return ERR_BAD_WEIGHTS;
}

static enum err check_unique(struct json_file *f)
{
    struct json_iter outer, inner;
    struct json_member a, b;
    for (json_iter_init(&outer, f->root); json_iter_next(&outer, &a);)
        for (inner = outer; json_iter_next(&inner, &b);)
            if (slice_eq(a.key, b.key))
                return json_file_refuse(f, "'%.*s' stands twice",
                                        (int)(a.key.n < 64 ? a.key.n : 64), a.key.p);
    return ERR_OK;
}

static enum err check(struct json_file *f, struct slice text, enum json_type root_type)
{
    size_t at;
    if (!json_validate(text, &at))
        return json_file_refuse(f, "not valid JSON at byte %zu", at);
    while (text.n && strchr(" \t\r\n", text.p[0]))
        text = slice_from(text, 1);
    if (text.p[0] != (root_type == JSON_OBJECT ? '{' : '['))
        return json_file_refuse(f, root_type == JSON_OBJECT ? "not a JSON object"
                                                            : "not a JSON array");
    f->root = (struct json_value){root_type, text};
    return root_type == JSON_OBJECT ? check_unique(f) : ERR_OK;
}

enum err json_file_open(struct json_file *f, const char *folder, const char *name,
                        enum json_type root_type, struct err_text *t)
{
    f->t = t;
    f->text = NULL;
    int n = snprintf(f->path, sizeof f->path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof f->path) {
        err_say(t, "%.200s...: the path is too long", folder);
        return ERR_BAD_WEIGHTS;
    }
    size_t bytes;
    enum err e = atomic_file_read(f->path, JSON_FILE_MAX_BYTES, &f->text, &bytes, t);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? e : ERR_BAD_WEIGHTS;
    e = check(f, slice_make(f->text, bytes), root_type);
    if (e != ERR_OK)
        json_file_close(f);
    return e;
}

void json_file_close(struct json_file *f)
{
    free(f->text);
    f->text = NULL;
}

/* ---- members ---- */

bool json_file_member(struct json_value object, const char *key, struct json_value *out)
{
    struct json_member m;
    if (!json_get(object, slice_str(key), &m) || m.value.type == JSON_NULL)
        return false;
    *out = m.value;
    return true;
}

static enum err absent(struct json_file *f, const char *key, bool required)
{
    return required ? json_file_refuse(f, "'%s' is missing", key) : ERR_OK;
}

enum err json_file_int(struct json_file *f, struct json_value object, const char *key,
                       bool required, int low, int high, int *out)
{
    struct json_value v;
    int64_t n;
    if (!json_file_member(object, key, &v))
        return absent(f, key, required);
    if (v.type != JSON_NUMBER || !json_int(v, &n))
        return json_file_refuse(f, "'%s' is not an integer", key);
    if (n < low || n > high)
        return json_file_refuse(f, "'%s' is %lld, not within %d and %d", key, (long long)n, low,
                                high);
    *out = (int)n;
    return ERR_OK;
}

enum err json_file_bool(struct json_file *f, struct json_value object, const char *key,
                        bool required, bool *out)
{
    struct json_value v;
    if (!json_file_member(object, key, &v))
        return absent(f, key, required);
    if (v.type != JSON_TRUE && v.type != JSON_FALSE)
        return json_file_refuse(f, "'%s' is not true or false", key);
    *out = v.type == JSON_TRUE;
    return ERR_OK;
}

enum err json_file_number(struct json_file *f, struct json_value object, const char *key,
                          bool required, double low, double high, double *out)
{
    struct json_value v;
    double d;
    if (!json_file_member(object, key, &v))
        return absent(f, key, required);
    if (v.type != JSON_NUMBER || !json_number(v, &d) || !(d >= low && d <= high))
        return json_file_refuse(f, "'%s' is not a number within %g and %g", key, low, high);
    *out = d;
    return ERR_OK;
}

enum err json_file_string(struct json_file *f, struct json_value object, const char *key,
                          bool required, char *out, size_t out_bytes)
{
    struct json_value v;
    if (!json_file_member(object, key, &v))
        return absent(f, key, required);
    if (v.type != JSON_STRING)
        return json_file_refuse(f, "'%s' is not a string", key);
    size_t n = json_string_decode(v.text, NULL, 0);
    if (n >= out_bytes)
        return json_file_refuse(f, "'%s' is longer than %zu bytes", key, out_bytes - 1);
    json_string_decode(v.text, out, n);
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out[i] < ' ' && !strchr("\t\r\n", out[i] ? out[i] : 'x'))
            return json_file_refuse(f, "'%s' holds a control character", key);
    return ERR_OK;
}
