/* From scores to probabilities that mean what they say, fitted on rows the scores were not trained
 * on. Pure; any thread. */
#ifndef ROUTER_ENCODER_TRAIN_CALIBRATE_H
#define ROUTER_ENCODER_TRAIN_CALIBRATE_H

#include <stddef.h>

/* The temperature T > 0 that makes softmax(z / T) most probable: Newton's method on 1 / T, in which
 * the likelihood is concave (Guo et al. 2017, arXiv 1706.04599). z[rows][classes], label[rows].
 * Kept within 0.05 .. 20: rows that are all right, or all wrong, have no finite optimum. */
double calibrate_temperature(const float *z, const int *label, size_t rows, size_t classes);

/* Platt's scaling: P(success) = 1 / (1 + exp(-(a z + b))) with his prior-corrected targets (Platt
 * 1999; the optimiser of Lin, Lin & Weng 2007). success[i] in 0..1. a is at least 0: a score never
 * counts against itself. */
struct platt {
    double a, b;
};
struct platt calibrate_platt(const float *z, const float *success, size_t rows);

/* Isotonic regression: the non-decreasing step function of score nearest to success in least
 * squares, by pooling adjacent violators (Ayer et al. 1955), as knots to be joined by straight
 * lines. Writes knots[0..n): x strictly ascending, y not descending; returns n <= max_knots (>= 2).
 * Where there are more steps than knots, neighbours that differ least are joined. */
struct knot {
    float x, y;
};
size_t calibrate_isotonic(const float *score, const float *success, size_t rows, struct knot *knots,
                          size_t max_knots);

#endif
