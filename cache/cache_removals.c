/* Owns the newest removals. Called by cache_changes.c, and by who puts into memory what the store
 * gave. */
#include "cache/cache_removals.h"

void cache_removals_note(struct cache_removals *r, uint64_t id)
{
    r->ids[++r->serial % CACHE_REMOVALS] = id;
}

void cache_removals_lost(struct cache_removals *r, unsigned bucket)
{
    cache_removals_note(r, 0);
    r->lost[bucket] = r->serial;
}

uint64_t cache_removals_now(const struct cache_removals *r)
{
    return r->serial;
}

bool cache_removals_since(const struct cache_removals *r, uint64_t since, uint64_t id,
                          unsigned bucket)
{
    if (r->serial - since > CACHE_REMOVALS || r->lost[bucket] > since)
        return true;
    for (uint64_t i = since + 1; i <= r->serial; i++)
        if (r->ids[i % CACHE_REMOVALS] == id)
            return true;
    return false;
}
