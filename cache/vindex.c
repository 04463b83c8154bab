/* The writer's side of the index: what goes in, what goes out, what it takes of memory. Owns the
 * table of partitions, the map from ids, the epochs and the merge thread. Called by the cache
 * thread. */
#include "cache/vindex.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/vindex_int.h"
#include "cache/vindex_partition.h"

enum {
    SWEEP_ROWS = 4096, /* looked at per tend: about 10 us */
    SWEEP_DEAD = 256,  /* deleted per tend */
    RETIRED_MANY = 64, /* retired pieces that are worth a look at the readers */
};

const struct vindex_options vindex_defaults = {
    .graph_from = 20000, .ef_construction = 100, .ef_search = 64};

static enum err check_options(const struct vindex_options *o, struct err_text *t)
{
    size_t least = o->dim > 0 && o->dim <= VINDEX_MAX_DIM
                       ? sizeof(struct vindex) + 3 * vslab_bytes(vslab_stride(o->dim), VSLAB_ROWS)
                       : 0;
    if (!least)
        err_say(t, "vector index: dim %d is not in 1 to %d", o->dim, VINDEX_MAX_DIM);
    else if (o->ef_construction < 8 || o->ef_construction > VINDEX_MAX_EF)
        err_say(t, "vector index: ef_construction %d is not in 8 to %d", o->ef_construction,
                VINDEX_MAX_EF);
    else if (o->ef_search < 8 || o->ef_search > VINDEX_MAX_EF)
        err_say(t, "vector index: ef_search %d is not in 8 to %d", o->ef_search, VINDEX_MAX_EF);
    else if (o->max_bytes < least)
        err_say(t, "vector index: max_bytes %zu is less than %zu", o->max_bytes, least);
    else
        return ERR_OK;
    return ERR_BAD_REQUEST;
}

enum err vindex_new(const struct vindex_options *opt, struct vindex **out, struct err_text *t)
{
    enum err e = check_options(opt, t);
    *out = NULL;
    if (e != ERR_OK)
        return e;
    struct vindex *v = mem_zalloc(1, sizeof *v);
    v->opt = *opt;
    v->dim = (size_t)opt->dim;
    v->stride = vslab_stride(opt->dim);
    v->dot = vslab_dot_find(NULL);
    v->bytes = sizeof *v;
    v->now_ms = INT64_MIN;
    vindex_epoch_init(&v->epoch);
    list_init(&v->wanting);
    list_init(&v->graphed);
    vindex_merger_init(&v->merger);
    atomic_store(&v->shown_bytes, v->bytes);
    *out = v;
    return ERR_OK;
}

void vindex_free(struct vindex *v)
{
    if (!v)
        return;
    struct vindex_table_cursor c = {0};
    struct vindex_partition *p;
    vindex_merger_clear(&v->merger);
    while ((p = vindex_table_next(&v->table, &c)))
        vindex_partition_free(p);
    vindex_table_clear(&v->table);
    vindex_ids_clear(&v->ids);
    vindex_epoch_clear(&v->epoch);
    free(v);
}

void vindex_retire(struct vindex *v, void *p, void (*free_fn)(void *p), size_t bytes)
{
    vindex_epoch_retire(&v->epoch, p, free_fn, bytes);
    v->bytes -= bytes;
}

size_t vindex_used(const struct vindex *v)
{
    return v->bytes + v->epoch.retired_bytes + v->merger.planned_bytes;
}

/* Room for one slab is always kept, so that a full index can tidy up. */
static size_t bytes_to_keep(const struct vindex *v)
{
    size_t merge = vindex_merge_reserve(v);
    merge = merge > v->merger.planned_bytes ? merge - v->merger.planned_bytes : 0;
    return merge + vslab_bytes(v->stride, VSLAB_ROWS);
}

bool vindex_fits(struct vindex *v, size_t need)
{
    need += bytes_to_keep(v);
    if (vindex_used(v) + need <= v->opt.max_bytes)
        return true;
    vindex_epoch_collect(&v->epoch);
    return vindex_used(v) + need <= v->opt.max_bytes;
}

/* The end of each call that has changed something. */
static void settle(struct vindex *v)
{
    if (v->epoch.retired_count >= RETIRED_MANY)
        vindex_epoch_collect(&v->epoch);
    atomic_store_explicit(&v->shown_bytes, vindex_used(v), memory_order_relaxed);
}

