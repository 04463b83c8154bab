/* Equal questions that are being answered now: one leads, the others wait for its answer. A table
 * by exact digest; it owns the asks that wait. Pure but for its memory: it posts nothing. The cache
 * thread's. */
#ifndef CACHE_CACHE_FLIGHTS_H
#define CACHE_CACHE_FLIGHTS_H

#include "base/list.h"
#include "cache/cache.h"
#include "cache/htable.h"

struct cache_flights {
    struct htable by_exact;
    struct list order; /* of struct cache_flight, the one that began first in front */
};

struct cache_flight {
    struct htable_node node;
    struct list link;
    struct digest exact;
    struct list waiting; /* of struct cache_ask by msg.link, owned */
    int64_t since_us;    /* the present leader */
    uint64_t generation; /* of the scope when the first leader began: what it will have answered */
    int leaders;
};

void cache_flights_init(struct cache_flights *f);
void cache_flights_clear(struct cache_flights *f); /* nobody waits any more */
struct cache_flight *cache_flights_find(const struct cache_flights *f, const struct digest *exact);
/* A new one, with its leader on the way. */
struct cache_flight *cache_flights_begin(struct cache_flights *f, const struct digest *exact,
                                         uint64_t generation, int64_t now_us);
void cache_flights_wait(struct cache_flight *fl, struct cache_ask *a); /* a is handed over */
/* Handed back, in order of arrival; NULL: nobody waits. */
struct cache_ask *cache_flights_take(struct cache_flight *fl);
/* It has another leader, who begins now. */
void cache_flights_renew(struct cache_flights *f, struct cache_flight *fl, int64_t now_us);
void cache_flights_end(struct cache_flights *f, struct cache_flight *fl); /* nobody waits */
/* The one whose leader began before before_us; NULL: none. */
struct cache_flight *cache_flights_overdue(const struct cache_flights *f, int64_t before_us);

#endif
