/* Owns: the block that packed weights live in. Called once per encoder, by bert_cpu.c and tests. */
#include "router/encoder/cpu/pack.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"

#define HUGE_PAGE ((size_t)2 << 20)

void cpu_block_init(struct cpu_block *b, size_t size)
{
    b->size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    b->used = 0;
    b->bytes = aligned_alloc(HUGE_PAGE, b->size);
    mem_need(b->bytes);
    /* Fewer misses in the table of pages; where it is refused, small pages do. */
    (void)madvise(b->bytes, b->size, MADV_HUGEPAGE);
    memset(b->bytes, 0, b->size);
}

void cpu_block_clear(struct cpu_block *b)
{
    free(b->bytes);
    *b = (struct cpu_block){0};
}

void *cpu_block_take(struct cpu_block *b, size_t bytes)
{
    size_t at = b->used;
    b->used += (bytes + 63) / 64 * 64;
    assert(b->used <= b->size);
    return b->bytes + at;
}

size_t cpu_pack_bytes(int inputs, int outputs, bool s8)
{
    size_t in = cpu_padded((size_t)inputs), out = cpu_padded((size_t)outputs);
    return in * out * (s8 ? 1 : sizeof(float)) + 3 * out * sizeof(float) + in * sizeof(float);
}

static struct cpu_matrix pack_common(const struct cpu_linear *l, struct cpu_block *b)
{
    struct cpu_matrix m = {.inputs = (int)cpu_padded((size_t)l->inputs),
                           .outputs = (int)cpu_padded((size_t)l->outputs)};
    float *bias = cpu_block_take(b, (size_t)m.outputs * sizeof *bias);
    memcpy(bias, l->bias, (size_t)l->outputs * sizeof *bias);
    m.bias = bias;
    return m;
}

/* Where a weight goes: panels of columns, in them groups of inputs, in them columns. */
static size_t place(const struct cpu_ops *ops, const struct cpu_matrix *m, int group, int out,
                    int in)
{
    size_t panel = (size_t)(out / ops->panel * ops->panel) * (size_t)m->inputs;
    size_t inside = (size_t)(in / group * group) * (size_t)ops->panel;
    return panel + inside + (size_t)(out % ops->panel * group + in % group);
}

struct cpu_matrix cpu_pack_f32(const struct cpu_ops *ops, const struct cpu_linear *l,
                               struct cpu_block *b)
{
    struct cpu_matrix m = pack_common(l, b);
    float *to = cpu_block_take(b, (size_t)m.inputs * (size_t)m.outputs * sizeof *to);
    for (int o = 0; o < l->outputs; o++)
        for (int i = 0; i < l->inputs; i++)
            to[place(ops, &m, 1, o, i)] = l->weight[(size_t)o * (size_t)l->inputs + (size_t)i];
    m.f32 = to;
    return m;
}

struct cpu_matrix cpu_pack_s8(const struct cpu_ops *ops, const struct cpu_linear *l,
                              const float *smooth, struct cpu_block *b)
{
    struct cpu_matrix m = pack_common(l, b);
    size_t outputs = (size_t)m.outputs;
    float *scale = cpu_block_take(b, outputs * sizeof *scale);
    int32_t *base = cpu_block_take(b, outputs * sizeof *base);
    int8_t *to = cpu_block_take(b, (size_t)m.inputs * outputs);
    float *factors = smooth ? cpu_block_take(b, (size_t)m.inputs * sizeof *factors) : NULL;
    if (smooth)
        memcpy(factors, smooth, (size_t)l->inputs * sizeof *factors);
    float *row = mem_zalloc((size_t)l->inputs, sizeof *row), *bias = (float *)(uintptr_t)m.bias;
    /* Sums of what rows are stored with, 128 or nothing, less what stands for an input of 0. */
    int stored = (l->shift > 0 ? 128 : 0) - (ops->unsigned_rows ? 128 : 0);
    for (int o = 0; o < l->outputs; o++) {
        float max = 0;
        for (int i = 0; i < l->inputs; i++) {
            row[i] = l->weight[(size_t)o * (size_t)l->inputs + (size_t)i];
            if (smooth)
                row[i] /= smooth[i];
            max = fmaxf(max, fabsf(row[i]));
        }
        scale[o] = max / 127.0f;
        int32_t sum = 0;
        for (int i = 0; i < l->inputs; i++) {
            int8_t q = max > 0 ? (int8_t)lrintf(row[i] * (127.0f / max)) : 0;
            to[place(ops, &m, ops->group, o, i)] = q;
            sum += q;
        }
        base[o] = stored * sum;
        bias[o] -= l->shift * scale[o] * (float)sum;
    }
    free(row);
    m.scale = scale;
    m.base = base;
    m.s8 = to;
    m.smooth = factors;
    m.shift = l->shift;
    return m;
}

void cpu_pack_smooth(const struct cpu_linear *l, const float *seen, float *smooth)
{
    /* s = seen^a / weights^(1 - a) as in the paper, a = 0.6 by measurement (tests/bench/encoder);
     * activations are multiplied by 1 / s. */
    const float strength = 0.6f;
    double mean_log = 0;
    for (int i = 0; i < l->inputs; i++) {
        float max = 1e-6f;
        for (int o = 0; o < l->outputs; o++)
            max = fmaxf(max, fabsf(l->weight[(size_t)o * (size_t)l->inputs + (size_t)i]));
        smooth[i] = (1 - strength) * log2f(max) - strength * log2f(fmaxf(seen[i], 1e-3f));
        mean_log += smooth[i];
    }
    mean_log /= l->inputs;
    for (int i = 0; i < l->inputs; i++)
        smooth[i] = exp2f(rintf(smooth[i] - (float)mean_log));
}
