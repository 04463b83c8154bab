/* Pages of what is stored, without bodies: of everything (SCAN), or of what carries a tag (ZSCAN of
 * its sets). Owns the pages that are being put together. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cache/store_redis_fields.h"
#include "cache/store_redis_int.h"

#define SCAN_US      5000000
#define SCAN_COUNT   "100"           /* lookups on the same connection wait for a page */
#define TAGGED_COUNT "100"           /* a small set comes as a whole */
#define PAGE_FIELDS  REDIS_FIELD_SUM /* without checksum and body */

struct page_call {
    struct store_redis *s;
    store_page_fn *fn;
    void *ctx;
    char cursor[32]; /* as the server gave it; "0": that was all */
    enum err err;
    size_t open, count;
    bool sized;                   /* the last head is one of a body whose length follows */
    struct cache_entry **entries; /* owned: heads, references */
    size_t *body_bytes;           /* owned */
    struct tag_walk *walk;        /* owned; NULL: a page of a scan */
};

/* Where a walk by tag has come to: every bucket it concerns has a set. */
struct tag_walk {
    unsigned bucket, last_bucket; /* the one at hand, and the last */
    char home[17];                /* "" : of all scopes */
    size_t tag_bytes;
    char tag[];
};

/* The cursor of a walk by tag is that of ZSCAN (below 2^58: as large as its table) times
 * STORE_BUCKETS, plus the bucket. */
static void next_place(const struct page_call *p, char out[static 32])
{
    bool bucket_done = strcmp(p->cursor, "0") == 0;

    out[0] = 0;
    if (!p->walk)
        snprintf(out, 32, "%s", bucket_done ? "" : p->cursor);
    else if (!bucket_done)
        snprintf(out, 32, "%" PRIu64,
                 redis_decimal(slice_str(p->cursor)) * STORE_BUCKETS + p->walk->bucket);
    else if (p->walk->bucket < p->walk->last_bucket)
        snprintf(out, 32, "%u", p->walk->bucket + 1);
}

static void end_page(struct page_call *p)
{
    struct cache_fields *f = mem_zalloc(p->count + 1, sizeof *f);
    char next[32];

    next_place(p, next);
    for (size_t i = 0; i < p->count; i++) {
        f[i] = p->entries[i]->f;
        f[i].body_bytes = p->body_bytes[i];
    }
    p->fn(p->ctx, p->err, f, p->err == ERR_OK ? p->count : 0, p->err ? SLICE("") : slice_str(next));
    for (size_t i = 0; i < p->count; i++)
        cache_entry_unref(p->entries[i]);
    free(f);
    free(p->entries);
    free(p->body_bytes);
    free(p->walk);
    free(p);
}

static void make_room(struct page_call *p, size_t n)
{
    p->entries = mem_zalloc(n + 1, sizeof(struct cache_entry *));
    p->body_bytes = mem_zalloc(n + 1, sizeof *p->body_bytes);
}

static void take_head(struct page_call *p, const struct redis_reply *r)
{
    struct slice value[REDIS_FIELD_COUNT];
    struct cache_entry *e;

    if (!redis_take_values(r, PAGE_FIELDS, value))
        return;
    if (redis_fields_head(value, &e) == ERR_OK)
        p->entries[p->count++] = e;
    else
        p->s->stat.bad_entries++;
}

static void on_head(void *ctx, enum err err, const struct redis_reply *r)
{
    struct page_call *p = ctx;

    size_t count = p->count;

    if (err == ERR_OK)
        take_head(p, r);
    else
        p->err = err;
    p->sized = p->count > count;
    if (--p->open == 0)
        end_page(p);
}

/* Of the head that came just before: replies keep the order of the calls. */
static void on_body_bytes(void *ctx, enum err err, const struct redis_reply *r)
{
    struct page_call *p = ctx;

    if (err == ERR_OK && p->sized && redis_reply_kind(r) == REDIS_KIND_INTEGER)
        p->body_bytes[p->count - 1] = (size_t)redis_reply_integer(r);
    if (--p->open == 0)
        end_page(p);
}

static void ask_head(struct page_call *p, struct slice key)
{
    struct redis_words w;

    redis_words_init(&w);
    redis_words_add(&w, SLICE("HMGET"));
    redis_words_add(&w, key);
    redis_words_fields(&w, PAGE_FIELDS);
    redis_link_call(p->s->calls, w.word, w.count, SCAN_US, on_head, p);
    w.count = 0;
    redis_words_add(&w, SLICE("HSTRLEN"));
    redis_words_add(&w, key);
    redis_words_add(&w, slice_str(redis_field_keys[REDIS_FIELD_BODY]));
    redis_link_call(p->s->calls, w.word, w.count, SCAN_US, on_body_bytes, p);
    redis_words_clear(&w);
}

