/* Called by the figures of a report and by replays. */
#include "router/report/evalue.h"

#include <assert.h>
#include <math.h>

double evalue_split(const double *count, const double *share, int arms, double k)
{
    double total = 0, log_e;

    for (int i = 0; i < arms; i++) {
        if (count[i] > 0 && !(share[i] > 0))
            return (double)INFINITY;
        total += count[i];
    }
    log_e = lgamma(k) - lgamma(k + total);
    for (int i = 0; i < arms; i++)
        if (share[i] > 0)
            log_e +=
                lgamma(k * share[i] + count[i]) - lgamma(k * share[i]) - count[i] * log(share[i]);
    return log_e;
}

/* How much more often than expected an arm came up so far, drawn to 1. */
static double leaning(const struct evalue_drawn *e, int arm)
{
    return (EVALUE_STRENGTH + e->seen[arm]) / (EVALUE_STRENGTH + e->expected[arm]);
}

void evalue_drawn_add(struct evalue_drawn *e, const double *propensity, int arms, int chosen)
{
    double total = 0;

    assert(arms <= EVALUE_ARMS && chosen >= 0 && chosen < arms);
    if (!(propensity[chosen] > 0)) {
        e->log_e = (double)INFINITY;
        return;
    }
    for (int i = 0; i < arms; i++)
        total += propensity[i] * leaning(e, i);
    e->log_e += log(leaning(e, chosen) / total);
    for (int i = 0; i < arms; i++)
        e->expected[i] += propensity[i];
    e->seen[chosen]++;
    e->n++;
}

bool evalue_alarms(double log_e, double alpha)
{
    return log_e >= -log(alpha);
}
