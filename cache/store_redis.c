/* The store that replicas share: calls and their answers, over one connection; the logs have
 * another (store_redis_log.c). Owns both. Called by the cache thread only.
 *
 *   <prefix>:{<bucket>}:e:<id>       hash: the entry (store_redis_fields.h)
 *                      :x:<exact>    string: the id that answers this question
 *                      :t:<tag>      sorted set: homes of scopes and ids, by expiry
 *                      :g            hash: #epoch of the data, #n records in the log, s:<scope>
 *                                    generations
 *                      :log          stream: put, del, flush; the newest LOG_RECORDS or so
 *   <prefix>:{note}:<name>           string: what was learned
 *
 * Everything but g, log, notes and the sets of tags expires with its entry (a set that expired
 * would be evicted before its entries, and then removal by tag would not find them; its members of
 * the past go at the next put or look). Nothing needs FLUSHDB or KEYS. All keys of a bucket are in
 * one hash slot. Lookups that are late several times in a row open the breaker: then none is tried
 * for a moment. Writes wait for the connection in a queue of HELD_PUTS and HELD_BYTES; what does
 * not fit is not stored. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cache/store_redis_fields.h"
#include "cache/store_redis_int.h"
#include "cache/store_redis_scripts.h"

#define HELD_PUTS        1000
#define HELD_BYTES       ((size_t)16 << 20)
#define BREAKER_FAILURES 5
#define BREAKER_PAUSE_US 500000
#define MAX_QUEUED_BYTES ((size_t)64 << 20)
#define SCAN_US          5000000
#define LOG_RECORDS      "100000"
#define SCAN_COUNT       "100"           /* lookups on the same connection wait for a page */
#define PAGE_FIELDS      REDIS_FIELD_SUM /* without checksum and body */
#define TAGGED_COUNT     "100"           /* a small set comes as a whole */

static struct store_redis *of(struct store *s)
{
    return CONTAINER_OF(s, struct store_redis, store);
}

static const struct store_redis *of_const(const struct store *s)
{
    return (const struct store_redis *)(const void *)((const char *)s -
                                                      offsetof(struct store_redis, store));
}

/* ---- words ---- */

void redis_words_init(struct redis_words *w)
{
    w->count = 0;
    arena_init(&w->room, 4096);
}

void redis_words_clear(struct redis_words *w)
{
    arena_clear(&w->room);
}

void redis_words_add(struct redis_words *w, struct slice s)
{
    assert(w->count < sizeof w->word / sizeof w->word[0]);
    w->word[w->count++] = s;
}

void redis_words_format(struct redis_words *w, const char *fmt, ...)
{
    char text[64];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    assert(n >= 0 && (size_t)n < sizeof text);
    redis_words_add(w, arena_dup(&w->room, slice_make(text, (size_t)n)));
}

void redis_words_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                     const char *kind, struct slice name)
{
    redis_words_add(w, slice_str(arena_printf(&w->room, "%s:{%u}:%s%.*s", s->prefix, bucket, kind,
                                              SLICE_ARG(name))));
}

static void add_entry_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                          uint64_t id)
{
    char hex[20];

    snprintf(hex, sizeof hex, "%016" PRIx64, id);
    redis_words_key(w, s, bucket, "e:", slice_str(hex));
}

static void add_exact_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                          struct digest exact)
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(exact, hex);
    redis_words_key(w, s, bucket, "x:", slice_str(hex));
}

static void add_home(struct redis_words *w, struct slice scope)
{
    redis_words_format(w, "%016" PRIx64, store_home(scope));
}

static void add_fields(struct redis_words *w, size_t count)
{
    for (size_t i = 0; i < count; i++)
        redis_words_add(w, slice_str(redis_field_keys[i]));
}

/* ---- scripts ---- */

