/* Chained hashing that doubles when it is full. Called by whoever embeds a table: hot sets, what is
 * resident, questions that wait, generations. */
#include "cache/htable.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"

#define FIRST_SLOTS 64

void htable_init(struct htable *t)
{
    *t = (struct htable){0};
}

void htable_clear(struct htable *t)
{
    free(t->slots);
    htable_init(t);
}

static struct htable_node **slot_of(const struct htable *t, uint64_t hash)
{
    return &t->slots[hash & (t->slot_count - 1)];
}

static void link_node(struct htable *t, struct htable_node *n)
{
    struct htable_node **slot = slot_of(t, n->hash);

    n->next = *slot;
    *slot = n;
}

static void grow(struct htable *t)
{
    struct htable old = *t;

    t->slot_count = old.slot_count ? 2 * old.slot_count : FIRST_SLOTS;
    t->slots = mem_zalloc(t->slot_count, sizeof *t->slots);
    for (size_t i = 0; i < old.slot_count; i++)
        for (struct htable_node *n = old.slots[i], *next; n; n = next) {
            next = n->next;
            link_node(t, n);
        }
    free(old.slots);
}

void htable_add(struct htable *t, struct htable_node *n, uint64_t hash)
{
    if (t->count == t->slot_count)
        grow(t);
    n->hash = hash;
    link_node(t, n);
    t->count++;
}

void htable_remove(struct htable *t, struct htable_node *n)
{
    struct htable_node **p = slot_of(t, n->hash);

    while (*p != n) {
        assert(*p);
        p = &(*p)->next;
    }
    *p = n->next;
    t->count--;
}

static struct htable_node *with_hash(struct htable_node *n, uint64_t hash)
{
    while (n && n->hash != hash)
        n = n->next;
    return n;
}

struct htable_node *htable_first(const struct htable *t, uint64_t hash)
{
    return t->slot_count ? with_hash(*slot_of(t, hash), hash) : NULL;
}

struct htable_node *htable_next(const struct htable_node *n)
{
    return with_hash(n->next, n->hash);
}

void htable_each(struct htable *t, void (*fn)(struct htable_node *n, void *ctx), void *ctx)
{
    for (size_t i = 0; i < t->slot_count; i++)
        for (struct htable_node *n = t->slots[i], *next; n; n = next) {
            next = n->next;
            fn(n, ctx);
        }
}

struct htable_node *htable_sample(const struct htable *t, uint64_t random)
{
    if (t->count == 0)
        return NULL;
    size_t i = random & (t->slot_count - 1);
    while (!t->slots[i])
        i = (i + 1) & (t->slot_count - 1);
    return t->slots[i];
}

uint64_t htable_hash_slice(struct slice s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return htable_hash_id(h);
}
