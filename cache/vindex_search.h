/* A reader, for the parts of the index. */
#ifndef CACHE_VINDEX_SEARCH_H
#define CACHE_VINDEX_SEARCH_H

#include "cache/vindex.h"
#include "cache/vindex_epoch.h"
#include "cache/vindex_graph.h"

struct vindex_reader {
    struct vindex *v; /* borrowed */
    struct vindex_epoch_slot slot;
    float *query;                         /* owned: [stride] */
    struct vindex_graph_scratch *scratch; /* owned; NULL in a build without graphs */
    struct vindex_graph_hit found[VINDEX_MAX_EF];
};

#endif
