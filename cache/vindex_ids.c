/* The map from ids: open addressing with linear probing, at most 3/4 full; a deletion moves later
 * places back (Knuth, TAOCP 6.4, algorithm R), so that nothing marks where something was. */
#include "cache/vindex_ids.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"

enum { SMALLEST = 8 };

/* The finaliser of splitmix64: a bijection, so that ids in sequence spread. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static size_t shard_of(uint64_t id)
{
    return mix(id) >> 54;
}

/* Where the id is, or the free place where it would go. */
static uint32_t find(const struct vindex_ids_shard *s, uint64_t id)
{
    uint32_t i = (uint32_t)mix(id) & (s->cap - 1);
    while (s->place[i].slab && s->place[i].id != id)
        i = (i + 1) & (s->cap - 1);
    return i;
}

static void resize(struct vindex_ids_shard *s, uint32_t cap)
{
    struct vindex_ids_shard to = {mem_zalloc(cap, sizeof *to.place), cap, s->used};
    for (uint32_t i = 0; i < s->cap; i++)
        if (s->place[i].slab)
            to.place[find(&to, s->place[i].id)] = s->place[i];
    free(s->place);
    *s = to;
}

void vindex_ids_clear(struct vindex_ids *m)
{
    for (size_t i = 0; i < VINDEX_IDS_SHARDS; i++)
        free(m->shard[i].place);
}

struct vslab *vindex_ids_get(const struct vindex_ids *m, uint64_t id)
{
    const struct vindex_ids_shard *s = &m->shard[shard_of(id)];
    return s->cap ? s->place[find(s, id)].slab : NULL;
}

static bool is_full(const struct vindex_ids_shard *s)
{
    return s->used + 1 > s->cap / 4 * 3;
}

static uint32_t next_cap(const struct vindex_ids_shard *s)
{
    return s->cap ? 2 * s->cap : SMALLEST;
}

size_t vindex_ids_need(const struct vindex_ids *m, uint64_t id)
{
    const struct vindex_ids_shard *s = &m->shard[shard_of(id)];
    return is_full(s) ? next_cap(s) * sizeof *s->place : 0;
}

size_t vindex_ids_set(struct vindex_ids *m, uint64_t id, struct vslab *slab)
{
    struct vindex_ids_shard *s = &m->shard[shard_of(id)];
    uint32_t cap = s->cap, i;
    if (cap && s->place[i = find(s, id)].slab) {
        s->place[i].slab = slab;
        return 0;
    }
    if (is_full(s))
        resize(s, next_cap(s));
    s->place[find(s, id)] = (struct vindex_ids_place){id, slab};
    s->used++;
    return (s->cap - cap) * sizeof *s->place;
}

size_t vindex_ids_del(struct vindex_ids *m, uint64_t id)
{
    struct vindex_ids_shard *s = &m->shard[shard_of(id)];
    uint32_t mask = s->cap - 1, hole = find(s, id), cap = s->cap;
    assert(s->place[hole].slab);
    for (uint32_t i = (hole + 1) & mask; s->place[i].slab; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)mix(s->place[i].id) & mask;
        if (((i - home) & mask) >=
            ((i - hole) & mask)) { /* its way from home leads over the hole */
            s->place[hole] = s->place[i];
            hole = i;
        }
    }
    s->place[hole].slab = NULL;
    s->used--;
    if (s->used == 0) {
        free(s->place);
        *s = (struct vindex_ids_shard){0};
    } else if (cap > SMALLEST && s->used < cap / 8) {
        resize(s, cap / 2);
    }
    return (cap - s->cap) * sizeof *s->place;
}
