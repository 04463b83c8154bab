/* vslab_dot with AVX2, FMA and F16C: 8 halves become floats in one instruction. */
#include <immintrin.h>
#include "cache/vslab_dot_int.h"

static inline __m256 halves(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)p));
}

static inline float sum_of(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static float query_row(const float *q, const uint16_t *row, size_t stride)
{
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;

    for (size_t i = 0; i < stride; i += VSLAB_DOT_PAD) {
        a = _mm256_fmadd_ps(_mm256_load_ps(q + i), halves(row + i), a);
        b = _mm256_fmadd_ps(_mm256_load_ps(q + i + 8), halves(row + i + 8), b);
        c = _mm256_fmadd_ps(_mm256_load_ps(q + i + 16), halves(row + i + 16), c);
        d = _mm256_fmadd_ps(_mm256_load_ps(q + i + 24), halves(row + i + 24), d);
    }
    return sum_of(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
}

static void query_rows(const float *q, const uint16_t *rows, size_t count, size_t stride,
                       float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = query_row(q, rows + i * stride, stride);
}

static float row_row(const uint16_t *x, const uint16_t *y, size_t stride)
{
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;

    for (size_t i = 0; i < stride; i += VSLAB_DOT_PAD) {
        a = _mm256_fmadd_ps(halves(x + i), halves(y + i), a);
        b = _mm256_fmadd_ps(halves(x + i + 8), halves(y + i + 8), b);
        c = _mm256_fmadd_ps(halves(x + i + 16), halves(y + i + 16), c);
        d = _mm256_fmadd_ps(halves(x + i + 24), halves(y + i + 24), d);
    }
    return sum_of(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
}

const struct vslab_dot vslab_dot_avx2 = {"avx2", query_rows, query_row, row_row};
