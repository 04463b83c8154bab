/* See the header. Every value is written as a tag, and where its length is not implied, its length:
 * the bytes of one value are never a prefix of another's. */
#include "base/json_canonical.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/decimal.h"

/* Doubles hold integers exactly up to here. */
#define EXACT_INTEGERS 9007199254740992.0

void json_canonical_init(struct json_canonical *c, struct arena *a, struct digest_stream *whole,
                         struct digest_stream *rest, const char *hole)
{
    *c = (struct json_canonical){.arena = a, .whole = whole, .rest = rest, .hole = hole};
}

static void digest(struct json_canonical *c, struct slice s)
{
    digest_stream_add(c->whole, s);
    if (c->rest)
        digest_stream_add(c->rest, s);
}

void json_canonical_flush(struct json_canonical *c)
{
    digest(c, slice_make(c->pending, c->pending_bytes));
    c->pending_bytes = 0;
}

static void put(struct json_canonical *c, struct slice s)
{
    if (s.n > sizeof c->pending - c->pending_bytes)
        json_canonical_flush(c);
    if (s.n > sizeof c->pending) {
        digest(c, s);
        return;
    }
    memcpy(c->pending + c->pending_bytes, s.p, s.n);
    c->pending_bytes += s.n;
}

static void put_sized(struct json_canonical *c, char tag, struct slice s)
{
    char head[DECIMAL_BYTES + 2] = {tag};
    size_t n = 1 + decimal_put(s.n, head + 1);

    head[n++] = ':';
    put(c, slice_make(head, n));
    put(c, s);
}

void json_canonical_text(struct json_canonical *c, struct slice text)
{
    put_sized(c, 't', text);
}

static void put_number(struct json_canonical *c, struct json_value v)
{
    char text[40];
    int64_t integer;
    double d;
    int n;

    if (json_int(v, &integer))
        n = (int)decimal_put_signed(integer, text);
    else if (!json_number(v, &d) || !isfinite(d) || fabs(d) >= EXACT_INTEGERS)
        n = -1; /* no double tells it from its neighbours */
    else if (d == trunc(d))
        n = (int)decimal_put_signed((int64_t)d, text);
    else
        n = snprintf(text, sizeof text, "%a", d);
    put_sized(c, 'n', n < 0 ? v.text : slice_make(text, (size_t)n));
}

/* By name; of equal names the later one first, so that it is the one that stays. */
static int by_name(const void *a, const void *b)
{
    const struct json_member *x = a, *y = b;
    size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
    int order = n ? memcmp(x->key.p, y->key.p, n) : 0;

    if (order)
        return order;
    if (x->key.n != y->key.n)
        return x->key.n < y->key.n ? -1 : 1;
    return x->begin > y->begin ? -1 : 1;
}

struct json_member *json_sorted_members(struct json_value object, struct arena *a, size_t *count)
{
    struct json_iter it;
    struct json_member m, *all;
    size_t n = 0, kept = 0;

    json_iter_init(&it, object);
    while (json_iter_next(&it, &m))
        n++;
    all = ARENA_ARRAY(a, struct json_member, n + 1);
    json_iter_init(&it, object);
    for (size_t i = 0; i < n && json_iter_next(&it, &all[i]); i++) {
        if (all[i].key_escaped)
            all[i].key = json_string_text(slice_make(all[i].key.p - 1, all[i].key.n + 2), a);
        all[i].key_escaped = false;
    }
    qsort(all, n, sizeof *all, by_name);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !slice_eq(all[i].key, all[kept - 1].key))
            all[kept++] = all[i];
    *count = kept;
    return all;
}

static void put_object(struct json_canonical *c, struct json_value v)
{
    size_t count;
    struct json_member *m = json_sorted_members(v, c->arena, &count);

    put(c, SLICE("{"));
    for (size_t i = 0; i < count; i++) {
        put_sized(c, 'k', m[i].key);
        json_canonical_value(c, m[i].value);
    }
    put(c, SLICE("}"));
}

/* The value for one digest, a mark for the other. */
static void put_hole(struct json_canonical *c, struct json_value v)
{
    struct digest_stream *rest = c->rest;

    c->hole_found = true;
    json_canonical_flush(c);
    digest_stream_add(rest, SLICE("?"));
    c->rest = NULL;
    json_canonical_value(c, v);
    json_canonical_flush(c);
    c->rest = rest;
}

void json_canonical_value(struct json_canonical *c, struct json_value v)
{
    struct json_iter it;
    struct json_member m;

    if (c->rest && v.text.p == c->hole) {
        put_hole(c, v);
        return;
    }
    switch (v.type) {
    case JSON_NULL:
        put(c, SLICE("0"));
        return;
    case JSON_FALSE:
        put(c, SLICE("-"));
        return;
    case JSON_TRUE:
        put(c, SLICE("+"));
        return;
    case JSON_NUMBER:
        put_number(c, v);
        return;
    case JSON_STRING:
        put_sized(c, 's', json_string_text(v.text, c->arena));
        return;
    case JSON_ARRAY:
        put(c, SLICE("["));
        json_iter_init(&it, v);
        while (json_iter_next(&it, &m))
            json_canonical_value(c, m.value);
        put(c, SLICE("]"));
        return;
    case JSON_OBJECT:
        put_object(c, v);
        return;
    }
}
