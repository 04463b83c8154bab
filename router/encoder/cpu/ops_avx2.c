/* The CPU kernels for AVX2 with FMA and F16C (Intel since Haswell, AMD since Zen).
 *
 * Products: a tile is up to 6 rows by a panel of 16 columns, 12 accumulators of 16 registers.
 * Quantised rows are 16 bits wide, because vpmaddwd on 16 bits is exact where vpmaddubsw on bytes
 * would saturate; weights stay bytes in memory and are widened as they are loaded. */
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "router/encoder/cpu/tile.h"

enum { LANES = 8, VECTORS = 2, PANEL = LANES * VECTORS, TILE_ROWS = 6 };

typedef __m256 vec;
typedef __m256i veci;
typedef int16_t row_s8;

INLINE vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
INLINE void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}
INLINE vec vec_halves(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
INLINE vec vec_zero(void)
{
    return _mm256_setzero_ps();
}
INLINE vec vec_set1(float x)
{
    return _mm256_set1_ps(x);
}
INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
INLINE vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}
INLINE float vec_sum(vec v)
{
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
INLINE float vec_top(vec v)
{
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}
INLINE vec vec_from(veci v)
{
    return _mm256_cvtepi32_ps(v);
}

INLINE vec magnitude(vec x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* The larger of max, which is not negative, and |x|. */
INLINE vec vec_seen(vec max, vec x)
{
    return _mm256_max_ps(max, magnitude(x));
}

/* y * 2^n, where n is in the low bits of m. */
INLINE vec vec_times_power(vec y, vec m)
{
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(m), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), power));
}

/* ---- activation ---- */

/* The table stays in memory: 16 entries are two vectors per coefficient. */
struct gelu_regs {
    const float (*table)[CPU_GELU_INTERVALS];
};

INLINE struct gelu_regs gelu_load(const float (*table)[CPU_GELU_INTERVALS], const int degree)
{
    (void)degree;
    return (struct gelu_regs){table};
}

INLINE vec pick(const float *entries, __m256i index, vec upper)
{
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(entries), index),
                            _mm256_permutevar8x32_ps(_mm256_loadu_ps(entries + LANES), index),
                            upper);
}

INLINE vec gelu(vec x, const struct gelu_regs *g, const int degree)
{
    /* Adding 2^23 leaves the nearest integer in the low bits; its bit 3 says which half. */
    const vec magic = vec_set1(8388608.0f);
    vec a = magnitude(x), near = _mm256_min_ps(a, vec_set1(CPU_GELU_END));
    __m256i index = _mm256_castps_si256(vec_fma(near, vec_set1(CPU_GELU_PER_UNIT), magic));
    vec upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    vec y = pick(g->table[degree], index, upper);
#pragma GCC unroll 4
    for (int i = degree - 1; i >= 0; i--)
        y = vec_fma(y, a, pick(g->table[i], index, upper));
    return vec_fma(x, vec_set1(0.5f), y);
}

/* ---- products ---- */

INLINE __m256i broadcast_pair(const int16_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

INLINE void multiply_s8(const struct tile *t, const int rows, veci sum[TILE_ROWS][VECTORS])
{
    const int16_t *in = t->in, *in3 = in + 3 * t->inputs;
    const int8_t *panel = t->panel, *end = panel + PANEL * t->inputs;
    /* Rows 0, 1, 2, 4 are addressed from in, 3 and 5 from in3: few registers. */
    __asm__("" : "+r"(in3));
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < VECTORS; j++)
            sum[r][j] = _mm256_loadu_si256((const __m256i *)(const void *)(t->base + j * LANES));
    for (; panel != end; panel += 2 * PANEL, in += 2, in3 += 2) {
        __m256i b0 = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)panel));
        __m256i b1 =
            _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)(panel + PANEL)));
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m256i a = broadcast_pair(r == 3   ? in3
                                       : r == 5 ? in3 + 2 * t->inputs
                                                : in + (size_t)r * t->inputs);
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(a, b0));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(a, b1));
        }
    }
}

INLINE __m256i quantize_8(const float *row, const float *smooth, vec up, vec offset)
{
    vec v = smooth ? vec_mul(vec_load(row), vec_load(smooth)) : vec_load(row);
    return _mm256_cvtps_epi32(vec_fma(v, up, offset));
}

INLINE void quantize_run(const float *row, const float *smooth, int n, vec up, vec offset,
                         row_s8 *out)
{
    for (int i = 0; i < n; i += 2 * LANES) {
        __m256i both = _mm256_packs_epi32(
            quantize_8(row + i, smooth ? smooth + i : NULL, up, offset),
            quantize_8(row + i + LANES, smooth ? smooth + i + LANES : NULL, up, offset));
        /* Packing works within halves: quarters 0 2 1 3 put it in order. */
        _mm256_storeu_si256((__m256i *)(void *)(out + i), _mm256_permute4x64_epi64(both, 0xd8));
    }
}

#include "router/encoder/cpu/vector_kernels.inc"

/* Attention is a small part of the work here, and stays fp32 with int8 too. */
const struct cpu_ops cpu_ops_avx2 = {
    .isa = "avx2",
    .panel = PANEL,
    .group = 2,
    .row_bytes = sizeof(row_s8),
    .head_multiple = HEAD_MULTIPLE,
    .add_halves = add_halves,
    .product_f32 = product_f32,
    .product_s8 = product_s8,
    .quantize = quantize,
    .norm = norm,
    .attention_bytes = attention_f32_bytes,
    .attention_f32 = attention_f32,
    .attention_s8 = attention_f32,
};
