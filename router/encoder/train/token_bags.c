/* Sparse products over bags and the fit. A thread owns a range of columns and runs its own
 * conjugate gradients on packed copies of them, so that no two threads write the same memory and
 * the result does not depend on how many there are. Called by distil.c. */
#include "router/encoder/train/token_bags.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/train/parallel.h"

void token_bags_init(struct token_bags *b)
{
    *b = (struct token_bags){.starts_cap = 1024, .ids_cap = 16384};
    b->starts = mem_zalloc(b->starts_cap, sizeof *b->starts);
    b->ids = mem_zalloc(b->ids_cap, sizeof *b->ids);
}

void token_bags_clear(struct token_bags *b)
{
    free(b->ids);
    free(b->starts);
    *b = (struct token_bags){0};
}

void token_bags_add(struct token_bags *b, const int32_t *ids, size_t n)
{
    size_t used = b->starts[b->count];
    while (used + n > b->ids_cap)
        b->ids = mem_resize(b->ids, b->ids_cap *= 2, sizeof *b->ids);
    if (b->count + 2 > b->starts_cap)
        b->starts = mem_resize(b->starts, b->starts_cap *= 2, sizeof *b->starts);
    for (size_t i = 0; i < n; i++)
        b->ids[used + i] = ids[i];
    b->starts[++b->count] = used + n;
}

void token_bags_mean(const struct token_bags *b, size_t bag, const float *table, size_t dim,
                     float *out)
{
    size_t begin = b->starts[bag], end = b->starts[bag + 1];
    memset(out, 0, dim * sizeof *out);
    for (size_t i = begin; i < end; i++) {
        const float *row = table + (size_t)b->ids[i] * dim;
        for (size_t d = 0; d < dim; d++)
            out[d] += row[d];
    }
    for (size_t d = 0; end > begin && d < dim; d++)
        out[d] /= (float)(end - begin);
}

/* ---- the fit ---- */

/* A range of columns, packed: all arrays are [tokens][width] but residue, which is one text's. */
struct columns {
    const struct token_fit *f;
    size_t first, width;
    float *step;     /* D = E - E0 */
    float *gradient; /* A'(Y - A E) - ridge D */
    float *direction;
    float *product;                  /* (A'A + ridge) direction */
    float *e0;                       /* where the table began */
    float *text;                     /* [width] */
    double *norm, *curve, *new_norm; /* [width] */
};

static void columns_init(struct columns *c, const struct token_fit *f, size_t first, size_t width)
{
    size_t n = f->tokens * width;
    *c = (struct columns){.f = f, .first = first, .width = width};
    c->step = mem_zalloc(n, sizeof(float));
    c->gradient = mem_zalloc(n, sizeof(float));
    c->direction = mem_zalloc(n, sizeof(float));
    c->product = mem_zalloc(n, sizeof(float));
    c->e0 = mem_zalloc(n, sizeof(float));
    c->text = mem_zalloc(width, sizeof(float));
    c->norm = mem_zalloc(3 * width, sizeof(double));
    c->curve = c->norm + width;
    c->new_norm = c->curve + width;
    for (size_t t = 0; t < f->tokens; t++)
        memcpy(c->e0 + t * width, f->table + t * f->dim + first, width * sizeof(float));
}

static void columns_clear(struct columns *c)
{
    free(c->step);
    free(c->gradient);
    free(c->direction);
    free(c->product);
    free(c->e0);
    free(c->text);
    free(c->norm);
}

/* into[tokens][width] += A' text, of one bag. */
static void spread(const struct columns *c, size_t bag, const float *text, float *into)
{
    const struct token_bags *b = c->f->bags;
    size_t begin = b->starts[bag], end = b->starts[bag + 1];
    float share = 1.0f / (float)(end - begin);
    for (size_t i = begin; i < end; i++) {
        float *row = into + (size_t)b->ids[i] * c->width;
        for (size_t d = 0; d < c->width; d++)
            row[d] += share * text[d];
    }
}

