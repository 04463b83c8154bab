/* The merge thread of one index and the steps of a merge on the writer's side. Owns the job: what
 * it reads from is the partition's, what it makes is its own until it is taken over. */
#include "cache/vindex_merge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "cache/vindex_int.h"
#include "cache/vindex_partition.h"

enum state { IDLE, ASKED, DONE };
enum {
    NICE = 10,       /* of the merge thread: requests come first */
    MOVE_ROWS = 512, /* ids moved per step: some tens of microseconds */
};

struct vindex_merge {
    struct vindex_partition *p; /* borrowed: it stays while it has a merge */
    struct vslab **from;        /* owned array of borrowed slabs: the first of the partition */
    size_t from_count;
    const struct vindex_graph *base; /* borrowed: to grow; NULL: none, or built anew */
    bool anew, want_graph;
    int64_t now_ms;
    const _Atomic bool *stop;
    size_t stride, dim;
    int ef_construction;
    /* Results, the job's until taken over: */
    struct vslab **made; /* [made_count], when anew */
    size_t made_count, made_rows;
    uint32_t *origin; /* [made_rows]: slab * VSLAB_ROWS + row among `from` */
    struct vindex_graph *graph;
    enum err e;
    struct err_text why;
    size_t moved; /* rows of `made` whose ids have moved */
};

static void merge_free(struct vindex_merge *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->made_count; i++)
        vslab_free(m->made[i]);
    vindex_graph_free(m->graph);
    free(m->made);
    free(m->origin);
    free(m->from);
    free(m);
}

/* ---- on the merge thread ---- */

static struct vslab *slab_of_node(const struct vindex_merge *m, uint32_t node)
{
    return (m->anew ? m->made : m->from)[node / VSLAB_ROWS];
}

static bool node_lives(void *ctx, uint32_t node)
{
    const struct vindex_merge *m = ctx;
    const struct vslab *s = slab_of_node(m, node);
    uint32_t row = node % VSLAB_ROWS;
    return row < vslab_count(s) && vslab_lives(s, row, m->now_ms);
}

static bool must_stop(void *ctx)
{
    const struct vindex_merge *m = ctx;
    return atomic_load_explicit(m->stop, memory_order_relaxed);
}

/* What is not deleted, packed; also what has expired, whose ids the writer still knows. */
static void copy_living(struct vindex_merge *m)
{
    size_t most = 0;
    struct vslab *to = NULL;
    for (size_t i = 0; i < m->from_count; i++)
        most += vslab_count(m->from[i]);
    m->made = mem_zalloc(most / VSLAB_ROWS + 1, sizeof *m->made);
    m->origin = mem_zalloc(most + 1, sizeof *m->origin);
    for (size_t i = 0; i < m->from_count; i++)
        for (uint32_t row = 0; row < vslab_count(m->from[i]); row++) {
            const struct vslab *s = m->from[i];
            int64_t until = vslab_until(s, row);
            if (until == VSLAB_DEAD)
                continue;
            if (!to || vslab_count(to) == to->cap) {
                to = m->made[m->made_count++] = vslab_new(m->stride, VSLAB_ROWS);
                to->moving_from = (uint32_t)m->made_rows;
            }
            vslab_append(to, s->ids[row], vslab_vec(s, row), m->dim, until);
            m->origin[m->made_rows++] = (uint32_t)(i * VSLAB_ROWS + row);
        }
}

static void make(struct vindex_merge *m)
{
    if (m->anew)
        copy_living(m);
    size_t slabs = m->anew ? m->made_count : m->from_count;
    if (!m->want_graph || slabs == 0)
        return;
    const uint16_t **vecs = mem_zalloc(slabs, sizeof *vecs);
    for (size_t i = 0; i < slabs; i++)
        vecs[i] = (m->anew ? m->made : m->from)[i]->vecs;
    const struct vslab *last = (m->anew ? m->made : m->from)[slabs - 1];
    struct vindex_graph_nodes nodes = {
        .vecs = vecs,
        .count = (slabs - 1) * VSLAB_ROWS + vslab_count(last),
        .stride = m->stride,
        .lives = node_lives,
        .stop = must_stop,
        .ctx = m,
    };
    m->e = vindex_graph_grow(m->base, &nodes, m->ef_construction, &m->graph, &m->why);
    free(vecs);
}

static void *run(void *ctx)
{
    struct vindex_merger *m = ctx;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread only, on Linux */
    for (;;) {
        pthread_mutex_lock(&m->lock);
        while (!atomic_load(&m->stop) && atomic_load(&m->state) != ASKED)
            pthread_cond_wait(&m->asked, &m->lock);
        pthread_mutex_unlock(&m->lock);
        if (atomic_load(&m->stop))
            return NULL;
        make(m->job);
        atomic_store(&m->state, DONE);
    }
}

