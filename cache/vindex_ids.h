/* From an id to the slab it is in. A table of 1,024 small tables that grow one by one, so that no
 * insertion waits for a million others to be moved. Of the index's writer alone. */
#ifndef CACHE_VINDEX_IDS_H
#define CACHE_VINDEX_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VINDEX_IDS_SHARDS 1024

struct vslab;

struct vindex_ids_place {
    uint64_t id;
    struct vslab *slab; /* borrowed; NULL: the place is free */
};
struct vindex_ids_shard {
    struct vindex_ids_place *place; /* owned: [cap], a power of two; NULL: empty */
    uint32_t cap, used;
};
struct vindex_ids {
    struct vindex_ids_shard shard[VINDEX_IDS_SHARDS];
};

void vindex_ids_clear(struct vindex_ids *m); /* zeroed memory is an empty map */
struct vslab *vindex_ids_get(const struct vindex_ids *m, uint64_t id); /* NULL: not there */
/* Inserts or replaces. Returns by how many bytes the map has grown. */
size_t vindex_ids_set(struct vindex_ids *m, uint64_t id, struct vslab *slab);
/* How many more bytes of memory inserting this id would take, the old table included. */
size_t vindex_ids_need(const struct vindex_ids *m, uint64_t id);
/* The id must be there. Returns by how many bytes the map has shrunk. */
size_t vindex_ids_del(struct vindex_ids *m, uint64_t id);

#endif
