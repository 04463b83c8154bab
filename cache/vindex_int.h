/* What the parts of the vector index share: the index, its partitions, what readers see of one.
 *
 *   index -- table of partitions -> partition -> view -> slabs, the first `covered` of them in a
 * graph
 *        \-- ids -> slab
 *
 * A view is immutable but for the last slab, which grows at its end, and for rows that die. The
 * writer changes a partition by showing another view; the old one, with what only it held, is
 * retired. Parts: vindex (options, writer), vindex_partition (slabs of one partition), vindex_merge
 * (graphs, in the background), vindex_search (readers), vindex_snapshot. */
#ifndef CACHE_VINDEX_INT_H
#define CACHE_VINDEX_INT_H

#include "base/list.h"
#include "cache/vindex.h"
#include "cache/vindex_epoch.h"
#include "cache/vindex_graph.h"
#include "cache/vindex_ids.h"
#include "cache/vindex_merge.h"
#include "cache/vindex_table.h"
#include "cache/vslab.h"
#include "cache/vslab_dot.h"

struct vindex_view {
    size_t slabs, covered;
    struct vindex_graph *graph; /* over the first `covered` slabs; NULL when there are none */
    struct vslab *slab[];
};

struct vindex_partition {
    struct digest name; /* first: vindex_table.h */
    _Atomic(struct vindex_view *) view;
    /* The writer's: */
    size_t living, covered_rows, covered_dead;
    struct list wanting, graphed; /* in these lists of the index, or empty */
    struct vindex_merge *merge;   /* borrowed: one that is being made of it; or NULL */
};

struct vindex {
    struct vindex_options opt;
    size_t dim, stride;
    const struct vslab_dot *dot;
    struct vindex_epoch epoch;
    struct vindex_table table;
    /* The writer's: */
    struct vindex_ids ids;
    size_t bytes;        /* of all that is neither retired nor being made by a merge */
    struct list wanting; /* partitions that want a merge */
    struct list graphed; /* partitions with a graph */
    struct vindex_merger merger;
    bool tight;     /* memory has run out since the last merge */
    int64_t now_ms; /* as tend heard it last */
    struct {
        struct vindex_table_cursor next;
        struct digest at; /* the partition looked at now, when there is one */
        bool inside;
        size_t slab;
        uint32_t row;
    } sweep;
    /* For vindex_stat: */
    _Atomic size_t entries, partitions, dead, covered, shown_bytes;
    _Atomic uint64_t merges, changes;
    _Atomic bool merging;
};

static inline void vindex_count(_Atomic size_t *counter, ptrdiff_t by)
{
    size_t n = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, n + (size_t)by, memory_order_relaxed);
}

/* vindex.c */
size_t vindex_used(const struct vindex *v); /* everything, with what is retired or being made */
/* Whether `need` more bytes stay below the maximum, with room left for one merge. Frees what it
 * can. */
bool vindex_fits(struct vindex *v, size_t need);
void vindex_retire(struct vindex *v, void *p, void (*free_fn)(void *p), size_t bytes);

#endif
