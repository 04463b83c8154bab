/* The table of partitions: open addressing, linear probing. A place that was taken stays taken, by
 * a mark, until the table is laid out anew, because a reader may be on its way over it. */
#include "cache/vindex_table.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

enum { SMALLEST = 4 };

static char gone_mark;
#define GONE ((struct vindex_partition *)(void *)&gone_mark)

static const struct digest *name_of(const struct vindex_partition *p)
{
    return (const struct digest *)(const void *)p;
}

/* A digest is random as it is: its first byte chooses the shard, the next ones the place. */
static size_t home_of(const struct digest *name, size_t cap)
{
    uint64_t x;
    memcpy(&x, name->bytes + 1, sizeof x);
    return (size_t)x & (cap - 1);
}

static size_t places_bytes(size_t cap)
{
    return sizeof(struct vindex_table_places) + cap * sizeof(_Atomic(struct vindex_partition *));
}

void vindex_table_clear(struct vindex_table *t)
{
    for (size_t i = 0; i < VINDEX_TABLE_SHARDS; i++)
        free(atomic_load(&t->shard[i]));
}

struct vindex_partition *vindex_table_get(const struct vindex_table *t, const struct digest *name)
{
    const struct vindex_table_places *s = atomic_load(&t->shard[name->bytes[0]]);
    struct vindex_partition *p;
    if (!s)
        return NULL;
    for (size_t i = home_of(name, s->cap); (p = atomic_load(&s->at[i])); i = (i + 1) & (s->cap - 1))
        if (p != GONE && digest_eq(*name_of(p), *name))
            return p;
    return NULL;
}

static void place(struct vindex_table_places *s, struct vindex_partition *p)
{
    size_t i = home_of(name_of(p), s->cap);
    while (atomic_load_explicit(&s->at[i], memory_order_relaxed))
        i = (i + 1) & (s->cap - 1);
    atomic_store(&s->at[i], p);
    s->used++;
}

/* The next layout's size: twice the living ones at least. */
static size_t next_cap(const struct vindex_table_places *s)
{
    size_t living = 0, cap = SMALLEST;
    for (size_t i = 0; s && i < s->cap; i++) {
        struct vindex_partition *p = atomic_load_explicit(&s->at[i], memory_order_relaxed);
        living += p && p != GONE;
    }
    while (cap < 2 * (living + 1))
        cap *= 2;
    return cap;
}

static bool is_full(const struct vindex_table_places *s)
{
    return !s || s->used + 1 > s->cap / 4 * 3;
}

size_t vindex_table_need(const struct vindex_table *t, const struct digest *name)
{
    const struct vindex_table_places *s = atomic_load(&t->shard[name->bytes[0]]);
    return is_full(s) ? places_bytes(next_cap(s)) : 0;
}

size_t vindex_table_put(struct vindex_table *t, struct vindex_partition *p, struct vindex_epoch *e)
{
    size_t shard = name_of(p)->bytes[0], before = 0;
    struct vindex_table_places *s = atomic_load(&t->shard[shard]), *to;
    if (!is_full(s)) {
        place(s, p);
        return 0;
    }
    size_t cap = next_cap(s);
    to = mem_zalloc(1, places_bytes(cap));
    to->cap = cap;
    for (size_t i = 0; s && i < s->cap; i++) {
        struct vindex_partition *old = atomic_load_explicit(&s->at[i], memory_order_relaxed);
        if (old && old != GONE)
            place(to, old);
    }
    place(to, p);
    atomic_store(&t->shard[shard], to);
    if (s) {
        before = places_bytes(s->cap);
        vindex_epoch_retire(e, s, free, before);
    }
    return places_bytes(cap) - before;
}

void vindex_table_del(struct vindex_table *t, const struct vindex_partition *p)
{
    struct vindex_table_places *s = atomic_load(&t->shard[name_of(p)->bytes[0]]);
    size_t i = home_of(name_of(p), s->cap);
    while (atomic_load_explicit(&s->at[i], memory_order_relaxed) != p)
        i = (i + 1) & (s->cap - 1);
    atomic_store(&s->at[i], GONE);
}

struct vindex_partition *vindex_table_next(const struct vindex_table *t,
                                           struct vindex_table_cursor *c)
{
    for (; c->shard < VINDEX_TABLE_SHARDS; c->shard++, c->place = 0, c->in = NULL) {
        if (!c->in)
            c->in = atomic_load(&t->shard[c->shard]);
        while (c->in && c->place < c->in->cap) {
            struct vindex_partition *p = atomic_load(&c->in->at[c->place++]);
            if (p && p != GONE)
                return p;
        }
    }
    return NULL;
}
