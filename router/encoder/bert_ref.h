/* The transformer in plain C, as its paper writes it (Devlin et al. 2018, arXiv:1810.04805; the
 * layout is that of Hugging Face's BertModel): the oracle that every faster set of kernels is
 * measured against. Weights are read as the model holds them; dot products, LayerNorm, softmax and
 * means are summed in double. Not for service: about 20 times slower than the packed kernels. */
#ifndef ROUTER_ENCODER_BERT_REF_H
#define ROUTER_ENCODER_BERT_REF_H

#include "router/encoder/encoder.h"

extern const struct encoder_kernels bert_ref_kernels;

/* What bert_ref_kernels calls packed: the model (borrowed until packed_free) and the most tokens
 * that a batch may have. */
void *bert_ref_pack(const struct bert_model *model, int pass_tokens);

/* rows[tokens][stride], the last layer's output of one sequence -> its embedding[hidden] as the
 * model's folder asks (mean or [CLS], unit length or not) and, unless NULL, features[2 * hidden].
 * Shared by all CPU kernels. */
void bert_ref_pool(const struct bert_model *model, const float *rows, size_t stride, int tokens,
                   float *embedding, float *features);

#endif
