/* Benchmark vectors. */
#include "vindex_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/vslab_dot.h"

static void unit(const float *x, size_t dim, uint16_t *out)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < dim; i++)
        out[i] = vslab_half_of(x[i] / (float)sqrt(sum));
}

static void clusters(struct vindex_data *d)
{
    enum { CLUSTERS = 500, ROWS = 20000 };
    float *centre = mem_alloc(CLUSTERS * d->dim * sizeof *centre), x[4096];
    for (size_t i = 0; i < CLUSTERS * d->dim; i++)
        centre[i] = (float)(rng_unit(&d->rng) - 0.5);
    d->real = ROWS;
    d->rows = mem_alloc(ROWS * d->dim * sizeof *d->rows);
    for (size_t r = 0; r < ROWS; r++) {
        const float *c = centre + rng_below(&d->rng, CLUSTERS) * d->dim;
        for (size_t i = 0; i < d->dim; i++)
            x[i] = c[i] + (float)(rng_unit(&d->rng) - 0.5);
        unit(x, d->dim, d->rows + r * d->dim);
    }
    free(centre);
}

int vindex_data_init(struct vindex_data *d, const char *path, size_t dim)
{
    *d = (struct vindex_data){.dim = dim};
    rng_seed(&d->rng, 11);
    if (!path) {
        clusters(d);
        return 1;
    }
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        return 0;
    }
    d->real = (size_t)ftell(f) / (dim * sizeof *d->rows);
    rewind(f);
    d->rows = mem_alloc(d->real * dim * sizeof *d->rows);
    size_t got = fread(d->rows, dim * sizeof *d->rows, d->real, f);
    fclose(f);
    if (got != d->real || got < 1000) {
        fprintf(stderr, "%s: fewer than 1000 rows of %zu halves\n", path, dim);
        return 0;
    }
    return 1;
}

void vindex_data_clear(struct vindex_data *d)
{
    free(d->rows);
}

void vindex_data_near(struct vindex_data *d, size_t from, size_t to, double share, uint16_t *out)
{
    float x[4096];
    const uint16_t *r[3];
    for (size_t i = 0; i < 3; i++)
        r[i] = d->rows + (from + rng_below(&d->rng, to - from)) * d->dim;
    for (size_t i = 0; i < d->dim; i++)
        x[i] = vslab_half(r[0][i]) + (float)share * (vslab_half(r[1][i]) - vslab_half(r[2][i]));
    unit(x, d->dim, out);
}
