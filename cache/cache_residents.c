/* Owns one reference of each entry in memory. Called by cache.c. */
#include "cache/cache_residents.h"

#include <math.h>
#include <stdlib.h>
#include "base/list.h"
#include "base/mem.h"
#include "cache/store.h"

#define SAMPLES 8 /* looked at for one eviction */

struct resident {
    struct htable_node by_id, by_exact;
    struct cache_entry *entry; /* a reference */
    uint32_t told_hits;
};

void cache_residents_init(struct cache_residents *r, size_t max_entries, size_t max_bytes,
                          uint64_t seed)
{
    *r = (struct cache_residents){.max_entries = max_entries, .max_bytes = max_bytes};
    htable_init(&r->by_id);
    htable_init(&r->by_exact);
    if (seed)
        rng_seed(&r->rng, seed);
    else
        rng_seed_os(&r->rng);
}

static struct resident *by_id(struct htable_node *n)
{
    return CONTAINER_OF(n, struct resident, by_id);
}

static size_t weight(const struct resident *s)
{
    return s->entry->bytes + sizeof *s;
}

static void drop(struct cache_residents *r, struct resident *s)
{
    r->bytes -= weight(s);
    htable_remove(&r->by_id, &s->by_id);
    htable_remove(&r->by_exact, &s->by_exact);
    cache_entry_unref(s->entry);
    free(s);
}

static void kill_one(struct cache_residents *r, struct resident *s)
{
    atomic_store_explicit(&s->entry->dead, true, memory_order_release);
    drop(r, s);
}

/* Which of them to kill. */
struct sentence {
    struct cache_residents *r;
    bool (*is_meant)(const struct cache_entry *e, const struct sentence *s);
    struct slice scope;
    unsigned bucket;
    int64_t now_ms;
};

static void judge(struct htable_node *n, void *ctx)
{
    const struct sentence *s = ctx;

    if (s->is_meant(by_id(n)->entry, s))
        kill_one(s->r, by_id(n));
}

static bool everybody(const struct cache_entry *e, const struct sentence *s)
{
    (void)e, (void)s;
    return true;
}

static bool of_scope(const struct cache_entry *e, const struct sentence *s)
{
    return slice_eq(e->f.scope, s->scope);
}

static bool of_bucket(const struct cache_entry *e, const struct sentence *s)
{
    return store_bucket(e->f.scope) == s->bucket;
}

static bool expired(const struct cache_entry *e, const struct sentence *s)
{
    return e->f.expires_ms <= s->now_ms;
}

void cache_residents_limit(struct cache_residents *r, size_t max_bytes)
{
    r->max_bytes = max_bytes;
}

void cache_residents_clear(struct cache_residents *r)
{
    htable_each(&r->by_id, judge, &(struct sentence){.r = r, .is_meant = everybody});
    htable_clear(&r->by_id);
    htable_clear(&r->by_exact);
}

static struct resident *find_exact(const struct cache_residents *r, const struct digest *exact)
{
    struct htable_node *n = htable_first(&r->by_exact, htable_hash_digest(exact));

    for (; n; n = htable_next(n)) {
        struct resident *s = CONTAINER_OF(n, struct resident, by_exact);
        if (digest_eq(s->entry->f.exact, *exact))
            return s;
    }
    return NULL;
}

static struct resident *find_id(const struct cache_residents *r, uint64_t id)
{
    struct htable_node *n = htable_first(&r->by_id, htable_hash_id(id));

    while (n && by_id(n)->entry->f.id != id)
        n = htable_next(n);
    return n ? by_id(n) : NULL;
}

struct cache_entry *cache_residents_exact(const struct cache_residents *r,
                                          const struct digest *exact)
{
    struct resident *s = find_exact(r, exact);
    return s ? s->entry : NULL;
}

struct cache_entry *cache_residents_id(const struct cache_residents *r, uint64_t id)
{
    struct resident *s = find_id(r, id);
    return s ? s->entry : NULL;
}

static double value(const struct resident *s)
{
    const struct cache_entry *e = s->entry;

    if (e->f.pinned)
        return INFINITY;
    return (1 + (double)e->f.cost) * (1 + atomic_load_explicit(&e->hits, memory_order_relaxed)) /
           (double)e->bytes;
}

static bool held_elsewhere(const struct resident *s)
{
    return atomic_load_explicit(&s->entry->refs, memory_order_acquire) > 1;
}

static struct resident *least_of_sample(struct cache_residents *r, bool held_too)
{
    struct resident *least = NULL;

    for (int i = 0; i < SAMPLES && r->by_id.count > 0; i++) {
        struct resident *s = by_id(htable_sample(&r->by_id, rng_u64(&r->rng)));
        if ((held_too || !held_elsewhere(s)) && (!least || value(s) < value(least)))
            least = s;
    }
    return least;
}

struct cache_entry *cache_residents_least(struct cache_residents *r)
{
    struct resident *s = least_of_sample(r, true);
    return s ? s->entry : NULL;
}

/* false: none of the sample may go. */
static bool evict_one(struct cache_residents *r)
{
    struct resident *s = least_of_sample(r, false);
    if (s)
        drop(r, s);
    return s;
}

void cache_residents_trim(struct cache_residents *r)
{
    while ((r->bytes > r->max_bytes || r->by_id.count > r->max_entries) && evict_one(r))
        ;
}

struct cache_entry *cache_residents_add(struct cache_residents *r, struct cache_entry *e)
{
    struct resident *s = find_id(r, e->f.id);

    if (s)
        return s->entry;
    s = find_exact(r, &e->f.exact);
    if (s)
        kill_one(r, s);
    s = mem_zalloc(1, sizeof *s);
    s->entry = cache_entry_ref(e);
    htable_add(&r->by_id, &s->by_id, htable_hash_id(e->f.id));
    htable_add(&r->by_exact, &s->by_exact, htable_hash_digest(&e->f.exact));
    r->bytes += weight(s);
    cache_residents_trim(r); /* not e, which the caller holds */
    return e;
}

void cache_residents_kill(struct cache_residents *r, uint64_t id)
{
    struct resident *s = find_id(r, id);
    if (s)
        kill_one(r, s);
}

void cache_residents_kill_scope(struct cache_residents *r, struct slice scope)
{
    htable_each(&r->by_id, judge, &(struct sentence){.r = r, .is_meant = of_scope, .scope = scope});
}

void cache_residents_kill_bucket(struct cache_residents *r, unsigned bucket)
{
    htable_each(&r->by_id, judge,
                &(struct sentence){.r = r, .is_meant = of_bucket, .bucket = bucket});
}

void cache_residents_expire(struct cache_residents *r, int64_t now_ms)
{
    htable_each(&r->by_id, judge,
                &(struct sentence){.r = r, .is_meant = expired, .now_ms = now_ms});
}

struct telling {
    void (*fn)(void *ctx, const struct cache_entry *e, uint32_t hits);
    void *ctx;
};

static void tell_hits(struct htable_node *n, void *ctx)
{
    const struct telling *t = ctx;
    struct resident *s = by_id(n);
    uint32_t hits = atomic_load_explicit(&s->entry->hits, memory_order_relaxed);

    if (hits != s->told_hits)
        t->fn(t->ctx, s->entry, hits - s->told_hits);
    s->told_hits = hits;
}

void cache_residents_hits(struct cache_residents *r,
                          void (*fn)(void *ctx, const struct cache_entry *e, uint32_t hits),
                          void *ctx)
{
    htable_each(&r->by_id, tell_hits, &(struct telling){fn, ctx});
}
