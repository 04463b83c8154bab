/* A slab: up to VSLAB_ROWS rows of id, expiry and vector in one piece of memory.
 *
 * It only grows at its end and rows never move or change, but for `until`: the moment a row stops
 * living, VSLAB_DEAD once it is deleted. So readers scan it without a lock while one writer
 * appends: a row below `count` is whole. Whoever needs rows gone builds another slab and lets this
 * one go.
 *
 * threads: one writer; readers see what vslab_count said when they asked. */
#ifndef CACHE_VSLAB_H
#define CACHE_VSLAB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VSLAB_ROWS 4096
#define VSLAB_DEAD INT64_MIN

struct vindex_partition;
struct vindex_merge;

struct vslab {
    size_t stride; /* halves per row: the dimension, padded */
    uint32_t cap;
    _Atomic uint32_t count;
    uint64_t *ids;          /* [cap] these three point behind the struct */
    _Atomic int64_t *until; /* [cap] Unix ms */
    uint16_t *vecs;         /* [cap][stride] */
    /* The writer's: */
    uint32_t living; /* rows that are not VSLAB_DEAD */
    bool covered;    /* by the graph of its partition */
    bool busy;       /* the merge thread reads it: its rows must stay where they are */
    struct vindex_partition *partition; /* borrowed: whose it is */
    struct vindex_merge *moving;        /* borrowed: made by it, out of sight yet; or NULL */
    uint32_t moving_from;               /* its first row among those that `moving` made */
};

size_t vslab_stride(int dim);
size_t vslab_bytes(size_t stride, uint32_t cap);      /* of memory */
struct vslab *vslab_new(size_t stride, uint32_t cap); /* empty; 0 < cap <= VSLAB_ROWS */
void vslab_free(struct vslab *s);

static inline uint32_t vslab_count(const struct vslab *s)
{
    return atomic_load_explicit(&s->count, memory_order_acquire);
}
static inline const uint16_t *vslab_vec(const struct vslab *s, uint32_t row)
{
    return s->vecs + (size_t)row * s->stride;
}
static inline int64_t vslab_until(const struct vslab *s, uint32_t row)
{
    return atomic_load_explicit(&s->until[row], memory_order_relaxed);
}
static inline bool vslab_lives(const struct vslab *s, uint32_t row, int64_t now_ms)
{
    return vslab_until(s, row) > now_ms;
}

/* Writer. vec: [dim] halves with dim <= stride; the slab must have room. */
void vslab_append(struct vslab *s, uint64_t id, const uint16_t *vec, size_t dim, int64_t until);
/* Writer. The row of an id that is not dead; it must be there. */
uint32_t vslab_find(const struct vslab *s, uint64_t id);
void vslab_kill(struct vslab *s, uint32_t row); /* writer; the row must not be dead yet */

/* A query: the same numbers as floats at a 64-byte border, padded with zeros. */
void vslab_query(const uint16_t *vec, size_t dim, size_t stride, float *q);
/* Of unit length within 1 %, every number finite. */
bool vslab_is_unit(const uint16_t *vec, size_t dim);
/* In double precision, by both lengths. */
double vslab_cosine(const uint16_t *a, const uint16_t *b, size_t dim);

#endif
