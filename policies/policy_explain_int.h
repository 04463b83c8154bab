/* Between policy_explain and its parts. Inside this room only. */
#ifndef POLICIES_POLICY_EXPLAIN_INT_H
#define POLICIES_POLICY_EXPLAIN_INT_H

#include "base/arena.h"
#include "policies/policy.h"

#define POLICY_EXPLAIN_LINES 16

struct explain_lines {
    struct arena *arena;
    const char *of[POLICY_EXPLAIN_LINES];
    size_t count;
};

/* How the route judges its answers; nothing, where it does not. (policy_explain_decide.c) */
void policy_explain_decide(struct explain_lines *out, const struct policy *p,
                           const struct policy_query *q, const struct policy_route *r);

#endif