static const char *const script_text[SCRIPTS] = {
    [SCRIPT_PUT] = REDIS_SCRIPT_PUT,       [SCRIPT_EXACT] = REDIS_SCRIPT_EXACT,
    [SCRIPT_DEL] = REDIS_SCRIPT_DEL,       [SCRIPT_FLUSH] = REDIS_SCRIPT_FLUSH,
    [SCRIPT_TAGGED] = REDIS_SCRIPT_TAGGED,
};

/* By its name where the server has it: a kilobyte less on the way. */
static void begin_script(struct store_redis *s, struct redis_words *w, enum redis_script which,
                         int keys)
{
    redis_words_init(w);
    redis_words_add(w, s->sha[which][0] ? SLICE("EVALSHA") : SLICE("EVAL"));
    redis_words_add(w, slice_str(s->sha[which][0] ? s->sha[which] : script_text[which]));
    redis_words_format(w, "%d", keys);
}

struct script_load {
    struct store_redis *s;
    enum redis_script which;
};

static void on_loaded(void *ctx, enum err err, const struct redis_reply *r)
{
    struct script_load *l = ctx;
    struct slice sha = err == ERR_OK ? redis_reply_text(r) : SLICE("");

    if (sha.n == 40 && redis_reply_kind(r) == REDIS_KIND_TEXT)
        memcpy(l->s->sha[l->which], sha.p, 40);
    free(l);
}

static void load_scripts(struct store_redis *s)
{
    for (int i = 0; i < SCRIPTS; i++) {
        struct script_load *l = mem_alloc(sizeof *l);
        struct slice words[] = {SLICE("SCRIPT"), SLICE("LOAD"), slice_str(script_text[i])};
        *l = (struct script_load){s, (enum redis_script)i};
        memset(s->sha[i], 0, sizeof s->sha[i]);
        redis_link_call(s->calls, words, 3, REDIS_WRITE_US, on_loaded, l);
    }
}

/* What an answer that is none means. */
static enum err refusal(struct store_redis *s, const struct redis_reply *r)
{
    struct slice said = redis_reply_text(r);

    if (redis_reply_kind(r) != REDIS_KIND_ERROR)
        return ERR_OK;
    s->stat.failed++;
    snprintf(s->stat.detail, sizeof s->stat.detail, "%.*s", said.n < 150 ? (int)said.n : 150,
             said.p);
    if (slice_starts(said, SLICE("NOSCRIPT")))
        load_scripts(s); /* somebody emptied its list of scripts */
    return slice_starts(said, SLICE("OOM")) ? ERR_TOO_LARGE : ERR_OVERLOADED;
}

/* ---- the breaker ---- */

static void count_lookup(struct store_redis *s, enum err err)
{
    s->stat.calls++;
    s->failures = err == ERR_OK ? 0 : s->failures + 1;
    s->stat.late += err != ERR_OK;
    if (s->failures >= BREAKER_FAILURES && clock_mono_us() >= s->broken_until_us)
        s->broken_until_us = clock_mono_us() + BREAKER_PAUSE_US;
}

/* A broken call gets no budget at all: it is answered in the next turn of the loop. */
static int64_t lookup_budget_us(const struct store_redis *s)
{
    return clock_mono_us() < s->broken_until_us ? 0 : s->opt.budget_us;
}

/* ---- entries ---- */

/* The values of a hash, in order of the fields. false: it is not there (any more). */
static bool take_values(const struct redis_reply *r, size_t count, struct slice *value)
{
    if (redis_reply_kind(r) != REDIS_KIND_ARRAY || redis_reply_count(r) != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct redis_reply *v = redis_reply_at(r, i);
        if (redis_reply_kind(v) != REDIS_KIND_TEXT)
            return false;
        value[i] = redis_reply_text(v);
    }
    return true;
}

static struct cache_entry *take_entry(struct store_redis *s, const struct redis_reply *r)
{
    struct slice value[REDIS_FIELD_COUNT];
    struct cache_entry *e = NULL;

