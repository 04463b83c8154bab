/* One model's judge of its own answers: a ridge logistic over what an answer says about itself (the
 * features of router/confidence.h), giving a score in 0..1 that curve.h then calibrates per class.
 * Versioned: counters of one version's bins mean nothing to another. Plain data; a fitted scorer is
 * immutable and may be copied. */
#ifndef ROUTER_DECIDE_SCORER_H
#define ROUTER_DECIDE_SCORER_H

#include "base/err.h"
#include "base/slice.h"
#include "router/decide/logistic.h"

#define SCORER_L2       0.5  /* on scaled features; the constant is hardly held */
#define SCORER_MAX_ROWS 4000 /* that the learner keeps per model, the newest */

struct scorer {
    unsigned version; /* 0: coefficients nobody fitted */
    int features;
    double mean[LOGISTIC_MAX_FEATURES], scale[LOGISTIC_MAX_FEATURES]; /* x' = (x - mean) * scale */
    double coef[LOGISTIC_MAX_FEATURES + 1];                           /* the constant comes last */
};

/* What a model has before it was fitted: coefficients for features as they are, and a constant. */
void scorer_set(struct scorer *s, const double *coef, int features, double constant);

/* Fits on labelled answers: x[rows][features], y[rows] in 0..1, weight[rows] or NULL. features <
 * LOGISTIC_MAX_FEATURES. Needs some of both kinds: false (and *s unchanged) with fewer than 20
 * labels or fewer than 3 of the rarer kind. The new version is the old one plus 1. */
struct scorer_rows {
    const float *x, *y, *weight;
    size_t rows;
    int features;
};
bool scorer_fit(struct scorer *s, const struct scorer_rows *rows);

/* Chance of success as the scorer sees it, 0..1. x[features]; what is not a number counts as the
 * feature's mean. */
double scorer_score(const struct scorer *s, const float *x);

/* As a line of text for stores, and back. scorer_read: ERR_BAD_REQUEST + t for anything that
 * scorer_write did not write. */
#define SCORER_TEXT_BYTES 8192
void scorer_write(const struct scorer *s, char out[SCORER_TEXT_BYTES]);
enum err scorer_read(struct scorer *s, struct slice text, struct err_text *t) MUST_CHECK;

#endif
