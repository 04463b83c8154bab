/* The CPU kernels for AVX-512 with VNNI (Intel since Cascade Lake, AMD since Zen 4).
 *
 * Products: a tile is up to 6 rows by a panel of 64 columns, 24 accumulators in registers, with 4
 * for weights and 1 for the broadcast activation; rows are split into tiles of nearly equal height.
 * A panel of 384 inputs is 24 KiB, so it stays in the first-level cache while the rows pass.
 *
 * vpdpbusd multiplies unsigned by signed bytes: rows are stored with 128 added, and where that does
 * not stand for a shift sums begin at -128 * sum(weights), which undoes it exactly. It is written
 * in assembly because gcc 12 copies and spills accumulators around the intrinsic. */
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "router/encoder/cpu/tile.h"

enum { PANEL = 64, LANES = 16, VECTORS = PANEL / LANES, TILE_ROWS = 6 };

typedef __m512 vec;
typedef __m512i veci;
typedef uint8_t row_s8;

INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}
INLINE vec vec_halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE vec vec_zero(void)
{
    return _mm512_setzero_ps();
}
INLINE vec vec_set1(float x)
{
    return _mm512_set1_ps(x);
}
INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}
INLINE float vec_sum(vec v)
{
    return _mm512_reduce_add_ps(v);
}
INLINE float vec_top(vec v)
{
    return _mm512_reduce_max_ps(v);
}
INLINE vec vec_from(veci v)
{
    return _mm512_cvtepi32_ps(v);
}

INLINE veci magnitude(vec x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

/* The larger of max, which is not negative, and |x|: compared as integers, which more of the CPU's
 * units can do. */
INLINE vec vec_seen(vec max, vec x)
{
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(max), magnitude(x)));
}

INLINE __m512i dot_u8s8(__m512i sum, __m512i u8, __m512i s8)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u8), "v"(s8));
    return sum;
}

INLINE __m512i broadcast4(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

/* ---- activation ---- */

/* A table of struct cpu_gelu in registers. */
struct gelu_regs {
    __m512 c[CPU_GELU_FINE + 1];
};

INLINE struct gelu_regs gelu_load(const float (*table)[CPU_GELU_INTERVALS], const int degree)
{
    struct gelu_regs g = {0};
#pragma GCC unroll 4
    for (int i = 0; i <= degree; i++)
        g.c[i] = _mm512_loadu_ps(table[i]);
    return g;
}

INLINE __m512 gelu(__m512 x, const struct gelu_regs *g, const int degree)
{
    /* Adding 2^23 leaves the nearest integer in the low bits: the index, as it stands. */
    const __m512 end = _mm512_set1_ps(CPU_GELU_END), magic = _mm512_set1_ps(8388608.0f);
    __m512i bits = magnitude(x);
    __m512 a = _mm512_castsi512_ps(bits);
    __m512 near = _mm512_castsi512_ps(_mm512_min_epi32(bits, _mm512_castps_si512(end)));
    __m512i index =
        _mm512_castps_si512(_mm512_fmadd_ps(near, _mm512_set1_ps(CPU_GELU_PER_UNIT), magic));
    __m512 y = _mm512_permutexvar_ps(index, g->c[degree]);
#pragma GCC unroll 4
    for (int i = degree - 1; i >= 0; i--)
        y = _mm512_fmadd_ps(y, a, _mm512_permutexvar_ps(index, g->c[i]));
    return _mm512_fmadd_ps(x, _mm512_set1_ps(0.5f), y);
}

/* y * 2^n, where n is in the low bits of m. */
INLINE vec vec_times_power(vec y, vec m)
{
    __m512i power = _mm512_slli_epi32(_mm512_castps_si512(m), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), power));
}

/* ---- products ---- */

