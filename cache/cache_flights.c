/* Owns the flights and who waits in them. Called by cache.c. */
#include "cache/cache_flights.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"

void cache_flights_init(struct cache_flights *f)
{
    htable_init(&f->by_exact);
    list_init(&f->order);
}

void cache_flights_clear(struct cache_flights *f)
{
    LIST_FOREACH_SAFE (it, &f->order)
        cache_flights_end(f, CONTAINER_OF(it, struct cache_flight, link));
    htable_clear(&f->by_exact);
}

struct cache_flight *cache_flights_find(const struct cache_flights *f, const struct digest *exact)
{
    struct htable_node *n = htable_first(&f->by_exact, htable_hash_digest(exact));

    for (; n; n = htable_next(n)) {
        struct cache_flight *fl = CONTAINER_OF(n, struct cache_flight, node);
        if (digest_eq(fl->exact, *exact))
            return fl;
    }
    return NULL;
}

struct cache_flight *cache_flights_begin(struct cache_flights *f, const struct digest *exact,
                                         uint64_t generation, int64_t now_us)
{
    struct cache_flight *fl = mem_zalloc(1, sizeof *fl);

    fl->exact = *exact;
    fl->since_us = now_us;
    fl->generation = generation;
    fl->leaders = 1;
    list_init(&fl->waiting);
    htable_add(&f->by_exact, &fl->node, htable_hash_digest(exact));
    list_push_back(&f->order, &fl->link);
    return fl;
}

void cache_flights_wait(struct cache_flight *fl, struct cache_ask *a)
{
    list_push_back(&fl->waiting, &a->msg.link);
}

struct cache_ask *cache_flights_take(struct cache_flight *fl)
{
    if (list_empty(&fl->waiting))
        return NULL;
    struct cache_ask *a = CONTAINER_OF(fl->waiting.next, struct cache_ask, msg.link);
    list_remove(&a->msg.link);
    return a;
}

void cache_flights_renew(struct cache_flights *f, struct cache_flight *fl, int64_t now_us)
{
    fl->leaders++;
    fl->since_us = now_us;
    list_remove(&fl->link);
    list_push_back(&f->order, &fl->link);
}

void cache_flights_end(struct cache_flights *f, struct cache_flight *fl)
{
    assert(list_empty(&fl->waiting));
    htable_remove(&f->by_exact, &fl->node);
    list_remove(&fl->link);
    free(fl);
}

struct cache_flight *cache_flights_overdue(const struct cache_flights *f, int64_t before_us)
{
    if (list_empty(&f->order))
        return NULL;
    struct cache_flight *fl = CONTAINER_OF(f->order.next, struct cache_flight, link);
    return fl->since_us < before_us ? fl : NULL;
}
