/* What both stores agree on. Called by the stores and by who keeps keys by bucket. */
#include "cache/store.h"

#include "cache/htable.h"

unsigned store_bucket(struct slice scope)
{
    return (unsigned)(htable_hash_slice(scope) % STORE_BUCKETS);
}

uint64_t store_home(struct slice scope)
{
    return htable_hash_slice(scope);
}
