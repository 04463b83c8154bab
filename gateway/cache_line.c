/* Owns nothing. Called by api_cache_move.c. */
#include "gateway/cache_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "backends/wire/wire.h"
#include "base/base64.h"
#include "base/mem.h"
#include "gateway/cache_json.h"
#include "gateway/cache_where.h"
#include "gateway/json_put.h"

#define MAX_DIM     4096
#define MAX_LIFE_MS (INT64_C(10) * 366 * 86400 * 1000) /* of an entry: ten years */

/* ---- out ---- */

static json_t *vector_json(const struct cache_fields *f)
{
    size_t n = (size_t)f->dim;
    unsigned char *bytes;
    char *text;
    json_t *o;

    if (!f->vector)
        return NULL;
    bytes = mem_alloc(2 * n + 1);
    text = mem_alloc(BASE64_BYTES(2 * n));
    for (size_t i = 0; i < n; i++) {
        bytes[2 * i] = (unsigned char)f->vector[i];
        bytes[2 * i + 1] = (unsigned char)(f->vector[i] >> 8);
    }
    base64_encode(bytes, 2 * n, text);
    o = json_string(text);
    free(text);
    free(bytes);
    return o;
}

json_t *cache_line_json(const struct cache_fields *f)
{
    const struct {
        const char *key;
        struct slice text;
    } texts[] = {{"scope", f->scope},     {"owner", f->owner},       {"text", f->text},
                 {"dialect", f->dialect}, {"api", f->api},           {"model", f->model},
                 {"route", f->route},     {"class", f->class_label}, {"body", f->body}};
    char id[20], digest[DIGEST_HEX_BYTES], fingerprint[2 * CACHE_FINGERPRINT_BYTES + 1];
    json_t *o = json_object();

    json_put_int(o, "weir_cache", CACHE_LINE_VERSION);
    snprintf(id, sizeof id, "%016" PRIx64, f->id);
    json_put_text(o, "id", id);
    snprintf(id, sizeof id, "%016" PRIx64, f->answer);
    json_put_text(o, "answer", id);
    digest_hex(f->exact, digest);
    json_put_text(o, "exact", digest);
    digest_hex(f->rest, digest);
    json_put_text(o, "rest", digest);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        json_put(o, texts[i].key, json_put_slice(texts[i].text));
    json_put(o, "tags", cache_json_tags(f));
    json_put_bool(o, "pinned", f->pinned);
    json_put_bool(o, "quarantined", f->quarantined);
    json_put_int(o, "created_ms", f->created_ms);
    json_put_int(o, "expires_ms", f->expires_ms);
    json_put(o, "usage", cache_json_usage(&f->usage));
    json_put_int(o, "cost_nanousd", f->cost);
    cache_json_hex(f->fingerprint, sizeof f->fingerprint, fingerprint);
    json_put_text(o, "encoder", f->vector ? fingerprint : NULL);
    json_put(o, "vector", vector_json(f));
    return o;
}

/* ---- in ---- */

/* One line that is being read; slices of f point into `o` and `vector`. */
struct reader {
    json_t *o;
    struct cache_fields f;
    uint16_t vector[MAX_DIM];
    struct err_text *why;
};

static bool wrong(struct reader *r, const char *key, const char *wanted)
{
    err_say(r->why, "%s: %s is wanted", key, wanted);
    return false;
}

static bool take_text(struct reader *r, const char *key, struct slice *out)
{
    const json_t *v = json_object_get(r->o, key);

    *out = slice_make(json_string_value(v), json_string_length(v));
    return json_is_string(v) || wrong(r, key, "a string");
}

static bool take_id(struct reader *r, const char *key, uint64_t *out)
{
    struct slice hex;

    if (!take_text(r, key, &hex))
        return false;
    *out = cache_where_id(hex);
    return *out != 0 || wrong(r, key, "an id, 16 hex digits,");
}

