/* The entries that are in memory: every one that anybody in this process may hold, so that a
 * removal reaches them all, and as many more as fit. The cache thread's; the entries themselves are
 * shared.
 *
 * Within max_bytes the least valuable of a sample leaves: what was paid for the answer, times how
 * often it was used, per byte. An entry that somebody else holds stays, however full it is: hot
 * sets and replies are bounded themselves. */
#ifndef CACHE_CACHE_RESIDENTS_H
#define CACHE_CACHE_RESIDENTS_H

#include "base/rng.h"
#include "cache/cache_entry.h"
#include "cache/htable.h"

struct cache_residents {
    struct htable by_id, by_exact;
    size_t bytes, max_bytes, max_entries;
    struct rng rng;
};

void cache_residents_init(struct cache_residents *r, size_t max_entries, size_t max_bytes,
                          uint64_t seed);
void cache_residents_limit(struct cache_residents *r, size_t max_bytes); /* from the next trim on */
void cache_residents_clear(struct cache_residents *r); /* what others hold is dead from now on */

/* Borrowed until the next call that adds or drops; NULL: not here. */
struct cache_entry *cache_residents_exact(const struct cache_residents *r,
                                          const struct digest *exact);
struct cache_entry *cache_residents_id(const struct cache_residents *r, uint64_t id);
/* The one object for that id: e, of which it takes a reference, or the one that was here already.
 * Another of equal `exact` is dead from now on. Borrowed. */
struct cache_entry *cache_residents_add(struct cache_residents *r, struct cache_entry *e);
/* The least valuable of a sample, whoever holds it; NULL: there is nothing. Borrowed. */
struct cache_entry *cache_residents_least(struct cache_residents *r);
/* Back below its limits, now that others may have let go. */
void cache_residents_trim(struct cache_residents *r);
/* Dead, wherever it is held, and gone from here. */
void cache_residents_kill(struct cache_residents *r, uint64_t id);
void cache_residents_kill_scope(struct cache_residents *r, struct slice scope);
void cache_residents_kill_bucket(struct cache_residents *r, unsigned bucket);
void cache_residents_expire(struct cache_residents *r, int64_t now_ms);
/* Calls fn with the hits of each since the last time, where there were any. */
void cache_residents_hits(struct cache_residents *r,
                          void (*fn)(void *ctx, const struct cache_entry *e, uint32_t hits),
                          void *ctx);

#endif
