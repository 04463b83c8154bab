/* A hash table of nodes that live in their owners: what several tables of this room share. The
 * owner compares keys; the table knows hashes. Owns its slots only. One thread. */
#ifndef CACHE_HTABLE_H
#define CACHE_HTABLE_H

#include <stddef.h>
#include <stdint.h>
#include "base/digest.h"
#include "base/slice.h"

struct htable_node {
    struct htable_node *next;
    uint64_t hash;
};

struct htable {
    struct htable_node **slots; /* owned; a power of two, NULL until the first node */
    size_t slot_count, count;
};

void htable_init(struct htable *t);
void htable_clear(struct htable *t); /* forgets the nodes, which are their owners' */
void htable_add(struct htable *t, struct htable_node *n, uint64_t hash);
void htable_remove(struct htable *t, struct htable_node *n); /* must be in it */
/* The nodes of just this hash, one after the other; NULL: no more. */
struct htable_node *htable_first(const struct htable *t, uint64_t hash);
struct htable_node *htable_next(const struct htable_node *n);
/* Visits all; fn may remove the node it is given, and add none. */
void htable_each(struct htable *t, void (*fn)(struct htable_node *n, void *ctx), void *ctx);
/* Some node, by a random number: for sampled eviction. NULL: the table is empty. */
struct htable_node *htable_sample(const struct htable *t, uint64_t random);

/* Digests are uniform already, ids may be anybody's choice. */
static inline uint64_t htable_hash_digest(const struct digest *d)
{
    uint64_t h;
    memcpy(&h, d->bytes, sizeof h);
    return h;
}
static inline uint64_t htable_hash_id(uint64_t id) /* finalizer of splitmix64 */
{
    id = (id ^ (id >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    id = (id ^ (id >> 27)) * UINT64_C(0x94d049bb133111eb);
    return id ^ (id >> 31);
}
uint64_t htable_hash_slice(struct slice s); /* FNV-1a, mixed: names that the operator chose */

#endif
