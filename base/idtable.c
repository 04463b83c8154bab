/* Slots with generations. Free slots form a list inside the array; a slot's generation moves on
 * when its object leaves, which is what makes old ids miss. Owns the array, never the objects.
 * Thread: the owner's. */
#include "base/idtable.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"

struct idtable_slot {
    void *object; /* borrowed; NULL when free */
    uint32_t generation;
    uint32_t next_free; /* slot + 1, 0 ends the list */
};

#define FIRST_SLOTS 16u

void idtable_init(struct idtable *t, uint32_t max)
{
    assert(max < UINT32_MAX); /* slot + 1 must fit the id's low half */
    *t = (struct idtable){.max = max};
}

void idtable_clear(struct idtable *t)
{
    free(t->slots);
    idtable_init(t, t->max);
}

static void grow(struct idtable *t)
{
    uint32_t cap = t->cap > t->max / 2 ? t->max : t->cap * 2;
    if (cap < FIRST_SLOTS)
        cap = t->max < FIRST_SLOTS ? t->max : FIRST_SLOTS;
    t->slots = mem_resize(t->slots, cap, sizeof *t->slots);
    for (uint32_t i = t->cap; i < cap; i++)
        t->slots[i] = (struct idtable_slot){.generation = 1, .next_free = i + 1 < cap ? i + 2 : 0};
    t->free_head = t->cap + 1;
    t->cap = cap;
}

objid idtable_add(struct idtable *t, void *object)
{
    assert(object);
    if (t->used == t->max)
        return 0;
    if (!t->free_head)
        grow(t);
    uint32_t slot = t->free_head - 1;
    struct idtable_slot *s = &t->slots[slot];
    t->free_head = s->next_free;
    s->object = object;
    t->used++;
    return (objid)s->generation << 32 | (slot + 1);
}

/* The live slot an id names, or NULL. */
static struct idtable_slot *find(const struct idtable *t, objid id)
{
    uint32_t slot = (uint32_t)id - 1; /* id 0 wraps to a slot beyond any capacity */
    if (slot >= t->cap)
        return NULL;
    struct idtable_slot *s = &t->slots[slot];
    return s->object && s->generation == (uint32_t)(id >> 32) ? s : NULL;
}

void *idtable_get(const struct idtable *t, objid id)
{
    struct idtable_slot *s = find(t, id);
    return s ? s->object : NULL;
}

void idtable_remove(struct idtable *t, objid id)
{
    struct idtable_slot *s = find(t, id);
    if (!s)
        return;
    s->object = NULL;
    s->generation++;
    s->next_free = t->free_head;
    t->free_head = (uint32_t)(s - t->slots) + 1;
    t->used--;
}

uint32_t idtable_count(const struct idtable *t)
{
    return t->used;
}

void idtable_each(const struct idtable *t, void (*fn)(void *object, objid id, void *ctx), void *ctx)
{
    for (uint32_t i = 0; i < t->cap; i++) {
        const struct idtable_slot *s = &t->slots[i];
        if (s->object)
            fn(s->object, (objid)s->generation << 32 | (i + 1), ctx);
    }
}
