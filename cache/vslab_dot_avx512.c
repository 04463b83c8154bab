/* vslab_dot with AVX-512F: 16 halves become floats in one instruction. */
#include <immintrin.h>
#include "cache/vslab_dot_int.h"

static inline __m512 halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)p));
}

static float query_row(const float *q, const uint16_t *row, size_t stride)
{
    __m512 a = _mm512_setzero_ps(), b = _mm512_setzero_ps();

    for (size_t i = 0; i < stride; i += VSLAB_DOT_PAD) {
        a = _mm512_fmadd_ps(_mm512_load_ps(q + i), halves(row + i), a);
        b = _mm512_fmadd_ps(_mm512_load_ps(q + i + 16), halves(row + i + 16), b);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(a, b));
}

/* Four rows at a time: each piece of the query is loaded once for them, and four chains of
 * additions hide each other's latency. */
static void query_rows(const float *q, const uint16_t *rows, size_t count, size_t stride,
                       float *out)
{
    size_t i = 0;

    for (; i + 4 <= count; i += 4) {
        const uint16_t *r0 = rows + i * stride, *r1 = r0 + stride, *r2 = r1 + stride,
                       *r3 = r2 + stride;
        __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t j = 0; j < stride; j += 16) {
            __m512 x = _mm512_load_ps(q + j);
            s0 = _mm512_fmadd_ps(x, halves(r0 + j), s0);
            s1 = _mm512_fmadd_ps(x, halves(r1 + j), s1);
            s2 = _mm512_fmadd_ps(x, halves(r2 + j), s2);
            s3 = _mm512_fmadd_ps(x, halves(r3 + j), s3);
        }
        out[i] = _mm512_reduce_add_ps(s0);
        out[i + 1] = _mm512_reduce_add_ps(s1);
        out[i + 2] = _mm512_reduce_add_ps(s2);
        out[i + 3] = _mm512_reduce_add_ps(s3);
    }
    for (; i < count; i++)
        out[i] = query_row(q, rows + i * stride, stride);
}

static float row_row(const uint16_t *x, const uint16_t *y, size_t stride)
{
    __m512 a = _mm512_setzero_ps(), b = _mm512_setzero_ps();

    for (size_t i = 0; i < stride; i += VSLAB_DOT_PAD) {
        a = _mm512_fmadd_ps(halves(x + i), halves(y + i), a);
        b = _mm512_fmadd_ps(halves(x + i + 16), halves(y + i + 16), b);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(a, b));
}

const struct vslab_dot vslab_dot_avx512 = {"avx512", query_rows, query_row, row_row};
