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

/* A table of struct cpu_gelu in registers. */
struct gelu_512 {
    __m512 c[CPU_GELU_FINE + 1];
};

INLINE struct gelu_512 gelu_load(const float (*table)[CPU_GELU_INTERVALS], const int degree)
{
    struct gelu_512 g;
#pragma GCC unroll 4
    for (int i = 0; i <= degree; i++)
        g.c[i] = _mm512_loadu_ps(table[i]);
    return g;
}

INLINE __m512i magnitude(__m512 x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

/* Magnitudes are compared as integers, which more of the CPU's units can do. */
INLINE __m512 gelu(__m512 x, const struct gelu_512 *g, const int degree)
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

/* ---- products ---- */

/* What a tile needs, in locals: stores of floats could change anything behind a pointer, as far as
 * the compiler knows. */
struct tile {
    const void *in, *panel;
    const char *ahead; /* to be fetched meanwhile */
    size_t inputs, out_stride;
    const float *in_scale, *scale, *bias;
    const int32_t *base;
    float *out, *row_max;
    const struct cpu_gelu *gelu;
};

/* One column vector of a tile: activation, residual, store. max: magnitudes of each row so far. */
INLINE void finish(const struct tile *t, int j, const int rows, __m512 v[TILE_ROWS],
                   __m512i max[TILE_ROWS], const struct gelu_512 *g, const int degree,
                   const enum cpu_finish kind)
{
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        float *out = t->out + (size_t)r * t->out_stride + j * LANES;
        if (kind == CPU_ADD)
            v[r] = _mm512_add_ps(v[r], _mm512_loadu_ps(out));
        if (kind == CPU_GELU) {
            v[r] = gelu(v[r], g, degree);
            max[r] = j == 0 ? magnitude(v[r]) : _mm512_max_epi32(max[r], magnitude(v[r]));
        }
        _mm512_storeu_ps(out, v[r]);
    }
}

INLINE void finish_max(const struct tile *t, const int rows, const __m512i max[TILE_ROWS])
{
    if (!t->row_max)
        return;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        float *lanes = t->row_max + r * CPU_ROW_MAX_LANES;
        _mm512_storeu_si512(lanes, _mm512_max_epi32(max[r], _mm512_loadu_si512(lanes)));
    }
}

INLINE void tile_s8(struct tile t, const int rows, const enum cpu_finish kind)
{
    const uint8_t *in = t.in, *in3 = in + 3 * t.inputs;
    const int8_t *panel = t.panel, *end = panel + PANEL * t.inputs;
    /* Rows 0, 1, 2, 4 are addressed from in, 3 and 5 from in3: few registers. */
    __asm__("" : "+r"(in3));
    __m512i sum[TILE_ROWS][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            sum[r][j] = _mm512_loadu_si512(t.base + j * LANES);
    for (; panel != end; panel += 4 * PANEL, in += 4, in3 += 4, t.ahead += 64) {
        _mm_prefetch(t.ahead, _MM_HINT_T1);
        __m512i b[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            b[j] = _mm512_load_si512(panel + j * 64);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m512i a = broadcast4(r == 3   ? in3
                                   : r == 5 ? in3 + 2 * t.inputs
                                            : in + (size_t)r * t.inputs);
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++)
                sum[r][j] = dot_u8s8(sum[r][j], a, b[j]);
        }
    }
    struct gelu_512 g = {0};
    if (kind == CPU_GELU)
        g = gelu_load(t.gelu->coarse, CPU_GELU_COARSE);
    __m512i max[TILE_ROWS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
        __m512 v[TILE_ROWS], scale = _mm512_loadu_ps(t.scale + j * LANES),
                             bias = _mm512_loadu_ps(t.bias + j * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
            v[r] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][j]), scale),
                                   _mm512_set1_ps(t.in_scale[r]), bias);
        finish(&t, j, rows, v, max, &g, CPU_GELU_COARSE, kind);
    }
    if (kind == CPU_GELU)
        finish_max(&t, rows, max);
}

