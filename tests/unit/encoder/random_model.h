/* A transformer of any size with random weights, in memory: what kernels are compared on. */
#ifndef TESTS_UNIT_ENCODER_RANDOM_MODEL_H
#define TESTS_UNIT_ENCODER_RANDOM_MODEL_H

#include "base/rng.h"
#include "router/encoder/bert_model.h"

struct random_model {
    struct bert_model model;
    struct bert_layer *layers; /* owned */
    float *numbers;            /* owned; all weights */
};

struct random_shape {
    int layers, hidden, heads, feed_forward, vocabulary, positions;
    enum bert_activation activation;
    enum bert_pooling pooling;
};

void random_model_init(struct random_model *r, const struct random_shape *shape, uint64_t seed);
void random_model_clear(struct random_model *r);

float random_normal(struct rng *r); /* mean 0, deviation 1 */

#endif
