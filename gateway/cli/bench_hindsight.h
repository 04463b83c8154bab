/* What choices that know the record would have had: the bars that a stream is held against. */
#ifndef GATEWAY_CLI_BENCH_HINDSIGHT_H
#define GATEWAY_CLI_BENCH_HINDSIGHT_H

#include "gateway/cli/bench_set.h"
#include "router/decide/evaluate.h"

#define BENCH_HINDSIGHT_POINTS 256

/* Points by cost per request, corners of a concave frontier: what mixing them at random reaches. */
struct bench_hindsight {
    struct evaluate_point point[BENCH_HINDSIGHT_POINTS];
    size_t points;
};

/* Each class to one model, for any price of a success. kept[arms]: the share of an arm's recorded
 * successes that are any (1, but for one that got worse). */
void bench_hindsight_classes(const struct bench_set *s, const double *kept,
                             struct bench_hindsight *out);
/* The cost at which it has that success, nano-dollars per request; NAN: it never has. */
double bench_hindsight_cost(const struct bench_hindsight *h, double success);

#endif
