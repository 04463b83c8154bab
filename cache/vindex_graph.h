/* A graph over vectors that lie in slabs: approximate nearest neighbours in logarithmic time (HNSW;
 * Malkov and Yashunin, arXiv:1603.09320, as FAISS has it). The graph holds links only: the vectors
 * stay where they are and must outlive it. A node is a number: slab * VINDEX_GRAPH_STEP + row.
 *
 * Immutable once built: searches run from any thread, each with a scratch of its own. Growing makes
 * another graph, from a copy of the links. Implemented by vindex_faiss.cpp, or, in a build without
 * FAISS, by vindex_nograph.c, where vindex_graph_exists() is false and nothing else may be called.
 */
#ifndef CACHE_VINDEX_GRAPH_H
#define CACHE_VINDEX_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/err.h"

#define VINDEX_GRAPH_STEP  4096
#define VINDEX_GRAPH_NODES (1 << 30) /* at most */

bool vindex_graph_exists(void);

struct vindex_graph;

/* Where nodes are, and who asks about them. */
struct vindex_graph_nodes {
    const uint16_t *const *vecs; /* [ceil(count / STEP)] first rows of the slabs; copied */
    size_t count;
    size_t stride; /* halves per row; a multiple of VSLAB_DOT_PAD */
    /* Whether a new node is to be linked at all: those that are not cost memory and nothing else.
     */
    bool (*lives)(void *ctx, uint32_t node);
    bool (*stop)(void *ctx); /* asked at each node; not when restoring */
    void *ctx;
};
/* base's nodes, which must be the first of `nodes`, and the others. base: NULL for none.
 * ERR_DRAINING: stop said so. ERR_INTERNAL: no memory. Takes about a millisecond per new node. */
enum err vindex_graph_grow(const struct vindex_graph *base, const struct vindex_graph_nodes *nodes,
                           int ef_construction, struct vindex_graph **out,
                           struct err_text *t) MUST_CHECK;
void vindex_graph_free(struct vindex_graph *g); /* NULL is fine */
size_t vindex_graph_bytes(const struct vindex_graph *g);
size_t vindex_graph_node_bytes(void); /* what a node costs, on average */

/* What a search writes to. Grows with the graphs it meets: a byte per node. */
struct vindex_graph_scratch;
struct vindex_graph_scratch *vindex_graph_scratch_new(void);
void vindex_graph_scratch_free(struct vindex_graph_scratch *s);

struct vindex_graph_hit {
    uint32_t node;
    float dot;
};
/* About the ef nearest nodes, nearest first, into out[ef]; how many. Fewer than ef: there are no
 * more. q: [stride] floats at a 64-byte border. 0 also when there is no memory. */
size_t vindex_graph_search(const struct vindex_graph *g, struct vindex_graph_scratch *s,
                           const float *q, int ef, struct vindex_graph_hit *out);

/* The links, for a snapshot: borrowed from the graph. */
struct vindex_graph_links {
    size_t count;             /* of nodes */
    size_t places;            /* for links */
    const int32_t *levels;    /* [count] layers a node is in, at least 1 */
    const int32_t *neighbors; /* [places] node, or -1; node after node, layer after layer */
    int32_t entry, max_level;
};
void vindex_graph_get_links(const struct vindex_graph *g, struct vindex_graph_links *out);
/* Copies. ERR_BAD_CACHE_ENTRY: links that lead nowhere; any bytes are survived. */
enum err vindex_graph_restore(const struct vindex_graph_links *links,
                              const struct vindex_graph_nodes *nodes, struct vindex_graph **out,
                              struct err_text *t) MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
