/* What was heard to be gone lately, so that what was read from the store before does not come into
 * memory after: reads and changes come over two connections, and neither waits for the other.
 *
 *   since = cache_removals_now()   read sent        (the entry is there)
 *   cache_removals_note(id)        word of its removal
 *   cache_removals_since(since)    read answered    -> true: what it brought is of the past
 *
 * A read that is sent after the word sees the removal itself. Of more than CACHE_REMOVALS removals
 * during one read nobody knows which they were: then everything counts as gone, which costs a miss.
 * Pure; the cache thread's. */
#ifndef CACHE_CACHE_REMOVALS_H
#define CACHE_CACHE_REMOVALS_H

#include "cache/store.h"

#define CACHE_REMOVALS 1024

struct cache_removals {
    uint64_t serial;              /* of the newest */
    uint64_t lost[STORE_BUCKETS]; /* serial of the last loss of a bucket; 0: none */
    uint64_t ids[CACHE_REMOVALS]; /* number n lies at n % CACHE_REMOVALS */
};

void cache_removals_note(struct cache_removals *r, uint64_t id);
void cache_removals_lost(struct cache_removals *r,
                         unsigned bucket); /* anything of it may be gone */
uint64_t cache_removals_now(const struct cache_removals *r);
/* May it be gone, by what was heard after `since`? */
bool cache_removals_since(const struct cache_removals *r, uint64_t since, uint64_t id,
                          unsigned bucket);

#endif