INLINE void multiply_s8(const struct tile *t, const int rows, veci sum[TILE_ROWS][VECTORS])
{
    const char *ahead = t->ahead;
    const uint8_t *in = t->in, *in3 = in + 3 * t->inputs;
    const int8_t *panel = t->panel, *end = panel + PANEL * t->inputs;
    /* Rows 0, 1, 2, 4 are addressed from in, 3 and 5 from in3: few registers. */
    __asm__("" : "+r"(in3));
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            sum[r][j] = _mm512_loadu_si512(t->base + j * LANES);
    for (; panel != end; panel += 4 * PANEL, in += 4, in3 += 4, ahead += 64) {
        _mm_prefetch(ahead, _MM_HINT_T1);
        __m512i b[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            b[j] = _mm512_load_si512(panel + j * 64);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m512i a = broadcast4(r == 3   ? in3
                                   : r == 5 ? in3 + 2 * t->inputs
                                            : in + (size_t)r * t->inputs);
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++)
                sum[r][j] = dot_u8s8(sum[r][j], a, b[j]);
        }
    }
}

/* 64 floats -> bytes with 128 added, in order. */
INLINE void quantize_64(const float *row, const float *smooth, __m512 up, __m512 offset,
                        uint8_t *out)
{
    __m512i q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512 v = _mm512_loadu_ps(row + i * LANES);
        if (smooth)
            v = _mm512_mul_ps(v, _mm512_loadu_ps(smooth + i * LANES));
        q[i] = _mm512_cvtps_epi32(_mm512_fmadd_ps(v, up, offset));
    }
    /* Packing works within quarters of a vector: the result has them in the order 0 4 8 12 1 5 ..
     */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i bytes =
        _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
    bytes = _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, bytes));
}

INLINE void quantize_run(const float *row, const float *smooth, int n, vec up, vec offset,
                         row_s8 *out)
{
    for (int i = 0; i < n; i += 64)
        quantize_64(row + i, smooth ? smooth + i : NULL, up, offset, out + i);
}

#include "router/encoder/cpu/vector_kernels.inc"

/* ---- attention, int8 ---- */

INLINE __mmask16 tail_mask(int left)
{
    return left >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

/* Rows go in fours, because three packing instructions turn 4 vectors of 16 numbers into bytes with
 * the fours of one row side by side: what vpdpbusd multiplies at once. */
struct attention_s8 {
    int8_t *queries;  /* [tokens / 4][size / 4][4 queries][4 columns] */
    uint8_t *keys;    /* [tokens / 16][size / 4][16 keys][4 columns], 128 added */
    int8_t *values;   /* [tokens / 4][size][4 values] */
    int32_t *scores;  /* [4 queries][tokens] */
    uint8_t *weights; /* [tokens / 4][4 queries][4 keys]: 255 is the largest of its query */
    float *value_max; /* [size] */
    size_t keys_padded, size;
};

static struct attention_s8 attention_s8_layout(int tokens, int size, uint8_t *p, size_t *bytes)
{
    size_t keys = round_up((size_t)tokens, LANES), d = (size_t)size;
    size_t scores = QUERIES * keys * sizeof(int32_t), matrix = keys * d;
    *bytes = 3 * matrix + scores + QUERIES * keys + round_up(d * sizeof(float), 64);
    if (!p)
        return (struct attention_s8){0};
    return (struct attention_s8){
        .queries = (int8_t *)p,
        .keys = p + matrix,
        .values = (int8_t *)p + 2 * matrix,
        .scores = (int32_t *)(void *)(p + 3 * matrix),
        .weights = p + 3 * matrix + scores,
        .value_max = (float *)(void *)(p + 3 * matrix + scores + QUERIES * keys),
        .keys_padded = keys,
        .size = d,
    };
}

/* Numbers -> bytes; the dword 4 * i + r of the result has columns 4 * i .. 4 * i + 3 of row r. */
INLINE __m512i pack_rows(const __m512i rows[4])
{
    return _mm512_packs_epi16(_mm512_packs_epi32(rows[0], rows[1]),
                              _mm512_packs_epi32(rows[2], rows[3]));
}

/* The same from floats, times up; rows from real on are zero. */
INLINE __m512i pack_floats(const float *x, size_t stride, size_t real, __m512 up)
{
    __m512i rows[4];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++)
        rows[r] = r < real ? _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + r * stride), up))
                           : _mm512_setzero_si512();
    return pack_rows(rows);
}