    if (!take_values(r, REDIS_FIELD_COUNT, value))
        return NULL;
    if (redis_fields_entry(value, &e) != ERR_OK)
        s->stat.bad_entries++;
    return e;
}

/* Entries that are asked for together; answered when the last is here. */
struct get_call {
    struct store_redis *s;
    store_entries_fn *fn;
    void *ctx;
    struct digest exact; /* of get_exact */
    bool by_exact;
    char *scope; /* owned */
    size_t scope_bytes, count, here;
    enum err err;
    uint64_t ids[STORE_MAX_IDS];
    struct cache_entry *entries[STORE_MAX_IDS];
};

static void end_get(struct get_call *g)
{
    count_lookup(g->s, g->err);
    g->fn(g->ctx, g->err, g->entries, g->err == ERR_OK ? g->count : 0);
    for (size_t i = 0; i < g->count; i++)
        cache_entry_unref(g->entries[i]);
    free(g->scope);
    free(g);
}

static void on_got(void *ctx, enum err err, const struct redis_reply *r)
{
    struct get_call *g = ctx;
    size_t i = g->here++;

    if (err == ERR_OK)
        err = refusal(g->s, r);
    if (err == ERR_OK) {
        struct cache_entry *e = take_entry(g->s, r);
        bool fits =
            e && (g->by_exact ? digest_eq(e->f.exact, g->exact) &&
                                    slice_eq(e->f.scope, slice_make(g->scope, g->scope_bytes))
                              : e->f.id == g->ids[i]);
        g->entries[i] = fits ? e : NULL;
        if (!fits)
            cache_entry_unref(e);
    } else {
        g->err = err;
    }
    if (g->here == g->count)
        end_get(g);
}

static struct get_call *new_get(struct store *s, size_t count, store_entries_fn *fn, void *ctx)
{
    struct get_call *g = mem_zalloc(1, sizeof *g);

    g->s = of(s);
    g->fn = fn;
    g->ctx = ctx;
    g->count = count;
    return g;
}

static void redis_get_exact(struct store *st, struct slice scope, struct digest exact,
                            store_entries_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
    struct get_call *g = new_get(st, 1, fn, ctx);
    unsigned bucket = store_bucket(scope);
    struct redis_words w;

    g->by_exact = true;
    g->exact = exact;
    g->scope = mem_strdup(scope);
    g->scope_bytes = scope.n;
    begin_script(s, &w, SCRIPT_EXACT, 1);
    add_exact_key(&w, s, bucket, exact);
    redis_words_key(&w, s, bucket, "e:", SLICE(""));
    add_fields(&w, REDIS_FIELD_COUNT);
    redis_link_call(s->calls, w.word, w.count, lookup_budget_us(s), on_got, g);
    redis_words_clear(&w);
}

static void redis_get(struct store *st, const struct store_ref *refs, size_t n,
                      store_entries_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
    struct get_call *g = new_get(st, n, fn, ctx);
    int64_t budget_us = lookup_budget_us(s);

    assert(n > 0 && n <= STORE_MAX_IDS);
    for (size_t i = 0; i < n; i++)
        g->ids[i] = refs[i].id;
    for (size_t i = 0; i < n; i++) {
        struct redis_words w;
        redis_words_init(&w);
        redis_words_add(&w, SLICE("HMGET"));
        add_entry_key(&w, s, store_bucket(refs[i].scope), refs[i].id);
        add_fields(&w, REDIS_FIELD_COUNT);
        redis_link_call(s->calls, w.word, w.count, budget_us, on_got, g);
        redis_words_clear(&w);
    }
}

/* One id is looked for in every bucket. */
struct find_call {
    struct store_redis *s;
    store_entries_fn *fn;
    void *ctx;
    uint64_t id;
    unsigned open;
    enum err err;
    struct cache_entry *entry; /* a reference */
};

