/* The transformer on a CPU core: weights packed for one instruction set and one precision (fp32 or
 * int8), activations in the core's own cache. */
#ifndef ROUTER_ENCODER_CPU_BERT_CPU_H
#define ROUTER_ENCODER_CPU_BERT_CPU_H

#include "router/encoder/cpu/ops.h"
#include "router/encoder/encoder.h"

const struct encoder_kernels *bert_cpu_kernels(const struct cpu_ops *ops,
                                               enum encoder_precision precision);

struct bert_cpu_options {
    const struct bert_model *model; /* borrowed until packed_free; its weights only while packing */
    const struct cpu_ops *ops;
    enum encoder_precision precision;
    int pass_tokens; /* the most tokens that a batch may have */
    /* Typical text, int8 only, of any size: which inputs of the layers are large is measured on it.
     */
    const struct encoder_batch *sample;
};
/* What the kernels call packed. */
void *bert_cpu_pack(const struct bert_cpu_options *opt);
size_t bert_cpu_bytes(const void *packed); /* of packed weights */

#endif
