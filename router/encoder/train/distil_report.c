/* The two figures of a distillation. Called by distil.c. */
#include "router/encoder/train/distil_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/train/parallel.h"

enum { MAX_TEXTS = 2000, PAIRS = 100000, NEAREST = 10 };

/* Unit vectors of a sample of the held-out texts. */
struct sample {
    size_t count, dim;
    float *teacher, *table; /* owned: [count][dim] */
};

static void make_unit(float *v, size_t dim)
{
    double square = 0;
    for (size_t d = 0; d < dim; d++)
        square += (double)v[d] * (double)v[d];
    for (size_t d = 0; square > 0 && d < dim; d++)
        v[d] = (float)((double)v[d] / sqrt(square));
}

/* Every nth held-out text, so that all sources are in it. */
static void sample_init(struct sample *s, const struct distil_quality *q)
{
    size_t held_out = 0, seen = 0;
    for (size_t i = 0; i < q->bags->count; i++)
        held_out += q->held_out[i];
    size_t step = held_out / MAX_TEXTS + 1;
    *s = (struct sample){.dim = q->dim};
    s->teacher = mem_zalloc(held_out / step + 1, q->dim * sizeof(float));
    s->table = mem_zalloc(held_out / step + 1, q->dim * sizeof(float));
    for (size_t i = 0; i < q->bags->count; i++) {
        if (!q->held_out[i] || seen++ % step != 0)
            continue;
        float *teacher = s->teacher + s->count * s->dim, *table = s->table + s->count * s->dim;
        memcpy(teacher, q->texts + i * q->dim, q->dim * sizeof(float));
        token_bags_mean(q->bags, i, q->tokens, q->dim, table);
        make_unit(teacher, q->dim);
        make_unit(table, q->dim);
        s->count++;
    }
}

static double cosine(const struct sample *s, const float *vectors, size_t i, size_t j)
{
    const float *x = vectors + i * s->dim, *y = vectors + j * s->dim;
    double sum = 0;
    for (size_t d = 0; d < s->dim; d++)
        sum += (double)x[d] * (double)y[d];
    return sum;
}

/* ---- rank correlation ---- */

struct pair {
    double value[2]; /* the teacher's cosine, the table's; then their ranks */
};

static int by_first(const void *x, const void *y)
{
    const struct pair *a = x, *b = y;
    return (a->value[0] > b->value[0]) - (a->value[0] < b->value[0]);
}

static int by_second(const void *x, const void *y)
{
    const struct pair *a = x, *b = y;
    return (a->value[1] > b->value[1]) - (a->value[1] < b->value[1]);
}

/* Values become ranks; equal ones share their mean rank. */
static void rank_values(struct pair *p, size_t n, int side)
{
    qsort(p, n, sizeof *p, side ? by_second : by_first);
    for (size_t begin = 0, end; begin < n; begin = end) {
        double value = p[begin].value[side];
        for (end = begin; end < n && p[end].value[side] == value; end++)
            ;
        double rank = 0.5 * (double)(begin + end - 1);
        for (size_t i = begin; i < end; i++)
            p[i].value[side] = rank;
    }
}

static double rank_correlation(struct pair *p, size_t n)
{
    double mean = 0.5 * (double)(n - 1), xy = 0, xx = 0, yy = 0;
    rank_values(p, n, 0);
    rank_values(p, n, 1);
    for (size_t i = 0; i < n; i++) {
        double x = p[i].value[0] - mean, y = p[i].value[1] - mean;
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    return xy / sqrt(xx * yy);
}

static double measure_rank(const struct sample *s)
{
    struct pair *p = mem_zalloc(PAIRS, sizeof *p);
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t k = 0; k < PAIRS; k++) {
        size_t i = rng_below(&rng, s->count), j = rng_below(&rng, s->count - 1);
        j += j >= i;
        p[k].value[0] = cosine(s, s->teacher, i, j);
        p[k].value[1] = cosine(s, s->table, i, j);
    }
    double rank = rank_correlation(p, PAIRS);
    free(p);
    return rank;
}

/* ---- nearest texts ---- */

static void find_nearest(const struct sample *s, const float *vectors, size_t of, size_t *nearest)
{
    double best[NEAREST];
    size_t found = 0;
    for (size_t j = 0; j < s->count; j++) {
        double c = j == of ? -2 : cosine(s, vectors, of, j);
        if (j == of || (found == NEAREST && c <= best[NEAREST - 1]))
            continue;
        size_t at = found < NEAREST ? found++ : NEAREST - 1;
        for (; at > 0 && best[at - 1] < c; at--) {
            best[at] = best[at - 1];
            nearest[at] = nearest[at - 1];
        }
        best[at] = c;
        nearest[at] = j;
    }
}

struct counting {
    const struct sample *s;
    size_t common[PARALLEL_MAX];
};

static void count_common(void *ctx, int part, int parts)
{
    struct counting *c = ctx;
    size_t teacher[NEAREST], table[NEAREST];
    for (size_t i = (size_t)part; i < c->s->count; i += (size_t)parts) {
        find_nearest(c->s, c->s->teacher, i, teacher);
        find_nearest(c->s, c->s->table, i, table);
        for (size_t a = 0; a < NEAREST; a++)
            for (size_t b = 0; b < NEAREST; b++)
                c->common[part] += teacher[a] == table[b];
    }
}

void distil_measure(const struct distil_quality *q, int threads, double *rank, double *neighbours)
{
    struct sample s;
    sample_init(&s, q);
    *rank = *neighbours = NAN;
    if (s.count > NEAREST) {
        struct counting c = {.s = &s};
        size_t common = 0;
        *rank = measure_rank(&s);
        parallel_run(count_common, &c, threads);
        for (int i = 0; i < threads; i++)
            common += c.common[i];
        *neighbours = (double)common / (double)(s.count * NEAREST);
    }
    free(s.teacher);
    free(s.table);
}
