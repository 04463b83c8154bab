/* The CPU kernels for AVX-512 with VNNI (Intel since Cascade Lake, AMD since Zen 4).
 *
 * Products: a tile is up to 6 rows by a panel of 64 columns, 24 accumulators in registers, with 4
 * for weights and 1 for the broadcast activation; rows are split into tiles of nearly equal height.
 * A panel of 384 inputs is 24 KiB, so it stays in the first-level cache while the rows pass.
 *
 * vpdpbusd multiplies unsigned by signed bytes: rows are stored with 128 added, and sums begin at
 * -128 * sum(weights), which undoes it exactly. It is written in assembly because gcc 12 copies and
 * spills accumulators around the intrinsic. */
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "router/encoder/cpu/ops.h"

#define INLINE static inline __attribute__((always_inline))

enum { PANEL = 64, LANES = 16, VECTORS = PANEL / LANES, TILE_ROWS = 6 };

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

/* gelu(x) = max(x, 0) - g(|x|), g from the table: see struct cpu_gelu. */
struct gelu_512 {
    __m512 c[CPU_GELU_DEGREE + 1][2];
};

INLINE struct gelu_512 gelu_load(const struct cpu_gelu *table)
{
    struct gelu_512 g;
#pragma GCC unroll 4
    for (int i = 0; i <= CPU_GELU_DEGREE; i++) {
        g.c[i][0] = _mm512_loadu_ps(table->c[i]);
        g.c[i][1] = _mm512_loadu_ps(table->c[i] + LANES);
    }
    return g;
}

INLINE __m512 gelu(__m512 x, const struct gelu_512 *g)
{
    /* Adding 2^23 leaves the nearest integer in the low bits, which is also the table's index. */
    const __m512 magic = _mm512_set1_ps(8388608.0f);
    __m512 t = _mm512_min_ps(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(CPU_GELU_PER_UNIT)),
                             _mm512_set1_ps(CPU_GELU_INTERVALS - 1));
    __m512 m = _mm512_add_ps(t, magic);
    __m512i index = _mm512_castps_si512(m);
    __m512 d = _mm512_sub_ps(t, _mm512_sub_ps(m, magic));
    __m512 y = _mm512_permutex2var_ps(g->c[CPU_GELU_DEGREE][0], index, g->c[CPU_GELU_DEGREE][1]);
#pragma GCC unroll 4
    for (int i = CPU_GELU_DEGREE - 1; i >= 0; i--)
        y = _mm512_fmadd_ps(y, d, _mm512_permutex2var_ps(g->c[i][0], index, g->c[i][1]));
    return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), y);
}

/* ---- products ---- */

/* Sums of one tile's row, scaled and with their bias, to where they belong. */
INLINE void finish(const struct cpu_product *p, int row, int column, __m512 v[VECTORS],
                   enum cpu_finish kind)
{
    float *out = p->out + (size_t)row * p->out_stride + column;
    if (kind == CPU_ADD) {
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            v[j] = _mm512_add_ps(v[j], _mm512_loadu_ps(out + j * LANES));
    }
    if (kind == CPU_GELU) {
        const struct gelu_512 g = gelu_load(p->gelu);
        __m512 max = _mm512_setzero_ps();
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) {
            v[j] = gelu(v[j], &g);
            max = _mm512_max_ps(max, _mm512_abs_ps(v[j]));
        }
        if (p->row_max) {
            float *lanes = p->row_max + (size_t)row * CPU_ROW_MAX_LANES;
            _mm512_storeu_ps(lanes, _mm512_max_ps(max, _mm512_loadu_ps(lanes)));
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++)
        _mm512_storeu_ps(out + j * LANES, v[j]);
}

