/* What other replicas did, and what may have been missed. Called by the store, on the cache
 * thread. */
#include "cache/cache_int.h"

void cache_heed_change(void *ctx, const struct store_change *change)
{
    struct cache *c = ctx;

    switch (change->kind) {
    case STORE_PUT:
        if (change->replaced)
            cache_residents_kill(&c->residents, change->replaced);
        break;
    case STORE_DEL:
        cache_residents_kill(&c->residents, change->id);
        break;
    case STORE_FLUSH:
        cache_residents_kill_scope(&c->residents, change->scope);
        break;
    case STORE_LOST:
        cache_residents_kill_bucket(&c->residents, change->bucket);
        break;
    }
}