enum err vindex_add(struct vindex *v, const struct digest *partition, uint64_t id,
                    const uint16_t *vec, int64_t expires_ms)
{
    if (id == 0 || expires_ms == VSLAB_DEAD || !vslab_is_unit(vec, v->dim))
        return ERR_BAD_REQUEST;
    if (vindex_ids_get(&v->ids, id))
        return ERR_CONFLICT;
    vindex_merge_step(v);
    struct vindex_partition *p = vindex_table_get(&v->table, partition);
    size_t need = vindex_partition_need(v, p) + vindex_ids_need(&v->ids, id) +
                  (p ? 0 : vindex_table_need(&v->table, partition));
    if (need > 0 && !vindex_fits(v, need))
        return vindex_merge_for_room(v) ? ERR_OVERLOADED : ERR_TOO_LARGE;
    if (!p)
        p = vindex_partition_new(v, partition);
    vindex_partition_append(v, p, id, vec, expires_ms);
    vindex_count(&v->entries, 1);
    atomic_fetch_add_explicit(&v->changes, 1, memory_order_relaxed);
    settle(v);
    return ERR_OK;
}

static void delete_row(struct vindex *v, struct vslab *s, uint64_t id)
{
    struct vindex_partition *p = s->partition;
    uint32_t row = vslab_find(s, id);
    if (s->moving)
        vindex_merge_kill_origin(v, s->moving, s->moving_from + row);
    vindex_partition_kill(v, s, row);
    v->bytes -= vindex_ids_del(&v->ids, id);
    p->living--;
    vindex_count(&v->entries, -1);
    atomic_fetch_add_explicit(&v->changes, 1, memory_order_relaxed);
    vindex_partition_tidy(v, p, s);
}

bool vindex_del(struct vindex *v, uint64_t id)
{
    vindex_merge_step(v);
    struct vslab *s = vindex_ids_get(&v->ids, id);
    if (s)
        delete_row(v, s, id);
    settle(v);
    return s != NULL;
}

bool vindex_has(const struct vindex *v, uint64_t id)
{
    return vindex_ids_get(&v->ids, id) != NULL;
}

/* The ids of rows that have expired, from where the last call stopped, at most SWEEP_DEAD of them.
 */
static size_t find_expired(struct vindex *v, uint64_t *ids)
{
    size_t n = 0, looked = 0;
    while (n < SWEEP_DEAD && looked < SWEEP_ROWS) {
        const struct vindex_partition *p =
            v->sweep.inside ? vindex_table_get(&v->table, &v->sweep.at) : NULL;
        const struct vindex_view *view = p ? vindex_partition_view(p) : NULL;
        looked++;
        if (!view || v->sweep.slab >= view->slabs) { /* to the next partition */
            v->sweep.next.in = NULL;
            p = vindex_table_next(&v->table, &v->sweep.next);
            v->sweep.inside = p != NULL;
            v->sweep.slab = v->sweep.row = 0;
            if (!p) {
                v->sweep.next = (struct vindex_table_cursor){0};
                break;
            }
            v->sweep.at = p->name;
            continue;
        }
        const struct vslab *s = view->slab[v->sweep.slab];
        uint32_t count = vslab_count(s);
        for (; v->sweep.row < count && n < SWEEP_DEAD && looked < SWEEP_ROWS; v->sweep.row++) {
            int64_t until = vslab_until(s, v->sweep.row);
            looked++;
            if (until != VSLAB_DEAD && until <= v->now_ms)
                ids[n++] = s->ids[v->sweep.row];
        }
        if (v->sweep.row >= count) {
            v->sweep.slab++;
            v->sweep.row = 0;
        }
    }
    return n;
}

bool vindex_tend(struct vindex *v, int64_t now_ms)
{
    uint64_t expired[SWEEP_DEAD];
    v->now_ms = now_ms;
    bool more = vindex_merge_step(v);
    size_t n = find_expired(v, expired);
    for (size_t i = 0; i < n; i++)
        delete_row(v, vindex_ids_get(&v->ids, expired[i]), expired[i]);
    vindex_epoch_collect(&v->epoch);
    settle(v);
    return more || n == SWEEP_DEAD;
}

void vindex_stat(const struct vindex *v, struct vindex_stat *out)
{
    *out = (struct vindex_stat){
        .entries = atomic_load_explicit(&v->entries, memory_order_relaxed),
        .partitions = atomic_load_explicit(&v->partitions, memory_order_relaxed),
        .dead = atomic_load_explicit(&v->dead, memory_order_relaxed),
        .in_graphs = atomic_load_explicit(&v->covered, memory_order_relaxed),
        .bytes = atomic_load_explicit(&v->shown_bytes, memory_order_relaxed),
        .max_bytes = v->opt.max_bytes,
        .merges = atomic_load_explicit(&v->merges, memory_order_relaxed),
        .changes = atomic_load_explicit(&v->changes, memory_order_relaxed) +
                   atomic_load_explicit(&v->merges, memory_order_relaxed),
        .merging = atomic_load_explicit(&v->merging, memory_order_relaxed),
        .graph = vindex_graph_exists(),
    };
}
