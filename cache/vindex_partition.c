/* Partitions: appending, dying, tidying up. Owns nothing by itself. Called by the index's writer
 * and by the end of a merge. */
#include "cache/vindex_partition.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cache/vindex_int.h"

enum {
    FIRST_CAP = 1,             /* rows of a partition's first slab */
    NEXT_CAP = VSLAB_ROWS / 4, /* of those that follow a full one */
    FEW = 16,                  /* rows that are not worth tidying */
    COMFORT = VSLAB_ROWS / 4 * 3,
};

static uint32_t cap_for(uint32_t rows)
{
    uint32_t cap = FIRST_CAP;
    while (cap < rows)
        cap *= 2;
    return cap < VSLAB_ROWS ? cap : VSLAB_ROWS;
}

struct vindex_view *vindex_partition_view(const struct vindex_partition *p)
{
    return atomic_load_explicit(&p->view, memory_order_relaxed);
}

static size_t view_bytes(size_t slabs)
{
    return sizeof(struct vindex_view) + slabs * sizeof(struct vslab *);
}

struct vindex_view *vindex_view_new(struct vindex *v, size_t slabs)
{
    struct vindex_view *view = mem_zalloc(1, view_bytes(slabs));
    view->slabs = slabs;
    v->bytes += view_bytes(slabs);
    return view;
}

void vindex_partition_show(struct vindex *v, struct vindex_partition *p, struct vindex_view *view)
{
    struct vindex_view *old = atomic_exchange(&p->view, view);
    vindex_retire(v, old, free, view_bytes(old->slabs));
}

static void count_rows(struct vindex *v, const struct vslab *s, int sign)
{
    vindex_count(&v->dead, sign * (ptrdiff_t)(vslab_count(s) - s->living));
}

static struct vslab *vindex_slab_new(struct vindex *v, struct vindex_partition *p, uint32_t cap)
{
    struct vslab *s = vslab_new(v->stride, cap);
    s->partition = p;
    v->bytes += vslab_bytes(v->stride, cap);
    return s;
}

static void free_slab(void *s)
{
    vslab_free(s);
}

void vindex_slab_retire(struct vindex *v, struct vslab *s)
{
    count_rows(v, s, -1);
    vindex_retire(v, s, free_slab, vslab_bytes(v->stride, s->cap));
}

static void free_graph(void *g)
{
    vindex_graph_free(g);
}

void vindex_graph_retire(struct vindex *v, struct vindex_graph *g)
{
    if (g)
        vindex_retire(v, g, free_graph, vindex_graph_bytes(g));
}

struct vindex_partition *vindex_partition_new(struct vindex *v, const struct digest *name)
{
    struct vindex_partition *p = mem_zalloc(1, sizeof *p);
    p->name = *name;
    list_init(&p->wanting);
    list_init(&p->graphed);
    atomic_store(&p->view, vindex_view_new(v, 0));
    v->bytes += sizeof *p + vindex_table_put(&v->table, p, &v->epoch);
    vindex_count(&v->partitions, 1);
    return p;
}

void vindex_partition_free(struct vindex_partition *p)
{
    struct vindex_view *view = vindex_partition_view(p);
    for (size_t i = 0; i < view->slabs; i++)
        vslab_free(view->slab[i]);
    vindex_graph_free(view->graph);
    free(view);
    free(p);
}

void vindex_partition_drop(struct vindex *v, struct vindex_partition *p)
{
    struct vindex_view *view = vindex_partition_view(p);
    assert(p->living == 0 && !p->merge);
    vindex_table_del(&v->table, p);
    list_remove(&p->wanting);
    list_remove(&p->graphed);
    vindex_count(&v->covered, -(ptrdiff_t)p->covered_rows);
    for (size_t i = 0; i < view->slabs; i++)
        vindex_slab_retire(v, view->slab[i]);
    vindex_graph_retire(v, view->graph);
    vindex_retire(v, view, free, view_bytes(view->slabs));
    vindex_retire(v, p, free, sizeof *p);
    vindex_count(&v->partitions, -1);
}

/* Puts one new slab of `cap` rows (0: none) in the place of `n` slabs from `at`, with what lives in
 * them. */
static void replace(struct vindex *v, struct vindex_partition *p, size_t at, size_t n, uint32_t cap)
{
    struct vindex_view *old = vindex_partition_view(p);
    size_t put = cap > 0, slabs = old->slabs - n + put;
    struct vindex_view *view = vindex_view_new(v, slabs);
    struct vslab *gone[2], *to = put ? vindex_slab_new(v, p, cap) : NULL;

    assert(n <= 2);
    for (size_t i = 0; i < n; i++) {
        struct vslab *s = gone[i] = old->slab[at + i];
        assert(!s->covered && !s->busy);
        for (uint32_t row = 0; row < vslab_count(s); row++)
            if (vslab_until(s, row) != VSLAB_DEAD) {
                vslab_append(to, s->ids[row], vslab_vec(s, row), v->dim, vslab_until(s, row));
                vindex_ids_set(&v->ids, s->ids[row], to);
            }
    }
    view->covered = old->covered;
    view->graph = old->graph;
    for (size_t i = 0; i < at; i++)
        view->slab[i] = old->slab[i];
    if (put)
        view->slab[at] = to;
    for (size_t i = at + put; i < slabs; i++)
        view->slab[i] = old->slab[i + n - put];
    vindex_partition_show(v, p, view);
    for (size_t i = 0; i < n; i++)
        vindex_slab_retire(v, gone[i]);
}