INLINE void tile_s8(const struct cpu_product *p, int row, int column, const int rows,
                    const enum cpu_finish kind)
{
    const struct cpu_matrix *w = p->w;
    const size_t inputs = (size_t)w->inputs;
    const int8_t *panel = w->s8 + (size_t)column * inputs;
    const uint8_t *in = (const uint8_t *)p->in + (size_t)row * inputs;
    __m512i sum[TILE_ROWS][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            sum[r][j] = _mm512_loadu_si512(w->base + column + j * LANES);
    for (size_t k = 0; k < inputs; k += 4) {
        __m512i b[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            b[j] = _mm512_load_si512(panel + k * PANEL + j * 64);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m512i a = broadcast4(in + (size_t)r * inputs + k);
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++)
                sum[r][j] = dot_u8s8(sum[r][j], a, b[j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        __m512 v[VECTORS], scale = _mm512_set1_ps(p->in_scale[row + r]);
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            v[j] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][j]),
                                                 _mm512_loadu_ps(w->scale + column + j * LANES)),
                                   scale, _mm512_loadu_ps(w->bias + column + j * LANES));
        finish(p, row + r, column, v, kind);
    }
}

INLINE void tile_f32(const struct cpu_product *p, int row, int column, const int rows,
                     const enum cpu_finish kind)
{
    const struct cpu_matrix *w = p->w;
    const size_t inputs = (size_t)w->inputs;
    const float *panel = w->f32 + (size_t)column * inputs;
    const float *in = (const float *)p->in + (size_t)row * inputs;
    __m512 sum[TILE_ROWS][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            sum[r][j] = _mm512_loadu_ps(w->bias + column + j * LANES);
    for (size_t k = 0; k < inputs; k++) {
        __m512 b[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            b[j] = _mm512_load_ps(panel + k * PANEL + j * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m512 a = _mm512_set1_ps(in[(size_t)r * inputs + k]);
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++)
                sum[r][j] = _mm512_fmadd_ps(a, b[j], sum[r][j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        finish(p, row + r, column, sum[r], kind);
}

/* One function per tile height and finish, each with its loops unrolled over registers. */
typedef void (*tile_fn)(const struct cpu_product *p, int row, int column);
#define TILE(type, rows, name, kind)                                                               \
    static void type##_##rows##_##name(const struct cpu_product *p, int row, int column)           \
    {                                                                                              \
        tile_##type(p, row, column, rows, kind);                                                   \
    }
#define TILE_HEIGHTS(type, name, kind)                                                             \
    TILE(type, 1, name, kind)                                                                      \
    TILE(type, 2, name, kind)                                                                      \
    TILE(type, 3, name, kind)                                                                      \
    TILE(type, 4, name, kind)                                                                      \
    TILE(type, 5, name, kind)                                                                      \
    TILE(type, 6, name, kind)
#define TILE_ROW(type, name)                                                                       \
    {                                                                                              \
        type##_1_##name, type##_2_##name, type##_3_##name, type##_4_##name, type##_5_##name,       \
            type##_6_##name                                                                        \
    }
#define TILES(type)                                                                                \
    TILE_HEIGHTS(type, store, CPU_STORE)                                                           \
    TILE_HEIGHTS(type, add, CPU_ADD)                                                               \
    TILE_HEIGHTS(type, gelu, CPU_GELU)                                                             \
    static const tile_fn type##_tiles[][TILE_ROWS] = {[CPU_STORE] = TILE_ROW(type, store),         \
                                                      [CPU_ADD] = TILE_ROW(type, add),             \
                                                      [CPU_GELU] = TILE_ROW(type, gelu)};
TILES(s8)
TILES(f32)

static void product(const struct cpu_product *p, const tile_fn tiles[TILE_ROWS])
{
    int blocks = (p->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int column = 0; column < p->w->outputs; column += PANEL)
        for (int b = 0, row = 0; b < blocks; b++) {
            int height = (p->rows - row) / (blocks - b);
            tiles[height - 1](p, row, column);
            row += height;
        }
}

static void product_f32(const struct cpu_product *p)
{
    product(p, f32_tiles[p->finish]);
}

static void product_s8(const struct cpu_product *p)
{
    if (p->row_max)
        memset(p->row_max, 0, (size_t)p->rows * CPU_ROW_MAX_LANES * sizeof(float));
    product(p, s8_tiles[p->finish]);
}

/* ---- rows ---- */

INLINE float largest(const float *row, const float *smooth, int n)
{
    __m512 max = _mm512_setzero_ps();
    for (int i = 0; i < n; i += LANES) {
        __m512 v = _mm512_loadu_ps(row + i);
        if (smooth)
            v = _mm512_mul_ps(v, _mm512_loadu_ps(smooth + i));
        max = _mm512_max_ps(max, _mm512_abs_ps(v));
    }
    return _mm512_reduce_max_ps(max);
}

INLINE void quantize_row(const float *row, const float *smooth, int n, float max, uint8_t *out)
{
    __m512 up = _mm512_set1_ps(max > 0 ? 127.0f / max : 0);
    const __m512i zero_point = _mm512_set1_epi32(128);
    for (int i = 0; i < n; i += LANES) {
        __m512 v = _mm512_loadu_ps(row + i);
        if (smooth)
            v = _mm512_mul_ps(v, _mm512_loadu_ps(smooth + i));
        __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(v, up)), zero_point);
        _mm_storeu_si128((__m128i *)(void *)(out + i), _mm512_cvtepi32_epi8(q));
    }
}

static void quantize(const struct cpu_quantize *q)
{
    for (int r = 0; r < q->rows; r++) {
        const float *row = q->in + (size_t)r * q->stride;
        uint8_t *out = (uint8_t *)q->out + (size_t)r * (size_t)q->size;
        float max;
        if (q->row_max)
            max = _mm512_reduce_max_ps(_mm512_loadu_ps(q->row_max + (size_t)r * CPU_ROW_MAX_LANES));
        else
            max = q->smooth ? largest(row, q->smooth, q->size) : largest(row, NULL, q->size);
        q->scale[r] = max / 127.0f;
        if (q->smooth)
            quantize_row(row, q->smooth, q->size, max, out);
        else
            quantize_row(row, NULL, q->size, max, out);
    }
}

INLINE __mmask16 tail_mask(int left)
{
    return left >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

static void norm(const struct cpu_norm *n)
{
    float per_column = 1.0f / (float)n->size;
    for (int r = 0; r < n->rows; r++) {
        float *x = n->x + (size_t)r * n->stride;
        __m512 sum = _mm512_setzero_ps(), square = _mm512_setzero_ps();
        for (int i = 0; i < n->size; i += LANES)
            sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i)); /* the padding is zero */
        __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) * per_column);
        for (int i = 0; i < n->size; i += LANES) {
            __m512 d = _mm512_maskz_sub_ps(tail_mask(n->size - i), _mm512_loadu_ps(x + i), mean);
            square = _mm512_fmadd_ps(d, d, square);
        }
        float variance = _mm512_reduce_add_ps(square) * per_column;
        __m512 scale = _mm512_set1_ps(1.0f / sqrtf(variance + n->eps));
        for (int i = 0; i < n->size; i += LANES) {
            __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), scale);
            _mm512_storeu_ps(x + i, _mm512_fmadd_ps(d, _mm512_loadu_ps(n->gain + i),
                                                    _mm512_loadu_ps(n->shift + i)));
        }
    }
}

