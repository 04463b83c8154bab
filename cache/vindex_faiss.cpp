// The graphs of the index, by FAISS: the one file that includes it, and the one that is C++.
//
// Only faiss::HNSW is used, the link structure: it asks a DistanceComputer for distances, and ours
// takes them from our slabs with our kernels. So vectors are stored once, as halves, and Debian's
// build of FAISS, whose own inner products are scalar, does none of the arithmetic. Nothing of
// FAISS's OpenMP parallel code is entered: nodes are added one at a time, by whoever calls.
//
// Facts about 1.7.3 this file relies on, from its headers and by measurement:
// - a search's beam is max(hnsw.efSearch, k), while it stops by params->efSearch: per-call beams
//   come right only when both k and params->efSearch are the beam wanted (fixed in 1.8.0);
// - search() leaves the heap in heap order and expects it prepared (IndexHNSW does both);
// - add_with_locks() wants a lock per node and is otherwise free of shared state.
//
// No exception leaves this file. Threads: vindex_graph.h.
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/HNSW.h>
#include <omp.h>

#include <exception>
#include <memory>
#include <new>
#include <vector>

#include "cache/vindex_graph.h"
extern "C" {
#include "cache/vslab_dot.h"
}

namespace
{

// 2M links at the bottom, M above. Recall and time by M and beam: tests/bench/cache/VINDEX.md.
constexpr int M = 16;
constexpr int MAX_LEVELS = 32;

// Distances are negated inner products: HNSW wants the least first.
struct SlabDistance final : faiss::DistanceComputer {
    const std::vector<const uint16_t *> &vecs;
    const size_t stride;
    const vslab_dot *const dot;
    const float *query = nullptr;
    const uint16_t *row = nullptr; // the query when a node is being added

    SlabDistance(const std::vector<const uint16_t *> &v, size_t s, const vslab_dot *d)
        : vecs(v), stride(s), dot(d)
    {
    }

    const uint16_t *at(idx_t node) const
    {
        auto n = static_cast<size_t>(node);
        return vecs[n / VINDEX_GRAPH_STEP] + n % VINDEX_GRAPH_STEP * stride;
    }
    void set_query(const float *q) override
    {
        query = q;
    }
    float operator()(idx_t node) override
    {
        return row ? -dot->row_row(row, at(node), stride)
                   : -dot->query_row(query, at(node), stride);
    }
    float symmetric_dis(idx_t a, idx_t b) override
    {
        return -dot->row_row(at(a), at(b), stride);
    }
};

struct Locks {
    std::vector<omp_lock_t> of;

    explicit Locks(size_t n) : of(n)
    {
        for (auto &lock : of)
            omp_init_lock(&lock);
    }
    ~Locks()
    {
        for (auto &lock : of)
            omp_destroy_lock(&lock);
    }
    Locks(const Locks &) = delete;
    Locks &operator=(const Locks &) = delete;
};

} // namespace

struct vindex_graph {
    faiss::HNSW hnsw{M};
    std::vector<const uint16_t *> vecs;
    size_t stride;
    const vslab_dot *dot;

    explicit vindex_graph(const vindex_graph_nodes &n)
        : vecs(n.vecs, n.vecs + (n.count + VINDEX_GRAPH_STEP - 1) / VINDEX_GRAPH_STEP),
          stride(n.stride), dot(vslab_dot_find(nullptr))
    {
    }
};

struct vindex_graph_scratch {
    faiss::VisitedTable visited{0};
    std::vector<float> distance;
    std::vector<faiss::HNSW::idx_t> node;
};

