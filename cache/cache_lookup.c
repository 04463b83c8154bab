/* One question: from memory, from the store, or waiting for the one who asks the same. And the
 * answer that comes back. Owns nothing; called on the cache thread, by cache.c and by the store's
 * callbacks.
 *
 *   ask -> resident? -> store? -> (by meaning) -> miss: lead, wait, or go
 *                                                         ^      |
 *   put  -> admission -> resident + store;  followers <---'      | leader gone or given up:
 *   abandon ------------------------------------------------->---' the next one leads, once */
#include "cache/admin_job.h"
#include "cache/cache_int.h"

#include <assert.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"

#define MAX_LEADERS  2    /* of one flight; then all go */
#define JITTER_SHARE 0.05 /* of a life: what was stored together shall not expire together */

int64_t cache_now_ms(const struct cache *c)
{
    return clock_wall_us() / 1000 + store_clock_offset_ms(c->store);
}

bool cache_is_current(const struct cache *c)
{
    int64_t until_us;

    return store_current(c->store, &until_us) && clock_mono_us() < until_us;
}

/* The last look before an entry is served, whatever said that it fits. */
bool cache_may_serve(const struct cache *c, const struct cache_ask *a, const struct cache_entry *e)
{
    int64_t now_ms = cache_now_ms(c), age_ms = now_ms - e->f.created_ms;
    uint64_t generation = store_generation(c->store, e->f.scope);

    return cache_entry_serves(e, now_ms) && slice_eq(e->f.scope, a->q.scope) && generation != 0 &&
           e->f.generation == generation && age_ms < a->q.rules.ttl_ms &&
           (a->q.rules.max_age_ms < 0 || age_ms <= a->q.rules.max_age_ms);
}

void cache_lookup_answer(struct cache *c, struct cache_ask *a, enum cache_verdict v,
                         struct cache_entry *e)
{
    a->verdict = v;
    if (e) {
        a->entry = cache_entry_ref(e);
        atomic_fetch_add_explicit(&e->hits, 1, memory_order_relaxed);
    }
    c->facts.hits_exact += v == CACHE_HIT_EXACT;
    c->facts.hits_semantic += v == CACHE_HIT_SEMANTIC;
    c->facts.waits += v == CACHE_WAIT_LEADER;
    bool asks_again = a->join && v == CACHE_MISS; /* with a vector */
    if (c->opt.stats && !asks_again)
        stats_add(c->cells.lookups[v], 1);
    admin_trail_note(c->trail, a, e, clock_wall_us() / 1000);
    if (!list_empty(&c->admin_runs))
        admin_job_seen(c);
    mailbox_post(a->reply_to, &a->msg);
}

void cache_drop_entry(struct cache *c, uint64_t id)
{
    cache_removals_note(&c->removals, id);
    cache_residents_kill(&c->residents, id);
    cache_meaning_drop(c, id);
}

bool cache_removed_since(const struct cache *c, const struct cache_fields *f, uint64_t since)
{
    return cache_removals_since(&c->removals, since, f->id, store_bucket(f->scope));
}

struct cache_entry *cache_keep_read(struct cache *c, struct cache_entry *e, uint64_t since)
{
    return cache_removed_since(c, &e->f, since) ? NULL : cache_residents_add(&c->residents, e);
}

/* ---- who asks the model ---- */

static struct cache_ask *twin(const struct cache_ask *a)
{
    struct cache_ask *b = cache_ask_new(&a->q, NULL, 0);

    b->msg = a->msg;
    b->reply_to = a->reply_to;
    b->owner = a->owner;
    b->id = a->id;
    b->why = a->why;
    return b;
}

static void answer_leader(struct cache *c, struct cache_ask *a)
{
    a->leading = true;
    cache_lookup_answer(c, a, CACHE_MISS, NULL);
}

void cache_lookup_miss(struct cache *c, struct cache_ask *a)
{
    bool joins = (a->lead || a->join) && a->q.rules.exact && a->q.rules.store && !c->closing;
    struct cache_flight *fl = joins ? cache_flights_find(&c->flights, &a->q.exact) : NULL;

    if (fl) {
        cache_lookup_answer(c, twin(a), CACHE_WAIT_LEADER, NULL);
        cache_flights_wait(fl, a);
    } else if (joins && a->lead) {
        cache_flights_begin(&c->flights, &a->q.exact, store_generation(c->store, a->q.scope),
                            clock_mono_us());
        answer_leader(c, a);
    } else {
        cache_lookup_answer(c, a, CACHE_MISS, NULL);
    }
}

/* The flight has no leader any more. */
static void next_leader(struct cache *c, struct cache_flight *fl)
{
    struct cache_ask *a = cache_flights_take(fl);

    if (a && fl->leaders < MAX_LEADERS && !c->closing) {
        cache_flights_renew(&c->flights, fl, clock_mono_us());
        answer_leader(c, a);
        return;
    }
    for (; a; a = cache_flights_take(fl))
        cache_lookup_answer(c, a, CACHE_MISS, NULL);
    cache_flights_end(&c->flights, fl);
}

void cache_give_up(struct cache *c, const struct digest *exact)
{
    struct cache_flight *fl = cache_flights_find(&c->flights, exact);

    if (fl)
        next_leader(c, fl);
}

void cache_release_overdue(struct cache *c)
{
    int64_t before_us = clock_mono_us() - c->opt.lead_max_us;
    struct cache_flight *fl;

    while ((fl = cache_flights_overdue(&c->flights, before_us)))
        next_leader(c, fl);
}