static bool take_digest(struct reader *r, const char *key, struct digest *out)
{
    struct slice hex;

    return take_text(r, key, &hex) &&
           (digest_parse(hex, out) || wrong(r, key, "a SHA-256, 64 hex digits,"));
}

static bool take_int(struct reader *r, const json_t *o, const char *key, int64_t *out)
{
    const json_t *v = json_object_get(o, key);

    *out = json_integer_value(v);
    return (json_is_integer(v) && *out >= 0) || wrong(r, key, "a whole number from 0 on");
}

static bool take_bool(struct reader *r, const char *key, bool *out)
{
    const json_t *v = json_object_get(r->o, key);

    *out = json_is_true(v);
    return json_is_boolean(v) || wrong(r, key, "true or false");
}

static bool take_times(struct reader *r)
{
    struct cache_fields *f = &r->f;

    if (!take_int(r, r->o, "created_ms", &f->created_ms) ||
        !take_int(r, r->o, "expires_ms", &f->expires_ms))
        return false;
    return (f->expires_ms > f->created_ms && f->expires_ms - f->created_ms <= MAX_LIFE_MS) ||
           wrong(r, "expires_ms", "a time after created_ms, at most ten years,");
}

static bool take_tags(struct reader *r)
{
    const json_t *tags = json_object_get(r->o, "tags");

    if (!json_is_array(tags) || json_array_size(tags) > CACHE_MAX_TAGS)
        return wrong(r, "tags", "a list of at most 16 strings");
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *v = json_array_get(tags, i);
        struct slice tag = slice_make(json_string_value(v), json_string_length(v));
        if (tag.n == 0 || memchr(tag.p, '\n', tag.n))
            return wrong(r, "tags", "a list of strings without line breaks, none of them empty,");
        r->f.tags[r->f.tag_count++] = tag;
    }
    return true;
}

static bool take_usage(struct reader *r)
{
    const json_t *usage = json_object_get(r->o, "usage"), *source;

    if (!json_is_object(usage))
        return wrong(r, "usage", "an object");
    for (int k = 0; k < TOK_KINDS; k++)
        if (!take_int(r, usage, token_kind_name((enum token_kind)k), &r->f.usage.n[k]))
            return false;
    source = json_object_get(usage, "source");
    for (int s = 0; json_is_string(source) && s <= USAGE_ESTIMATED; s++)
        if (strcmp(json_string_value(source), usage_source_name((enum usage_source)s)) == 0) {
            r->f.usage.source = (enum usage_source)s;
            return true;
        }
    return wrong(r, "usage.source", "one of none, reported, partial, estimated");
}

static bool take_fingerprint(struct reader *r)
{
    char padded[2 * DIGEST_BYTES];
    struct digest d;
    struct slice hex;

    if (!take_text(r, "encoder", &hex))
        return false;
    memset(padded, '0', sizeof padded);
    if (hex.n == 2 * CACHE_FINGERPRINT_BYTES)
        memcpy(padded, hex.p, hex.n);
    if (hex.n != 2 * CACHE_FINGERPRINT_BYTES ||
        !digest_parse(slice_make(padded, sizeof padded), &d))
        return wrong(r, "encoder", "a fingerprint, 32 hex digits,");
    memcpy(r->f.fingerprint, d.bytes, sizeof r->f.fingerprint);
    return true;
}

static bool take_vector(struct reader *r)
{
    unsigned char bytes[2 * MAX_DIM + 3]; /* base64 comes in threes */
    struct slice text;
    size_t n;

    if (json_is_null(json_object_get(r->o, "vector")))
        return json_is_null(json_object_get(r->o, "encoder")) ||
               wrong(r, "encoder", "null, because vector is null,");
    if (!take_text(r, "vector", &text) || !take_fingerprint(r))
        return false;
    if (text.n > BASE64_BYTES(2 * MAX_DIM) - 1 || !base64_decode(text, bytes, &n) || n == 0 ||
        n % 2)
        return wrong(r, "vector", "base64 of 1 to 4096 half floats");
    r->f.dim = (int)(n / 2);
    r->f.vector = r->vector;
    for (size_t i = 0; i < n / 2; i++) {
        r->vector[i] = (uint16_t)(bytes[2 * i] | (unsigned)bytes[2 * i + 1] << 8);
        if ((r->vector[i] & 0x7C00) == 0x7C00)
            return wrong(r, "vector", "a vector of finite numbers");
    }
    return true;
}

