/* Linear layers in the order that the CPU kernels read them. Called while an encoder is opened. */
#ifndef ROUTER_ENCODER_CPU_PACK_H
#define ROUTER_ENCODER_CPU_PACK_H

#include "router/encoder/cpu/ops.h"

/* One block of memory for all that is packed, on huge pages where the system gives them: its size
 * is known before anything is put in. */
struct cpu_block {
    uint8_t *bytes; /* owned */
    size_t used, size;
};
void cpu_block_init(struct cpu_block *b, size_t size);
void cpu_block_clear(struct cpu_block *b);
/* Zeroed, aligned to 64 bytes. More than the block's size is a broken invariant. */
void *cpu_block_take(struct cpu_block *b, size_t bytes);

/* weight[outputs][inputs] row-major, bias[outputs]; any sizes >= 1: padding is added here. */
struct cpu_linear {
    const float *weight, *bias;
    int inputs, outputs;
    float shift; /* see struct cpu_matrix */
};
/* What cpu_pack_* takes from a block, at most. */
size_t cpu_pack_bytes(int inputs, int outputs, bool s8);
struct cpu_matrix cpu_pack_f32(const struct cpu_ops *ops, const struct cpu_linear *l,
                               struct cpu_block *b);
/* smooth[inputs] or NULL: see struct cpu_matrix. */
struct cpu_matrix cpu_pack_s8(const struct cpu_ops *ops, const struct cpu_linear *l,
                              const float *smooth, struct cpu_block *b);

/* SmoothQuant's factors for a layer whose inputs have the largest magnitudes seen[inputs] on
 * typical text: what is hard to round moves from activations into weights. Powers of two, so that
 * scaling is exact and small differences of seen do not matter. */
void cpu_pack_smooth(const struct cpu_linear *l, const float *seen, float *smooth);

#endif