/* ---- attention ----
 *
 * Scores are made for 4 queries at a time against all keys, turned into weights, and multiplied
 * with the values: nothing of the size tokens x tokens is kept. */

enum { QUERIES = 4, QUERY_DIMS = 32 /* a head's size is a multiple of this */ };

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* 2^x for x in -126 .. 127, by the terms of its Taylor series about the nearest integer: relative
 * error 6e-4 with 3, 2e-7 with 6. */
INLINE __m512 exp2_terms(__m512 x, const int terms)
{
    static const float series[] = {1.0f,          0.69314718f,   0.24022651f,   0.055504109f,
                                   0.0096181291f, 0.0013333558f, 0.00015403530f};
    const __m512 magic = _mm512_set1_ps(12582912.0f); /* 1.5 * 2^23 */
    __m512 m = _mm512_add_ps(x, magic);
    __m512 f = _mm512_sub_ps(x, _mm512_sub_ps(m, magic));
    __m512 y = _mm512_set1_ps(series[terms]);
#pragma GCC unroll 6
    for (int i = terms - 1; i >= 0; i--)
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(series[i]));
    __m512i power = _mm512_slli_epi32(_mm512_castps_si512(m), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), power));
}

struct attention_s8 {
    uint8_t *keys;      /* [keys / 16][size / 4][16][4], 128 added */
    int8_t *queries;    /* [queries][size] */
    int8_t *values;     /* [keys / 4][size][4] */
    int32_t *scores;    /* [QUERIES][keys] */
    uint8_t *weights;   /* [QUERIES][keys]: 255 is the largest of its query */
    float *value_scale; /* [size] */
    size_t keys_padded, size;
};

