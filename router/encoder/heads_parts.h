/* What a set of heads is made of: between the trainer, which writes it, and heads.c, which reads
 * and applies it. As a file: safetensors with
 *
 *   class.weight [C][F], class.bias [C], class.temperature [1]
 *   scope.center [K][D]                    unit length: the middle of each class's training
 * vectors; vectors are the first D features, scaled to unit length scope.scale [2] what the score
 * weighs the two signs of strangeness with scope.score [Q]                        ascending: scores
 * of rows in scope that were left out success.weight [M][F], success.bias [M] success.platt [M][2]
 * a, b on the logit of P(success) success.knot_x, success.knot_y [M][K]  isotonic map of that
 * logit; rows are padded by repeating their last knot; absent when no model has one
 *
 * and the metadata format ("weir-heads/1"), encoder (its name), space (hex), layout, labels and
 * models (JSON arrays of strings), link ("logistic" or "tiers"), report (a JSON object). All
 * numbers are F32. Weights are those of raw features: scaling is folded in. */
#ifndef ROUTER_ENCODER_HEADS_PARTS_H
#define ROUTER_ENCODER_HEADS_PARTS_H

#include <stdbool.h>
#include "base/err.h"
#include "base/slice.h"
#include "router/encoder/fingerprint.h"
#include "router/encoder/heads.h"

#define HEADS_FORMAT       "weir-heads/1"
#define HEADS_MAX_CLASSES  4096
#define HEADS_MAX_MODELS   1024
#define HEADS_MAX_FEATURES 16384
#define HEADS_MAX_KNOTS    64

/* How like the training rows a query is: scale[0] * log sum exp(logits), the energy of Liu et al.
 * 2020 (arXiv 2010.03759), + scale[1] * the largest cosine to a center. The first sees what no
 * class claims, the second what lies far from all of them; on CLINC150's out-of-scope rows together
 * they do better than either (README). */
struct heads_scope {
    size_t centers, dim;
    const float *center; /* [centers][dim], unit length; borrowed */
    float scale[2];
};
float heads_scope_score(const struct heads_scope *s, const float *features, const float *logits,
                        size_t classes);

/* All borrowed. */
struct heads_parts {
    struct slice encoder; /* the name of the encoder that the features came from */
    struct fingerprint space;
    struct slice layout; /* FEATURES_LAYOUT or FEATURES_LAYOUT_STATIC */
    size_t features;     /* F */

    size_t classes; /* C; 0: no class head, else >= 2 */
    const struct slice *label;
    const float *class_weight, *class_bias;
    float temperature;
    size_t scope_count; /* Q; 0: no out-of-scope detection */
    const float *scope_score;
    struct heads_scope scope;

    size_t models; /* M; 0: no success heads */
    const struct slice *model;
    const float *success_weight, *success_bias;
    bool tiers;         /* linked as LINEAR_TIERS; models are in ascending order of strength */
    const float *platt; /* [M][2] */
    size_t knots;       /* K; 0 or 2..HEADS_MAX_KNOTS */
    const float *knot_x, *knot_y;

    struct slice report; /* JSON object; "{}" when there is none */
};

/* Copies everything. */
struct heads *heads_new(const struct heads_parts *parts);
/* The same values as a file. ERR_INTERNAL + t. */
enum err heads_write(const char *path, const struct heads_parts *parts,
                     struct err_text *t) MUST_CHECK;
/* What the file of h says; borrowed from h. */
const struct heads_parts *heads_parts(const struct heads *h);

#endif
