/* What one more success is worth: v, in nano-dollars. One number stands for the whole objective:
 * minimising (cost + L (1 - success)) / success with success >= floor and cost <= budget is, at its
 * optimum, maximising v success - cost with
 *
 *     v = (L + theta + mu) / (1 + beta)
 *
 * L the price of a failure, theta the value of the ratio there (Dinkelbach, "On Nonlinear
 * Fractional Programming", Management Science 13, 1967), mu >= 0 what the floor adds, beta >= 0
 * what the budget takes away. Solved on the closed forms of pandora.h, where success and cost only
 * grow with v. Pure. */
#ifndef ROUTER_DECIDE_PRICE_H
#define ROUTER_DECIDE_PRICE_H

#include <stdbool.h>
#include "router/decide/pandora.h"

#define PRICE_NONE (-1.0)

struct price_objective {
    double floor;                 /* least share of successes, 0..1; PRICE_NONE */
    double floor_of_best;         /* the same as a share of the best single model's; PRICE_NONE */
    double failure_price_nanousd; /* L >= 0 */
    double budget_nanousd;        /* most per request on average; PRICE_NONE */
    double margin;                /* added to the floor: 0.003 */
    double window; /* requests after which somebody looks whether it is kept: as much more is aimed
                      at that 19 of 20 such windows keep it, whose success is not known beforehand
                      for two reasons: chance, and doubt about the models; 0: on average */
};

struct price {
    double v;
    double bold;                           /* what v were if nothing were in doubt; at most v */
    double bold_share;                     /* of requests that may be decided by `bold`, 0..1 */
    double failure_price, theta, mu, beta; /* what it is made of */
    double floor;                          /* success that was asked for; PRICE_NONE: no floor */
    bool floor_reachable;                  /* by what is expected, whatever is in doubt */
    double success, cost; /* expected at v, per request; success before the bias is taken off */
    double error;         /* standard error of that success */
    double blend_error; /* the same of all requests, those that are decided by `bold` among them */
};

/* What is not known of a box's chances, variances of their log-odds: in this class alone, and in
 * all classes alike. */
struct price_doubt {
    double own, shared;
};

/* boxes[classes][count] under `traffic` (any scale; all zero: alike). bias: by how much success was
 * over-estimated lately, subtracted before it is compared with the floor. */
struct price_traffic {
    const struct pandora_box *const *boxes;
    const struct price_doubt *const *doubt; /* [classes][count] */
    const double *traffic;
    int classes, count;
    double bias;
};
void price_solve(const struct price_traffic *t, const struct price_objective *o, struct price *out);

#endif
