/* What one key cannot know alone: references, contradictions, reachability. Inside this room only.
 */
#ifndef POLICIES_POLICY_CHECK_INT_H
#define POLICIES_POLICY_CHECK_INT_H

#include "policies/policy_bind_int.h"
#include "policies/policy_int.h"

/* Completes and checks the prices, in place: what is not written is inherited, entries are put in
 * order of time. */
void policy_check_prices(struct binder *b);
/* Everything else, on the indexed snapshot. */
void policy_check(struct binder *b, const struct policy_snapshot *s);
/* Routes that no request can reach (policy_reach.c). */
void policy_check_reach(struct binder *b, const struct policy_snapshot *s);

#endif
