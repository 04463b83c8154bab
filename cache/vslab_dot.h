/* Inner products of half floats, for what this CPU can do. Pure; any thread.
 *
 * Rows are padded with zeros to a multiple of VSLAB_DOT_PAD halves and begin at 64-byte borders; a
 * query is the same numbers as floats. Sums are in single precision: good for ranking, not for
 * showing (vslab_cosine). */
#ifndef CACHE_VSLAB_DOT_H
#define CACHE_VSLAB_DOT_H

#include <stddef.h>
#include <stdint.h>

#define VSLAB_DOT_PAD 32

struct vslab_dot {
    const char *isa; /* "avx512", "avx2", "portable" */
    /* out[i] = q . rows[i], i < count; each of `stride` numbers */
    void (*query_rows)(const float *q, const uint16_t *rows, size_t count, size_t stride,
                       float *out);
    float (*query_row)(const float *q, const uint16_t *row, size_t stride);
    float (*row_row)(const uint16_t *a, const uint16_t *b, size_t stride);
};

/* The fastest one that runs here; by name: NULL when it does not run here. */
const struct vslab_dot *vslab_dot_find(const char *isa);

/* IEEE 754 binary16 to binary32; exact. */
float vslab_half(uint16_t h);
/* The nearest half, ties to even; beyond the range infinity. */
uint16_t vslab_half_of(float x);

#endif
