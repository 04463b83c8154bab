/* The slabs of one partition. Writer's thread.
 *
 * A partition starts with a slab of one row, replaced by larger ones up to VSLAB_ROWS; then there
 * are more slabs, the last of which takes new rows. One that is half dead is replaced by a smaller
 * one, together with a neighbour where that fits. Slabs under a graph, or read by the merge thread,
 * stay as they are until vindex_merge replaces them. */
#ifndef CACHE_VINDEX_PARTITION_H
#define CACHE_VINDEX_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/digest.h"

struct vindex;
struct vindex_graph;
struct vindex_partition;
struct vindex_view;
struct vslab;

/* An empty one, in the table. */
struct vindex_partition *vindex_partition_new(struct vindex *v, const struct digest *name);
void vindex_partition_free(struct vindex_partition *p); /* with all it holds; out of the table */
struct vindex_view *vindex_partition_view(const struct vindex_partition *p); /* writer's look */

/* An empty one that no merge is made of: takes it out of the table and retires it. */
void vindex_partition_drop(struct vindex *v, struct vindex_partition *p);

/* Memory that appending one row may take; p: NULL for one that is not there yet. */
size_t vindex_partition_need(const struct vindex *v, const struct vindex_partition *p);
void vindex_partition_append(struct vindex *v, struct vindex_partition *p, uint64_t id,
                             const uint16_t *vec, int64_t until);
/* Marks the row dead. Counting entries and forgetting the id is the caller's. */
void vindex_partition_kill(struct vindex *v, struct vslab *s, uint32_t row);
/* After rows of s have died: gives memory back, asks for a merge, or lets the partition go. Neither
 * p nor s may be there afterwards. */
void vindex_partition_tidy(struct vindex *v, struct vindex_partition *p, struct vslab *s);

/* After a view with another graph was shown: counts what is covered. */
void vindex_partition_recount(struct vindex *v, struct vindex_partition *p);

struct vindex_view *vindex_view_new(struct vindex *v, size_t slabs);
/* Shows the view to readers and retires the one before it. */
void vindex_partition_show(struct vindex *v, struct vindex_partition *p, struct vindex_view *view);
void vindex_slab_retire(struct vindex *v, struct vslab *s);
void vindex_graph_retire(struct vindex *v, struct vindex_graph *g); /* NULL is fine */

#endif
