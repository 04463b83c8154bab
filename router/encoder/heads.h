/* Trained heads over an encoder's features: the query's class (softmax over an open label set, with
 * an out-of-scope score) and each model's chance to answer it successfully. Calibrated: a class
 * confidence of 0.8 is right in 80 % of such cases on the held-out split it was calibrated on.
 *
 * A file of heads is safetensors; its metadata holds the labels, the feature layout, the space it
 * was trained in and the figures of its training report. A set refuses an encoder of another space.
 * Immutable; any thread. */
#ifndef ROUTER_ENCODER_HEADS_H
#define ROUTER_ENCODER_HEADS_H

#include <stdbool.h>
#include "base/err.h"
#include "router/encoder/fingerprint.h"

struct heads;

enum err heads_open(const char *path, struct heads **out, struct err_text *t) MUST_CHECK;
enum err heads_parse(struct slice bytes, struct heads **out, struct err_text *t) MUST_CHECK;
void heads_free(struct heads *h); /* NULL is fine */
/* The sets that ship inside the program, for the static table and for all-minilm-l6-v2; NULL when
 * there is none for that space. */
const struct heads *heads_builtin(struct fingerprint space);

struct fingerprint heads_space(const struct heads *h);
struct slice heads_encoder(const struct heads *h); /* the name of the one it was trained on */
struct slice heads_report(const struct heads *h);  /* the figures of its training: a JSON object */
/* ERR_INVALID_POLICY + t, naming both encoders, when h was not trained in that space or does not
 * expect that many features. */
enum err heads_check_space(const struct heads *h, struct fingerprint space, const char *encoder,
                           size_t features, struct err_text *t) MUST_CHECK;
size_t heads_features(const struct heads *h); /* floats that it expects: vectors, then scalars */

size_t heads_class_count(const struct heads *h); /* 0: no class head */
struct slice heads_class_label(const struct heads *h, size_t i);
/* probs[class_count], summing to 1. Returns the in-scope score, 0..1: the share of queries of the
 * head's own kind that look at least as strange as this one (a conformal p-value: 5 % of the
 * queries in scope lie below 0.05, and most of those out of it); 1.0 for a head without
 * out-of-scope detection. */
float heads_classify(const struct heads *h, const float *features, float *probs);

size_t heads_model_count(const struct heads *h); /* 0: no success heads */
struct slice heads_model_name(const struct heads *h, size_t i);
/* probs[model_count]: P(model i's answer is a success). */
void heads_success(const struct heads *h, const float *features, float *probs);

#endif
