/* The readers' side of the index: searches and walks, within an epoch each. Owns what a search
 * writes to. Any thread, one per reader. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/vindex_int.h"
#include "cache/vindex_search.h"

enum { BLOCK = 256 }; /* rows whose products are taken at once */

struct vindex_reader *vindex_reader_new(struct vindex *v)
{
    struct vindex_reader *r = mem_zalloc(1, sizeof *r);
    r->v = v;
    r->query = aligned_alloc(64, v->stride * sizeof *r->query);
    mem_need(r->query);
    if (vindex_graph_exists()) {
        r->scratch = vindex_graph_scratch_new();
        mem_need(r->scratch);
    }
    vindex_epoch_join(&v->epoch, &r->slot);
    return r;
}

void vindex_reader_free(struct vindex_reader *r)
{
    if (!r)
        return;
    vindex_epoch_quit(&r->v->epoch, &r->slot);
    vindex_graph_scratch_free(r->scratch);
    free(r->query);
    free(r);
}

/* The best so far, nearest first. */
struct best {
    size_t n, k;
    int64_t now_ms;
    struct candidate {
        float dot;
        uint32_t row;
        const struct vslab *slab;
    } at[VINDEX_MAX_K];
};

static void consider(struct best *b, const struct vslab *s, uint32_t row, float dot)
{
    if (b->n == b->k && !(dot > b->at[b->n - 1].dot))
        return;
    if (!vslab_lives(s, row, b->now_ms))
        return;
    size_t i = b->n < b->k ? b->n++ : b->n - 1;
    for (; i > 0 && b->at[i - 1].dot < dot; i--)
        b->at[i] = b->at[i - 1];
    b->at[i] = (struct candidate){dot, row, s};
}

static void scan(const struct vindex_reader *r, const struct vslab *s, struct best *b)
{
    float dots[BLOCK];
    uint32_t count = vslab_count(s);
    for (uint32_t row = 0; row < count; row += BLOCK) {
        uint32_t n = count - row < BLOCK ? count - row : BLOCK;
        r->v->dot->query_rows(r->query, vslab_vec(s, row), n, s->stride, dots);
        for (uint32_t i = 0; i < n; i++)
            consider(b, s, row + i, dots[i]);
    }
}

/* How wide a search goes: the same recall needs a wider beam in a larger graph, four times as wide
 * at a million entries as at a hundred thousand (measured: tests/bench/cache). */
static int beam_of(const struct vindex_reader *r, const struct vindex_view *view, size_t k)
{
    double rows = (double)view->covered * VSLAB_ROWS;
    double ef = r->v->opt.ef_search * fmax(1, pow(rows / VINDEX_BEAM_ROWS, 0.6));

    return (int)fmin(fmax(ef, (double)k), VINDEX_MAX_EF);
}

/* The nearest that the graph finds, living or not; when that leaves too few alive, with a wider
 * beam. A beam in which only the living count would be wrong here: FAISS's is as wide as the dead
 * leave it, so that it finds some that live, not the nearest. */
static void search_graph(struct vindex_reader *r, const struct vindex_view *view, struct best *b)
{
    int ef = beam_of(r, view, b->k);
    for (;;) {
        size_t n = vindex_graph_search(view->graph, r->scratch, r->query, ef, r->found);
        b->n = 0;
        for (size_t i = 0; i < n; i++)
            consider(b, view->slab[r->found[i].node / VSLAB_ROWS], r->found[i].node % VSLAB_ROWS,
                     r->found[i].dot);
        if (b->n == b->k || ef == VINDEX_MAX_EF || n < (size_t)ef)
            return;
        ef = ef < VINDEX_MAX_EF / 4 ? 4 * ef : VINDEX_MAX_EF;
    }
}

static int by_cosine(const void *a, const void *b)
{
    const struct vindex_hit *x = a, *y = b;
    if (x->cosine != y->cosine)
        return x->cosine > y->cosine ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

enum err vindex_topk(struct vindex_reader *r, const struct digest *partition, const uint16_t *vec,
                     size_t k, int64_t now_ms, struct vindex_hit *out, size_t *found)
{
    struct vindex *v = r->v;
    struct best b = {.k = k, .now_ms = now_ms};
    *found = 0;
    if (k > VINDEX_MAX_K || !vslab_is_unit(vec, v->dim))
        return ERR_BAD_REQUEST;
    if (k == 0)
        return ERR_OK;
    vslab_query(vec, v->dim, v->stride, r->query);
    vindex_epoch_enter(&v->epoch, &r->slot);
    struct vindex_partition *p = vindex_table_get(&v->table, partition);
    if (p) {
        const struct vindex_view *view = atomic_load(&p->view);
        if (view->graph)
            search_graph(r, view, &b);
        for (size_t i = view->covered; i < view->slabs; i++)
            scan(r, view->slab[i], &b);
        for (size_t i = 0; i < b.n; i++)
            out[i] = (struct vindex_hit){
                .id = b.at[i].slab->ids[b.at[i].row],
                .cosine = vslab_cosine(vec, vslab_vec(b.at[i].slab, b.at[i].row), v->dim)};
    }
    vindex_epoch_leave(&r->slot);
    qsort(out, b.n, sizeof *out, by_cosine);
    *found = b.n;
    return ERR_OK;
}
