/* Graphs grow and are built anew in the background: one thread per index, started when it is first
 * needed, one merge at a time, of one partition.
 *
 * A merge is of the first slabs of a partition, all but the last. Either the graph grows by slabs
 * that were full (links are copied, slabs stay), or, when a third of what it covers is dead, living
 * rows are copied to new slabs and a new graph is built over them; then their ids move from slab to
 * slab in small steps, so that no single call of the writer pays for a million of them, and the new
 * slabs come into sight at once when all have moved. Rows that die meanwhile die in both places.
 *
 * threads: the writer's, but for what the merge thread does between being asked and saying done. */
#ifndef CACHE_VINDEX_MERGE_H
#define CACHE_VINDEX_MERGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vindex;
struct vindex_partition;
struct vindex_merge;

struct vindex_merger {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    bool started;
    _Atomic bool stop;
    _Atomic int state;        /* enum, in vindex_merge.c */
    struct vindex_merge *job; /* owned; the merge thread's while state says so, else the writer's */
    size_t planned_bytes;     /* what the job may take; the writer's */
};

void vindex_merger_init(struct vindex_merger *m);
void vindex_merger_clear(struct vindex_merger *m); /* stops the thread, throws the job away */

/* Something about p has changed that may call for a merge. */
void vindex_merge_want(struct vindex *v, struct vindex_partition *p);
/* Goes on with what there is: takes a finished merge a step further, or begins another. True while
 * steps remain that can be taken at once. */
bool vindex_merge_step(struct vindex *v);
/* A row that `m` made, and that is not in sight yet, has died: so has the row it was copied from.
 */
void vindex_merge_kill_origin(struct vindex *v, struct vindex_merge *m, uint32_t made_row);
/* Memory has run out: builds graphs anew earlier than it would. True when a merge is under way, at
 * whose end there may be room. */
bool vindex_merge_for_room(struct vindex *v);
/* The room that has to stay free for the largest merge that may become necessary. */
size_t vindex_merge_reserve(const struct vindex *v);

#endif