/* The largest magnitudes of queries and keys, of all columns, and of values, by column. */
static void attention_maxima(const struct cpu_attention *a, float *query, float *key, float *value)
{
    __m512 q = _mm512_setzero_ps(), k = q;
    for (int c = 0; c < a->size; c += LANES) {
        const float *x = a->qkv + c;
        __m512 v = _mm512_setzero_ps();
        for (int t = 0; t < a->tokens; t++, x += a->qkv_stride) {
            q = _mm512_max_ps(q, _mm512_abs_ps(_mm512_loadu_ps(x)));
            k = _mm512_max_ps(k, _mm512_abs_ps(_mm512_loadu_ps(x + a->kv_offset)));
            v = _mm512_max_ps(v, _mm512_abs_ps(_mm512_loadu_ps(x + 2 * a->kv_offset)));
        }
        _mm512_storeu_ps(value + c, v);
    }
    *query = _mm512_reduce_max_ps(q);
    *key = _mm512_reduce_max_ps(k);
}

/* 127 / max, or 0 where all is zero: 127 / 0 times 0 would not be a number. */
INLINE __m512 up_to_127(__m512 max)
{
    return _mm512_maskz_div_ps(_mm512_cmp_ps_mask(max, _mm512_setzero_ps(), _CMP_GT_OQ),
                               _mm512_set1_ps(127.0f), max);
}

/* Four tokens from t on, `real` of them in the sequence. */
INLINE void attention_pack(const struct cpu_attention *a, const struct attention_s8 *s, size_t t,
                           size_t real, __m512 query_up, __m512 key_up)
{
    /* Bytes of 4 rows by 4 columns, turned over in each quarter. */
    const __m512i turn =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    for (size_t c = 0; c < s->size; c += LANES) {
        const float *x = a->qkv + t * a->qkv_stride + c;
        _mm512_store_si512(s->queries + t * s->size + c * 4,
                           pack_floats(x, a->qkv_stride, real, query_up));
        __m512i keys = _mm512_xor_si512(pack_floats(x + a->kv_offset, a->qkv_stride, real, key_up),
                                        _mm512_set1_epi8(-128));
        uint8_t *to = s->keys + t / LANES * LANES * s->size + c * LANES + t % LANES * 4;
        _mm_store_si128((__m128i *)(void *)to, _mm512_castsi512_si128(keys));
        _mm_store_si128((__m128i *)(void *)(to + 64), _mm512_extracti32x4_epi32(keys, 1));
        _mm_store_si128((__m128i *)(void *)(to + 128), _mm512_extracti32x4_epi32(keys, 2));
        _mm_store_si128((__m128i *)(void *)(to + 192), _mm512_extracti32x4_epi32(keys, 3));
        __m512i values = pack_floats(x + 2 * a->kv_offset, a->qkv_stride, real,
                                     up_to_127(_mm512_loadu_ps(s->value_max + c)));
        _mm512_store_si512(s->values + t * s->size + c * 4, _mm512_shuffle_epi8(values, turn));
    }
}

/* Scores of 4 queries against `blocks` times 16 keys, and the largest of each so far. Every score
 * of a query is off by the same amount, 128 * sum(query), on which its weights do not depend. The
 * last block's lanes beyond the sequence get the lowest score. */
INLINE void score_s8(const struct attention_s8 *s, const int8_t *queries, size_t key,
                     const size_t blocks, __mmask16 last, __m512i max[QUERIES])
{
    __m512i sum[QUERIES][4];
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++)
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++)
            sum[q][b] = _mm512_setzero_si512();
    const uint8_t *keys = s->keys + key * s->size;
    for (size_t c = 0; c < s->size; c += 4) {
        __m512i k[4];
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++)
            k[b] = _mm512_load_si512(keys + b * LANES * s->size + c * LANES);
