/* What a way of choosing models is worth: figures over points (mean cost per request, share of
 * successes), one point for each setting of its price of a success. Pure.
 *
 * Frontier and AIQ: RouterBench (arXiv 2403.12031); PGR, APGR and CPT: RouteLLM (arXiv 2406.18665),
 * here over shares of cost between the weak and the strong model, which for two models that cost
 * the same on every query is their share of calls. */
#ifndef ROUTER_DECIDE_EVALUATE_H
#define ROUTER_DECIDE_EVALUATE_H

#include <stddef.h>

struct evaluate_point {
    double cost, success;
};

/* Sorts by cost and keeps the corners of the least non-descending concave curve above the points:
 * what can be had by mixing them at random. Returns how many are left (>= 1 for n >= 1). */
size_t evaluate_hull(struct evaluate_point *points, size_t n);

/* The least cost at which `success` is reached along the points, which are sorted by cost, joined
 * by straight lines; NAN: never. */
double evaluate_cost_at(const struct evaluate_point *points, size_t n, double success);
/* The most success for a cost: along the points; below the first 0, beyond the last its success. */
double evaluate_success_at(const struct evaluate_point *points, size_t n, double cost);

/* Mean success over costs from..to under the points: 1 / (to - from) integral of success d cost. */
double evaluate_aiq(const struct evaluate_point *hull, size_t n, double from, double to);

/* Performance gap recovered: 0 at the weak model, 1 at the strong one. APGR is its mean over the
 * shares of cost between the two (the area under it), CPT(x) the least share at which it is x; NAN:
 * never. Both are NAN where the strong model is not both dearer and better. */
struct evaluate_gap {
    struct evaluate_point weak, strong;
};
double evaluate_apgr(const struct evaluate_point *points, size_t n, const struct evaluate_gap *gap);
double evaluate_cpt(const struct evaluate_point *points, size_t n, const struct evaluate_gap *gap,
                    double recovered);

/* Quantiles of what resampling gave, for intervals: sorts values (NAN: last) and interpolates. NAN
 * where such a value has a part in it. */
double evaluate_quantile(double *values, size_t n, double q);

#endif
