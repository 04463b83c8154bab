/* Called by replays. */
#include "router/report/offpolicy.h"

#include <math.h>

/* Backwards: what follows, corrected by how far the step's own estimate was off. */
void offpolicy_value(const struct offpolicy_step *s, size_t n, double out[OFFPOLICY_REWARDS])
{
    for (int k = 0; k < OFFPOLICY_REWARDS; k++) {
        double rest = 0;
        for (size_t t = n; t-- > 0;)
            rest = s[t].v[k] + s[t].weight * (s[t].reward[k] + rest - s[t].q[k]);
        out[k] = rest;
    }
}

double offpolicy_weight(const struct offpolicy_step *s, size_t n)
{
    double w = 1;

    for (size_t t = 0; t < n; t++)
        w *= s[t].weight;
    return w;
}

void offpolicy_check_add(struct offpolicy_check *c, double weight, double unsupported)
{
    c->n++;
    c->sum += weight;
    c->squares += weight * weight;
    c->unsupported += unsupported;
}

double offpolicy_mean_weight(const struct offpolicy_check *c)
{
    return c->n > 0 ? c->sum / c->n : 0;
}

double offpolicy_mean_error(const struct offpolicy_check *c)
{
    double mean = offpolicy_mean_weight(c);

    return c->n > 1 ? sqrt(fmax(0, c->squares / c->n - mean * mean) / (c->n - 1)) : 0;
}

double offpolicy_ess(const struct offpolicy_check *c)
{
    return c->squares > 0 ? c->sum * c->sum / c->squares : 0;
}

enum offpolicy_verdict offpolicy_verdict(const struct offpolicy_check *c)
{
    if (!(c->n > 0))
        return OFFPOLICY_EMPTY;
    if (c->unsupported > 1e-9 * c->n)
        return OFFPOLICY_UNSUPPORTED;
    if (offpolicy_ess(c) < OFFPOLICY_MIN_ESS)
        return OFFPOLICY_FEW;
    if (fabs(offpolicy_mean_weight(c) - 1) > 3 * offpolicy_mean_error(c) + 1e-9)
        return OFFPOLICY_BIASED;
    return OFFPOLICY_VALID;
}
