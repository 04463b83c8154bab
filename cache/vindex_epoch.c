/* Epochs of one index. Owns what was retired and not yet freed. Called by the index's writer, and
 * by readers when they come and go. */
#include "cache/vindex_epoch.h"

#include <stdlib.h>
#include "base/mem.h"

struct retired {
    struct list link;
    uint64_t epoch; /* readers that began later cannot hold it */
    void *p;        /* owned */
    void (*free_fn)(void *p);
    size_t bytes;
};

void vindex_epoch_init(struct vindex_epoch *e)
{
    *e = (struct vindex_epoch){.now = 1};
    pthread_mutex_init(&e->lock, NULL);
    list_init(&e->slots);
    list_init(&e->retired);
}

void vindex_epoch_join(struct vindex_epoch *e, struct vindex_epoch_slot *s)
{
    atomic_init(&s->began, 0);
    pthread_mutex_lock(&e->lock);
    list_push_back(&e->slots, &s->link);
    pthread_mutex_unlock(&e->lock);
}

void vindex_epoch_quit(struct vindex_epoch *e, struct vindex_epoch_slot *s)
{
    pthread_mutex_lock(&e->lock);
    list_remove(&s->link);
    pthread_mutex_unlock(&e->lock);
}

void vindex_epoch_retire(struct vindex_epoch *e, void *p, void (*free_fn)(void *p), size_t bytes)
{
    struct retired *r = mem_alloc(sizeof *r);
    *r = (struct retired){
        .epoch = atomic_fetch_add(&e->now, 1), .p = p, .free_fn = free_fn, .bytes = bytes};
    list_push_back(&e->retired, &r->link);
    e->retired_count++;
    e->retired_bytes += bytes;
}

/* The epoch in which the longest-working reader began; UINT64_MAX when none is at work. */
static uint64_t oldest_reader(struct vindex_epoch *e)
{
    uint64_t oldest = UINT64_MAX;
    pthread_mutex_lock(&e->lock);
    LIST_FOREACH (it, &e->slots) {
        uint64_t began = atomic_load(&CONTAINER_OF(it, struct vindex_epoch_slot, link)->began);
        if (began && began < oldest)
            oldest = began;
    }
    pthread_mutex_unlock(&e->lock);
    return oldest;
}

size_t vindex_epoch_collect(struct vindex_epoch *e)
{
    if (list_empty(&e->retired))
        return 0;
    uint64_t oldest = oldest_reader(e);
    size_t before = e->retired_bytes;
    while (!list_empty(&e->retired)) {
        struct retired *r = CONTAINER_OF(e->retired.next, struct retired, link);
        if (r->epoch >= oldest)
            break;
        list_remove(&r->link);
        e->retired_count--;
        e->retired_bytes -= r->bytes;
        r->free_fn(r->p);
        free(r);
    }
    return before - e->retired_bytes;
}

void vindex_epoch_clear(struct vindex_epoch *e)
{
    vindex_epoch_collect(e);
    pthread_mutex_destroy(&e->lock);
}