namespace
{

// Gives each new node its layers and room for its links. The arrays are sized once: they are most
// of a graph's memory, and a vector that grows by itself keeps up to as much again.
void make_room(vindex_graph &g, const vindex_graph *base, const vindex_graph_nodes &nodes,
               std::vector<bool> &wanted)
{
    faiss::HNSW &h = g.hnsw;
    size_t first = base ? base->hnsw.levels.size() : 0;

    h.levels.reserve(nodes.count);
    h.offsets.clear();
    h.offsets.reserve(nodes.count + 1);
    if (base) {
        h.levels.assign(base->hnsw.levels.begin(), base->hnsw.levels.end());
        h.offsets.assign(base->hnsw.offsets.begin(), base->hnsw.offsets.end());
        h.entry_point = base->hnsw.entry_point;
        h.max_level = base->hnsw.max_level;
        h.rng = base->hnsw.rng;
    } else {
        h.offsets.push_back(0);
    }
    for (size_t i = first; i < nodes.count; i++) {
        bool lives = nodes.lives(nodes.ctx, static_cast<uint32_t>(i));
        wanted.push_back(lives);
        h.levels.push_back(lives ? h.random_level() + 1 : 1);
        h.offsets.push_back(h.offsets.back() +
                            static_cast<size_t>(h.cum_nb_neighbors(h.levels.back())));
    }
    h.neighbors.reserve(h.offsets.back());
    if (base)
        h.neighbors.assign(base->hnsw.neighbors.begin(), base->hnsw.neighbors.end());
    h.neighbors.resize(h.offsets.back(), -1);
}

// Nodes of many layers first, as FAISS does it: later ones then find the upper layers there.
bool link_nodes(vindex_graph &g, size_t first, const std::vector<bool> &wanted,
                const vindex_graph_nodes &nodes)
{
    faiss::HNSW &h = g.hnsw;
    SlabDistance distance(g.vecs, g.stride, g.dot);
    faiss::VisitedTable visited(static_cast<int>(nodes.count));
    Locks locks(nodes.count);
    int top = 0;

    for (size_t i = first; i < nodes.count; i++)
        top = h.levels[i] > top ? h.levels[i] : top;
    for (int level = top; level >= 1; level--)
        for (size_t i = first; i < nodes.count; i++) {
            if (!wanted[i - first] || h.levels[i] != level)
                continue;
            if (nodes.stop(nodes.ctx))
                return false;
            distance.row = distance.at(static_cast<faiss::HNSW::idx_t>(i));
            h.add_with_locks(distance, level - 1, static_cast<int>(i), locks.of, visited);
        }
    return true;
}

// Sizes first, then every link: a search follows them without a look.
bool links_lead_somewhere(const faiss::HNSW &h, const vindex_graph_nodes &of)
{
    size_t count = of.count;
    auto nodes = static_cast<int32_t>(count);
    auto is_there = [&](int32_t node) { return of.lives(of.ctx, static_cast<uint32_t>(node)); };

    if (h.entry_point < -1 || h.entry_point >= nodes ||
        (h.entry_point >= 0 && !is_there(h.entry_point)))
        return false;
    if (h.entry_point < 0 ? h.max_level != -1
                          : h.max_level != h.levels[static_cast<size_t>(h.entry_point)] - 1)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (h.levels[i] - 1 > h.max_level && h.neighbors[h.offsets[i]] != -1)
            return false;
        for (int layer = 0; layer < h.levels[i]; layer++) {
            size_t begin, end;
            h.neighbor_range(static_cast<faiss::HNSW::idx_t>(i), layer, &begin, &end);
            for (size_t j = begin; j < end; j++) {
                int32_t to = h.neighbors[j];
                if (to < -1 || to >= nodes ||
                    (to >= 0 && (h.levels[static_cast<size_t>(to)] <= layer || !is_there(to))))
                    return false;
            }
        }
    }
    return true;
}

template <typename Body> enum err guarded(struct err_text *t, Body body)
{
    try {
        return body();
    } catch (const std::exception &e) {
        err_say(t, "the graph of the vector index: %s", e.what());
    } catch (...) {
        err_say(t, "the graph of the vector index: an unknown exception");
    }
    return ERR_INTERNAL;
}

} // namespace

bool vindex_graph_exists(void)
{
    return true;
}

enum err vindex_graph_grow(const struct vindex_graph *base, const struct vindex_graph_nodes *nodes,
                           int ef_construction, struct vindex_graph **out, struct err_text *t)
{
    return guarded(t, [&]() {
        auto g = std::make_unique<vindex_graph>(*nodes);
        std::vector<bool> wanted;
        g->hnsw.efConstruction = ef_construction;
        make_room(*g, base, *nodes, wanted);
        if (!link_nodes(*g, nodes->count - wanted.size(), wanted, *nodes))
            return ERR_DRAINING;
        *out = g.release();
        return ERR_OK;
    });
}

