/* How far a difference is acted upon. What the last hours say of a model, or what an estimate seems
 * to gain, is mostly chance: each follows its sign at once, and many small ones together cost more
 * than a late answer to a large one. Pure. */
#ifndef ROUTER_DECIDE_SIGNIFICANCE_H
#define ROUTER_DECIDE_SIGNIFICANCE_H

#include <math.h>

/* 0 up to one standard error, 1 from two on, in between in proportion; 0 for differences below 0,
 * and where error is 0. */
static inline double significance(double difference, double error)
{
    return error > 0 ? fmin(fmax(difference / error - 1, 0), 1) : 0;
}

#endif
