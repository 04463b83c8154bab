/* What one CPU instruction set does for the encoder: the few loops that take all its time, behind
 * one table per instruction set (portable C, AVX2, AVX-512 VNNI), chosen at run time. Everything
 * else is written once, in bert_cpu.c.
 *
 * int8 follows one scheme everywhere: weights are signed, one scale per output column; activations
 * are signed -127..127, one scale per row (token), taken from that row's largest magnitude. Inputs
 * that are known not to lie below a small -shift (what GELU gives) take all of -128..127 from there
 * to the row's largest, which halves the steps; the bias makes up for the shift. Sums
 * are exact in 32 bits, so quantised products are equal to the last bit on every instruction set.
 *
 * Rows in memory are padded to CPU_ALIGN floats and the padding is zero; buffers are aligned to 64
 * bytes. Pure; any thread. */
#ifndef ROUTER_ENCODER_CPU_OPS_H
#define ROUTER_ENCODER_CPU_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPU_ALIGN 64

static inline size_t cpu_padded(size_t n)
{
    return (n + CPU_ALIGN - 1) / CPU_ALIGN * CPU_ALIGN;
}

/* A linear layer, packed: columns (outputs) in panels, so that one load gives a vector of columns.
 *   fp32  [columns / panel][inputs][panel]
 *   int8  [columns / panel][inputs / group][panel][group]: group consecutive inputs of a column
 *         together, as the multiply-accumulate instructions want them */
struct cpu_matrix {
    int inputs, outputs; /* padded to CPU_ALIGN, the padding zero */
    const float *f32;    /* or NULL */
    const int8_t *s8;    /* or NULL */
    const float *bias;   /* [outputs] */
    const float *scale;  /* [outputs]: of the column's weights; int8 */
    const int32_t *base; /* [outputs]: where sums begin: what rows are stored with beside their
                            inputs, times the column's weights, taken back; int8 */
    float shift;         /* no input lies below -shift; 0: inputs of either sign; int8 */
    const float *smooth; /* [inputs] or NULL: inputs are multiplied by it before they are quantised;
                            the weights were divided by it (SmoothQuant, arXiv:2211.10438) */
};

/* What follows a product before it is stored. */
enum cpu_finish {
    CPU_STORE, /* out = x w + b */
    CPU_ADD,   /* out += x w + b */
    CPU_GELU,  /* out = gelu(x w + b) */
};

/* gelu(x) = x / 2 + h(|x|), h even: a polynomial in |x| for each of 16 intervals, which are centred
 * on the multiples of 1 / CPU_GELU_PER_UNIT; in the last h is |x| / 2, so that gelu(x) is x or 0.
 * fine: error below 1e-5, for fp32. coarse: below 2e-4, a hundredth of what rounding to int8 does.
 */
#define CPU_GELU_INTERVALS 16
#define CPU_GELU_PER_UNIT  3
#define CPU_GELU_END       ((CPU_GELU_INTERVALS - 1) / (float)CPU_GELU_PER_UNIT)
#define CPU_GELU_FINE      3 /* degrees */
#define CPU_GELU_COARSE    2
struct cpu_gelu {
    float fine[CPU_GELU_FINE + 1][CPU_GELU_INTERVALS];
    float coarse[CPU_GELU_COARSE + 1][CPU_GELU_INTERVALS];
};
void cpu_gelu_init(struct cpu_gelu *g, bool tanh_form); /* erf's form, or the one with tanh */

/* Row maxima are kept as several that have not met yet: one per lane of a vector. */
#define CPU_ROW_MAX_LANES 16

struct cpu_product {
    const struct cpu_matrix *w;
    const void *in;        /* [rows][inputs]: float, or quantised rows */
    const float *in_scale; /* [rows]; int8 */
    float *out;            /* [rows][out_stride] */
    size_t out_stride;     /* floats, >= outputs */
    int rows;
    enum cpu_finish finish;
    const struct cpu_gelu *gelu;
    float *row_max; /* [rows][CPU_ROW_MAX_LANES] or NULL; CPU_GELU: magnitudes of out's rows */
};

/* One head of one sequence. */
struct cpu_attention {
    const float *qkv; /* [tokens][qkv_stride]: this head's query; key and value lie kv_offset and
                         2 * kv_offset floats on */
    size_t qkv_stride, kv_offset;
    float *out; /* [tokens][out_stride] */
    size_t out_stride;
    int tokens, size; /* size: of the head */
    void *scratch;    /* cpu_ops.attention_bytes(tokens, size) */
};

struct cpu_norm {
    float *x; /* [rows][stride]: in and out */
    size_t stride;
    int rows, size; /* size: real columns */
    const float *gain, *shift;
    float eps;
    /* For the quantised product that comes next, or NULL: */
    const float *smooth; /* its matrix's */
    float *row_max;      /* [rows][CPU_ROW_MAX_LANES]: magnitudes of x * smooth */
};

/* Quantises rows: out[r][i] = round(in[r][i] * smooth[i] * 127 / max_r), scale[r] = max_r / 127;
 * with a shift, round((in[r][i] + shift) * 255 / (max_r + shift)) - 128 and (max_r + shift) / 255.
 */
struct cpu_quantize {
    const float *in; /* [rows][stride] */
    size_t stride;
    int rows, size; /* size: padded */
    const float *smooth;
    float shift;
    const float *row_max; /* [rows][CPU_ROW_MAX_LANES] when known, else NULL */
    void *out;            /* [rows][size] */
    float *scale;         /* [rows] */
};

/* Of a row whose largest magnitude is max: its bytes are round(x * up + offset). */
struct cpu_step {
    float up, offset, scale;
};
static inline struct cpu_step cpu_step_of(float max, float shift)
{
    struct cpu_step s = {max > 0 ? 127.0f / max : 0, 0, max / 127.0f};
    if (shift > 0) {
        s.up = 255.0f / (max + shift);
        s.offset = shift * s.up; /* rounded by itself: the same on every instruction set */
        s.offset -= 128.0f;
        s.scale = (max + shift) / 255.0f;
    }
    return s;
}

/* out[n] = halves[n] + add[n]; n padded. */
typedef void cpu_add_halves_fn(const uint16_t *halves, const float *add, int n, float *out);

struct cpu_ops {
    const char *isa;
    int panel;                     /* columns of a panel */
    int group;                     /* inputs of a group; int8 */
    int row_bytes;                 /* of one quantised activation */
    bool unsigned_rows;            /* rows are stored with 128 added */
    int head_multiple;             /* attention takes heads of a multiple of this size */
    cpu_add_halves_fn *add_halves; /* binary16 */
    void (*product_f32)(const struct cpu_product *p);
    void (*product_s8)(const struct cpu_product *p);
    void (*quantize)(const struct cpu_quantize *q);
    void (*norm)(const struct cpu_norm *n);
    size_t (*attention_bytes)(int tokens, int size);
    void (*attention_f32)(const struct cpu_attention *a);
    void (*attention_s8)(const struct cpu_attention *a);
};

/* NULL: the best that this CPU has. Returns NULL for a name that is unknown, not built in, or not
 * on this CPU. */
const struct cpu_ops *cpu_ops_find(const char *isa);
/* All that this CPU can run, best first; returns how many. */
size_t cpu_ops_here(const struct cpu_ops **out, size_t max);

extern const struct cpu_ops cpu_ops_portable;
#if defined(__x86_64__)
extern const struct cpu_ops cpu_ops_avx2;
extern const struct cpu_ops cpu_ops_avx512;
#endif

#endif
