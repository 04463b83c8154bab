/* One slab of rows, and the arithmetic on single vectors. Owns the memory of a slab; knows neither
 * partitions nor graphs. Called by the index's writer, its readers and its merge thread. */
#include "cache/vslab.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/vslab_dot.h"

enum { LINE = 64 }; /* vectors begin at borders of cache lines */

static size_t up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

size_t vslab_stride(int dim)
{
    return up((size_t)dim, VSLAB_DOT_PAD);
}

static size_t vecs_at(uint32_t cap)
{
    return up(sizeof(struct vslab) + (size_t)cap * (sizeof(uint64_t) + sizeof(int64_t)), LINE);
}

size_t vslab_bytes(size_t stride, uint32_t cap)
{
    return vecs_at(cap) + (size_t)cap * stride * sizeof(uint16_t);
}

struct vslab *vslab_new(size_t stride, uint32_t cap)
{
    assert(cap > 0 && cap <= VSLAB_ROWS);
    struct vslab *s = aligned_alloc(LINE, up(vslab_bytes(stride, cap), LINE));
    mem_need(s);
    *s = (struct vslab){.stride = stride, .cap = cap};
    char *at = (char *)(s + 1);
    s->ids = (uint64_t *)(void *)at;
    s->until = (_Atomic int64_t *)(void *)(at + cap * sizeof(uint64_t));
    s->vecs = (uint16_t *)(void *)((char *)s + vecs_at(cap));
    return s;
}

void vslab_free(struct vslab *s)
{
    free(s);
}

void vslab_append(struct vslab *s, uint64_t id, const uint16_t *vec, size_t dim, int64_t until)
{
    uint32_t row = atomic_load_explicit(&s->count, memory_order_relaxed);
    assert(row < s->cap && dim <= s->stride);
    uint16_t *to = s->vecs + (size_t)row * s->stride;
    memcpy(to, vec, dim * sizeof *vec);
    memset(to + dim, 0, (s->stride - dim) * sizeof *vec);
    s->ids[row] = id;
    atomic_store_explicit(&s->until[row], until, memory_order_relaxed);
    s->living += until != VSLAB_DEAD;
    atomic_store_explicit(&s->count, row + 1, memory_order_release);
}

uint32_t vslab_find(const struct vslab *s, uint64_t id)
{
    uint32_t n = atomic_load_explicit(&s->count, memory_order_relaxed), row = 0;
    while (row < n && (s->ids[row] != id || vslab_until(s, row) == VSLAB_DEAD))
        row++;
    assert(row < n);
    return row;
}

void vslab_kill(struct vslab *s, uint32_t row)
{
    assert(vslab_until(s, row) != VSLAB_DEAD && s->living > 0);
    atomic_store_explicit(&s->until[row], VSLAB_DEAD, memory_order_relaxed);
    s->living--;
}

void vslab_query(const uint16_t *vec, size_t dim, size_t stride, float *q)
{
    for (size_t i = 0; i < dim; i++)
        q[i] = vslab_half(vec[i]);
    for (size_t i = dim; i < stride; i++)
        q[i] = 0;
}

bool vslab_is_unit(const uint16_t *vec, size_t dim)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++) {
        double x = (double)vslab_half(vec[i]);
        sum += x * x;
    }
    return sum > 0.99 * 0.99 && sum < 1.01 * 1.01; /* false for NaN too */
}

double vslab_cosine(const uint16_t *a, const uint16_t *b, size_t dim)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < dim; i++) {
        double x = (double)vslab_half(a[i]), y = (double)vslab_half(b[i]);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}
