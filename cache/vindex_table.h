/* From a digest to the partition of that name. 256 small tables that grow one by one; readers look
 * into them while the writer changes them.
 *
 * threads: one writer; readers within an epoch (vindex_epoch.h). */
#ifndef CACHE_VINDEX_TABLE_H
#define CACHE_VINDEX_TABLE_H

#include <stdatomic.h>
#include <stddef.h>
#include "base/digest.h"
#include "cache/vindex_epoch.h"

#define VINDEX_TABLE_SHARDS 256

struct vindex_partition; /* begins with its name, a struct digest */

struct vindex_table_places {
    size_t cap, used; /* used: places that were ever taken; the writer's */
    _Atomic(struct vindex_partition *) at[];
};
struct vindex_table {
    _Atomic(struct vindex_table_places *) shard[VINDEX_TABLE_SHARDS]; /* NULL: empty */
};

/* Zeroed memory is an empty table. Partitions are not the table's. */
void vindex_table_clear(struct vindex_table *t);
struct vindex_partition *vindex_table_get(const struct vindex_table *t, const struct digest *name);
/* The name must not be there. Old places are retired. Returns by how many bytes it has grown. */
size_t vindex_table_put(struct vindex_table *t, struct vindex_partition *p, struct vindex_epoch *e);
size_t vindex_table_need(const struct vindex_table *t, const struct digest *name);
void vindex_table_del(struct vindex_table *t, const struct vindex_partition *p);

/* Partitions one after another, from {0}; NULL when there is none left. Within one epoch none is
 * seen twice. A cursor that is kept longer must be told (in = NULL) and may then see some twice, or
 * miss some. */
struct vindex_table_cursor {
    size_t shard, place;
    const struct vindex_table_places *in; /* borrowed: the shard's, until the epoch ends */
};
struct vindex_partition *vindex_table_next(const struct vindex_table *t,
                                           struct vindex_table_cursor *c);

#endif