static void on_looked(void *ctx, enum err err, const struct redis_reply *r)
{
    struct find_call *f = ctx;
    struct cache_entry *e = NULL;

    if (err == ERR_OK)
        err = refusal(f->s, r);
    if (err != ERR_OK)
        f->err = err;
    else if (!f->entry && (e = take_entry(f->s, r)) && e->f.id == f->id)
        f->entry = e;
    else
        cache_entry_unref(e);
    if (--f->open > 0)
        return;
    f->fn(f->ctx, f->entry ? ERR_OK : f->err, &f->entry, f->entry || f->err == ERR_OK);
    cache_entry_unref(f->entry);
    free(f);
}

static void redis_find(struct store *st, uint64_t id, store_entries_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
    struct find_call *f = mem_zalloc(1, sizeof *f);

    *f = (struct find_call){.s = s, .fn = fn, .ctx = ctx, .id = id, .open = STORE_BUCKETS};
    s->stat.calls++;
    for (unsigned bucket = 0; bucket < STORE_BUCKETS; bucket++) {
        struct redis_words w;
        redis_words_init(&w);
        redis_words_add(&w, SLICE("HMGET"));
        add_entry_key(&w, s, bucket, id);
        add_fields(&w, REDIS_FIELD_COUNT);
        redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_looked, f);
        redis_words_clear(&w);
    }
}

/* ---- writing ---- */

struct put_call {
    struct list link; /* while it waits for the connection */
    struct store_redis *s;
    struct cache_entry *entry; /* a reference */
    store_put_fn *fn;
    void *ctx;
};

static void end_put(struct put_call *p, enum err err, uint64_t replaced)
{
    p->s->stat.dropped_writes += err == ERR_OVERLOADED;
    p->fn(p->ctx, err, replaced);
    cache_entry_unref(p->entry);
    free(p);
}

static void on_put(void *ctx, enum err err, const struct redis_reply *r)
{
    struct put_call *p = ctx;
    uint64_t replaced = 0;

    if (err == ERR_OK)
        err = refusal(p->s, r);
    if (err == ERR_OK && redis_reply_count(r) != 2)
        err = ERR_OVERLOADED;
    if (err == ERR_OK) {
        struct slice old = redis_reply_text(redis_reply_at(r, 1));
        for (size_t i = 0; i < old.n && old.n == 16; i++) {
            char c = old.p[i];
            replaced = replaced << 4 | (uint64_t)(c <= '9' ? c - '0' : (c - 'a' + 10) & 15);
        }
        if (redis_reply_integer(redis_reply_at(r, 0)) != 1) {
            err = ERR_CONFLICT;
            replaced = 0;
        }
    }
    end_put(p, err, replaced);
}

static void send_put(struct put_call *p)
{
    struct store_redis *s = p->s;
    const struct cache_fields *f = &p->entry->f;
    unsigned bucket = store_bucket(f->scope);
    struct redis_fields fields;
    struct redis_words w;

    begin_script(s, &w, SCRIPT_PUT, 4 + (int)f->tag_count);
    redis_words_key(&w, s, bucket, "g", SLICE(""));
    redis_words_key(&w, s, bucket, "log", SLICE(""));
    add_exact_key(&w, s, bucket, f->exact);
    add_entry_key(&w, s, bucket, f->id);
    for (size_t i = 0; i < f->tag_count; i++)
        redis_words_key(&w, s, bucket, "t:", f->tags[i]);
    redis_words_key(&w, s, bucket, "e:", SLICE(""));
    redis_words_add(&w, f->scope);
    redis_words_format(&w, "%" PRIu64, f->generation);
    redis_words_format(&w, "%016" PRIx64, f->id);
    redis_words_format(&w, "%" PRId64, f->expires_ms);
    redis_words_add(&w, slice_str(s->writer));
    redis_words_add(&w, SLICE(LOG_RECORDS));
    redis_words_key(&w, s, bucket, "t:", SLICE(""));
    add_home(&w, f->scope);
    bool good = redis_fields_from(&fields, f);
    for (size_t i = 0; good && i < REDIS_FIELD_COUNT; i++) {
        redis_words_add(&w, slice_str(redis_field_keys[i]));
        redis_words_add(&w, fields.value[i]);
    }
    s->stat.calls++;
    if (good)
        redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_put, p);
    redis_fields_clear(&fields);
    redis_words_clear(&w);
    if (!good)
        end_put(p, ERR_BAD_REQUEST, 0);
}

