/* A build without FAISS has no graphs: partitions of any size are scanned. The index asks
 * vindex_graph_exists() before it wants one, so that the rest is here for the linker only. */
#include "cache/vindex_graph.h"

#include <assert.h>

bool vindex_graph_exists(void)
{
    return false;
}

enum err vindex_graph_grow(const struct vindex_graph *base, const struct vindex_graph_nodes *nodes,
                           int ef_construction, struct vindex_graph **out, struct err_text *t)
{
    (void)base;
    (void)nodes;
    (void)ef_construction;
    *out = NULL;
    err_say(t, "this build has no graphs");
    return ERR_NOT_IMPLEMENTED;
}

void vindex_graph_free(struct vindex_graph *g)
{
    assert(!g);
}

size_t vindex_graph_bytes(const struct vindex_graph *g)
{
    assert(!g);
    return 0;
}

size_t vindex_graph_node_bytes(void)
{
    return 0;
}

struct vindex_graph_scratch *vindex_graph_scratch_new(void)
{
    return NULL;
}

void vindex_graph_scratch_free(struct vindex_graph_scratch *s)
{
    assert(!s);
}

size_t vindex_graph_search(const struct vindex_graph *g, struct vindex_graph_scratch *s,
                           const float *q, int ef, struct vindex_graph_hit *out)
{
    assert(!g && !s);
    (void)q;
    (void)ef;
    (void)out;
    return 0;
}

void vindex_graph_get_links(const struct vindex_graph *g, struct vindex_graph_links *out)
{
    assert(!g);
    *out = (struct vindex_graph_links){.entry = -1};
}

enum err vindex_graph_restore(const struct vindex_graph_links *links,
                              const struct vindex_graph_nodes *nodes, struct vindex_graph **out,
                              struct err_text *t)
{
    (void)links;
    (void)nodes;
    *out = NULL;
    err_say(t, "it has graphs, and this build has none (it was made without FAISS)");
    return ERR_BAD_CACHE_ENTRY;
}
