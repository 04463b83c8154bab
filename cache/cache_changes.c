/* What other replicas did, and what may have been missed. Called by the store, on the cache
 * thread. */
#include "cache/cache_int.h"

void cache_heed_change(void *ctx, const struct store_change *change)
{
    struct cache *c = ctx;

    switch (change->kind) {
    case STORE_PUT:
        if (change->replaced)
            cache_drop_entry(c, change->replaced);
        cache_drop_entry(c, change->id); /* if it was here, it now says something else */
        cache_meaning_fetch(c, change->scope, change->id);
        break;
    case STORE_DEL:
        cache_drop_entry(c, change->id);
        break;
    case STORE_FLUSH:
        cache_residents_kill_scope(&c->residents, change->scope);
        break;
    case STORE_LOST:
        cache_removals_lost(&c->removals, change->bucket);
        cache_residents_kill_bucket(&c->residents, change->bucket);
        cache_meaning_lost(c);
        break;
    }
}