void cache_release_all(struct cache *c)
{
    assert(c->closing);
    while (!list_empty(&c->flights.order))
        next_leader(c, CONTAINER_OF(c->flights.order.next, struct cache_flight, link));
}

/* ---- a question ---- */

struct lookup {
    struct cache *c;
    struct cache_ask *ask; /* owned */
    uint64_t since;        /* as of cache_removals_now */
};

static bool serve_resident(struct cache *c, struct cache_ask *a)
{
    struct cache_entry *e =
        cache_is_current(c) ? cache_residents_exact(&c->residents, &a->q.exact) : NULL;

    if (!e || !cache_may_serve(c, a, e))
        return false;
    cache_lookup_answer(c, a, CACHE_HIT_EXACT, e);
    return true;
}

/* What the store has. An answer that came into memory meanwhile is at least as new. */
static void on_exact(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct lookup *l = ctx;
    struct cache *c = l->c;
    struct cache_ask *a = l->ask;
    uint64_t since = l->since;

    free(l);
    if (serve_resident(c, a))
        return;
    if (err == ERR_OK && n == 1 && e[0] && digest_eq(e[0]->f.exact, a->q.exact) &&
        cache_may_serve(c, a, e[0])) {
        struct cache_entry *kept = cache_keep_read(c, e[0], since);
        if (kept && cache_may_serve(c, a, kept)) {
            cache_lookup_answer(c, a, CACHE_HIT_EXACT, kept);
            return;
        }
    }
    if (!cache_meaning_begin(c, a))
        cache_lookup_miss(c, a);
}

void cache_lookup_start(struct cache *c, struct cache_ask *a)
{
    if (a->explain) {
        if (!cache_meaning_begin(c, a))
            mailbox_post(a->reply_to, &a->msg);
        return;
    }
    c->facts.lookups += !a->join;
    if (c->closing || !a->q.rules.exact) {
        if (!cache_meaning_begin(c, a))
            cache_lookup_miss(c, a);
        return;
    }
    if (serve_resident(c, a))
        return;
    struct lookup *l = mem_alloc(sizeof *l);
    *l = (struct lookup){c, a, cache_removals_now(&c->removals)};
    store_get_exact(c->store, a->q.scope, a->q.exact, on_exact, l);
}

/* ---- an answer ---- */

struct keeping {
    struct cache *c;
    uint64_t id;
};

static void on_stored(void *ctx, enum err err, uint64_t replaced)
{
    struct keeping *k = ctx;
    struct cache *c = k->c;

    if (err != ERR_OK) {
        /* Nobody else would hear of it when it is removed: it is not here either. */
        cache_drop_entry(c, k->id);
        c->facts.refused_puts++;
    } else if (replaced) {
        cache_drop_entry(c, replaced);
    }
    free(k);
}

/* Nobody else looks at these members of e yet. */
static void stamp(struct cache *c, struct cache_entry *e, const struct cache_rules *rules,
                  uint64_t generation)
{
    int64_t offset_ms = store_clock_offset_ms(c->store), now_ms = clock_wall_us() / 1000;
    int64_t latest_ms, life_ms;

    if (e->f.created_ms > now_ms) { /* nobody has answers from the future */
        e->f.expires_ms -= e->f.created_ms - now_ms;
        e->f.created_ms = now_ms;
    }
    latest_ms = e->f.created_ms + rules->ttl_ms;
    if (e->f.expires_ms > latest_ms)
        e->f.expires_ms = latest_ms;
    life_ms = e->f.expires_ms - e->f.created_ms;
    e->f.expires_ms -= (int64_t)((double)life_ms * JITTER_SHARE * rng_unit(&c->rng));
    e->f.created_ms += offset_ms;
    e->f.expires_ms += offset_ms;
    e->f.generation = generation;
}

static bool admissible(const struct cache *c, const struct cache_entry *e)
{
    return e->f.body.n > 0 && e->bytes <= c->opt.max_bytes / 8 && e->f.generation != 0 &&
           e->f.expires_ms > cache_now_ms(c);
}

static void answer_followers(struct cache *c, struct cache_flight *fl, struct cache_entry *e)
{
    struct cache_ask *a;

    while ((a = cache_flights_take(fl))) {
        bool same = slice_eq(a->q.scope, e->f.scope) && digest_eq(a->q.exact, e->f.exact);
        cache_lookup_answer(c, a, same ? CACHE_HIT_EXACT : CACHE_MISS, same ? e : NULL);
    }
    cache_flights_end(&c->flights, fl);
}

void cache_store_answer(struct cache *c, struct cache_entry *e, const struct cache_rules *rules)
{
    struct cache_flight *fl = cache_flights_find(&c->flights, &e->f.exact);

    if (!rules->store) {
        if (fl)
            next_leader(c, fl);
        return;
    }
    stamp(c, e, rules, fl ? fl->generation : store_generation(c->store, e->f.scope));
    c->facts.puts++;
    if (admissible(c, e)) {
        struct keeping *k = mem_alloc(sizeof *k);
        *k = (struct keeping){c, e->f.id};
        cache_residents_add(&c->residents, e);
        cache_meaning_add(c, &e->f);
        store_put(c->store, e, on_stored, k);
    } else {
        c->facts.refused_puts++;
    }
    if (fl)
        answer_followers(c, fl, e);
}