static bool take_wire(struct reader *r)
{
    struct slice *dialect = &r->f.dialect, *api = &r->f.api;

    if (!take_text(r, "dialect", dialect) || !take_text(r, "api", api))
        return false;
    if (!slice_eq(*dialect, SLICE("openai")) && !slice_eq(*dialect, SLICE("anthropic")))
        return wrong(r, "dialect", "openai or anthropic");
    for (int a = 0; a < WIRE_APIS; a++)
        if (slice_eq(*api, slice_str(wire_api_name((enum wire_api)a))))
            return true;
    return wrong(r, "api",
                 "the name of an API (chat, completions, embeddings, messages, responses)");
}

static bool take_body(struct reader *r)
{
    json_t *body;
    bool good;

    if (!take_text(r, "body", &r->f.body))
        return false;
    body = json_loadb(r->f.body.p, r->f.body.n, 0, NULL);
    good = json_is_object(body);
    json_decref(body);
    return good || wrong(r, "body", "the text of a JSON object");
}

static bool is_known(const char *key)
{
    static const char *const known[] = {
        "weir_cache",  "id",         "answer",     "exact",        "rest",   "scope",
        "owner",       "text",       "dialect",    "api",          "model",  "route",
        "class",       "body",       "tags",       "pinned",       "usage",  "vector",
        "quarantined", "created_ms", "expires_ms", "cost_nanousd", "encoder"};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(key, known[i]) == 0)
            return true;
    return false;
}

static bool only_known(struct reader *r)
{
    const char *key;
    json_t *value;

    json_object_foreach(r->o, key, value)
    {
        if (is_known(key))
            continue;
        err_say(r->why, "%.100s: no such member", key);
        return false;
    }
    return true;
}

static bool take(struct reader *r)
{
    struct cache_fields *f = &r->f;
    int64_t version;

    return take_int(r, r->o, "weir_cache", &version) &&
           (version == CACHE_LINE_VERSION || wrong(r, "weir_cache", "version 1")) &&
           only_known(r) && take_id(r, "id", &f->id) && take_id(r, "answer", &f->answer) &&
           take_digest(r, "exact", &f->exact) && take_digest(r, "rest", &f->rest) &&
           take_text(r, "scope", &f->scope) && take_text(r, "owner", &f->owner) &&
           take_text(r, "text", &f->text) && take_wire(r) && take_text(r, "model", &f->model) &&
           take_text(r, "route", &f->route) && take_text(r, "class", &f->class_label) &&
           take_body(r) && take_tags(r) && take_bool(r, "pinned", &f->pinned) &&
           take_bool(r, "quarantined", &f->quarantined) && take_times(r) && take_usage(r) &&
           take_int(r, r->o, "cost_nanousd", &f->cost) && take_vector(r);
}

enum err cache_line_parse(struct slice line, struct cache_entry **out, struct err_text *why)
{
    struct reader *r = mem_zalloc(1, sizeof *r);
    json_error_t fault;
    bool good = false;

    *out = NULL;
    r->why = why;
    r->f.source = CACHE_FROM_IMPORT;
    r->o = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &fault);
    if (!r->o)
        err_say(why, "no JSON: column %d: %.200s", fault.column, fault.text);
    else if (!json_is_object(r->o))
        err_say(why, "no JSON object");
    else
        good = take(r);
    if (good)
        *out = cache_entry_new(&r->f);
    json_decref(r->o);
    free(r);
    return good ? ERR_OK : ERR_BAD_REQUEST;
}