INLINE void tile_f32(struct tile t, const int rows, const enum cpu_finish kind)
{
    const float *in = t.in, *in3 = in + 3 * t.inputs, *panel = t.panel;
    const float *end = panel + PANEL * t.inputs;
    __asm__("" : "+r"(in3));
    __m512 sum[TILE_ROWS][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            sum[r][j] = _mm512_loadu_ps(t.bias + j * LANES);
    for (; panel != end; panel += PANEL, in++, in3++, t.ahead += 64) {
        _mm_prefetch(t.ahead, _MM_HINT_T1);
        __m512 b[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++)
            b[j] = _mm512_load_ps(panel + j * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m512 a = _mm512_set1_ps(r == 3   ? *in3
                                      : r == 5 ? in3[2 * t.inputs]
                                               : in[(size_t)r * t.inputs]);
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++)
                sum[r][j] = _mm512_fmadd_ps(a, b[j], sum[r][j]);
        }
    }
    struct gelu_512 g = {0};
    if (kind == CPU_GELU)
        g = gelu_load(t.gelu->fine, CPU_GELU_FINE);
    __m512i max[TILE_ROWS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
        __m512 v[TILE_ROWS];
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
            v[r] = sum[r][j];
        finish(&t, j, rows, v, max, &g, CPU_GELU_FINE, kind);
    }
    if (kind == CPU_GELU)
        finish_max(&t, rows, max);
}

/* One function per tile height and finish, each with its loops unrolled over registers. */
typedef void (*tile_fn)(const struct tile *t);
#define TILE(type, rows, name, kind)                                                               \
    static void type##_##rows##_##name(const struct tile *t)                                       \
    {                                                                                              \
        tile_##type(*t, rows, kind);                                                               \
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

/* in_bytes, weight_bytes: of one activation, of one weight. While one panel is multiplied the next
 * is fetched into the second-level cache, each tile its share: a model's weights do not stay there.
 * After a layer's last panel comes the next layer. */
static void product(const struct cpu_product *p, const tile_fn tiles[TILE_ROWS],
                    const void *weights, size_t in_bytes, size_t weight_bytes)
{
    const struct cpu_matrix *w = p->w;
    size_t inputs = (size_t)w->inputs, panel_bytes = PANEL * inputs * weight_bytes;
    int blocks = (p->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int column = 0; column < w->outputs; column += PANEL) {
        const char *panel = (const char *)weights + (size_t)(column / PANEL) * panel_bytes;
        for (int b = 0, row = 0; b < blocks; b++) {
            int height = (p->rows - row) / (blocks - b);
            struct tile t = {
                .in = (const char *)p->in + (size_t)row * inputs * in_bytes,
                .panel = panel,
                .ahead = panel + panel_bytes + (size_t)b * panel_bytes / (size_t)blocks,
                .inputs = inputs,
                .out_stride = p->out_stride,
                .in_scale = p->in_scale ? p->in_scale + row : NULL,
                .scale = w->scale ? w->scale + column : NULL,
                .bias = w->bias + column,
                .base = w->base ? w->base + column : NULL,
                .out = p->out + (size_t)row * p->out_stride + column,
                .row_max = p->row_max ? p->row_max + row * CPU_ROW_MAX_LANES : NULL,
                .gelu = p->gelu,
            };
            tiles[height - 1](&t);
            row += height;
        }
    }
}

static void product_f32(const struct cpu_product *p)
{
    product(p, f32_tiles[p->finish], p->w->f32, sizeof(float), sizeof(float));
}

static void product_s8(const struct cpu_product *p)
{
    if (p->row_max)
        memset(p->row_max, 0, (size_t)p->rows * CPU_ROW_MAX_LANES * sizeof(float));
    product(p, s8_tiles[p->finish], p->w->s8, 1, 1);
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

/* 64 floats -> bytes with 128 added, in order. */
INLINE void quantize_64(const float *row, const float *smooth, __m512 up, uint8_t *out)
{
    __m512i q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512 v = _mm512_loadu_ps(row + i * LANES);
        if (smooth)
            v = _mm512_mul_ps(v, _mm512_loadu_ps(smooth + i * LANES));
        q[i] = _mm512_cvtps_epi32(_mm512_mul_ps(v, up));
    }
    /* Packing works within quarters of a vector: the result has them in the order 0 4 8 12 1 5 ..
     */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i bytes =
        _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
    bytes = _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, bytes));
}

