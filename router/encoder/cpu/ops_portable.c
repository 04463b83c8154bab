/* The CPU kernels in plain C: for machines without AVX2, and the meaning of each call for the
 * others. Inner loops run over a panel's columns, which compilers turn into vectors. */
#include <math.h>
#include <string.h>
#include "router/encoder/cpu/ops.h"
#include "router/encoder/half.h"

enum { PANEL = 16 };

/* This code needs only the first of a row's lanes. */
static void see(float *row_max, int row, float magnitude)
{
    float *max = row_max + (size_t)row * CPU_ROW_MAX_LANES;
    *max = magnitude > *max ? magnitude : *max;
}

static float gelu(float x, const float (*table)[CPU_GELU_INTERVALS], int degree)
{
    float a = fabsf(x), y = 0;
    int interval = (int)rintf(fminf(a, CPU_GELU_END) * CPU_GELU_PER_UNIT);
    for (int i = degree; i >= 0; i--)
        y = fmaf(y, a, table[i][interval]);
    return fmaf(x, 0.5f, y);
}

/* Stores one panel's columns of one row. */
static void finish(const struct cpu_product *p, int row, int column, const float *sums)
{
    float *out = p->out + (size_t)row * p->out_stride + column;
    for (int c = 0; c < PANEL; c++) {
        switch (p->finish) {
        case CPU_STORE:
            out[c] = sums[c];
            break;
        case CPU_ADD:
            out[c] += sums[c];
            break;
        case CPU_GELU:
            out[c] = p->w->s8 ? gelu(sums[c], p->gelu->coarse, CPU_GELU_COARSE)
                              : gelu(sums[c], p->gelu->fine, CPU_GELU_FINE);
            if (p->row_max)
                see(p->row_max, row, fabsf(out[c]));
            break;
        }
    }
}

static void product_f32(const struct cpu_product *p)
{
    const struct cpu_matrix *w = p->w;
    for (int column = 0; column < w->outputs; column += PANEL) {
        const float *panel = w->f32 + (size_t)column * (size_t)w->inputs;
        for (int r = 0; r < p->rows; r++) {
            const float *in = (const float *)p->in + (size_t)r * (size_t)w->inputs;
            float sums[PANEL];
            for (int c = 0; c < PANEL; c++)
                sums[c] = w->bias[column + c];
            for (int k = 0; k < w->inputs; k++)
                for (int c = 0; c < PANEL; c++)
                    sums[c] += in[k] * panel[k * PANEL + c];
            finish(p, r, column, sums);
        }
    }
}

static void product_s8(const struct cpu_product *p)
{
    const struct cpu_matrix *w = p->w;
    if (p->row_max)
        memset(p->row_max, 0, (size_t)p->rows * CPU_ROW_MAX_LANES * sizeof(float));
    for (int column = 0; column < w->outputs; column += PANEL) {
        const int8_t *panel = w->s8 + (size_t)column * (size_t)w->inputs;
        for (int r = 0; r < p->rows; r++) {
            const int8_t *in = (const int8_t *)p->in + (size_t)r * (size_t)w->inputs;
            int32_t exact[PANEL];
            memcpy(exact, w->base + column, sizeof exact);
            for (int k = 0; k < w->inputs; k++)
                for (int c = 0; c < PANEL; c++)
                    exact[c] += in[k] * panel[k * PANEL + c];
            float sums[PANEL];
            for (int c = 0; c < PANEL; c++)
                sums[c] = fmaf((float)exact[c] * w->scale[column + c], p->in_scale[r],
                               w->bias[column + c]);
            finish(p, r, column, sums);
        }
    }
}

static float largest(const float *row, const float *smooth, int n)
{
    float max = 0;
    for (int i = 0; i < n; i++) {
        float v = fabsf(smooth ? row[i] * smooth[i] : row[i]);
        max = v > max ? v : max;
    }
    return max;
}

static void quantize(const struct cpu_quantize *q)
{
    for (int r = 0; r < q->rows; r++) {
        const float *row = q->in + (size_t)r * q->stride;
        int8_t *out = (int8_t *)q->out + (size_t)r * (size_t)q->size;
        float max =
            q->row_max ? q->row_max[r * CPU_ROW_MAX_LANES] : largest(row, q->smooth, q->size);
        struct cpu_step step = cpu_step_of(max, q->shift);
        q->scale[r] = step.scale;
        for (int i = 0; i < q->size; i++)
            out[i] = (int8_t)lrintf(
                fmaf(q->smooth ? row[i] * q->smooth[i] : row[i], step.up, step.offset));
    }
}

static void norm(const struct cpu_norm *n)
{
    if (n->row_max)
        memset(n->row_max, 0, (size_t)n->rows * CPU_ROW_MAX_LANES * sizeof(float));
    for (int r = 0; r < n->rows; r++) {
        float *x = n->x + (size_t)r * n->stride;
        float sum = 0, square = 0;
        for (int i = 0; i < n->size; i++)
            sum += x[i];
        float mean = sum / (float)n->size;
        for (int i = 0; i < n->size; i++)
            square += (x[i] - mean) * (x[i] - mean);
        float scale = 1.0f / sqrtf(square / (float)n->size + n->eps);
        for (int i = 0; i < n->size; i++) {
            x[i] = (x[i] - mean) * scale * n->gain[i] + n->shift[i];
            if (n->row_max)
                see(n->row_max, r, fabsf(n->smooth ? x[i] * n->smooth[i] : x[i]));
        }
    }
}

static void add_halves(const uint16_t *halves, const float *add, int n, float *out)
{
    for (int i = 0; i < n; i++)
        out[i] = half_to_float(halves[i]) + add[i];
}

static size_t attention_bytes(int tokens, int size)
{
    (void)size;
    return (size_t)tokens * sizeof(float);
}

static void attention(const struct cpu_attention *a)
{
    float *weights = a->scratch;
    float scale = 1.0f / sqrtf((float)a->size);
    for (int i = 0; i < a->tokens; i++) {
        const float *query = a->qkv + (size_t)i * a->qkv_stride;
        float *out = a->out + (size_t)i * a->out_stride;
        float max = -INFINITY, sum = 0;
        for (int j = 0; j < a->tokens; j++) {
            const float *key = a->qkv + a->kv_offset + (size_t)j * a->qkv_stride;
            float dot = 0;
            for (int d = 0; d < a->size; d++)
                dot += query[d] * key[d];
            weights[j] = dot * scale;
            max = weights[j] > max ? weights[j] : max;
        }
        for (int d = 0; d < a->size; d++)
            out[d] = 0;
        for (int j = 0; j < a->tokens; j++) {
            const float *value = a->qkv + 2 * a->kv_offset + (size_t)j * a->qkv_stride;
            float e = expf(weights[j] - max);
            sum += e;
            for (int d = 0; d < a->size; d++)
                out[d] += e * value[d];
        }
        for (int d = 0; d < a->size; d++)
            out[d] /= sum;
    }
}

const struct cpu_ops cpu_ops_portable = {
    .isa = "portable",
    .panel = PANEL,
    .group = 1,
    .row_bytes = 1,
    .head_multiple = 1,
    .add_halves = add_halves,
    .product_f32 = product_f32,
    .product_s8 = product_s8,
    .quantize = quantize,
    .norm = norm,
    .attention_bytes = attention_bytes,
    .attention_f32 = attention,
    .attention_s8 = attention,
};
