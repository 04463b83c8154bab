/* What one worker answers by itself: entries by their exact digest, in a bounded number of bytes.
 * It holds references, so that an entry lives as long as anybody may serve it; whether it still may
 * be served is looked at each time (dead, expired), and the worker asks cache_current first:
 * without word from the store nobody knows what was removed elsewhere. CLOCK (second chance)
 * chooses who leaves. One thread, no clock of its own. */
#ifndef CACHE_CACHE_HOT_H
#define CACHE_CACHE_HOT_H

#include "cache/cache_entry.h"

struct cache_hot;

struct cache_hot *cache_hot_new(size_t max_bytes); /* 0: keeps nothing */
void cache_hot_free(struct cache_hot *h);          /* NULL is fine */

/* Borrowed until the next call; NULL: not here. What may not be served any more is dropped. */
struct cache_entry *cache_hot_get(struct cache_hot *h, struct digest exact, int64_t now_ms);
/* Takes a reference of its own; replaces one of equal `exact`. Larger than an eighth of max_bytes,
 * dead or expired: not kept. */
void cache_hot_put(struct cache_hot *h, struct cache_entry *e, int64_t now_ms);

size_t cache_hot_bytes(const struct cache_hot *h);
size_t cache_hot_count(const struct cache_hot *h);

#endif
