/* When may what readers might still hold be freed? Epochs (after Fraser, "Practical lock-freedom",
 * 2004): a reader writes down the epoch it began in; what the writer takes out of sight is freed
 * once every reader at work began later. Readers write one word of their own and wait for nobody.
 *
 * threads: one writer (retire, collect); readers as many as have a slot. */
#ifndef CACHE_VINDEX_EPOCH_H
#define CACHE_VINDEX_EPOCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"

struct vindex_epoch {
    _Atomic uint64_t now; /* from 1 */
    pthread_mutex_t lock; /* of slots: taken when a reader comes or goes, and by collect */
    struct list slots;
    struct list retired; /* the writer's; oldest first */
    size_t retired_count, retired_bytes;
};

struct vindex_epoch_slot {
    _Atomic uint64_t began; /* 0: not reading */
    struct list link;
};

void vindex_epoch_init(struct vindex_epoch *e);
void vindex_epoch_clear(struct vindex_epoch *e); /* frees everything; no reader is left */

void vindex_epoch_join(struct vindex_epoch *e, struct vindex_epoch_slot *s);
void vindex_epoch_quit(struct vindex_epoch *e, struct vindex_epoch_slot *s);

/* Between these, what is reachable stays. All sequentially consistent: either the writer's look at
 * the slots comes after began was set, or the reader's look at the pointers comes after they were
 * changed. */
static inline void vindex_epoch_enter(struct vindex_epoch *e, struct vindex_epoch_slot *s)
{
    atomic_store(&s->began, atomic_load(&e->now));
}
static inline void vindex_epoch_leave(struct vindex_epoch_slot *s)
{
    atomic_store_explicit(&s->began, 0, memory_order_release);
}

/* p is out of sight: free_fn(p) when nobody can hold it any more. bytes: for retired_bytes. */
void vindex_epoch_retire(struct vindex_epoch *e, void *p, void (*free_fn)(void *p), size_t bytes);
size_t vindex_epoch_collect(struct vindex_epoch *e); /* how many bytes were freed */

#endif
