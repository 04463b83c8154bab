/* Limited-memory BFGS for smooth functions of many variables (Nocedal & Wright, Numerical
 * Optimization, 2nd ed., algorithms 7.4 and 7.5; step lengths by 3.5 and 3.6, strong Wolfe
 * conditions). Pure but for the caller's function; one thread. */
#ifndef ROUTER_ENCODER_TRAIN_LBFGS_H
#define ROUTER_ENCODER_TRAIN_LBFGS_H

#include <stdbool.h>
#include <stddef.h>

/* f(x[n]); writes its gradient[n]. */
typedef double (*lbfgs_fn)(const double *x, double *gradient, void *ctx);

struct lbfgs_options {
    int max_iterations;
    double tolerance; /* ends when the largest |gradient| is at most this */
    double noise;     /* differences of f below this, times max(1, |f|), are rounding */
};

enum lbfgs_end {
    LBFGS_CONVERGED,
    LBFGS_ITERATIONS, /* the limit was reached */
    LBFGS_STUCK,      /* no step lowers f any more: the limit of the arithmetic */
    LBFGS_NOT_FINITE, /* f or its gradient is not a number; x is the last good point */
};

struct lbfgs_result {
    enum lbfgs_end end;
    double value, gradient; /* f at x; the largest |gradient| there */
    int iterations, evaluations;
};

/* x[n]: the start, then the best point found. */
struct lbfgs_result lbfgs_minimize(lbfgs_fn f, void *ctx, double *x, size_t n,
                                   const struct lbfgs_options *opt);

#endif