static struct attention_s8 attention_s8_layout(int tokens, int size, uint8_t *p, size_t *bytes)
{
    size_t keys = round_up((size_t)tokens, LANES), d = (size_t)size, used = 0;
    struct attention_s8 s = {.keys_padded = keys, .size = d};
    size_t parts[] = {keys * d,       keys * d,         keys * d, QUERIES * keys * sizeof(int32_t),
                      QUERIES * keys, d * sizeof(float)};
    void *at[6] = {0};
    for (size_t i = 0; i < 6; i++) {
        at[i] = p ? p + used : NULL;
        used += round_up(parts[i], 64);
    }
    s.keys = at[0];
    s.queries = at[1];
    s.values = at[2];
    s.scores = at[3];
    s.weights = at[4];
    s.value_scale = at[5];
    *bytes = used;
    return s;
}

/* Largest magnitudes of 16 columns over all tokens. */
INLINE __m512 column_max(const float *x, size_t stride, int tokens)
{
    __m512 max = _mm512_setzero_ps();
    for (int t = 0; t < tokens; t++)
        max = _mm512_max_ps(max, _mm512_abs_ps(_mm512_loadu_ps(x + (size_t)t * stride)));
    return max;
}

static float matrix_max(const float *x, size_t stride, int tokens, size_t size)
{
    __m512 max = _mm512_setzero_ps();
    for (size_t c = 0; c < size; c += LANES)
        max = _mm512_max_ps(max, column_max(x + c, stride, tokens));
    return _mm512_reduce_max_ps(max);
}

static float inverse(float max)
{
    return max > 0 ? 127.0f / max : 0;
}

static void pack_queries(const struct cpu_attention *a, struct attention_s8 *s, float up)
{
    for (size_t t = 0; t < s->keys_padded; t++)
        for (size_t c = 0; c < s->size; c += LANES) {
            __m512 v = t < (size_t)a->tokens ? _mm512_loadu_ps(a->qkv + t * a->qkv_stride + c)
                                             : _mm512_setzero_ps();
            __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, _mm512_set1_ps(up)));
            _mm_store_si128((__m128i *)(void *)(s->queries + t * s->size + c),
                            _mm512_cvtepi32_epi8(q));
        }
}

static void pack_keys(const struct cpu_attention *a, struct attention_s8 *s, float up)
{
    const float *keys = a->qkv + a->kv_offset;
    for (size_t t = 0; t < s->keys_padded; t++)
        for (size_t c = 0; c < s->size; c += LANES) {
            __m512 v = t < (size_t)a->tokens ? _mm512_loadu_ps(keys + t * a->qkv_stride + c)
                                             : _mm512_setzero_ps();
            __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, _mm512_set1_ps(up)));
            __m128i bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(q, _mm512_set1_epi32(128)));
            uint8_t *to = s->keys + (t / LANES * s->size + c) * LANES + t % LANES * 4;
            int32_t four[4];
            memcpy(four, &bytes, sizeof four);
            for (int g = 0; g < 4; g++)
                memcpy(to + g * 4 * LANES, &four[g], 4);
        }
}

