/* One pass on a CPU core, over the kernels of one instruction set.
 *
 * Rows (tokens of all sequences, one after the other) go through a layer together, except that
 * attention goes sequence by sequence and the feed-forward part in blocks of at most 64 rows, so
 * that its wide rows stay in the second-level cache. With int8, each linear layer's input is
 * quantised row by row just before it; residuals, LayerNorm and softmax stay fp32.
 *
 * Thread: that of the session. Called by encoder.c through struct encoder_kernels. */
#include "router/encoder/cpu/bert_cpu.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/bert_ref.h"
#include "router/encoder/cpu/pack.h"
#include "router/encoder/half.h"

enum { FEED_FORWARD_ROWS = 64 };

/* GELU's least value is -0.16997, in its form with tanh -0.17004; its tables are 2e-4 off at most.
 */
#define GELU_SHIFT 0.171f

struct cpu_layer {
    struct cpu_matrix qkv, out, up, down;
    const float *attn_gain, *attn_shift, *ffn_gain, *ffn_shift;
};

struct bert_cpu {
    const struct bert_model *model; /* borrowed */
    const struct cpu_ops *ops;
    const struct cpu_ops *attention_ops; /* portable where heads have an odd size */
    bool s8;
    int pass_tokens;
    size_t hidden, qkv, wide; /* padded row lengths */
    const uint16_t *word16;   /* [vocabulary][hidden], with int8: binary16 */
    const float *word32;      /* the same with fp32 */
    const float *position;    /* [positions][hidden] */
    const float *embed_gain, *embed_shift;
    struct cpu_layer *layer; /* owned: [layers] */
    struct cpu_gelu gelu;
    struct cpu_block block;
};

struct bert_cpu_state {
    const struct bert_cpu *cpu;
    float *x;      /* [rows][hidden]: the residual stream */
    float *qkv;    /* [rows][qkv] */
    float *ctx;    /* [rows][hidden] */
    float *up;     /* [FEED_FORWARD_ROWS][wide] */
    void *bytes;   /* quantised rows */
    float *scale;  /* [rows], of them */
    float *x_max;  /* [rows][CPU_ROW_MAX_LANES]: of x, as the next product sees it */
    float *up_max; /* [FEED_FORWARD_ROWS][CPU_ROW_MAX_LANES]: of up */
    void *attention;
    const struct seen *seen; /* while a sample is measured, else NULL */
};

/* Largest magnitudes of what comes into two of each layer's products: [layers][hidden]. */
struct seen {
    float *qkv, *up;
};

/* ---- the pass ---- */

static void embed(const struct bert_cpu *b, const struct encoder_batch *batch, float *x)
{
    for (int s = 0; s < batch->count; s++)
        for (int t = batch->starts[s]; t < batch->starts[s + 1]; t++) {
            size_t at = (size_t)batch->ids[t] * b->hidden;
            const float *position = b->position + (size_t)(t - batch->starts[s]) * b->hidden;
            float *row = x + (size_t)t * b->hidden;
            if (b->s8)
                b->ops->add_halves(b->word16 + at, position, (int)b->hidden, row);
            else
                for (size_t i = 0; i < b->hidden; i++)
                    row[i] = b->word32[at + i] + position[i];
        }
}

/* LayerNorm of rows row .. row + rows of x; next: what they are fed to, or NULL. */
static void norm(struct bert_cpu_state *s, int row, int rows, const float *gain, const float *shift,
                 const struct cpu_matrix *next)
{
    const struct bert_cpu *b = s->cpu;
    bool see = next && next->s8;
    b->ops->norm(&(struct cpu_norm){
        .x = s->x + (size_t)row * b->hidden,
        .stride = b->hidden,
        .rows = rows,
        .size = b->model->hidden,
        .gain = gain,
        .shift = shift,
        .eps = b->model->layer_norm_eps,
        .smooth = see ? next->smooth : NULL,
        .row_max = see ? s->x_max + (size_t)row * CPU_ROW_MAX_LANES : NULL,
    });
}

/* One linear layer over rows in[rows][w->inputs]; maxima: of in's rows, when they are known. */
static void linear(struct bert_cpu_state *s, const struct cpu_matrix *w, const float *in,
                   const float *maxima, struct cpu_product p)
{
    const struct bert_cpu *b = s->cpu;
    p.w = w;
    p.out_stride = (size_t)w->outputs;
    p.gelu = &b->gelu;
    if (!b->s8) {
        p.in = in;
        p.row_max = NULL;
        b->ops->product_f32(&p);
        return;
    }
    b->ops->quantize(&(struct cpu_quantize){.in = in,
                                            .stride = (size_t)w->inputs,
                                            .rows = p.rows,
                                            .size = w->inputs,
                                            .smooth = w->smooth,
                                            .shift = w->shift,
                                            .row_max = maxima,
                                            .out = s->bytes,
                                            .scale = s->scale});
    p.in = s->bytes;
    p.in_scale = s->scale;
    b->ops->product_s8(&p);
}

