/* Linear heads and how they are fitted: weights and biases that make the training rows most
 * probable, under an L2 penalty on the weights (never on the biases). Three losses:
 *
 *   LINEAR_SOFTMAX   one of `outputs` classes per row (multinomial logistic regression)
 *   LINEAR_LOGISTIC  independent successes, one per output, 0..1 or not known
 *   LINEAR_TIERS     as before, but of models in ascending order of strength, where a later one
 *                    never has a smaller probability: p[k] = p[k-1] + (1 - p[k-1]) * sigmoid(z[k])
 *
 * The objective is the mean loss (of each output over the rows that know it) + l2/2 |W|^2, so that
 * l2 = 1 / (n C) in the terms of scikit-learn. Rows are spread over threads. */
#ifndef ROUTER_ENCODER_TRAIN_LINEAR_FIT_H
#define ROUTER_ENCODER_TRAIN_LINEAR_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "router/encoder/train/lbfgs.h"

enum linear_loss { LINEAR_SOFTMAX, LINEAR_LOGISTIC, LINEAR_TIERS };

struct linear_problem {
    enum linear_loss loss;
    const float *x; /* [rows][features] */
    size_t rows, features, outputs;
    const int *label;    /* LINEAR_SOFTMAX: [rows], 0..outputs-1 */
    const float *target; /* else: [rows][outputs], 0..1, NAN: not known */
    const float *weight; /* [rows], > 0; NULL: all 1 */
    double l2;
    int threads;
    void (*tick)(void *ctx); /* after each evaluation, on the caller's thread; may be NULL */
    void *tick_ctx;
};

struct linear_model {
    size_t features, outputs;
    float *weight; /* [outputs][features], owned */
    float *bias;   /* [outputs], owned */
};
void linear_model_init(struct linear_model *m, size_t features, size_t outputs); /* all zero */
void linear_model_clear(struct linear_model *m);
/* z[rows][outputs] = X W^T + b. */
void linear_apply(const struct linear_model *m, const float *x, size_t rows, float *z, int threads);
/* p[outputs] of one row's z[outputs]; p may be z. */
void linear_probabilities(enum linear_loss loss, const float *z, size_t outputs, float *p);

/* Moves m, which is where the search starts, to the optimum. ERR_BAD_REQUEST + t when the numbers
 * do not allow one (NaN or infinite features, no row that knows an output, ...). Features are
 * standardised inside (mean 0, deviation 1, constant ones left out), and the penalty is on the
 * weights of the standardised features; m itself is in the caller's units. */
enum err linear_fit(const struct linear_problem *p, int max_iterations, double tolerance,
                    struct linear_model *m, struct lbfgs_result *result,
                    struct err_text *t) MUST_CHECK;

/* The objective itself, as lbfgs_minimize sees it: ctx is a linear_objective of a problem whose
 * features are used as they are; params and gradient are [features + 1][outputs], biases last. */
struct linear_objective;
struct linear_objective *linear_objective_new(const struct linear_problem *p);
void linear_objective_free(struct linear_objective *o);
double linear_objective_value(const double *params, double *gradient, void *objective);

#endif
