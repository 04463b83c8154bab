/* A tenant's budget on a request's way: may it be served, and by which models? Pure but for the
 * sum's own atomics; any thread. */
#ifndef ROUTER_TENANT_LIMIT_H
#define ROUTER_TENANT_LIMIT_H

#include <stdbool.h>
#include "policies/policy.h"
#include "router/spend.h"

struct tenant_limit {
    enum spend_period period; /* of the limit that is reached: the one that lasts longer */
    nanousd limit;
    int64_t left_us; /* until that period is over */
};

/* Is a limit of t reached? s: what it has spent. */
bool tenant_limit_reached(const struct policy_tenant *t, struct spend *s, int64_t wall_us,
                          struct tenant_limit *out);
nanousd tenant_limit_of(const struct policy_tenant *t, enum spend_period p); /* POLICY_NONE */
const char *tenant_limit_period_name(enum spend_period p);                   /* "day" */

/* Of the route's steps (indices into it) the one whose attempt is likely to cost least; the first
 * of equals. n >= 1. */
int tenant_limit_cheapest(const struct policy *p, const struct policy_route *route,
                          const int *steps, int n, unsigned api, int64_t input_tokens,
                          int64_t wall_us);

#endif