static bool is_empty(const struct token_bags *b, size_t bag)
{
    return b->starts[bag] == b->starts[bag + 1];
}

static void first_gradient(struct columns *c)
{
    const struct token_fit *f = c->f;
    for (size_t bag = 0; bag < f->bags->count; bag++) {
        if (is_empty(f->bags, bag))
            continue;
        const float *target = f->target + bag * f->dim + c->first;
        token_bags_mean(f->bags, bag, c->e0, c->width, c->text);
        for (size_t d = 0; d < c->width; d++)
            c->text[d] = target[d] - c->text[d];
        spread(c, bag, c->text, c->gradient);
    }
    memcpy(c->direction, c->gradient, f->tokens * c->width * sizeof(float));
}

static void multiply(struct columns *c)
{
    const struct token_fit *f = c->f;
    size_t n = f->tokens * c->width;
    for (size_t i = 0; i < n; i++)
        c->product[i] = (float)f->ridge * c->direction[i];
    for (size_t bag = 0; bag < f->bags->count; bag++) {
        if (is_empty(f->bags, bag))
            continue;
        token_bags_mean(f->bags, bag, c->direction, c->width, c->text);
        spread(c, bag, c->text, c->product);
    }
}

/* out[width] = the columns' inner products of two [tokens][width]. */
static void inner(const struct columns *c, const float *x, const float *y, double *out)
{
    memset(out, 0, c->width * sizeof *out);
    for (size_t t = 0; t < c->f->tokens; t++, x += c->width, y += c->width)
        for (size_t d = 0; d < c->width; d++)
            out[d] += (double)x[d] * (double)y[d];
}

static void iterate(struct columns *c)
{
    multiply(c);
    inner(c, c->direction, c->product, c->curve);
    for (size_t d = 0; d < c->width; d++)
        c->curve[d] = c->curve[d] > 0 ? c->norm[d] / c->curve[d] : 0;
    for (size_t t = 0, i = 0; t < c->f->tokens; t++)
        for (size_t d = 0; d < c->width; d++, i++) {
            c->step[i] += (float)c->curve[d] * c->direction[i];
            c->gradient[i] -= (float)c->curve[d] * c->product[i];
        }
    inner(c, c->gradient, c->gradient, c->new_norm);
    for (size_t d = 0; d < c->width; d++)
        c->curve[d] = c->norm[d] > 0 ? c->new_norm[d] / c->norm[d] : 0;
    for (size_t t = 0, i = 0; t < c->f->tokens; t++)
        for (size_t d = 0; d < c->width; d++, i++)
            c->direction[i] = c->gradient[i] + (float)c->curve[d] * c->direction[i];
    memcpy(c->norm, c->new_norm, c->width * sizeof *c->norm);
}

static void fit_columns(void *ctx, int part, int parts)
{
    const struct token_fit *f = ctx;
    size_t first = f->dim * (size_t)part / (size_t)parts;
    size_t end = f->dim * ((size_t)part + 1) / (size_t)parts;
    struct columns c;
    if (first == end)
        return;
    columns_init(&c, f, first, end - first);
    first_gradient(&c);
    inner(&c, c.gradient, c.gradient, c.norm);
    for (int i = 0; i < f->iterations; i++) {
        iterate(&c);
        if (f->tick && part == parts - 1)
            f->tick(f->tick_ctx, (size_t)i + 1, (size_t)f->iterations);
    }
    for (size_t t = 0; t < f->tokens; t++)
        for (size_t d = 0; d < c.width; d++)
            f->table[t * f->dim + first + d] = c.e0[t * c.width + d] + c.step[t * c.width + d];
    columns_clear(&c);
}

void token_bags_fit(const struct token_fit *f)
{
    assert(f->threads >= 1 && f->ridge > 0);
    parallel_run(fit_columns, (void *)(uintptr_t)f, f->threads);
}