/* How the last slab makes room for one more row. */
enum room { ROOM_THERE, ROOM_LARGER, ROOM_ANOTHER };

static enum room plan_room(const struct vindex_view *view, uint32_t *cap)
{
    const struct vslab *last = view->slabs ? view->slab[view->slabs - 1] : NULL;
    *cap = last ? NEXT_CAP : FIRST_CAP;
    if (!last || last->covered || last->busy)
        return ROOM_ANOTHER;
    if (vslab_count(last) < last->cap)
        return ROOM_THERE;
    if (last->living > COMFORT)
        return ROOM_ANOTHER;
    *cap = cap_for(last->living + last->living / 4 + 1);
    return ROOM_LARGER;
}

size_t vindex_partition_need(const struct vindex *v, const struct vindex_partition *p)
{
    uint32_t cap = FIRST_CAP;
    size_t slabs = 0;
    if (p) {
        const struct vindex_view *view = vindex_partition_view(p);
        if (plan_room(view, &cap) == ROOM_THERE)
            return 0;
        slabs = view->slabs;
    }
    return vslab_bytes(v->stride, cap) + view_bytes(slabs + 1) + (p ? 0 : sizeof *p);
}

static void add_slab(struct vindex *v, struct vindex_partition *p, uint32_t cap)
{
    const struct vindex_view *old = vindex_partition_view(p);
    struct vindex_view *view = vindex_view_new(v, old->slabs + 1);
    view->covered = old->covered;
    view->graph = old->graph;
    for (size_t i = 0; i < old->slabs; i++)
        view->slab[i] = old->slab[i];
    view->slab[old->slabs] = vindex_slab_new(v, p, cap);
    vindex_partition_show(v, p, view);
}

void vindex_partition_append(struct vindex *v, struct vindex_partition *p, uint64_t id,
                             const uint16_t *vec, int64_t until)
{
    const struct vindex_view *view = vindex_partition_view(p);
    uint32_t cap;
    enum room room = plan_room(view, &cap);
    if (room == ROOM_LARGER) {
        replace(v, p, view->slabs - 1, 1, cap);
    } else if (room == ROOM_ANOTHER) {
        add_slab(v, p, cap);
        vindex_merge_want(v, p);
    }
    view = vindex_partition_view(p);
    struct vslab *last = view->slab[view->slabs - 1];
    vslab_append(last, id, vec, v->dim, until);
    v->bytes += vindex_ids_set(&v->ids, id, last);
    p->living++;
}

void vindex_partition_kill(struct vindex *v, struct vslab *s, uint32_t row)
{
    vslab_kill(s, row);
    if (s->covered)
        s->partition->covered_dead++;
    if (!s->moving)
        vindex_count(&v->dead, 1);
}

static bool may_move(const struct vindex_view *view, size_t i)
{
    return i < view->slabs && !view->slab[i]->covered && !view->slab[i]->busy;
}

void vindex_partition_tidy(struct vindex *v, struct vindex_partition *p, struct vslab *s)
{
    const struct vindex_view *view = vindex_partition_view(p);
    uint32_t count = vslab_count(s), living = s->living;
    size_t at = 0, n = 1;

    if (p->living == 0 && !p->merge) {
        vindex_partition_drop(v, p);
        return;
    }
    if (s->covered)
        vindex_merge_want(v, p);
    if (s->covered || s->busy || s->moving || count < FEW || 2 * living > count)
        return;
    while (view->slab[at] != s)
        at++;
    if (may_move(view, at + 1) && living + view->slab[at + 1]->living <= COMFORT) {
        living += view->slab[at + 1]->living;
        n = 2;
    } else if (at > 0 && may_move(view, at - 1) && living + view->slab[at - 1]->living <= COMFORT) {
        living += view->slab[--at]->living;
        n = 2;
    }
    uint32_t cap = living ? cap_for(living) : 0;
    /* Without room for both, the old one stays until there is: the next death asks again. */
    if (vindex_used(v) + vslab_bytes(v->stride, cap ? cap : 1) <= v->opt.max_bytes)
        replace(v, p, at, n, cap);
}

void vindex_partition_recount(struct vindex *v, struct vindex_partition *p)
{
    const struct vindex_view *view = vindex_partition_view(p);
    size_t before = p->covered_rows;
    p->covered_rows = p->covered_dead = 0;
    for (size_t i = 0; i < view->covered; i++) {
        struct vslab *s = view->slab[i];
        s->covered = true;
        p->covered_rows += vslab_count(s);
        p->covered_dead += vslab_count(s) - s->living;
    }
    vindex_count(&v->covered, (ptrdiff_t)p->covered_rows - (ptrdiff_t)before);
    list_remove(&p->graphed);
    if (view->graph)
        list_push_back(&v->graphed, &p->graphed);
}