void vindex_graph_free(struct vindex_graph *g)
{
    delete g;
}

size_t vindex_graph_bytes(const struct vindex_graph *g)
{
    const faiss::HNSW &h = g->hnsw;
    return sizeof *g + h.levels.capacity() * sizeof h.levels[0] +
           h.offsets.capacity() * sizeof h.offsets[0] +
           h.neighbors.capacity() * sizeof h.neighbors[0] + g->vecs.capacity() * sizeof g->vecs[0];
}

// 2M links and, in each layer above with the chance 1/M of being there, M more.
size_t vindex_graph_node_bytes(void)
{
    return sizeof(int) + sizeof(size_t) + sizeof(int32_t) * (2 * M + M / (M - 1) + 1);
}

struct vindex_graph_scratch *vindex_graph_scratch_new(void)
{
    return new (std::nothrow) vindex_graph_scratch;
}

void vindex_graph_scratch_free(struct vindex_graph_scratch *s)
{
    delete s;
}

size_t vindex_graph_search(const struct vindex_graph *g, struct vindex_graph_scratch *s,
                           const float *q, int ef, struct vindex_graph_hit *out)
{
    size_t n = 0;

    if (g->hnsw.entry_point < 0)
        return 0;
    (void)guarded(nullptr, [&]() {
        auto beam = static_cast<size_t>(ef);
        if (s->visited.visited.size() < g->hnsw.levels.size())
            s->visited.visited.resize(g->hnsw.levels.size());
        s->distance.resize(beam);
        s->node.resize(beam);

        SlabDistance distance(g->vecs, g->stride, g->dot);
        distance.set_query(q);
        faiss::SearchParametersHNSW params;
        params.efSearch = ef;
        faiss::maxheap_heapify(beam, s->distance.data(), s->node.data());
        g->hnsw.search(distance, ef, s->node.data(), s->distance.data(), s->visited, &params);
        faiss::maxheap_reorder(beam, s->distance.data(), s->node.data());
        for (; n < beam && s->node[n] >= 0; n++)
            out[n] = {static_cast<uint32_t>(s->node[n]), -s->distance[n]};
        return ERR_OK;
    });
    return n;
}

void vindex_graph_get_links(const struct vindex_graph *g, struct vindex_graph_links *out)
{
    const faiss::HNSW &h = g->hnsw;
    *out = {h.levels.size(),    h.neighbors.size(), h.levels.data(),
            h.neighbors.data(), h.entry_point,      h.max_level};
}

enum err vindex_graph_restore(const struct vindex_graph_links *links,
                              const struct vindex_graph_nodes *nodes, struct vindex_graph **out,
                              struct err_text *t)
{
    return guarded(t, [&]() {
        auto g = std::make_unique<vindex_graph>(*nodes);
        faiss::HNSW &h = g->hnsw;
        int known = static_cast<int>(h.cum_nneighbor_per_level.size()) - 1;
        h.levels.assign(links->levels, links->levels + links->count);
        h.offsets.reserve(links->count + 1);
        h.offsets.assign(1, 0);
        for (int level : h.levels) {
            if (level < 1 || level > known || level > MAX_LEVELS)
                return ERR_BAD_CACHE_ENTRY;
            h.offsets.push_back(h.offsets.back() + static_cast<size_t>(h.cum_nb_neighbors(level)));
        }
        if (h.offsets.back() != links->places || links->count != nodes->count)
            return ERR_BAD_CACHE_ENTRY;
        h.neighbors.assign(links->neighbors, links->neighbors + links->places);
        h.entry_point = links->entry;
        h.max_level = links->max_level;
        if (!links_lead_somewhere(h, *nodes)) {
            err_say(t, "a graph has links that lead nowhere");
            return ERR_BAD_CACHE_ENTRY;
        }
        *out = g.release();
        return ERR_OK;
    });
}
