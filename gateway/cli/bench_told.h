/* What one stream of weir bench came to: cost, success, and how the floor was kept. Pure. */
#ifndef GATEWAY_CLI_BENCH_TOLD_H
#define GATEWAY_CLI_BENCH_TOLD_H

#include "gateway/cli/bench_run.h"

#define BENCH_QUARTERS 4

/* Costs in nano-dollars and successes as shares, both per request. */
struct bench_told {
    double cost, success;           /* of all */
    double late_cost, late_success; /* of the second half */
    double below;                   /* share of windows of 1,000 requests below the floor */
    double below_late;              /* ... of those that begin in the second half */
    /* requests from the break to the end of the first window at the floor again; NAN: never */
    double recovered;
    /* times the broken arm was asked from the break until traffic had left it; NAN: never */
    double pulls;
    double first[BENCH_QUARTERS][PANDORA_BOXES]; /* shares of first choices */
};

/* r[how->requests]. floor: of successes; below 0: none, every window keeps it. */
void bench_tell(const struct bench_result *r, const struct bench_stream *how, double floor,
                struct bench_told *t);

/* One figure over several seeds. Where it never came about in one of them, neither has it a mean,
 * and the most is never; the least is that of the others. NAN: never. */
struct bench_spread {
    double mean, least, most;
};
/* first: a member of t[0]. */
struct bench_spread bench_told_spread(const struct bench_told *t, int seeds, const double *first);

#endif