static void pack_values(const struct cpu_attention *a, struct attention_s8 *s)
{
    const float *values = a->qkv + 2 * a->kv_offset;
    for (size_t c = 0; c < s->size; c += LANES) {
        __m512 max = column_max(values + c, a->qkv_stride, a->tokens);
        _mm512_storeu_ps(s->value_scale + c, _mm512_mul_ps(max, _mm512_set1_ps(1.0f / 127.0f)));
        /* A column of zeros: 127 / 0 times 0 would not be a number. */
        __m512 up = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(max, _mm512_setzero_ps(), _CMP_GT_OQ),
                                        _mm512_set1_ps(127.0f), max);
        for (size_t t = 0; t < s->keys_padded; t += 4) {
            __m512i four = _mm512_setzero_si512();
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                if (t + i >= (size_t)a->tokens)
                    break;
                __m512 v = _mm512_loadu_ps(values + (t + i) * a->qkv_stride + c);
                __m512i q = _mm512_and_si512(_mm512_cvtps_epi32(_mm512_mul_ps(v, up)),
                                             _mm512_set1_epi32(255));
                four = _mm512_or_si512(four, _mm512_slli_epi32(q, (unsigned)(8 * i)));
            }
            _mm512_store_si512(s->values + t * s->size + c * 4, four);
        }
    }
}

/* Scores of 4 queries against `blocks` times 16 keys. Every score of a query is off by the same
 * amount, 128 * sum(query): the weights do not depend on it. */
INLINE void score_s8(const struct attention_s8 *s, size_t query, size_t key, const size_t blocks)
{
    __m512i sum[QUERIES][4];
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++)
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++)
            sum[q][b] = _mm512_setzero_si512();
    for (size_t c = 0; c < s->size; c += 4) {
        __m512i k[4];
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++)
            k[b] = _mm512_load_si512(s->keys + (key + b * LANES) * s->size + c * LANES);
#pragma GCC unroll 4
        for (size_t q = 0; q < QUERIES; q++) {
            __m512i a = broadcast4(s->queries + (query + q) * s->size + c);
#pragma GCC unroll 4
            for (size_t b = 0; b < blocks; b++)
                sum[q][b] = dot_u8s8(sum[q][b], k[b], a);
        }
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++)
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++)
            _mm512_store_si512(s->scores + q * s->keys_padded + key + b * LANES, sum[q][b]);
}

/* scores -> weights of one query; returns their sum. scale: of a score, in powers of two. */
INLINE int32_t weigh_s8(const struct attention_s8 *s, size_t q, int tokens, float scale)
{
    const float log2_255 = 7.9943534f;
    int32_t *scores = s->scores + q * s->keys_padded;
    __mmask16 last = tail_mask(tokens - (int)s->keys_padded + LANES);
    const __m512i lowest = _mm512_set1_epi32(INT32_MIN);
    __m512i max = lowest;
    size_t end = s->keys_padded - LANES;
    _mm512_store_si512(scores + end,
                       _mm512_mask_mov_epi32(lowest, last, _mm512_load_si512(scores + end)));
    for (size_t j = 0; j < s->keys_padded; j += LANES)
        max = _mm512_max_epi32(max, _mm512_load_si512(scores + j));
    __m512 offset = _mm512_set1_ps(log2_255 - (float)_mm512_reduce_max_epi32(max) * scale);
    __m512i sum = _mm512_setzero_si512();
    for (size_t j = 0; j < s->keys_padded; j += LANES) {
        __m512 x = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(scores + j)),
                                   _mm512_set1_ps(scale), offset);
        /* What is below 2^-20 of 255 is 0 all the same, and 2^x must not leave its range. */
        x = _mm512_max_ps(x, _mm512_set1_ps(-20.0f));
        __m512i e = _mm512_cvtps_epi32(exp2_terms(x, 3));
        sum = _mm512_add_epi32(sum, e);
        _mm_store_si128((__m128i *)(void *)(s->weights + q * s->keys_padded + j),
                        _mm512_cvtusepi32_epi8(e));
    }
    return _mm512_reduce_add_epi32(sum);
}

