/* Slot + generation ids for objects that other threads or late callbacks may name: a dead id is
 * simply not found. Single-threaded (the owner's). Id 0 is never given out. */
#ifndef BASE_IDTABLE_H
#define BASE_IDTABLE_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t objid; /* generation << 32 | slot + 1 */

struct idtable {
    struct idtable_slot *slots; /* owned */
    uint32_t cap, used, free_head, max;
};

void idtable_init(struct idtable *t, uint32_t max);
void idtable_clear(struct idtable *t);
objid idtable_add(struct idtable *t, void *object);   /* 0 when max objects live */
void *idtable_get(const struct idtable *t, objid id); /* NULL when dead */
void idtable_remove(struct idtable *t, objid id);
uint32_t idtable_count(const struct idtable *t);
/* Visits live objects; fn must not add or remove. */
void idtable_each(const struct idtable *t, void (*fn)(void *object, objid id, void *ctx),
                  void *ctx);

#endif