INLINE void quantize_row(const float *row, const float *smooth, int n, float max, uint8_t *out)
{
    __m512 up = _mm512_set1_ps(max > 0 ? 127.0f / max : 0);
    for (int i = 0; i < n; i += 64)
        quantize_64(row + i, smooth ? smooth + i : NULL, up, out + i);
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

/* Mean and 1 / deviation of a row in one sweep, as E[x^2] - E[x]^2: rows of a residual stream have
 * means that are small beside their deviation. Padding is zero and does not count. */
INLINE void moments(const struct cpu_norm *n, const float *x, __m512 *mean, __m512 *scale)
{
    __m512 sum[4], square[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        sum[j] = square[j] = _mm512_setzero_ps();
    for (int i = 0; i < n->size; i += 4 * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m512 v = _mm512_load_ps(x + i + j * LANES);
            sum[j] = _mm512_add_ps(sum[j], v);
            square[j] = _mm512_fmadd_ps(v, v, square[j]);
        }
    float total = _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
    float squares = _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(square[0], square[1]), _mm512_add_ps(square[2], square[3])));
    float m = total / (float)n->size, variance = squares / (float)n->size - m * m;
    *mean = _mm512_set1_ps(m);
    *scale = _mm512_set1_ps(1.0f / sqrtf((variance > 0 ? variance : 0) + n->eps));
}

INLINE void norm_rows(const struct cpu_norm *n, const bool see, const bool smoothed)
{
    for (int r = 0; r < n->rows; r++) {
        float *x = n->x + (size_t)r * n->stride;
        __m512 mean, scale;
        __m512i max = _mm512_setzero_si512();
        moments(n, x, &mean, &scale);
        for (int i = 0; i < n->size; i += LANES) {
            __m512 v = _mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(x + i), mean), scale);
            v = _mm512_fmadd_ps(v, _mm512_load_ps(n->gain + i), _mm512_load_ps(n->shift + i));
            _mm512_store_ps(x + i, v);
            if (smoothed)
                v = _mm512_mul_ps(v, _mm512_load_ps(n->smooth + i));
            if (see)
                max = _mm512_max_epi32(max, magnitude(v));
        }
        if (see)
            _mm512_store_si512(n->row_max + (size_t)r * CPU_ROW_MAX_LANES, max);
    }
}

static void norm(const struct cpu_norm *n)
{
    if (!n->row_max)
        norm_rows(n, false, false);
    else if (!n->smooth)
        norm_rows(n, true, false);
    else
        norm_rows(n, true, true);
}

/* ---- attention ----
 *
 * Scores are made for 4 queries at a time against all keys, turned into weights, and multiplied
 * with the values: nothing of the size tokens x tokens is kept. */

INLINE __mmask16 tail_mask(int left)
{
    return left >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

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
INLINE __m128 weigh_s8(const struct attention_s8 *s, const __m512i max[QUERIES], float scale)
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
        __m512i e[QUERIES];
#pragma GCC unroll 4
        for (size_t q = 0; q < QUERIES; q++) {
            __m512 x = _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(_mm512_load_si512(s->scores + q * s->keys_padded + j)),
                _mm512_set1_ps(scale), _mm512_set1_ps(offset[q]));
            /* Below 1/2 the weight is 0 all the same, and 2^x must not leave its range. */
            x = _mm512_max_ps(x, _mm512_set1_ps(-20.0f));
            e[q] = _mm512_cvtps_epi32(exp2_terms(x, 3));
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
        _mm_storeu_ps(share, weigh_s8(&s, max, scale));
        for (size_t c = 0; c < s.size; c += QUERY_DIMS)
            gather_s8(&s, c, share, a->out + query * a->out_stride, a->out_stride, tokens - query);
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