static void attend(struct bert_cpu_state *s, const struct encoder_batch *batch)
{
    const struct bert_cpu *b = s->cpu;
    int size = b->model->hidden / b->model->heads;
    for (int i = 0; i < batch->count; i++) {
        size_t first = (size_t)batch->starts[i];
        struct cpu_attention a = {.qkv_stride = b->qkv,
                                  .kv_offset = (size_t)b->model->hidden,
                                  .out_stride = b->hidden,
                                  .tokens = batch->starts[i + 1] - batch->starts[i],
                                  .size = size,
                                  .scratch = s->attention};
        for (int head = 0; head < b->model->heads; head++) {
            a.qkv = s->qkv + first * b->qkv + (size_t)(head * size);
            a.out = s->ctx + first * b->hidden + (size_t)(head * size);
            if (b->s8)
                b->attention_ops->attention_s8(&a);
            else
                b->attention_ops->attention_f32(&a);
        }
    }
}

static void feed_forward(struct bert_cpu_state *s, const struct cpu_layer *l,
                         const struct cpu_matrix *next, int rows)
{
    int blocks = (rows + FEED_FORWARD_ROWS - 1) / FEED_FORWARD_ROWS;
    for (int i = 0, row = 0; i < blocks; i++) {
        int height = (rows - row) / (blocks - i);
        float *x = s->x + (size_t)row * s->cpu->hidden;
        linear(s, &l->up, x, s->x_max + (size_t)row * CPU_ROW_MAX_LANES,
               (struct cpu_product){
                   .out = s->up, .rows = height, .finish = CPU_GELU, .row_max = s->up_max});
        linear(s, &l->down, s->up, s->up_max,
               (struct cpu_product){.out = x, .rows = height, .finish = CPU_ADD});
        norm(s, row, height, l->ffn_gain, l->ffn_shift, next);
        row += height;
    }
}

static void see(const struct bert_cpu_state *s, float *seen, int layer, int rows)
{
    size_t n = (size_t)s->cpu->model->hidden;
    float *max = seen + (size_t)layer * n;
    for (size_t r = 0; r < (size_t)rows; r++)
        for (size_t i = 0; i < n; i++)
            max[i] = fmaxf(max[i], fabsf(s->x[r * s->cpu->hidden + i]));
}

static void pass(struct bert_cpu_state *s, const struct encoder_batch *batch)
{
    const struct bert_cpu *b = s->cpu;
    int rows = batch->starts[batch->count];
    embed(b, batch, s->x);
    norm(s, 0, rows, b->embed_gain, b->embed_shift, &b->layer[0].qkv);
    for (int i = 0; i < b->model->layers; i++) {
        const struct cpu_layer *l = &b->layer[i];
        if (s->seen)
            see(s, s->seen->qkv, i, rows);
        linear(s, &l->qkv, s->x, s->x_max,
               (struct cpu_product){.out = s->qkv, .rows = rows, .finish = CPU_STORE});
        attend(s, batch);
        linear(s, &l->out, s->ctx, NULL,
               (struct cpu_product){.out = s->x, .rows = rows, .finish = CPU_ADD});
        norm(s, 0, rows, l->attn_gain, l->attn_shift, &l->up);
        if (s->seen)
            see(s, s->seen->up, i, rows);
        feed_forward(s, l, i + 1 < b->model->layers ? &l[1].qkv : NULL, rows);
    }
}

static enum err cpu_run(void *state, const struct encoder_batch *batch, struct encoder_vectors *out,
                        struct err_text *t)
{
    (void)t;
    struct bert_cpu_state *s = state;
    const struct bert_cpu *b = s->cpu;
    size_t n = (size_t)b->model->hidden;
    assert(batch->starts[batch->count] <= b->pass_tokens);
    pass(s, batch);
    for (int i = 0; i < batch->count; i++)
        bert_ref_pool(b->model, s->x + (size_t)batch->starts[i] * b->hidden, b->hidden,
                      batch->starts[i + 1] - batch->starts[i], out->embedding + (size_t)i * n,
                      out->features ? out->features + (size_t)i * 2 * n : NULL);
    return ERR_OK;
}

/* ---- scratch ---- */

static void *aligned_zalloc(size_t bytes)
{
    bytes = (bytes + 63) / 64 * 64;
    void *p = aligned_alloc(64, bytes);
    mem_need(p);
    memset(p, 0, bytes);
    return p;
}

