/* A BERT-family sentence encoder as its folder describes it (the layout of Hugging Face and
 * sentence-transformers): config.json, model.safetensors, vocab.txt, tokenizer_config.json,
 * modules.json, 1_Pooling/config.json, sentence_bert_config.json. Nothing about a model is
 * hard-coded: sizes, pooling, normalisation and the maximum length come from its own files; a model
 * that needs what is not built (another activation, relative positions, a Dense module) is refused
 * by name.
 *
 * Weights are fp32 in one arena of our own; kernels pack what they need from it. Immutable; shared
 * by any number of threads until bert_model_free. */
#ifndef ROUTER_ENCODER_BERT_MODEL_H
#define ROUTER_ENCODER_BERT_MODEL_H

#include <stdbool.h>
#include "base/err.h"
#include "router/encoder/fingerprint.h"

enum bert_pooling { BERT_POOL_MEAN, BERT_POOL_CLS };
enum bert_activation { BERT_GELU_ERF, BERT_GELU_TANH };

/* H hidden, F feed-forward, all matrices [out][in] row-major as torch.nn.Linear stores them:
 * y = x W^T + b. */
struct bert_layer {
    const float *qkv_weight, *qkv_bias;   /* [3H][H], [3H]: query, key, value stacked */
    const float *out_weight, *out_bias;   /* [H][H], [H]: the attention's output projection */
    const float *attn_gain, *attn_shift;  /* [H]: LayerNorm after attention + residual */
    const float *up_weight, *up_bias;     /* [F][H], [F] */
    const float *down_weight, *down_bias; /* [H][F], [H] */
    const float *ffn_gain, *ffn_shift;    /* [H]: LayerNorm after feed-forward + residual */
};

struct bert_model {
    char name[64]; /* from the folder's name; for logs and metrics */
    int layers, hidden, heads, feed_forward, vocab_size, max_positions;
    float layer_norm_eps;
    enum bert_activation activation;
    enum bert_pooling pooling;
    bool normalize;        /* the embedding is scaled to unit length */
    int max_tokens;        /* with [CLS] and [SEP]; sentence-transformers' max_seq_length */
    const char *prefix;    /* put before every query ("query: " of e5); "" none */
    const float *word;     /* [vocab_size][hidden] */
    const float *position; /* [max_positions][hidden], token type 0 already added */
    const float *embed_gain, *embed_shift;     /* [hidden] */
    const struct bert_layer *layer;            /* [layers] */
    struct slice vocab;                        /* the bytes of vocab.txt */
    bool lower_case, strip_accents, split_cjk; /* of the tokenizer */
    struct fingerprint space;
    void *arena; /* private: owns everything above */
};

/* ERR_BAD_WEIGHTS with t: the file and what is wrong in it. */
enum err bert_model_open(const char *folder, struct bert_model **out,
                         struct err_text *t) MUST_CHECK;
void bert_model_free(struct bert_model *m); /* NULL is fine */
/* Frees the weights, for an encoder whose kernels have packed what they need; all pointers to them
 * are NULL from then on. */
void bert_model_drop_weights(struct bert_model *m);

#endif
