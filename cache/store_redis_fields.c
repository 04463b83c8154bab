/* Values of hashes to and from entries. Called by store_redis.c. */
#include "cache/store_redis_fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/ascii.h"
#include "base/mem.h"

#define MAX_DIM 4096

const char *const redis_field_keys[REDIS_FIELD_COUNT] = {
#define F(name, key) [REDIS_FIELD_##name] = (key),
    REDIS_FIELDS(F)
#undef F
};

/* ---- to ---- */

static char *take_room(struct redis_fields *r, size_t *used, enum redis_field at, size_t n)
{
    char *p = r->room + *used;

    *used += n;
    r->value[at] = slice_make(p, n);
    return p;
}

static void put_hex(struct redis_fields *r, size_t *used, enum redis_field at, const uint8_t *bytes,
                    size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *p = take_room(r, used, at, 2 * n);

    for (size_t i = 0; i < n; i++) {
        p[2 * i] = digits[bytes[i] >> 4];
        p[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static void put_text(struct redis_fields *r, size_t *used, enum redis_field at, const char *text)
{
    size_t n = strlen(text);

    memcpy(take_room(r, used, at, n), text, n);
}

static void put_id(struct redis_fields *r, size_t *used, enum redis_field at, uint64_t id)
{
    char text[20];

    snprintf(text, sizeof text, "%016" PRIx64, id);
    put_text(r, used, at, text);
}

static void put_integer(struct redis_fields *r, size_t *used, enum redis_field at, int64_t v)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, v);
    put_text(r, used, at, text);
}

static bool put_tags(struct redis_fields *r, const struct cache_fields *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->tag_count; i++) {
        if (f->tags[i].n == 0 || memchr(f->tags[i].p, '\n', f->tags[i].n))
            return false;
        n += f->tags[i].n + 1;
    }
    r->tags = mem_alloc(n + 1);
    char *p = r->tags;
    for (size_t i = 0; i < f->tag_count; i++) {
        memcpy(p, f->tags[i].p, f->tags[i].n);
        p += f->tags[i].n;
        *p++ = '\n';
    }
    r->value[REDIS_FIELD_TAGS] = slice_make(r->tags, n);
    return true;
}

static void put_vector(struct redis_fields *r, const struct cache_fields *f)
{
    size_t n = f->vector ? (size_t)f->dim : 0;

    r->vector = mem_alloc(2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        r->vector[2 * i] = (char)f->vector[i];
        r->vector[2 * i + 1] = (char)(f->vector[i] >> 8);
    }
    r->value[REDIS_FIELD_VECTOR] = slice_make(r->vector, 2 * n);
}

bool redis_fields_from(struct redis_fields *r, const struct cache_fields *f)
{
    uint8_t sum[CACHE_SUM_BYTES];
    size_t used = 0;
    char text[160];
    const int64_t *n = f->usage.n;

    r->vector = r->tags = NULL;
    if (!put_tags(r, f))
        return false;
    put_vector(r, f);
    put_id(r, &used, REDIS_FIELD_ID, f->id);
    put_id(r, &used, REDIS_FIELD_ANSWER, f->answer);
    put_hex(r, &used, REDIS_FIELD_EXACT, f->exact.bytes, DIGEST_BYTES);
    put_hex(r, &used, REDIS_FIELD_REST, f->rest.bytes, DIGEST_BYTES);
    put_hex(r, &used, REDIS_FIELD_FINGERPRINT, f->fingerprint, CACHE_FINGERPRINT_BYTES);
    put_integer(r, &used, REDIS_FIELD_CREATED, f->created_ms);
    put_integer(r, &used, REDIS_FIELD_EXPIRES, f->expires_ms);
    put_integer(r, &used, REDIS_FIELD_GENERATION, (int64_t)f->generation);
    snprintf(text, sizeof text, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %d",
             n[TOK_INPUT], n[TOK_CACHED_INPUT], n[TOK_CACHE_WRITE], n[TOK_OUTPUT], n[TOK_REASONING],
             (int)f->usage.source);
    put_text(r, &used, REDIS_FIELD_TOKENS, text);
    put_integer(r, &used, REDIS_FIELD_COST, f->cost);
    put_integer(r, &used, REDIS_FIELD_SOURCE, f->source);
    put_integer(r, &used, REDIS_FIELD_MARKS, f->pinned + 2 * f->quarantined);
    cache_entry_sum(f, sum);
    put_hex(r, &used, REDIS_FIELD_SUM, sum, sizeof sum);
    r->value[REDIS_FIELD_SCOPE] = f->scope;
    r->value[REDIS_FIELD_TEXT] = f->text;
    r->value[REDIS_FIELD_DIALECT] = f->dialect;
    r->value[REDIS_FIELD_API] = f->api;
    r->value[REDIS_FIELD_MODEL] = f->model;
    r->value[REDIS_FIELD_ROUTE] = f->route;
    r->value[REDIS_FIELD_CLASS] = f->class_label;
    r->value[REDIS_FIELD_OWNER] = f->owner;
    r->value[REDIS_FIELD_BODY] = f->body;
    return true;
}

void redis_fields_clear(struct redis_fields *r)
{
    free(r->vector);
    free(r->tags);
}

/* ---- from ---- */