/* On the way only while the connection stands and the generations are known. */
static bool can_write(const struct store_redis *s)
{
    return redis_link_up(s->calls) && s->stat.up;
}

static void on_released(evutil_socket_t fd, short what, void *ctx)
{
    struct store_redis *s = ctx;

    (void)fd, (void)what;
    while (!list_empty(&s->held)) {
        struct put_call *p = CONTAINER_OF(s->held.next, struct put_call, link);
        bool fits = s->held_count <= HELD_PUTS && s->held_bytes <= HELD_BYTES;
        if (fits && !s->closing && !can_write(s))
            return;
        list_remove(&p->link);
        s->held_count--;
        s->held_bytes -= p->entry->bytes;
        if (fits && !s->closing)
            send_put(p);
        else
            end_put(p, ERR_OVERLOADED, 0);
    }
}

void redis_release_held(struct store_redis *s)
{
    event_active(s->released, EV_TIMEOUT, 0);
}

static void redis_put(struct store *st, struct cache_entry *e, store_put_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
    struct put_call *p = mem_zalloc(1, sizeof *p);

    *p = (struct put_call){.s = s, .entry = cache_entry_ref(e), .fn = fn, .ctx = ctx};
    list_push_back(&s->held, &p->link);
    s->held_count++;
    s->held_bytes += e->bytes;
    redis_release_held(s);
}

/* A call whose answer is a number, or nothing. */
struct done_call {
    struct store_redis *s;
    store_done_fn *fn; /* NULL: nobody waits */
    void *ctx;
    char *scope; /* owned; of flush */
    size_t scope_bytes;
};

static struct done_call *new_done(struct store_redis *s, store_done_fn *fn, void *ctx)
{
    struct done_call *d = mem_zalloc(1, sizeof *d);

    *d = (struct done_call){.s = s, .fn = fn, .ctx = ctx};
    s->stat.calls++;
    return d;
}

static uint64_t take_decimal(struct slice s)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.n && i < 19 && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    return v;
}

static void on_done(void *ctx, enum err err, const struct redis_reply *r)
{
    struct done_call *d = ctx;
    uint64_t value = 0;

    if (err == ERR_OK)
        err = refusal(d->s, r);
    if (err == ERR_OK && redis_reply_kind(r) == REDIS_KIND_INTEGER)
        value = (uint64_t)redis_reply_integer(r);
    else if (err == ERR_OK)
        value = take_decimal(redis_reply_text(r));
    if (err == ERR_OK && d->scope)
        generations_set(&d->s->generations, slice_make(d->scope, d->scope_bytes), value);
    if (d->fn)
        d->fn(d->ctx, err, value);
    free(d->scope);
    free(d);
}

static void redis_del(struct store *st, const struct store_ref *ref, store_done_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
    unsigned bucket = store_bucket(ref->scope);
    struct redis_words w;

    begin_script(s, &w, SCRIPT_DEL, 3);
    redis_words_key(&w, s, bucket, "g", SLICE(""));
    redis_words_key(&w, s, bucket, "log", SLICE(""));
    add_entry_key(&w, s, bucket, ref->id);
    redis_words_key(&w, s, bucket, "x:", SLICE(""));
    redis_words_format(&w, "%016" PRIx64, ref->id);
    redis_words_add(&w, slice_str(s->writer));
    redis_words_add(&w, SLICE(LOG_RECORDS));
    redis_words_key(&w, s, bucket, "t:", SLICE(""));
    add_home(&w, ref->scope);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_done, new_done(s, fn, ctx));
    redis_words_clear(&w);
}

