/* Owns its references and the ring that the clock's hand goes around. Called by one worker. */
#include "cache/cache_hot.h"

#include <stdlib.h>
#include "base/list.h"
#include "base/mem.h"
#include "cache/htable.h"

struct cache_hot {
    struct htable by_exact;
    struct list ring; /* the hand stands before its first */
    size_t bytes, max_bytes;
};

struct hot_slot {
    struct htable_node node;
    struct list link;
    struct cache_entry *entry; /* a reference */
    bool used;                 /* since the hand last came by */
};

static size_t weight(const struct cache_entry *e)
{
    return e->bytes + sizeof(struct hot_slot);
}

struct cache_hot *cache_hot_new(size_t max_bytes)
{
    struct cache_hot *h = mem_zalloc(1, sizeof *h);

    htable_init(&h->by_exact);
    list_init(&h->ring);
    h->max_bytes = max_bytes;
    return h;
}

static void drop(struct cache_hot *h, struct hot_slot *s)
{
    h->bytes -= weight(s->entry);
    htable_remove(&h->by_exact, &s->node);
    list_remove(&s->link);
    cache_entry_unref(s->entry);
    free(s);
}

void cache_hot_free(struct cache_hot *h)
{
    if (!h)
        return;
    LIST_FOREACH_SAFE (it, &h->ring)
        drop(h, CONTAINER_OF(it, struct hot_slot, link));
    htable_clear(&h->by_exact);
    free(h);
}

static struct hot_slot *find(const struct cache_hot *h, const struct digest *exact)
{
    struct htable_node *n = htable_first(&h->by_exact, htable_hash_digest(exact));

    for (; n; n = htable_next(n)) {
        struct hot_slot *s = CONTAINER_OF(n, struct hot_slot, node);
        if (digest_eq(s->entry->f.exact, *exact))
            return s;
    }
    return NULL;
}

struct cache_entry *cache_hot_get(struct cache_hot *h, struct digest exact, int64_t now_ms)
{
    struct hot_slot *s = find(h, &exact);

    if (!s)
        return NULL;
    if (!cache_entry_serves(s->entry, now_ms)) {
        drop(h, s);
        return NULL;
    }
    s->used = true;
    atomic_fetch_add_explicit(&s->entry->hits, 1, memory_order_relaxed);
    return s->entry;
}

/* One step of the hand: who was used goes behind it once more. */
static void evict_one(struct cache_hot *h)
{
    for (;;) {
        struct hot_slot *s = CONTAINER_OF(h->ring.next, struct hot_slot, link);
        if (!s->used) {
            drop(h, s);
            return;
        }
        s->used = false;
        list_remove(&s->link);
        list_push_back(&h->ring, &s->link);
    }
}

void cache_hot_put(struct cache_hot *h, struct cache_entry *e, int64_t now_ms)
{
    struct hot_slot *s = find(h, &e->f.exact);

    if (s && s->entry == e)
        return;
    if (s)
        drop(h, s);
    if (weight(e) > h->max_bytes / 8 || !cache_entry_serves(e, now_ms))
        return;
    while (h->bytes + weight(e) > h->max_bytes)
        evict_one(h);
    s = mem_zalloc(1, sizeof *s);
    s->entry = cache_entry_ref(e);
    htable_add(&h->by_exact, &s->node, htable_hash_digest(&e->f.exact));
    list_push_back(&h->ring, &s->link);
    h->bytes += weight(e);
}

size_t cache_hot_bytes(const struct cache_hot *h)
{
    return h->bytes;
}

size_t cache_hot_count(const struct cache_hot *h)
{
    return h->by_exact.count;
}
