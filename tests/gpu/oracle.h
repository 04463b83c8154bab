/* For tests of the CUDA kernels: random models and batches, and what the fp32 reference says of
 * them. */
#ifndef TESTS_GPU_ORACLE_H
#define TESTS_GPU_ORACLE_H

#include "router/encoder/encoder.h"

struct oracle_shape {
    int layers, hidden, heads, feed_forward, vocabulary, positions;
    enum bert_activation activation;
    enum bert_pooling pooling;
    bool normalize;
};

struct bert_model *oracle_model(const struct oracle_shape *s); /* only what kernels read is set */
void oracle_model_free(struct bert_model *m);

struct oracle_batch {
    struct encoder_batch in;
    int32_t ids[16384], starts[2049];
};
/* Random ids below vocabulary. */
void oracle_batch_init(struct oracle_batch *b, const int *lengths, int count, int vocabulary);

struct encoder_vectors oracle_vectors_new(int count, int hidden);
void oracle_vectors_free(struct encoder_vectors v);
struct encoder_vectors oracle_run(const struct bert_model *m, const struct encoder_batch *in);
/* The lowest cosine of any vector, features in halves. */
double oracle_lowest_cosine(struct encoder_vectors a, struct encoder_vectors b, int count,
                            int hidden);

#endif
