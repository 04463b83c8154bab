/* Intervals that hold at every look: whoever reads a report each morning and stops at the one that
 * he likes is still wrong at most `alpha` of the time. Pure.
 *
 * A rate: the prior-posterior ratio of a uniform prior over [0, 1] (Waudby-Smith & Ramdas 2020,
 * arXiv 2006.04347). A mean and a ratio of means: the asymptotic confidence sequence of
 * Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024 (arXiv 2103.06476), in units of the standard
 * deviation; a ratio by its linearisation (delta method). */
#ifndef ROUTER_REPORT_INTERVAL_H
#define ROUTER_REPORT_INTERVAL_H

#include <stdbool.h>
#include <stdint.h>

struct interval {
    double value, low, high; /* NAN: nothing is known; high may be INFINITY */
};

/* successes, failures >= 0, whole or in parts of one; low and high are 0 and 1 when both are 0. */
struct interval interval_rate(double successes, double failures, double alpha);

/* Sums over n observations. */
struct interval_sums {
    double n, x, xx;
};
void interval_add(struct interval_sums *s, double x);
/* Fewer than two observations: all that is known is the value. */
struct interval interval_mean(const struct interval_sums *s, double alpha);

/* Sums over n pairs, of mean x over mean y: cost over success. */
struct interval_pairs {
    double n, x, y, xx, yy, xy;
};
void interval_pairs_add(struct interval_pairs *s, double x, double y);
/* y >= 0. No success at all: the value is NAN and high INFINITY. low is never below 0. */
struct interval interval_ratio(const struct interval_pairs *s, double alpha);

/* 1 - mean of `now` / mean of `then`, two independent samples of what is >= 0: by the logarithm. */
struct interval interval_saving(const struct interval_sums *now, const struct interval_sums *then,
                                double alpha);

#endif