#pragma GCC unroll 4
        for (size_t q = 0; q < QUERIES; q++) {
            __m512i a = broadcast4(queries + c * 4 + q * 4);
#pragma GCC unroll 4
            for (size_t b = 0; b < blocks; b++)
                sum[q][b] = dot_u8s8(sum[q][b], k[b], a);
        }
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++) {
        sum[q][blocks - 1] =
            _mm512_mask_mov_epi32(_mm512_set1_epi32(INT32_MIN), last, sum[q][blocks - 1]);
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            max[q] = _mm512_max_epi32(max[q], sum[q][b]);
            _mm512_store_si512(s->scores + q * s->keys_padded + key + b * LANES, sum[q][b]);
        }
    }
}

/* One number of each of 4 vectors: its largest, or its sum. */
#define ACROSS(name, op)                                                                           \
    INLINE __m128i name(const __m512i v[4])                                                        \
    {                                                                                              \
        __m512i low =                                                                              \
            _mm512_##op(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));     \
        __m512i high =                                                                             \
            _mm512_##op(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));     \
        __m512i all =                                                                              \
            _mm512_##op(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));       \
        __m256i half =                                                                             \
            _mm256_##op(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));           \
        return _mm_##op(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));          \
    }
ACROSS(max_across, max_epi32)
ACROSS(sum_across, add_epi32)

/* scores -> weights of 4 queries, and 1 / their sums. scale: of a score, in powers of two. */
INLINE __m128 weigh_s8(const struct attention_s8 *s, const __m512i max[QUERIES], float scale,
                       __mmask16 last)
{
    const float log2_255 = 7.9943534f;
    float offset[QUERIES];
    _mm_storeu_ps(offset, _mm_fnmadd_ps(_mm_cvtepi32_ps(max_across(max)), _mm_set1_ps(scale),
                                        _mm_set1_ps(log2_255)));
    __m512i sum[QUERIES];
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++)
        sum[q] = _mm512_setzero_si512();
    for (size_t j = 0; j < s->keys_padded; j += LANES) {
        /* The lowest score is not enough where all are 0 times 0. */
        __mmask16 real = j + LANES == s->keys_padded ? last : (__mmask16)0xffff;
        __m512i e[QUERIES];
#pragma GCC unroll 4
        for (size_t q = 0; q < QUERIES; q++) {
            __m512 x = _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(_mm512_load_si512(s->scores + q * s->keys_padded + j)),
                _mm512_set1_ps(scale), _mm512_set1_ps(offset[q]));
            /* Below 1/2 the weight is 0 all the same, and 2^x must not leave its range. */
            x = _mm512_max_ps(x, _mm512_set1_ps(-20.0f));
            e[q] = _mm512_maskz_cvtps_epi32(real, vec_exp2(x, 3));
            sum[q] = _mm512_add_epi32(sum[q], e[q]);
        }
        /* 255 does not fit into what pack_rows makes: its second step is the unsigned one here. */
        _mm512_store_si512(
            s->weights + j * QUERIES,
            _mm512_packus_epi16(_mm512_packs_epi32(e[0], e[1]), _mm512_packs_epi32(e[2], e[3])));
    }
    return _mm_div_ps(_mm_set1_ps(1.0f), _mm_cvtepi32_ps(sum_across(sum)));
}

