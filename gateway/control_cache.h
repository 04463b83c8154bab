/* The cache of answers for the serving policy: opened when a policy first wants one, and then there
 * as long as the process; a policy that would have it otherwise needs a restart
 * (policy_restart_needed). Control thread. */
#ifndef GATEWAY_CONTROL_CACHE_H
#define GATEWAY_CONTROL_CACHE_H

#include "base/stats.h"
#include "cache/cache.h"
#include "policies/policy.h"
#include "router/cache_audit.h"
#include "router/embedder.h"
#include "router/snapshot.h"

struct control_cache { /* embedded in struct control */
    struct cache *cache;
    struct stats *stats; /* of the cache's thread */
};

/* ERR_OK also when p wants none. One that is open already is told which encoder serves from here
 * on: e, NULL where p has none. Errors with t. */
enum err control_cache_open(struct control_cache *cc, const struct policy *p, struct embedder *e,
                            struct err_text *t) MUST_CHECK;
/* What p's requests use, put into s; none when p wants none. */
void control_cache_serve(struct control_cache *cc, struct snapshot *s);
void control_cache_close(struct control_cache *cc); /* the workers are gone */

#endif