/* 32 columns of the outputs of 4 queries, of which `real` are stored. */
INLINE void gather_s8(const struct cpu_attention *a, const struct attention_s8 *s, size_t query,
                      size_t real, size_t c, const int32_t total[QUERIES])
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
            __m512i w = broadcast4(s->weights + q * s->keys_padded + j);
            sum[q][0] = dot_u8s8(sum[q][0], w, v0);
            sum[q][1] = dot_u8s8(sum[q][1], w, v1);
        }
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++) {
        if (q >= real)
            break;
        float *out = a->out + (query + q) * a->out_stride + c;
        __m512 scale = _mm512_set1_ps(1.0f / (float)total[q]);
        for (int i = 0; i < 2; i++) {
            __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[q][i]),
                                     _mm512_loadu_ps(s->value_scale + c + (size_t)i * LANES));
            _mm512_storeu_ps(out + i * LANES, _mm512_mul_ps(v, scale));
        }
    }
}

static void attention_s8(const struct cpu_attention *a)
{
    size_t bytes, size = (size_t)a->size;
    struct attention_s8 s = attention_s8_layout(a->tokens, a->size, a->scratch, &bytes);
    float query_max = matrix_max(a->qkv, a->qkv_stride, a->tokens, size);
    float key_max = matrix_max(a->qkv + a->kv_offset, a->qkv_stride, a->tokens, size);
    pack_queries(a, &s, inverse(query_max));
    pack_keys(a, &s, inverse(key_max));
    pack_values(a, &s);
    const float log2_e = 1.44269504f;
    float scale = query_max / 127.0f * (key_max / 127.0f) * log2_e / sqrtf((float)a->size);
    for (size_t query = 0; query < (size_t)a->tokens; query += QUERIES) {
        size_t key = 0;
        for (; key + 4 * LANES <= s.keys_padded; key += 4 * LANES)
            score_s8(&s, query, key, 4);
        for (; key < s.keys_padded; key += LANES)
            score_s8(&s, query, key, 1);
        int32_t total[QUERIES];
        for (size_t q = 0; q < QUERIES; q++)
            total[q] = weigh_s8(&s, q, a->tokens, scale);
        size_t real = (size_t)a->tokens - query;
        for (size_t c = 0; c < size; c += QUERY_DIMS)
            gather_s8(a, &s, query, real, c, total);
    }
}

/* ---- attention, fp32 ---- */

struct attention_f32 {
    float *keys;    /* [keys / 16][size][16] */
    float *weights; /* [QUERIES][keys] */
    size_t keys_padded, size;
};

static size_t attention_bytes(int tokens, int size)
{
    size_t s8, keys = round_up((size_t)tokens, LANES);
    (void)attention_s8_layout(tokens, size, NULL, &s8);
    size_t f32 = keys * ((size_t)size + QUERIES) * sizeof(float);
    return s8 > f32 ? s8 : f32;
}

static void transpose_keys(const struct cpu_attention *a, struct attention_f32 *s)
{
    for (size_t t = 0; t < s->keys_padded; t++)
        for (size_t c = 0; c < s->size; c++)
            s->keys[(t / LANES * s->size + c) * LANES + t % LANES] =
                t < (size_t)a->tokens ? a->qkv[a->kv_offset + t * a->qkv_stride + c] : 0;
}

/* Weights of 4 queries, not yet divided by their sums: the last of a sequence stands for those
 * beyond. */