/* 32 columns of the outputs of 4 queries, of which `real` are stored. */
INLINE void gather_s8(const struct attention_s8 *s, size_t c, const float share[QUERIES],
                      float *out, size_t stride, size_t real)
{
    __m512i sum[QUERIES][2];
#pragma GCC unroll 4
    for (int q = 0; q < QUERIES; q++)
        sum[q][0] = sum[q][1] = _mm512_setzero_si512();
    for (size_t j = 0; j < s->keys_padded; j += 4) {
        __m512i v0 = _mm512_load_si512(s->values + j * s->size + c * 4);
        __m512i v1 = _mm512_load_si512(s->values + j * s->size + (c + LANES) * 4);
#pragma GCC unroll 4
        for (size_t q = 0; q < QUERIES; q++) {
            __m512i w = broadcast4(s->weights + j * QUERIES + q * 4);
            sum[q][0] = dot_u8s8(sum[q][0], w, v0);
            sum[q][1] = dot_u8s8(sum[q][1], w, v1);
        }
    }
    const __m512 down = _mm512_set1_ps(1.0f / 127.0f);
    __m512 scale0 = _mm512_mul_ps(_mm512_loadu_ps(s->value_max + c), down);
    __m512 scale1 = _mm512_mul_ps(_mm512_loadu_ps(s->value_max + c + LANES), down);
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++) {
        if (q >= real)
            break;
        float *to = out + q * stride + c;
        __m512 part = _mm512_set1_ps(share[q]);
        _mm512_storeu_ps(to,
                         _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[q][0]), scale0), part));
        _mm512_storeu_ps(to + LANES,
                         _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[q][1]), scale1), part));
    }
}

static void attention_s8(const struct cpu_attention *a)
{
    size_t bytes, tokens = (size_t)a->tokens;
    const struct attention_s8 s = attention_s8_layout(a->tokens, a->size, a->scratch, &bytes);
    float query_max, key_max;
    attention_maxima(a, &query_max, &key_max, s.value_max);
    for (size_t t = 0; t < s.keys_padded; t += 4)
        attention_pack(a, &s, t, t < tokens ? tokens - t : 0, up_to_127(_mm512_set1_ps(query_max)),
                       up_to_127(_mm512_set1_ps(key_max)));
    const float log2_e = 1.44269504f;
    const float scale = query_max / 127.0f * (key_max / 127.0f) * log2_e / sqrtf((float)a->size);
    const __mmask16 last = tail_mask(a->tokens - (int)s.keys_padded + LANES), full = 0xffff;
    for (size_t query = 0; query < tokens; query += QUERIES) {
        const int8_t *queries = s.queries + query * s.size;
        __m512i max[QUERIES];
        for (size_t q = 0; q < QUERIES; q++)
            max[q] = _mm512_set1_epi32(INT32_MIN);
        size_t key = 0;
        for (; key + 4 * LANES <= s.keys_padded; key += 4 * LANES)
            score_s8(&s, queries, key, 4, key + 4 * LANES == s.keys_padded ? last : full, max);
        for (; key < s.keys_padded; key += LANES)
            score_s8(&s, queries, key, 1, key + LANES == s.keys_padded ? last : full, max);
        float share[QUERIES];
        _mm_storeu_ps(share, weigh_s8(&s, max, scale, last));
        for (size_t c = 0; c < s.size; c += HEAD_MULTIPLE)
            gather_s8(&s, c, share, a->out + query * a->out_stride, a->out_stride, tokens - query);
    }
}

static size_t attention_bytes(int tokens, int size)
{
    size_t s8, f32 = attention_f32_bytes(tokens, size);
    (void)attention_s8_layout(tokens, size, NULL, &s8);
    return s8 > f32 ? s8 : f32;
}

const struct cpu_ops cpu_ops_avx512 = {
    .isa = "avx512vnni",
    .panel = PANEL,
    .group = 4,
    .row_bytes = 1,
    .unsigned_rows = true,
    .head_multiple = HEAD_MULTIPLE,
    .add_halves = add_halves,
    .product_f32 = product_f32,
    .product_s8 = product_s8,
    .quantize = quantize,
    .norm = norm,
    .attention_bytes = attention_bytes,
    .attention_f32 = attention_f32,
    .attention_s8 = attention_s8,
};
