/* The model that test_vindex compares with, and random worlds. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"
#include "cache/vslab.h"
#include "cache/vslab_dot.h"
#include "vindex_world.h"

struct vindex_options world_options(int dim, size_t graph_from)
{
    struct vindex_options o = vindex_defaults;
    o.dim = dim;
    o.max_bytes = (size_t)256 << 20;
    o.graph_from = graph_from;
    memset(o.fingerprint, 7, sizeof o.fingerprint);
    return o;
}

void world_init(struct world *w, struct vindex *v, int dim, uint64_t seed)
{
    *w = (struct world){.v = v, .dim = dim, .topics = 50, .now_ms = 1000, .next_id = 1};
    w->r = vindex_reader_new(v);
    rng_seed(&w->rng, seed);
    w->topic = mem_alloc((size_t)(w->topics * dim) * sizeof *w->topic);
    for (int i = 0; i < w->topics * dim; i++)
        w->topic[i] = (float)(rng_unit(&w->rng) - 0.5);
}

void world_clear(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->at[i].vec);
    free(w->at);
    free(w->topic);
    vindex_reader_free(w->r);
    vindex_free(w->v);
}

struct digest world_name(int partition)
{
    return digest_of((struct slice){(const char *)&partition, sizeof partition});
}

void world_unit(struct world *w, const float *near, float noise, uint16_t *vec)
{
    float x[VINDEX_MAX_DIM], sum = 0;
    for (int i = 0; i < w->dim; i++) {
        x[i] = (near ? near[i] : 0) + noise * (float)(rng_unit(&w->rng) - 0.5);
        sum += x[i] * x[i];
    }
    for (int i = 0; i < w->dim; i++)
        vec[i] = vslab_half_of(x[i] / sqrtf(sum));
}

void world_vec(struct world *w, uint16_t *vec)
{
    size_t topic = rng_below(&w->rng, (uint64_t)w->topics);
    world_unit(w, w->topic + topic * (size_t)w->dim, 0.9f, vec);
}

struct world_entry *world_add(struct world *w, int partition, int64_t expires_ms)
{
    uint16_t vec[VINDEX_MAX_DIM];
    struct digest name = world_name(partition);
    world_vec(w, vec);
    enum err e = vindex_add(w->v, &name, w->next_id, vec, expires_ms);
    w->later = e == ERR_OVERLOADED;
    if (e == ERR_TOO_LARGE || w->later)
        return NULL;
    assert_int_equal(e, ERR_OK);
    if ((w->n & (w->n - 1)) == 0)
        w->at = mem_resize(w->at, w->n ? 2 * w->n : 1, sizeof *w->at);
    struct world_entry *new = &w->at[w->n++];
    *new = (struct world_entry){w->next_id++, partition, expires_ms, true, NULL};
    new->vec = mem_alloc((size_t)w->dim * sizeof *vec);
    memcpy(new->vec, vec, (size_t)w->dim * sizeof *vec);
    w->there++;
    return new;
}

void world_del(struct world *w, struct world_entry *e)
{
    assert_true(vindex_has(w->v, e->id));
    assert_true(vindex_del(w->v, e->id));
    assert_false(vindex_has(w->v, e->id));
    assert_false(vindex_del(w->v, e->id));
    e->there = false;
    w->there--;
}

struct world_entry *world_pick(struct world *w)
{
    for (int tries = 0; w->there && tries < 1000; tries++) {
        struct world_entry *e = &w->at[rng_below(&w->rng, w->n)];
        if (e->there)
            return e;
    }
    return NULL;
}

void world_sweep(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct world_entry *e = &w->at[i];
        if (e->there && !vindex_has(w->v, e->id)) {
            assert_true(e->expires_ms <= w->now_ms);
            e->there = false;
            w->there--;
        }
    }
}

size_t world_nearest(const struct world *w, int partition, const uint16_t *vec, size_t k,
                     double *cosines)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct world_entry *e = &w->at[i];
        if (!e->there || e->partition != partition || e->expires_ms <= w->now_ms)
            continue;
        double cosine = vslab_cosine(vec, e->vec, (size_t)w->dim);
        if (n == k && cosine <= cosines[n - 1])
            continue;
        size_t at = n < k ? n++ : n - 1;
        for (; at > 0 && cosines[at - 1] < cosine; at--)
            cosines[at] = cosines[at - 1];
        cosines[at] = cosine;
    }
    return n;
}

double world_check(struct world *w, int partition, const uint16_t *vec, size_t k, bool exact)
{
    struct vindex_hit hits[VINDEX_MAX_K];
    double want[VINDEX_MAX_K];
    struct digest name = world_name(partition);
    size_t n = 0, found = 0, nearest = world_nearest(w, partition, vec, k, want);
    assert_int_equal(vindex_topk(w->r, &name, vec, k, w->now_ms, hits, &n), ERR_OK);
    assert_true(n <= nearest);
    for (size_t i = 0; i < n; i++) {
        assert_true(hits[i].id >= 1 && hits[i].id <= w->n);
        const struct world_entry *e = &w->at[hits[i].id - 1];
        assert_int_equal(e->id, hits[i].id);
        assert_true(e->there && e->partition == partition && e->expires_ms > w->now_ms);
        assert_true(hits[i].cosine == vslab_cosine(vec, e->vec, (size_t)w->dim));
        assert_true(i == 0 || hits[i - 1].cosine > hits[i].cosine ||
                    (hits[i - 1].cosine == hits[i].cosine && hits[i - 1].id < hits[i].id));
        found += hits[i].cosine >= want[nearest - 1] - 1e-6;
        if (exact)
            assert_true(fabs(hits[i].cosine - want[i]) < 1e-6);
    }
    if (exact)
        assert_int_equal(n, nearest);
    return nearest ? (double)found / (double)nearest : 1;
}

void world_settle(struct world *w)
{
    struct vindex_stat s;
    do {
        while (vindex_tend(w->v, w->now_ms))
            ;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* a turn for the merge thread */
        vindex_stat(w->v, &s);
    } while (s.merging);
    world_sweep(w);
}