INLINE void weigh_f32(const struct cpu_attention *a, const struct attention_f32 *s,
                      const float *query[QUERIES], float sums[QUERIES])
{
    const float scale = 1.44269504f / sqrtf((float)a->size);
    __m512 max[QUERIES];
#pragma GCC unroll 4
    for (int q = 0; q < QUERIES; q++)
        max[q] = _mm512_set1_ps(-INFINITY);
    for (size_t key = 0; key < s->keys_padded; key += LANES) {
        __m512 sum[QUERIES];
#pragma GCC unroll 4
        for (int q = 0; q < QUERIES; q++)
            sum[q] = _mm512_setzero_ps();
        for (size_t c = 0; c < s->size; c++) {
            __m512 k = _mm512_load_ps(s->keys + key * s->size + c * LANES);
#pragma GCC unroll 4
            for (int q = 0; q < QUERIES; q++)
                sum[q] = _mm512_fmadd_ps(_mm512_set1_ps(query[q][c]), k, sum[q]);
        }
        __mmask16 real = tail_mask(a->tokens - (int)key);
#pragma GCC unroll 4
        for (size_t q = 0; q < QUERIES; q++) {
            sum[q] =
                _mm512_mask_mul_ps(_mm512_set1_ps(-INFINITY), real, sum[q], _mm512_set1_ps(scale));
            max[q] = _mm512_max_ps(max[q], sum[q]);
            _mm512_store_ps(s->weights + q * s->keys_padded + key, sum[q]);
        }
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++) {
        float *row = s->weights + q * s->keys_padded;
        __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(max[q])), sum = _mm512_setzero_ps();
        for (size_t j = 0; j < s->keys_padded; j += LANES) {
            __m512 x =
                _mm512_max_ps(_mm512_sub_ps(_mm512_load_ps(row + j), top), _mm512_set1_ps(-126.0f));
            __m512 e = _mm512_maskz_mov_ps(tail_mask(a->tokens - (int)j), exp2_terms(x, 6));
            sum = _mm512_add_ps(sum, e);
            _mm512_store_ps(row + j, e);
        }
        sums[q] = _mm512_reduce_add_ps(sum);
    }
}

INLINE void gather_f32(const struct cpu_attention *a, const struct attention_f32 *s, size_t first,
                       size_t real, size_t c, const float sums[QUERIES])
{
    const float *values = a->qkv + 2 * a->kv_offset + c;
    __m512 sum[QUERIES][2];
#pragma GCC unroll 4
    for (int q = 0; q < QUERIES; q++)
        sum[q][0] = sum[q][1] = _mm512_setzero_ps();
    for (size_t j = 0; j < (size_t)a->tokens; j++) {
        __m512 v0 = _mm512_loadu_ps(values + j * a->qkv_stride);
        __m512 v1 = _mm512_loadu_ps(values + j * a->qkv_stride + LANES);
#pragma GCC unroll 4
        for (size_t q = 0; q < QUERIES; q++) {
            __m512 w = _mm512_set1_ps(s->weights[q * s->keys_padded + j]);
            sum[q][0] = _mm512_fmadd_ps(w, v0, sum[q][0]);
            sum[q][1] = _mm512_fmadd_ps(w, v1, sum[q][1]);
        }
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < QUERIES; q++) {
        if (q >= real)
            break;
        float *out = a->out + (first + q) * a->out_stride + c;
        __m512 scale = _mm512_set1_ps(1.0f / sums[q]);
        _mm512_storeu_ps(out, _mm512_mul_ps(sum[q][0], scale));
        _mm512_storeu_ps(out + LANES, _mm512_mul_ps(sum[q][1], scale));
    }
}

static void attention_f32(const struct cpu_attention *a)
{
    size_t keys = round_up((size_t)a->tokens, LANES), size = (size_t)a->size;
    struct attention_f32 s = {.keys = a->scratch,
                              .weights = (float *)a->scratch + keys * size,
                              .keys_padded = keys,
                              .size = size};
    transpose_keys(a, &s);
    for (size_t first = 0; first < (size_t)a->tokens; first += QUERIES) {
        const float *query[QUERIES];
        float sums[QUERIES];
        for (size_t q = 0; q < QUERIES; q++) {
            size_t t = first + q < (size_t)a->tokens ? first + q : (size_t)a->tokens - 1;
            query[q] = a->qkv + t * a->qkv_stride;
        }
        weigh_f32(a, &s, query, sums);
        for (size_t c = 0; c < size; c += QUERY_DIMS)
            gather_f32(a, &s, first, (size_t)a->tokens - first, c, sums);
    }
}

const struct cpu_ops cpu_ops_avx512 = {
    .isa = "avx512vnni",
    .panel = PANEL,
    .group = 4,
    .row_bytes = 1,
    .unsigned_rows = true,
    .head_multiple = QUERY_DIMS,
    .product_f32 = product_f32,
    .product_s8 = product_s8,
    .quantize = quantize,
    .norm = norm,
    .attention_bytes = attention_bytes,
    .attention_f32 = attention_f32,
    .attention_s8 = attention_s8,
};