static void *cpu_state_new(const void *packed)
{
    const struct bert_cpu *b = packed;
    struct bert_cpu_state *s = mem_zalloc(1, sizeof *s);
    size_t rows = (size_t)b->pass_tokens, longest = b->wide > b->hidden ? b->wide : b->hidden;
    size_t rows_bytes = rows * b->hidden, block_bytes = FEED_FORWARD_ROWS * longest;
    s->cpu = b;
    s->x = aligned_zalloc(rows * b->hidden * sizeof(float));
    s->qkv = aligned_zalloc(rows * b->qkv * sizeof(float));
    s->ctx = aligned_zalloc(rows * b->hidden * sizeof(float));
    s->up = aligned_zalloc(FEED_FORWARD_ROWS * b->wide * sizeof(float));
    s->bytes = aligned_zalloc((rows_bytes > block_bytes ? rows_bytes : block_bytes) *
                              (size_t)b->ops->row_bytes);
    s->scale =
        aligned_zalloc((rows > FEED_FORWARD_ROWS ? rows : FEED_FORWARD_ROWS) * sizeof(float));
    s->x_max = aligned_zalloc(rows * CPU_ROW_MAX_LANES * sizeof(float));
    s->up_max = aligned_zalloc(FEED_FORWARD_ROWS * CPU_ROW_MAX_LANES * sizeof(float));
    s->attention = aligned_zalloc(
        b->attention_ops->attention_bytes(b->pass_tokens, b->model->hidden / b->model->heads));
    return s;
}

static void cpu_state_free(void *state)
{
    struct bert_cpu_state *s = state;
    if (!s)
        return;
    free(s->x);
    free(s->qkv);
    free(s->ctx);
    free(s->up);
    free(s->bytes);
    free(s->scale);
    free(s->x_max);
    free(s->up_max);
    free(s->attention);
    free(s);
}

/* ---- packing ---- */

static const float *padded_rows(struct bert_cpu *b, const float *from, int rows)
{
    size_t n = (size_t)b->model->hidden;
    float *to = cpu_block_take(&b->block, (size_t)rows * b->hidden * sizeof *to);
    for (size_t r = 0; r < (size_t)rows; r++)
        memcpy(to + r * b->hidden, from + r * n, n * sizeof *to);
    return to;
}

/* A vector of the model's width, padded with zeros. */
static const float *padded_copy(struct bert_cpu *b, const float *v)
{
    return padded_rows(b, v, 1);
}

static const uint16_t *padded_halves(struct bert_cpu *b, const float *from, int rows)
{
    size_t n = (size_t)b->model->hidden;
    uint16_t *to = cpu_block_take(&b->block, (size_t)rows * b->hidden * sizeof *to);
    for (size_t r = 0; r < (size_t)rows; r++)
        for (size_t i = 0; i < n; i++)
            to[r * b->hidden + i] = half_from_float(from[r * n + i]);
    return to;
}

static void pack_layer(struct bert_cpu *b, int i, const struct seen *seen)
{
    const struct bert_model *m = b->model;
    const struct bert_layer *from = &m->layer[i];
    struct cpu_layer *to = &b->layer[i];
    int h = m->hidden, f = m->feed_forward;
    const struct cpu_linear qkv = {from->qkv_weight, from->qkv_bias, h, 3 * h, 0},
                            out = {from->out_weight, from->out_bias, h, h, 0},
                            up = {from->up_weight, from->up_bias, h, f, 0},
                            down = {from->down_weight, from->down_bias, f, h, GELU_SHIFT};
    if (b->s8) {
        /* Only the residual stream has columns of outliers: measured on real text, smoothing the
         * other two inputs gains nothing (tests/bench/encoder). */
        float *smooth = mem_zalloc((size_t)h, sizeof *smooth);
        cpu_pack_smooth(&qkv, seen->qkv + (size_t)i * (size_t)h, smooth);
        to->qkv = cpu_pack_s8(b->ops, &qkv, smooth, &b->block);
        to->out = cpu_pack_s8(b->ops, &out, NULL, &b->block);
        cpu_pack_smooth(&up, seen->up + (size_t)i * (size_t)h, smooth);
        to->up = cpu_pack_s8(b->ops, &up, smooth, &b->block);
        to->down = cpu_pack_s8(b->ops, &down, NULL, &b->block);
        free(smooth);
    } else {
        to->qkv = cpu_pack_f32(b->ops, &qkv, &b->block);
        to->out = cpu_pack_f32(b->ops, &out, &b->block);
        to->up = cpu_pack_f32(b->ops, &up, &b->block);
        to->down = cpu_pack_f32(b->ops, &down, &b->block);
    }
    to->attn_gain = padded_copy(b, from->attn_gain);
    to->attn_shift = padded_copy(b, from->attn_shift);
    to->ffn_gain = padded_copy(b, from->ffn_gain);
    to->ffn_shift = padded_copy(b, from->ffn_shift);
}