static void on_scanned(void *ctx, enum err err, const struct redis_reply *r)
{
    struct page_call *p = ctx;

    if (err == ERR_OK)
        err = redis_refusal(p->s, r);
    if (err == ERR_OK && redis_reply_count(r) != 2)
        err = ERR_OVERLOADED;
    p->err = err;
    if (err == ERR_OK) {
        struct slice cursor = redis_reply_text(redis_reply_at(r, 0));
        const struct redis_reply *keys = redis_reply_at(r, 1);
        snprintf(p->cursor, sizeof p->cursor, "%.*s", cursor.n < 31 ? (int)cursor.n : 31, cursor.p);
        size_t n = redis_reply_count(keys);
        make_room(p, n);
        p->open = 2 * n;
        for (size_t i = 0; i < n; i++)
            ask_head(p, redis_reply_text(redis_reply_at(keys, i)));
    }
    if (p->open == 0)
        end_page(p);
}

static struct page_call *new_page(struct store_redis *s, store_page_fn *fn, void *ctx)
{
    struct page_call *p = mem_zalloc(1, sizeof *p);

    p->s = s;
    p->fn = fn;
    p->ctx = ctx;
    s->stat.calls++;
    return p;
}

void redis_scan(struct store *st, struct slice cursor, store_page_fn *fn, void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct page_call *p = new_page(s, fn, ctx);
    struct redis_words w;

    redis_words_init(&w);
    redis_words_add(&w, SLICE("SCAN"));
    redis_words_add(&w, cursor.n ? cursor : SLICE("0"));
    redis_words_add(&w, SLICE("MATCH"));
    redis_words_add(&w, slice_str(arena_printf(&w.room, "%s:{*}:e:*", s->prefix)));
    redis_words_add(&w, SLICE("COUNT"));
    redis_words_add(&w, SLICE(SCAN_COUNT));
    redis_link_call(s->calls, w.word, w.count, SCAN_US, on_scanned, p);
    redis_words_clear(&w);
}

static void ask_tagged(struct page_call *p);

static void take_tagged(struct page_call *p, const struct redis_reply *r)
{
    struct slice cursor = redis_reply_text(redis_reply_at(r, 0));

    snprintf(p->cursor, sizeof p->cursor, "%.*s", cursor.n < 20 ? (int)cursor.n : 20, cursor.p);
    for (size_t i = 1; i < redis_reply_count(r); i++) {
        const struct redis_reply *one = redis_reply_at(r, i);
        size_t count = p->count;
        if (redis_reply_count(one) != 2)
            continue;
        take_head(p, redis_reply_at(one, 0));
        if (p->count > count)
            p->body_bytes[count] = (size_t)redis_reply_integer(redis_reply_at(one, 1));
    }
}

static void on_tagged(void *ctx, enum err err, const struct redis_reply *r)
{
    struct page_call *p = ctx;

    if (err == ERR_OK)
        err = redis_refusal(p->s, r);
    if (err == ERR_OK && redis_reply_count(r) == 0)
        err = ERR_OVERLOADED;
    p->err = err;
    if (err == ERR_OK && redis_reply_count(r) == 1 && !p->s->closing &&
        slice_eq(redis_reply_text(redis_reply_at(r, 0)), SLICE("0")) &&
        p->walk->bucket < p->walk->last_bucket) {
        p->walk->bucket++; /* nobody of that bucket carries it */
        snprintf(p->cursor, sizeof p->cursor, "0");
        ask_tagged(p);
        return;
    }
    if (err == ERR_OK) {
        make_room(p, redis_reply_count(r));
        take_tagged(p, r);
    }
    end_page(p);
}

static void ask_tagged(struct page_call *p)
{
    struct store_redis *s = p->s;
    struct redis_words w;

    redis_words_script(s, &w, SCRIPT_TAGGED, 1);
    redis_words_key(&w, s, p->walk->bucket, "t:", slice_make(p->walk->tag, p->walk->tag_bytes));
    redis_words_key(&w, s, p->walk->bucket, "e:", SLICE(""));
    redis_words_add(&w, slice_str(p->cursor));
    redis_words_add(&w, slice_str(p->walk->home));
    redis_words_add(&w, SLICE(TAGGED_COUNT));
    redis_words_fields(&w, PAGE_FIELDS);
    redis_link_call(s->calls, w.word, w.count, SCAN_US, on_tagged, p);
    redis_words_clear(&w);
}

static struct tag_walk *new_walk(const struct store_tag *tag)
{
    struct tag_walk *w = mem_zalloc(1, sizeof *w + tag->tag.n + 1);

    memcpy(w->tag, tag->tag.n ? tag->tag.p : "", tag->tag.n);
    w->tag_bytes = tag->tag.n;
    w->last_bucket = STORE_BUCKETS - 1;
    if (!tag->any_scope) {
        w->bucket = w->last_bucket = store_bucket(tag->scope);
        snprintf(w->home, sizeof w->home, "%016" PRIx64, store_home(tag->scope));
    }
    return w;
}

void redis_tagged(struct store *st, const struct store_tag *tag, struct slice cursor,
                  store_page_fn *fn, void *ctx)
{
    struct page_call *p = new_page(redis_of(st), fn, ctx);
    uint64_t place = redis_decimal(cursor);

    p->walk = new_walk(tag);
    if (cursor.n > 0 && tag->any_scope)
        p->walk->bucket = (unsigned)(place % STORE_BUCKETS);
    snprintf(p->cursor, sizeof p->cursor, "%" PRIu64, place / STORE_BUCKETS);
    ask_tagged(p);
}