/* ---- on the writer's thread ---- */

void vindex_merger_init(struct vindex_merger *m)
{
    *m = (struct vindex_merger){.state = IDLE};
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->asked, NULL);
}

void vindex_merger_clear(struct vindex_merger *m)
{
    if (m->started) {
        pthread_mutex_lock(&m->lock);
        atomic_store(&m->stop, true);
        pthread_cond_signal(&m->asked);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    merge_free(m->job);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->asked);
}

/* A third of it is dead; an eighth when memory has run out. */
static bool wants_anew(const struct vindex *v, const struct vindex_partition *p)
{
    return (v->tight ? 8 : 3) * p->covered_dead > p->covered_rows;
}

static bool wants_to_grow(const struct vindex *v, const struct vindex_partition *p)
{
    const struct vindex_view *view = vindex_partition_view(p);
    return view->slabs > view->covered + 1 && (view->graph || p->living > v->opt.graph_from);
}

void vindex_merge_want(struct vindex *v, struct vindex_partition *p)
{
    if (!vindex_graph_exists() || p->merge || !list_empty(&p->wanting))
        return;
    if (wants_anew(v, p) || wants_to_grow(v, p))
        list_push_back(&v->wanting, &p->wanting);
}

static size_t anew_bytes(const struct vindex *v, size_t rows)
{
    size_t slabs = rows / VSLAB_ROWS + 1;
    return slabs * vslab_bytes(v->stride, VSLAB_ROWS) +
           rows * (vindex_graph_node_bytes() + sizeof(uint32_t)) * 21 / 20;
}

size_t vindex_merge_reserve(const struct vindex *v)
{
    size_t most = 0;
    LIST_FOREACH (it, &v->graphed) {
        const struct vindex_partition *p = CONTAINER_OF(it, struct vindex_partition, graphed);
        size_t need = anew_bytes(v, p->living);
        most = need > most ? need : most;
    }
    return most;
}

static size_t planned(const struct vindex *v, const struct vindex_merge *m)
{
    if (!m->anew)
        return m->from_count * VSLAB_ROWS * vindex_graph_node_bytes() * 21 / 20;
    size_t rows = 0;
    for (size_t i = 0; i < m->from_count; i++)
        rows += m->from[i]->living;
    return anew_bytes(v, rows);
}

/* Hands the merge to the thread. False, and nothing has happened, when there is no room for it or
 * no thread. */
static bool begin(struct vindex *v, struct vindex_partition *p)
{
    struct vindex_merger *merger = &v->merger;
    const struct vindex_view *view = vindex_partition_view(p);
    struct vindex_merge *m = mem_zalloc(1, sizeof *m);
    m->p = p;
    m->anew = wants_anew(v, p);
    m->base = m->anew ? NULL : view->graph;
    m->want_graph = !m->anew || p->living > v->opt.graph_from / 2;
    m->from_count = view->slabs - 1 > view->covered ? view->slabs - 1 : view->covered;
    m->from = mem_zalloc(m->from_count, sizeof *m->from);
    memcpy(m->from, view->slab, m->from_count * sizeof *m->from);
    m->now_ms = v->now_ms;
    m->stop = &merger->stop;
    m->stride = v->stride;
    m->dim = v->dim;
    m->ef_construction = v->opt.ef_construction;
    size_t bytes = planned(v, m);
    vindex_epoch_collect(&v->epoch);
    if (vindex_used(v) + bytes > v->opt.max_bytes ||
        m->from_count > VINDEX_GRAPH_NODES / VSLAB_ROWS) {
        merge_free(m);
        return false;
    }
    if (!merger->started)
        merger->started = pthread_create(&merger->thread, NULL, run, merger) == 0;
    if (!merger->started) {
        merge_free(m);
        return false;
    }
    for (size_t i = 0; i < m->from_count; i++)
        m->from[i]->busy = true;
    p->merge = m;
    merger->planned_bytes = bytes;
    pthread_mutex_lock(&merger->lock);
    merger->job = m;
    atomic_store(&merger->state, ASKED);
    pthread_cond_signal(&merger->asked);
    pthread_mutex_unlock(&merger->lock);
    atomic_store(&v->merging, true);
    return true;
}

