/* From an answer's score to the chance that it is a success, for one arm in one context, out of
 * counts per bin of the score. Three steps, each drawn to the one before, so that few labels move
 * little and many decide:
 *
 *   1. Platt's scaling of the curve above it in the hierarchy (identity -> the model over all
 *      contexts -> the model in this context): logit p = level + tilt (logit prior)
 *   2. per bin, the counts beside CURVE_PSEUDO answers of step 1
 *   3. the nearest non-descending curve by pooling adjacent violators (Ayer et al. 1955), weighted
 *      by counts: a better score never means a worse answer
 *
 * and, on top, a shift of all log-odds by what the last hours say (drift; curve_residual).
 * reference: Platt 1999; Zadrozny & Elkan 2002 (isotonic calibration). Pure. */
#ifndef ROUTER_DECIDE_CURVE_H
#define ROUTER_DECIDE_CURVE_H

#include "router/decide/tally.h"

#define CURVE_PSEUDO 40.0
/* Below this area under the ROC curve a score does not tell good answers from bad ones. */
#define CURVE_INFORMATIVE 0.6

/* A score's bin: 0..TALLY_BINS-1; narrower towards 1, where the good ones crowd. */
int curve_bin(double score);
double curve_middle(int bin); /* the score that stands for a bin */

struct curve {
    double p[TALLY_BINS]; /* non-descending, inside (0, 1) */
    double labels;        /* how many answers of this context stand behind it */
    /* What is not known about it (Laplace): covariance of the level and of the tilt around
     * `center`, a log-odds. */
    double center, level_var, tilt_var, level_tilt;
};

/* The curve of a scorer that is right: p of a bin is its middle. */
void curve_identity(struct curve *c);

/* good[], bad[]: labelled answers by bin, >= 0. level_strength: how strongly the level is drawn to
 * the prior's, an inverse variance of log-odds. *out may be *prior. */
void curve_fit(struct curve *out, const struct curve *prior, const double good[TALLY_BINS],
               const double bad[TALLY_BINS], double level_strength);

/* Evidence of a shift: more successes than the curve says, and how much that weighs. Sums over
 * contexts are taken by the caller; then curve_shift_of gives the log-odds, drawn to 0 by `prior`,
 * as far as they are no chance (significance.h), and at most 3 either way. */
struct curve_residual {
    double surplus, information;
};
void curve_residual_add(struct curve_residual *r, const struct curve *c,
                        const double good[TALLY_BINS], const double bad[TALLY_BINS]);
double curve_shift_of(const struct curve_residual *r, double prior);
void curve_shift(struct curve *c, double log_odds);

/* The same with log-odds drawn to the center by `factor`, shifted so that the mean under share[]
 * stays. Out of several answers the one of the best chance is chosen, and with it what was
 * estimated too high (winner's curse); who decides by smaller differences than were estimated loses
 * less. Measured on recorded cascades (tests/bench/decide). */
void curve_temper(const struct curve *c, double factor, const double share[TALLY_BINS],
                  double p[TALLY_BINS]);

/* Area under the ROC curve that the curve implies when answers fall into bins as share[] says; 0.5
 * when it tells nothing. */
double curve_auroc(const struct curve *c, const double share[TALLY_BINS]);
/* Makes all bins alike: the mean under share[]. For scores that tell nothing. */
void curve_flatten(struct curve *c, const double share[TALLY_BINS]);

#endif
