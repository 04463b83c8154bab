/* Lookups: entries by their question or id, within the budget, behind a breaker: after several in a
 * row that were late none is tried for a moment. Owns the calls that are open. */
#include <assert.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cache/store_redis_fields.h"
#include "cache/store_redis_int.h"

#define BREAKER_FAILURES 5
#define BREAKER_PAUSE_US 500000

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
bool redis_take_values(const struct redis_reply *r, size_t count, struct slice *value)
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

    if (!redis_take_values(r, REDIS_FIELD_COUNT, value))
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
        err = redis_refusal(g->s, r);
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

    g->s = redis_of(s);
    g->fn = fn;
    g->ctx = ctx;
    g->count = count;
    return g;
}

void redis_get_exact(struct store *st, struct slice scope, struct digest exact,
                     store_entries_fn *fn, void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct get_call *g = new_get(st, 1, fn, ctx);
    unsigned bucket = store_bucket(scope);
    struct redis_words w;

    g->by_exact = true;
    g->exact = exact;
    g->scope = mem_strdup(scope);
    g->scope_bytes = scope.n;
    redis_words_script(s, &w, SCRIPT_EXACT, 1);
    redis_words_exact_key(&w, s, bucket, exact);
    redis_words_key(&w, s, bucket, "e:", SLICE(""));
    redis_words_fields(&w, REDIS_FIELD_COUNT);
    redis_link_call(s->calls, w.word, w.count, lookup_budget_us(s), on_got, g);
    redis_words_clear(&w);
}

void redis_get(struct store *st, const struct store_ref *refs, size_t n, store_entries_fn *fn,
               void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct get_call *g = new_get(st, n, fn, ctx);
    int64_t budget_us = lookup_budget_us(s);

    assert(n > 0 && n <= STORE_MAX_IDS);
    for (size_t i = 0; i < n; i++)
        g->ids[i] = refs[i].id;
    for (size_t i = 0; i < n; i++) {
        struct redis_words w;
        redis_words_init(&w);
        redis_words_add(&w, SLICE("HMGET"));
        redis_words_entry_key(&w, s, store_bucket(refs[i].scope), refs[i].id);
        redis_words_fields(&w, REDIS_FIELD_COUNT);
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
        err = redis_refusal(f->s, r);
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

void redis_find(struct store *st, uint64_t id, store_entries_fn *fn, void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct find_call *f = mem_zalloc(1, sizeof *f);

    *f = (struct find_call){.s = s, .fn = fn, .ctx = ctx, .id = id, .open = STORE_BUCKETS};
    s->stat.calls++;
    for (unsigned bucket = 0; bucket < STORE_BUCKETS; bucket++) {
        struct redis_words w;
        redis_words_init(&w);
        redis_words_add(&w, SLICE("HMGET"));
        redis_words_entry_key(&w, s, bucket, id);
        redis_words_fields(&w, REDIS_FIELD_COUNT);
        redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_looked, f);
        redis_words_clear(&w);
    }
}