static void begin_next(struct vindex *v)
{
    while (!list_empty(&v->wanting)) {
        struct vindex_partition *p =
            CONTAINER_OF(v->wanting.next, struct vindex_partition, wanting);
        list_remove(&p->wanting);
        if ((wants_anew(v, p) || wants_to_grow(v, p)) && begin(v, p))
            return;
    }
}

bool vindex_merge_for_room(struct vindex *v)
{
    v->tight = true;
    LIST_FOREACH (it, &v->graphed)
        vindex_merge_want(v, CONTAINER_OF(it, struct vindex_partition, graphed));
    if (!v->merger.job)
        begin_next(v);
    return v->merger.job != NULL;
}

void vindex_merge_kill_origin(struct vindex *v, struct vindex_merge *m, uint32_t made_row)
{
    uint32_t at = m->origin[made_row];
    vindex_partition_kill(v, m->from[at / VSLAB_ROWS], at % VSLAB_ROWS);
}

/* A step of moving ids. A row that has died where it was dies here too. */
static void move_some(struct vindex *v, struct vindex_merge *m)
{
    for (size_t n = 0; n < MOVE_ROWS && m->moved < m->made_rows; n++, m->moved++) {
        struct vslab *to = m->made[m->moved / VSLAB_ROWS];
        uint32_t row = m->moved % VSLAB_ROWS, at = m->origin[m->moved];
        to->moving = m;
        to->partition = m->p;
        if (vslab_until(m->from[at / VSLAB_ROWS], at % VSLAB_ROWS) == VSLAB_DEAD)
            vslab_kill(to, row);
        else
            vindex_ids_set(&v->ids, to->ids[row], to);
    }
}

/* Shows what was made. */
static void take_over(struct vindex *v, struct vindex_merge *m)
{
    struct vindex_partition *p = m->p;
    struct vindex_view *old = vindex_partition_view(p);
    struct vindex_graph *old_graph = old->graph;
    size_t put = m->anew ? m->made_count : m->from_count, tail = old->slabs - m->from_count;
    struct vindex_view *view = vindex_view_new(v, put + tail);
    view->graph = m->graph;
    view->covered = m->graph ? put : 0;
    memcpy(view->slab, m->anew ? m->made : m->from, put * sizeof *view->slab);
    memcpy(view->slab + put, old->slab + m->from_count, tail * sizeof *view->slab);
    vindex_partition_show(v, p, view);

    vindex_graph_retire(v, old_graph);
    v->bytes += m->graph ? vindex_graph_bytes(m->graph) : 0;
    m->graph = NULL;
    for (size_t i = 0; i < m->from_count; i++)
        m->from[i]->busy = false;
    if (m->anew) {
        for (size_t i = 0; i < m->made_count; i++) {
            struct vslab *s = m->made[i];
            s->moving = NULL;
            v->bytes += vslab_bytes(v->stride, s->cap);
            vindex_count(&v->dead, (ptrdiff_t)(vslab_count(s) - s->living));
        }
        m->made_count = 0;
        for (size_t i = 0; i < m->from_count; i++)
            vindex_slab_retire(v, m->from[i]);
    }
    vindex_partition_recount(v, p);
    atomic_store(&v->merges, atomic_load(&v->merges) + 1);
}

static void give_up(struct vindex_merge *m)
{
    for (size_t i = 0; i < m->from_count; i++)
        m->from[i]->busy = false;
    char why[sizeof m->why.s];
    log_line(LOG_WARN, "cache", "a graph could not be built", "entries=%zu why=%s", m->p->living,
             log_quote(slice_str(m->why.s), why, sizeof why));
}

static void finish(struct vindex *v, struct vindex_merge *m)
{
    struct vindex_partition *p = m->p;
    bool ok = m->e == ERR_OK;
    if (ok)
        take_over(v, m);
    else
        give_up(m);
    p->merge = NULL;
    v->merger.job = NULL;
    v->merger.planned_bytes = 0;
    v->tight = false;
    merge_free(m);
    atomic_store(&v->merger.state, IDLE);
    atomic_store(&v->merging, false);
    if (p->living == 0)
        vindex_partition_drop(v, p);
    else if (ok) /* else not at once: the next slab asks again */
        vindex_merge_want(v, p);
}

bool vindex_merge_step(struct vindex *v)
{
    struct vindex_merger *merger = &v->merger;
    int state = atomic_load(&merger->state);
    if (state == DONE) {
        struct vindex_merge *m = merger->job;
        if (m->e == ERR_OK && m->moved < m->made_rows) {
            move_some(v, m);
            return true;
        }
        finish(v, m);
        state = IDLE;
    }
    if (state == IDLE)
        begin_next(v);
    return false;
}
