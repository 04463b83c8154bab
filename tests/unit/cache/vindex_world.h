/* A vector index beside the plainest thing that does the same: a list of entries, searched by
 * arithmetic in double precision. */
#ifndef TESTS_UNIT_CACHE_VINDEX_WORLD_H
#define TESTS_UNIT_CACHE_VINDEX_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/rng.h"
#include "cache/vindex.h"

struct world_entry {
    uint64_t id;
    int partition;
    int64_t expires_ms;
    bool there;
    uint16_t *vec;
};
struct world {
    struct vindex *v;
    struct vindex_reader *r;
    struct rng rng;
    int dim, topics;
    int64_t now_ms;
    struct world_entry *at;
    size_t n, there; /* there: added and not deleted; they may have expired */
    bool later;      /* the last addition was refused because a merge must end first */
    uint64_t next_id;
    float *topic; /* [topics][dim] */
};

struct vindex_options world_options(int dim, size_t graph_from);
void world_init(struct world *w, struct vindex *v, int dim, uint64_t seed);
void world_clear(struct world *w); /* frees the index too */

struct digest world_name(int partition);
void world_unit(struct world *w, const float *near, float noise,
                uint16_t *vec); /* near: may be NULL */
/* Texts are alike in heaps: near one of the world's topics. */
void world_vec(struct world *w, uint16_t *vec);
struct world_entry *world_add(struct world *w, int partition, int64_t expires_ms);
void world_del(struct world *w, struct world_entry *e);
struct world_entry *world_pick(struct world *w); /* one that is there, or NULL */
/* Forgets what the index has swept because it had expired. */
void world_sweep(struct world *w);
/* The cosines of the k nearest that live, nearest first; how many. */
size_t world_nearest(const struct world *w, int partition, const uint16_t *vec, size_t k,
                     double *cosines);
/* Asks the index; what it says must be true and in order. exact: it must be the nearest. Returns
 * the share of the nearest that it found. */
double world_check(struct world *w, int partition, const uint16_t *vec, size_t k, bool exact);
/* Lets the merge thread and the moving of ids come to their end. */
void world_settle(struct world *w);

#endif