static bool take_hex(struct slice s, uint8_t *out, size_t n)
{
    if (s.n != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int hi = ascii_hex_lower(s.p[2 * i]), lo = ascii_hex_lower(s.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(hi * 16 + lo);
    }
    return true;
}

static bool take_id(struct slice s, uint64_t *out)
{
    uint8_t bytes[8];

    *out = 0;
    if (!take_hex(s, bytes, sizeof bytes))
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        *out = *out << 8 | bytes[i];
    return *out != 0;
}

/* Takes a number off the front of *s, with the space behind it. */
static bool take_number(struct slice *s, int64_t *out)
{
    size_t i = 0;
    bool negative = s->n && s->p[0] == '-';
    int64_t v = 0;

    for (i = negative; i < s->n && ascii_is_digit(s->p[i]); i++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_sub_overflow(v, (int64_t)(s->p[i] - '0'), &v))
            return false;
    if (i == (size_t)negative || (!negative && v == INT64_MIN))
        return false;
    *out = negative ? v : -v;
    *s = slice_from(*s, i + (i < s->n && s->p[i] == ' '));
    return true;
}

static bool take_integer(struct slice s, int64_t *out)
{
    return take_number(&s, out) && s.n == 0;
}

static bool take_tokens(struct slice s, struct token_usage *u)
{
    static const enum token_kind order[] = {TOK_INPUT, TOK_CACHED_INPUT, TOK_CACHE_WRITE,
                                            TOK_OUTPUT, TOK_REASONING};
    int64_t source;

    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        if (!take_number(&s, &u->n[order[i]]))
            return false;
    if (!take_number(&s, &source) || s.n || source < 0 || source > USAGE_ESTIMATED)
        return false;
    u->source = (enum usage_source)source;
    return true;
}

static bool take_tags(struct slice s, struct cache_fields *f)
{
    while (s.n) {
        const char *end = memchr(s.p, '\n', s.n);
        if (!end || f->tag_count == CACHE_MAX_TAGS)
            return false;
        f->tags[f->tag_count] = slice_make(s.p, (size_t)(end - s.p));
        s = slice_from(s, f->tags[f->tag_count++].n + 1);
    }
    return true;
}

static bool take_vector(struct slice s, uint16_t *vector, struct cache_fields *f)
{
    if (s.n % 2 || s.n / 2 > MAX_DIM)
        return false;
    f->dim = (int)(s.n / 2);
    f->vector = f->dim ? vector : NULL;
    for (int i = 0; i < f->dim; i++) {
        vector[i] =
            (uint16_t)((unsigned char)s.p[2 * i] | (unsigned)(unsigned char)s.p[2 * i + 1] << 8);
        if ((vector[i] & 0x7C00) == 0x7C00) /* infinite, or not a number */
            return false;
    }
    return true;
}

static bool take_numbers(const struct slice *v, struct cache_fields *f)
{
    int64_t generation, source, marks;

    if (!take_integer(v[REDIS_FIELD_CREATED], &f->created_ms) ||
        !take_integer(v[REDIS_FIELD_EXPIRES], &f->expires_ms) ||
        !take_integer(v[REDIS_FIELD_GENERATION], &generation) ||
        !take_tokens(v[REDIS_FIELD_TOKENS], &f->usage) ||
        !take_integer(v[REDIS_FIELD_COST], &f->cost) ||
        !take_integer(v[REDIS_FIELD_SOURCE], &source) ||
        !take_integer(v[REDIS_FIELD_MARKS], &marks))
        return false;
    if (source < 0 || source > CACHE_FROM_IMPORT || marks < 0 || marks > 3)
        return false;
    f->generation = (uint64_t)generation;
    f->source = (enum cache_source)source;
    f->pinned = marks & 1;
    f->quarantined = marks & 2;
    return true;
}

static enum err build(const struct slice *v, struct slice body, struct cache_entry **out)
{
    struct cache_fields f = {
        .scope = v[REDIS_FIELD_SCOPE],
        .text = v[REDIS_FIELD_TEXT],
        .body = body,
        .dialect = v[REDIS_FIELD_DIALECT],
        .api = v[REDIS_FIELD_API],
        .model = v[REDIS_FIELD_MODEL],
        .route = v[REDIS_FIELD_ROUTE],
        .class_label = v[REDIS_FIELD_CLASS],
        .owner = v[REDIS_FIELD_OWNER],
    };
    uint16_t vector[MAX_DIM];

    *out = NULL;
    if (!take_id(v[REDIS_FIELD_ID], &f.id) || !take_id(v[REDIS_FIELD_ANSWER], &f.answer) ||
        !take_hex(v[REDIS_FIELD_EXACT], f.exact.bytes, DIGEST_BYTES) ||
        !take_hex(v[REDIS_FIELD_REST], f.rest.bytes, DIGEST_BYTES) ||
        !take_hex(v[REDIS_FIELD_FINGERPRINT], f.fingerprint, CACHE_FINGERPRINT_BYTES) ||
        !take_numbers(v, &f) || !take_tags(v[REDIS_FIELD_TAGS], &f) ||
        !take_vector(v[REDIS_FIELD_VECTOR], vector, &f))
        return ERR_BAD_CACHE_ENTRY;
    *out = cache_entry_new(&f);
    return ERR_OK;
}

enum err redis_fields_entry(const struct slice value[static REDIS_FIELD_COUNT],
                            struct cache_entry **out)
{
    uint8_t told[CACHE_SUM_BYTES], sum[CACHE_SUM_BYTES];
    enum err err = build(value, value[REDIS_FIELD_BODY], out);

    if (err != ERR_OK)
        return err;
    cache_entry_sum(&(*out)->f, sum);
    if (take_hex(value[REDIS_FIELD_SUM], told, sizeof told) && memcmp(told, sum, sizeof sum) == 0)
        return ERR_OK;
    cache_entry_unref(*out);
    *out = NULL;
    return ERR_BAD_CACHE_ENTRY;
}

enum err redis_fields_head(const struct slice value[static REDIS_FIELD_COUNT],
                           struct cache_entry **out)
{
    return build(value, SLICE(""), out);
}