static void redis_flush(struct store *st, struct slice scope, store_done_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
    struct done_call *d = new_done(s, fn, ctx);
    unsigned bucket = store_bucket(scope);
    struct redis_words w;

    d->scope = mem_strdup(scope);
    d->scope_bytes = scope.n;
    begin_script(s, &w, SCRIPT_FLUSH, 2);
    redis_words_key(&w, s, bucket, "g", SLICE(""));
    redis_words_key(&w, s, bucket, "log", SLICE(""));
    redis_words_add(&w, scope);
    redis_words_add(&w, slice_str(s->writer));
    redis_words_add(&w, SLICE(LOG_RECORDS));
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_done, d);
    redis_words_clear(&w);
}

/* The server's own LFU or LRU counts; hits in memory are told to it by touching the keys. */
static void redis_touch(struct store *st, const struct store_ref *ref, uint32_t hits)
{
    struct store_redis *s = of(st);
    struct redis_words w;

    if (!redis_link_up(s->calls))
        return;
    redis_words_init(&w);
    redis_words_add(&w, SLICE("TOUCH"));
    for (uint32_t i = 0; i < hits && i < 8; i++)
        add_entry_key(&w, s, store_bucket(ref->scope), ref->id);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_done, new_done(s, NULL, NULL));
    redis_words_clear(&w);
}

static void add_note_key(struct redis_words *w, const struct store_redis *s, struct slice name)
{
    redis_words_add(
        w, slice_str(arena_printf(&w->room, "%s:{note}:%.*s", s->prefix, SLICE_ARG(name))));
}

static void redis_note(struct store *st, struct slice name, struct slice value, store_done_fn *fn,
                       void *ctx)
{
    struct store_redis *s = of(st);
    struct redis_words w;

    redis_words_init(&w);
    redis_words_add(&w, SLICE("SET"));
    add_note_key(&w, s, name);
    redis_words_add(&w, value);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_done, new_done(s, fn, ctx));
    redis_words_clear(&w);
}

struct bytes_call {
    struct store_redis *s;
    store_bytes_fn *fn;
    void *ctx;
};

static void on_recalled(void *ctx, enum err err, const struct redis_reply *r)
{
    struct bytes_call *b = ctx;

    if (err == ERR_OK)
        err = refusal(b->s, r);
    if (err == ERR_OK && redis_reply_kind(r) != REDIS_KIND_TEXT)
        err = ERR_NOT_FOUND;
    b->fn(b->ctx, err, err == ERR_OK ? redis_reply_text(r) : SLICE(""));
    free(b);
}

static void redis_recall(struct store *st, struct slice name, store_bytes_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
    struct bytes_call *b = mem_alloc(sizeof *b);
    struct redis_words w;

    *b = (struct bytes_call){s, fn, ctx};
    redis_words_init(&w);
    redis_words_add(&w, SLICE("GET"));
    add_note_key(&w, s, name);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_recalled, b);
    redis_words_clear(&w);
}

/* ---- pages ---- */

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
                 take_decimal(slice_str(p->cursor)) * STORE_BUCKETS + p->walk->bucket);
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

    if (!take_values(r, PAGE_FIELDS, value))
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
    add_fields(&w, PAGE_FIELDS);
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
        err = refusal(p->s, r);
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

