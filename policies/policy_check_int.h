/* What one key cannot know alone: references, contradictions, reachability. Inside this room only.
 */
#ifndef POLICIES_POLICY_CHECK_INT_H
#define POLICIES_POLICY_CHECK_INT_H

#include "policies/policy_bind_int.h"
#include "policies/policy_int.h"

/* Completes and checks the prices, in place: what is not written is inherited, entries are put in
 * order of time. */
void policy_check_prices(struct binder *b);
/* The encoder section and the models that it serves, completed in place (policy_check_class.c);
 * before the prices, which depend on what a model can do. */
void policy_complete_encoder(struct binder *b);
/* The encoder, the declared classes, and who matches on them (policy_check_class.c). */
void policy_check_classes(struct binder *b, const struct policy *p);
/* Which routes use the cache, and its Redis (policy_check_cache.c); after the routes are all there.
 */
void policy_complete_cache(struct binder *b);
void policy_check_cache(struct binder *b, const struct policy *p);
/* Where answers by meaning are asked for; they are. */
const struct place *policy_semantic_place(struct binder *b, const struct policy *p);
/* How each route decides (policy_check_decide.c); after the routes are all there. */
void policy_complete_decide(struct binder *b);
void policy_check_decide(struct binder *b, const struct policy *p);
/* Everything else, on the indexed snapshot. */
void policy_check(struct binder *b, const struct policy_snapshot *s);
/* Backends alone and among each other (policy_check_backend.c). */
void policy_check_backends(struct binder *b, const struct policy *p);
/* Routes that no request can reach (policy_reach.c). */
void policy_check_reach(struct binder *b, const struct policy_snapshot *s);

/* What the parts of the check share. */
int policy_check_line(const struct binder *b, const void *address); /* where it is written; 0 */
bool policy_check_given(const struct place *at, const char *key);
bool policy_check_wildcard(const struct policy_address *a); /* listens on every address */
void policy_check_backoff(struct binder *b, const int64_t *base_ms, const int64_t *max_ms);

#endif
