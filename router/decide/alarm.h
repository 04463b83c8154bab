/* Do events split over groups as their shares say, or is one group worse? An e-value that may be
 * looked at any time and in any order (Lindon & Malek, "Anytime-Valid Inference for Multinomial
 * Count Data", arXiv 2011.03567): a Dirichlet-multinomial mixture around the shares against the
 * shares themselves. Pure. */
#ifndef ROUTER_DECIDE_ALARM_H
#define ROUTER_DECIDE_ALARM_H

#include <stdbool.h>

/* ln of the evidence against "each event falls into group i with probability share[i]"; above
 * ln(1/alpha) it is an alarm that is false with probability alpha at most. count[n] >= 0; share[n]
 * sums to 1, each > 0. */
double alarm_evidence(const double *count, const double *share, int n);

/* One group against the rest: its failures and answers beside theirs. true: it fails more often,
 * and chance explains that with less than alpha. */
struct alarm_group {
    double failures, answers;
};
bool alarm_is_worse(struct alarm_group one, struct alarm_group rest, double alpha);

#endif
