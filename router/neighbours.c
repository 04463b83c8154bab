/* Owns the vectors and labels of remembered queries. Made by the learner (learner_near.c) and by
 * weir bench, asked by router/foreseen.c on the workers. */
#include "router/neighbours.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/mem.h"
#include "router/encoder/cpu/pack.h"

struct neighbours_route {
    const char *name;
    const char **model; /* [arms] */
    int arms, dim;
    size_t rows;
    const struct cpu_ops *ops;
    struct cpu_matrix vectors; /* [rows] outputs of dim inputs, in the block */
    struct cpu_block block;    /* owned */
    struct exante *exante;     /* owned; NULL: no rows */
};

struct neighbours {
    atomic_int refs;
    struct arena names;
    struct neighbours_route *route; /* owned: [count] */
    int count;
};

/* ---- looking ---- */

/* cosine[outputs of the matrix] of a vector with all rows: one product of the encoder's kernels. */
static void look(const struct neighbours_route *r, const float *vector, float *cosine)
{
    alignas(64) float in[NEIGHBOURS_MAX_DIM] = {0};
    alignas(64) int8_t bytes[2 * NEIGHBOURS_MAX_DIM]; /* some kernels store a number in two */
    float scale;
    int size = r->vectors.inputs;

    memcpy(in, vector, (size_t)r->dim * sizeof *in);
    assert(r->ops->row_bytes <= 2);
    r->ops->quantize(&(struct cpu_quantize){
        .in = in, .stride = (size_t)size, .rows = 1, .size = size, .out = bytes, .scale = &scale});
    r->ops->product_s8(&(struct cpu_product){.w = &r->vectors,
                                             .in = bytes,
                                             .in_scale = &scale,
                                             .out = cosine,
                                             .out_stride = (size_t)r->vectors.outputs,
                                             .rows = 1,
                                             .finish = CPU_STORE});
}

void neighbours_lift(const struct neighbours_route *r, const float *vector, const double *believed,
                     size_t self, double *lift)
{
    alignas(64) float cosine[EXANTE_ROWS + CPU_ALIGN];

    if (!r->exante) {
        memset(lift, 0, (size_t)r->arms * sizeof *lift);
        return;
    }
    look(r, vector, cosine);
    exante_lift(r->exante, cosine, believed, self, lift);
}

const struct neighbours_route *neighbours_find(const struct neighbours *n, struct slice route)
{
    for (int i = 0; n && i < n->count; i++)
        if (slice_eq(slice_str(n->route[i].name), route))
            return &n->route[i];
    return NULL;
}

size_t neighbours_rows(const struct neighbours_route *r)
{
    return r->rows;
}

int neighbours_arms(const struct neighbours_route *r)
{
    return r->arms;
}

struct slice neighbours_model(const struct neighbours_route *r, int arm)
{
    return slice_str(r->model[arm]);
}

double neighbours_trust(const struct neighbours_route *r)
{
    return r->exante ? exante_trust(r->exante) : 0;
}

/* ---- making ---- */

struct looking {
    const struct neighbours_route *route;
    const float *vector; /* [rows][dim] */
};

static void cosines_of_row(void *ctx, size_t row, float *cosine)
{
    const struct looking *l = ctx;
    alignas(64) float all[EXANTE_ROWS + CPU_ALIGN];

    look(l->route, l->vector + row * (size_t)l->route->dim, all);
    memcpy(cosine, all, l->route->rows * sizeof *cosine);
}

static const char **copy_names(struct arena *a, const char *const *names, int count)
{
    const char **copy = ARENA_ARRAY(a, const char *, count);

    for (int i = 0; i < count; i++)
        copy[i] = arena_strdup(a, slice_str(names[i]));
    return copy;
}

static void pack(struct neighbours_route *r, const float *vector)
{
    int rows = (int)r->rows;
    float *bias = mem_zalloc(r->rows, sizeof *bias);
    struct cpu_linear l = {.weight = vector, .bias = bias, .inputs = r->dim, .outputs = rows};

    r->ops = cpu_ops_find(NULL);
    cpu_block_init(&r->block, cpu_pack_bytes(r->dim, rows, true));
    r->vectors = cpu_pack_s8(r->ops, &l, NULL, &r->block);
    free(bias);
}

static void make_route(struct neighbours *n, const struct neighbours_route_in *in, int dim,
                       struct neighbours_route *r)
{
    struct looking l = {r, in->vector};

    *r = (struct neighbours_route){.name = arena_strdup(&n->names, slice_str(in->name)),
                                   .model = copy_names(&n->names, in->model, in->arms),
                                   .arms = in->arms,
                                   .dim = dim,
                                   .rows = in->rows};
    if (r->rows == 0)
        return;
    pack(r, in->vector);
    r->exante = exante_new(&(struct exante_in){.arms = in->arms,
                                               .rows = in->rows,
                                               .outcome = in->outcome,
                                               .cosines = cosines_of_row,
                                               .ctx = &l});
}

struct neighbours *neighbours_new(const struct neighbours_route_in *routes, int count, int dim)
{
    struct neighbours *n = mem_zalloc(1, sizeof *n);

    assert(dim >= 1 && dim <= NEIGHBOURS_MAX_DIM);
    atomic_init(&n->refs, 1);
    arena_init(&n->names, 1024);
    n->route = mem_zalloc((size_t)count + 1, sizeof *n->route);
    n->count = count;
    for (int i = 0; i < count; i++)
        make_route(n, &routes[i], dim, &n->route[i]);
    return n;
}

struct neighbours *neighbours_ref(struct neighbours *n)
{
    if (n)
        atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
    return n;
}

void neighbours_unref(struct neighbours *n)
{
    if (!n || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < n->count; i++) {
        exante_free(n->route[i].exante);
        cpu_block_clear(&n->route[i].block);
    }
    free(n->route);
    arena_clear(&n->names);
    free(n);
}
