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

/* ---- what hangs together ---- */

/* Requests of one conversation are not so many observations: sums of a cluster count as one, and a
 * ratio's error is that of the clusters' residuals (Cochran, Sampling Techniques, ch. 9A). Clusters
 * are added one after the other. */
struct interval_clusters {
    struct interval_pairs each, merged; /* requests; clusters that are complete */
    uint64_t open;                      /* the cluster that is not */
    double x, y, parts;
};
#define INTERVAL_MIN_CLUSTERS 20 /* below: each request stands for itself */

void interval_clusters_add(struct interval_clusters *c, uint64_t cluster, double x, double y);
/* After the last one. The pairs to go by. */
const struct interval_pairs *interval_clusters_end(struct interval_clusters *c);
/* By how much the mean's variance is greater than that of so many independent pairs; >= 1. After
 * the end. */
double interval_clusters_effect(const struct interval_clusters *c);

/* Two arms of an experiment, what is >= 0 in each; a cluster may have requests in both. */
enum interval_arm { ARM_NOW, ARM_THEN, INTERVAL_ARMS };
struct interval_arms {
    /* Of a request or a cluster: sum and number of ARM_NOW, then of ARM_THEN; their products,
     * summed over requests and over complete clusters. */
    double open[2 * INTERVAL_ARMS];
    struct interval_moments {
        double units, in_arm[INTERVAL_ARMS], sum[2 * INTERVAL_ARMS];
        double product[2 * INTERVAL_ARMS][2 * INTERVAL_ARMS];
    } each, merged;
    uint64_t cluster; /* that is open */
};
/* Cluster by cluster, as above. weight: for how many requests it stands (1, or the inverse of the
 * share of its kind that is in this arm: Horvitz & Thompson 1952). */
void interval_arms_add(struct interval_arms *a, uint64_t cluster, enum interval_arm arm, double x,
                       double weight);
/* 1 - mean of ARM_NOW / mean of ARM_THEN, by the logarithm. After the last one; NAN: an arm has
 * fewer than two requests, or ARM_THEN cost nothing. */
struct interval interval_saving(struct interval_arms *a, double alpha);

#endif