static size_t bytes_to_pack(const struct bert_cpu *b)
{
    int h = b->model->hidden, f = b->model->feed_forward;
    size_t layer = cpu_pack_bytes(h, 3 * h, b->s8) + cpu_pack_bytes(h, h, b->s8) +
                   cpu_pack_bytes(h, f, b->s8) + cpu_pack_bytes(f, h, b->s8) +
                   4 * b->hidden * sizeof(float);
    size_t rows = (size_t)b->model->vocab_size * (b->s8 ? sizeof(uint16_t) : sizeof(float)) +
                  (size_t)(b->model->max_positions + 2) * sizeof(float);
    return (size_t)b->model->layers * layer + rows * b->hidden;
}

static struct bert_cpu *pack(const struct bert_cpu_options *opt, const struct seen *seen)
{
    const struct bert_model *m = opt->model;
    struct bert_cpu *b = mem_zalloc(1, sizeof *b);
    b->model = m;
    b->ops = opt->ops;
    b->attention_ops =
        m->hidden / m->heads % opt->ops->head_multiple == 0 ? opt->ops : &cpu_ops_portable;
    b->s8 = opt->precision == ENCODER_INT8;
    b->pass_tokens = opt->pass_tokens;
    b->hidden = cpu_padded((size_t)m->hidden);
    b->qkv = cpu_padded(3 * (size_t)m->hidden);
    b->wide = cpu_padded((size_t)m->feed_forward);
    b->layer = mem_zalloc((size_t)m->layers, sizeof *b->layer);
    cpu_gelu_init(&b->gelu, m->activation == BERT_GELU_TANH);
    cpu_block_init(&b->block, bytes_to_pack(b));
    if (b->s8)
        b->word16 = padded_halves(b, m->word, m->vocab_size);
    else
        b->word32 = padded_rows(b, m->word, m->vocab_size);
    b->position = padded_rows(b, m->position, m->max_positions);
    b->embed_gain = padded_copy(b, m->embed_gain);
    b->embed_shift = padded_copy(b, m->embed_shift);
    for (int i = 0; i < m->layers; i++)
        pack_layer(b, i, seen);
    return b;
}

static void cpu_packed_free(void *packed)
{
    struct bert_cpu *b = packed;
    if (!b)
        return;
    cpu_block_clear(&b->block);
    free(b->layer);
    free(b);
}

/* Runs the sample through fp32 weights and notes what is seen. */
static void measure(const struct bert_cpu_options *opt, const struct seen *seen)
{
    struct bert_cpu_options fp32 = *opt;
    fp32.precision = ENCODER_FP32;
    fp32.pass_tokens = opt->sample->starts[opt->sample->count];
    struct bert_cpu *b = pack(&fp32, NULL);
    struct bert_cpu_state *s = cpu_state_new(b);
    s->seen = seen;
    pass(s, opt->sample);
    cpu_state_free(s);
    cpu_packed_free(b);
}

void *bert_cpu_pack(const struct bert_cpu_options *opt)
{
    if (opt->precision != ENCODER_INT8)
        return pack(opt, NULL);
    size_t n = (size_t)opt->model->layers * (size_t)opt->model->hidden;
    struct seen seen = {.qkv = mem_zalloc(n, sizeof(float)), .up = mem_zalloc(n, sizeof(float))};
    measure(opt, &seen);
    struct bert_cpu *b = pack(opt, &seen);
    free(seen.qkv);
    free(seen.up);
    return b;
}

size_t bert_cpu_bytes(const void *packed)
{
    const struct bert_cpu *b = packed;
    return b->block.used;
}

#define KERNELS(isa_name, precision_name, class)                                                   \
    {                                                                                              \
        .name = precision_name "-" isa_name, .precision = class, .state_new = cpu_state_new,       \
        .state_free = cpu_state_free, .run = cpu_run, .packed_free = cpu_packed_free               \
    }
static const struct {
    const char *isa;
    struct encoder_kernels fp32, int8;
} table[] = {
    {"avx512vnni", KERNELS("avx512vnni", "fp32", ENCODER_FP32),
     KERNELS("avx512vnni", "int8", ENCODER_INT8)},
    {"avx2", KERNELS("avx2", "fp32", ENCODER_FP32), KERNELS("avx2", "int8", ENCODER_INT8)},
    {"portable", KERNELS("portable", "fp32", ENCODER_FP32),
     KERNELS("portable", "int8", ENCODER_INT8)},
};

const struct encoder_kernels *bert_cpu_kernels(const struct cpu_ops *ops,
                                               enum encoder_precision precision)
{
    size_t i = 0;
    while (strcmp(table[i].isa, ops->isa) != 0)
        i++;
    return precision == ENCODER_INT8 ? &table[i].int8 : &table[i].fp32;
}
