/* Intervals of ratios of sums by resampling whole clusters (conversations, hours of a tenant):
 * what lies in one cluster may hang together. Pure; the same seed gives the same. Efron 1979; Field
 * & Welsh 2007 for clusters. */
#ifndef ROUTER_REPORT_BOOTSTRAP_H
#define ROUTER_REPORT_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>
#include "router/report/interval.h"

struct bootstrap_cluster {
    double over, under; /* sums of what is divided and of what divides */
};
/* The value over all clusters; low and high are quantiles alpha/2 and 1 - alpha/2 of `rounds`
 * resamples. Resamples whose divisor is not > 0 count as INFINITY. No cluster: NAN. */
struct interval bootstrap_ratio(const struct bootstrap_cluster *c, size_t n, int rounds,
                                double alpha, uint64_t seed);

#endif
