/* How sure an answer is, as numbers: the features that a scorer (router/decide/scorer.h) makes a
 * probability of, from what the answer says about itself (backends/wire/answer_signals.h), what
 * validators found, and what an earlier model answered. Pure; any thread.
 *
 * decision-theory: logistic scorers over token-uncertainty quantiles, agreement and structure beat
 * means of log-probabilities (arXiv 2404.10136, 2406.04370); the rows are in confidence.def. */
#ifndef ROUTER_CONFIDENCE_H
#define ROUTER_CONFIDENCE_H

#include <stdbool.h>
#include <stdint.h>

#define CONFIDENCE_VERSION 2 /* of the features: what was learnt on another is not comparable */

enum confidence_feature {
#define FEATURE(id, name, prior, help) CONFIDENCE_##id,
#include "router/confidence.def"
#undef FEATURE
    CONFIDENCE_FEATURES
};

const char *confidence_feature_name(enum confidence_feature f);
/* The weights of a scorer that has seen no label: CONFIDENCE_FEATURES of them. */
const float *confidence_prior(void);
/* sigma(weights . features), 0..1; weights NULL: the prior's. */
double confidence_score(const float *features, const float *weights);

/* ---- making them ---- */

struct answer_signals;

enum confidence_verdict { CONFIDENCE_UNKNOWN, CONFIDENCE_PASS, CONFIDENCE_FAIL };

/* What is known beside the answer; all zero: nothing. */
struct confidence_context {
    int64_t output_tokens;           /* as booked; 0: not known */
    double usual_tokens;             /* median of this model and class; 0: not known */
    enum confidence_verdict verdict; /* of all validators together */
    bool has_earlier;                /* a cheaper model has answered the request before */
    double agreement;     /* with that answer: 1 the same, -1 another, between by likeness */
    double earlier_score; /* its score, 0..1 */
    int samples;          /* further answers of the same model; 0: none were asked for */
    double repeats;       /* sum of confidence_repeats over them, 0..samples */
};

void confidence_features(const struct answer_signals *s, const struct confidence_context *c,
                         float out[CONFIDENCE_FEATURES]);
/* The same of the tokens so far, for a stream that is being held: what only the end can tell
 * (finish, length, emptiness, agreement) is left at 0. */
void confidence_features_so_far(const struct answer_signals *s, float out[CONFIDENCE_FEATURES]);

/* ---- agreement ---- */

/* Do two answers say the same? 1: their calls or JSON are equal, or what they come to in the end
 * (final_answer.h), or their texts once case, white space and punctuation at the ends are let go;
 * -1: they are not, and are JSON or calls, come to something, or are short; else 0: a matter of
 * likeness. */
double confidence_agreement(const struct answer_signals *a, const struct answer_signals *b);
/* How far a further answer of the same model repeats its first, 0..1: 1 or 0 where agreement can be
 * told, else the likeness of their texts. */
double confidence_repeats(const struct answer_signals *first, const struct answer_signals *again);

#endif
