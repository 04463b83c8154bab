/* What a model's folder says of itself, beside the weights: config.json, modules.json, the pooling
 * module's config.json, sentence_bert_config.json, tokenizer_config.json,
 * config_sentence_transformers.json and, ours, weir.json. Bounds are checked, and what this encoder
 * does not compute is refused by name. Pure but for reading; any thread. */
#ifndef ROUTER_ENCODER_BERT_CONFIG_H
#define ROUTER_ENCODER_BERT_CONFIG_H

#include "base/err.h"
#include "router/encoder/bert_model.h"

#define BERT_CONFIG_PREFIX_BYTES 256

/* The fields are those of struct bert_model. */
struct bert_config {
    int layers, hidden, heads, feed_forward, vocab_size, max_positions, token_types;
    float layer_norm_eps;
    enum bert_activation activation;
    enum bert_pooling pooling;
    bool normalize;
    int max_tokens;
    bool lower_case, strip_accents, split_cjk;
    char prefix[BERT_CONFIG_PREFIX_BYTES];
};

/* ERR_BAD_WEIGHTS with t: file, key, what is wrong. */
enum err bert_config_read(const char *folder, struct bert_config *out,
                          struct err_text *t) MUST_CHECK;

#endif
