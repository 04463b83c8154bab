/* What a request may ask of the cache, and what it is to it: the route's rules, tightened by the
 * caller's headers (Cache-Control: no-cache, no-store, max-age=N; x-weir-cache: off, exact), and
 * its identity. Pure but for the request that it fills in. threads: the worker's. */
#ifndef ROUTER_CACHE_ALLOW_H
#define ROUTER_CACHE_ALLOW_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/http1.h"
#include "cache/cache.h"
#include "policies/policy.h"

struct request;
struct ask_identity;

/* Fills in r->cache: rules, scope, digests, text. false: the cache has nothing to do with it. */
bool cache_allow(struct request *r);

/* ---- its parts, for what is no request on its way (cache_identity.h) ---- */

struct cache_rules cache_allow_rules(const struct policy_cache_use *allowed);
/* What else can change an answer: the models that the route may ask, and the versions, betas and
 * projects that headers name. head: NULL for none. */
struct slice cache_allow_group(const struct policy *p, const struct policy_route *route,
                               const struct http1_head *head, struct slice query, struct arena *a);
/* Why no neighbours are looked for; static, NULL: they are. Only where a text stands for the whole
 * question, and somebody can say what it means; and in a shared scope a text that means to steer
 * the model teaches others nothing. */
const char *cache_allow_obstacle(const struct policy_route *route, bool encoder, struct slice scope,
                                 const struct ask_identity *id);

#endif
