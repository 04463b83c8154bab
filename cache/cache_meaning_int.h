/* What cache_meaning*.c share: the index of an encoder with all that hangs on it. No other file may
 * include this. Cache thread. */
#ifndef CACHE_CACHE_MEANING_INT_H
#define CACHE_CACHE_MEANING_INT_H

#include "cache/cache_budgets.h"
#include "cache/cache_int.h"
#include "cache/cache_served.h"
#include "cache/cache_snapshot.h"
#include "cache/vindex.h"

enum { CACHE_MEANING_ADMITTED = 16384 };

struct cache_meaning {
    struct vindex_options index_options;
    struct vindex *index;
    struct vindex_reader *reader;
    struct cache_budgets *budgets;   /* owned */
    struct cache_snapshot *snapshot; /* owned */
    struct cache_served served;
    bool scan_wanted, scanning;
    uint64_t page_since; /* the page that is on its way was asked for (cache_removals_now) */
    /* Answers that two tenants were seen to lead to, each at its number's place: a later one may
     * take it, and is to be seen again then. */
    uint64_t admitted[CACHE_MEANING_ADMITTED];
    struct cache *c;
    struct cache_meaning *next; /* of the retired */
};

/* Has the entry a vector of the encoder that is served? */
bool cache_meaning_fits(const struct cache *c, const struct cache_fields *f);
/* Begins a scan of the store where one is wanted and possible. */
void cache_meaning_scan(struct cache *c);

/* The place of an answer that two tenants were seen to lead to. */
static inline uint64_t *cache_meaning_admitted(struct cache *c, uint64_t answer)
{
    return &c->meaning->admitted[answer % CACHE_MEANING_ADMITTED];
}

#endif