static void redis_scan(struct store *st, struct slice cursor, store_page_fn *fn, void *ctx)
{
    struct store_redis *s = of(st);
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
        err = refusal(p->s, r);
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

    begin_script(s, &w, SCRIPT_TAGGED, 1);
    redis_words_key(&w, s, p->walk->bucket, "t:", slice_make(p->walk->tag, p->walk->tag_bytes));
    redis_words_key(&w, s, p->walk->bucket, "e:", SLICE(""));
    redis_words_add(&w, slice_str(p->cursor));
    redis_words_add(&w, slice_str(p->walk->home));
    redis_words_add(&w, SLICE(TAGGED_COUNT));
    add_fields(&w, PAGE_FIELDS);
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

static void redis_tagged(struct store *st, const struct store_tag *tag, struct slice cursor,
                         store_page_fn *fn, void *ctx)
{
    struct page_call *p = new_page(of(st), fn, ctx);
    uint64_t place = take_decimal(cursor);

    p->walk = new_walk(tag);
    if (cursor.n > 0 && tag->any_scope)
        p->walk->bucket = (unsigned)(place % STORE_BUCKETS);
    snprintf(p->cursor, sizeof p->cursor, "%" PRIu64, place / STORE_BUCKETS);
    ask_tagged(p);
}

/* ---- how it is ---- */

struct inspect_call {
    struct store_redis *s;
    store_inspect_fn *fn;
    void *ctx;
    int64_t sent_us;
};

/* The value of "name:value" in a reply to INFO; "" when it is not there. */
static struct slice info_value(struct slice info, const char *name)
{
    size_t n = strlen(name);

    while (info.n > 0) {
        const char *end = memchr(info.p, '\n', info.n);
        struct slice line = slice_make(info.p, end ? (size_t)(end - info.p) : info.n);
        info = slice_from(info, end ? line.n + 1 : line.n);
        if (line.n > n && memcmp(line.p, name, n) == 0 && line.p[n] == ':') {
            line = slice_from(line, n + 1);
            return slice_make(line.p, line.n && line.p[line.n - 1] == '\r' ? line.n - 1 : line.n);
        }
    }
    return SLICE("");
}

static void on_info(void *ctx, enum err err, const struct redis_reply *r)
{
    struct inspect_call *c = ctx;
    struct store_inspection about = {.round_trip_us = clock_mono_us() - c->sent_us,
                                     .log_lag_ms = redis_log_lag_ms(c->s)};

    if (err == ERR_OK)
        err = refusal(c->s, r);
    if (err == ERR_OK) {
        struct slice info = redis_reply_text(r);
        snprintf(about.version, sizeof about.version, "Redis %.*s",
                 SLICE_ARG(info_value(info, "redis_version")));
        snprintf(about.eviction, sizeof about.eviction, "%.*s",
                 SLICE_ARG(info_value(info, "maxmemory_policy")));
        about.used_bytes = take_decimal(info_value(info, "used_memory"));
        about.limit_bytes = take_decimal(info_value(info, "maxmemory"));
    }
    c->fn(c->ctx, err, &about);
    free(c);
}

static void redis_inspect(struct store *st, store_inspect_fn *fn, void *ctx)
{
    struct inspect_call *c = mem_alloc(sizeof *c);
    const struct slice words[] = {SLICE("INFO")};

    *c = (struct inspect_call){of(st), fn, ctx, clock_mono_us()};
    redis_link_call(of(st)->calls, words, 1, REDIS_WRITE_US, on_info, c);
}

/* ---- what it knows ---- */

static uint64_t redis_generation(const struct store *s, struct slice scope)
{
    return generations_of(&of_const(s)->generations, scope);
}

static bool redis_current(const struct store *st, int64_t *until_mono_us)
{
    const struct store_redis *s = of_const(st);

    *until_mono_us = s->current_until_us;
    return clock_mono_us() < s->current_until_us;
}

static int64_t redis_clock_offset_ms(const struct store *s)
{
    return of_const(s)->clock_offset_ms;
}

static enum err redis_mark(const struct store *st, struct buf *out)
{
    const struct store_redis *s = of_const(st);

    return buf_append(out, s->buckets, sizeof s->buckets);
}

/* What cannot be gone on from shows at joining, as STORE_LOST. */
static bool redis_resume(struct store *st, struct slice mark)
{
    struct store_redis *s = of(st);

    if (mark.n != sizeof s->buckets)
        return false;
    memcpy(s->buckets, mark.p, mark.n);
    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        s->buckets[b].last[sizeof s->buckets[b].last - 1] = 0;
    return true;
}

static void redis_stat(const struct store *s, struct store_stat *out)
{
    *out = of_const(s)->stat;
    out->kind = "redis";
    out->up = out->up && redis_link_up(of_const(s)->calls);
}

/* ---- opening and closing ---- */

static void on_calls_up(void *ctx)
{
    struct store_redis *s = ctx;

    s->failures = 0;
    s->broken_until_us = 0;
    load_scripts(s);
    redis_release_held(s);
}

static void on_calls_down(void *ctx, const char *why)
{
    struct store_redis *s = ctx;

    snprintf(s->stat.detail, sizeof s->stat.detail, "%s", why);
    memset(s->sha, 0, sizeof s->sha);
}

static void redis_close(struct store *st)
{
    struct store_redis *s = of(st);

    s->closing = true;
    redis_link_free(s->watch);
    redis_link_free(s->calls);
    if (s->released) {
        on_released(-1, 0, s);
        event_free(s->released);
    }
    redis_log_stop(s);
    generations_clear(&s->generations);
    free(s->prefix);
    free(s);
}

static const struct store_ops redis_ops = {
    .get_exact = redis_get_exact,
    .get = redis_get,
    .find = redis_find,
    .put = redis_put,
    .del = redis_del,
    .flush = redis_flush,
    .tagged = redis_tagged,
    .scan = redis_scan,
    .note = redis_note,
    .recall = redis_recall,
    .inspect = redis_inspect,
    .touch = redis_touch,
    .generation = redis_generation,
    .current = redis_current,
    .clock_offset_ms = redis_clock_offset_ms,
    .mark = redis_mark,
    .resume = redis_resume,
    .stat = redis_stat,
    .close = redis_close,
};

static bool prefix_is_plain(const char *prefix)
{
    size_t n = strlen(prefix);

    return n > 0 && n <= 64 && strcspn(prefix, "{}*?[]\\ \t\r\n") == n;
}

enum err store_redis_open(const struct store_options *opt, const char *url, const char *prefix,
                          struct store **out, struct err_text *t)
{
    struct redis_link_options link = {.base = opt->base,
                                      .url = url,
                                      .stall_us = REDIS_STALL_US,
                                      .max_queued_bytes = MAX_QUEUED_BYTES,
                                      .up = on_calls_up,
                                      .down = on_calls_down};

    *out = NULL;
    if (!prefix_is_plain(prefix)) {
        err_say(t, "Redis prefix \"%.64s\": 1 to 64 bytes without spaces and without {}*?[]\\",
                prefix);
        return ERR_BAD_REQUEST;
    }
    struct store_redis *s = mem_zalloc(1, sizeof *s);
    s->store.ops = &redis_ops;
    s->opt = *opt;
    s->prefix = mem_strdup(slice_str(prefix));
    list_init(&s->held);
    generations_init(&s->generations);
    struct rng r;
    rng_seed_os(&r);
    snprintf(s->writer, sizeof s->writer, "%016" PRIx64, rng_u64(&r));
    s->released = event_new(opt->base, -1, 0, on_released, s);
    mem_need(s->released);
    redis_log_start(s);
    link.ctx = s;
    enum err err = redis_link_new(&link, &s->calls, t);
    link.up = redis_log_up;
    link.down = redis_log_down;
    if (err == ERR_OK)
        err = redis_link_new(&link, &s->watch, t);
    if (err != ERR_OK) {
        redis_close(&s->store);
        return err;
    }
    *out = &s->store;
    return ERR_OK;
}
