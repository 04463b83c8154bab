/* Alarms that may be looked at as often as one likes: e-values. Under the hypothesis an e-value
 * exceeds 1/alpha with a chance of at most alpha, ever. All are logarithms. Pure. */
#ifndef ROUTER_REPORT_EVALUE_H
#define ROUTER_REPORT_EVALUE_H

#include <stdbool.h>

/* Counts against shares that they should have (sum 1, each > 0; a share of 0 with a count refutes:
 * INFINITY): Dirichlet-multinomial of strength `k` (Lindon & Malek 2020, arXiv 2011.03567). Does
 * not mind the order, so that replicas may add their counts. Sums of logarithms over strata are
 * again one. */
#define EVALUE_STRENGTH 100.0
double evalue_split(const double *count, const double *share, int arms, double k);

/* Were choices drawn with the propensities that were written down? A wager against each that is
 * made before it (a martingale under the hypothesis, whatever the propensities do): an arm that
 * came up more often than it should gets more. Embedded; EVALUE_ARMS arms at most. */
#define EVALUE_ARMS 17
struct evalue_drawn {
    double log_e, expected[EVALUE_ARMS], seen[EVALUE_ARMS];
    long n;
};
/* propensity[arms] sums to 1; that of the chosen one is > 0, or the hypothesis is refuted. */
void evalue_drawn_add(struct evalue_drawn *e, const double *propensity, int arms, int chosen);

/* Alarm? */
bool evalue_alarms(double log_e, double alpha);

#endif
