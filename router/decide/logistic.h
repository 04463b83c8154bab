/* Logistic regression with a Gaussian prior on its coefficients (ridge when the prior's mean is
 * zero), by Newton's method with halved steps: the log-likelihood is concave, so that the optimum
 * is the only one. For few features; dense. Pure. */
#ifndef ROUTER_DECIDE_LOGISTIC_H
#define ROUTER_DECIDE_LOGISTIC_H

#include <stdbool.h>
#include <stddef.h>

#define LOGISTIC_MAX_FEATURES 64
#define LOGISTIC_MAX_STEPS    30

/* All borrowed. */
struct logistic_problem {
    const float *x;      /* [rows][features]; no constant is added */
    const float *y;      /* [rows]: 0..1 */
    const float *weight; /* [rows] >= 0; NULL: 1 each */
    size_t rows;
    int features;           /* 1..LOGISTIC_MAX_FEATURES */
    const double *center;   /* [features]: the prior's mean; NULL: 0 */
    const double *strength; /* [features] > 0: the prior's inverse variance */
};

/* coef[features]. hessian (may be NULL) gets the negative log-posterior's second derivative there,
 * [features][features] row by row, whose inverse is Laplace's covariance. With no rows the result
 * is the prior's mean. */
void logistic_fit(const struct logistic_problem *p, double *coef, double *hessian);

double logistic(double z); /* 1 / (1 + exp(-z)) */
double logit(double p);    /* clamped to p in [1e-6, 1 - 1e-6] */

#endif
