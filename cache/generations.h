/* The generation of each scope, as a store knows it: a default per bucket (the epoch of its data)
 * and those that were flushed since. Operators name scopes, so they are few. One thread. */
#ifndef CACHE_GENERATIONS_H
#define CACHE_GENERATIONS_H

#include "cache/htable.h"
#include "cache/store.h"

struct generations {
    uint64_t epochs[STORE_BUCKETS]; /* 0: not known */
    struct htable flushed;          /* owns its struct flushed_scope */
};

void generations_init(struct generations *g);
void generations_clear(struct generations *g);
/* Forgets what was flushed in that bucket: its data are new. 0: not known any more. */
void generations_set_epoch(struct generations *g, unsigned bucket, uint64_t epoch);
void generations_set(struct generations *g, struct slice scope, uint64_t generation);
uint64_t generations_of(const struct generations *g, struct slice scope); /* 0: not known */

#endif
