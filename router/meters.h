/* The request path's metric cells: looked up once per label set and kept, so that counting a
 * request costs a few relaxed stores. Cells are cached for the current snapshot; a request that
 * still runs on an older one takes the slower look-up. threads: one per worker, on its thread. */
#ifndef ROUTER_METERS_H
#define ROUTER_METERS_H

#include "base/stats.h"
#include "base/tokens.h"
#include "router/cache_use.h"
#include "router/classifier.h"
#include "router/snapshot.h"

struct meters;
struct meters *meters_new(struct stats *stats);
void meters_free(struct meters *m);
void meters_bind(struct meters *m,
                 struct snapshot *s); /* the snapshot that new requests use; keeps a reference */

/* One upstream attempt. outcome ERR_OK: "ok". tenant NULL: "". */
void meters_attempt(struct meters *m, const struct snapshot *s, size_t model, enum err outcome,
                    const struct policy_tenant *tenant, const struct token_usage *usage,
                    nanousd cost, int64_t duration_us);
/* The attempt that follows a failed one. */
void meters_retry(struct meters *m, const struct snapshot *s, size_t model, enum err reason);
void meters_budget_exhausted(struct meters *m);
/* A tenant's budget is spent: its request was "refused", or went to the "cheapest" model. */
void meters_tenant_limited(struct meters *m, const char *tenant, const char *action);
void meters_upstream_paused(struct meters *m);
/* A finished request; route -1: none matched; ttft_us -1: not streamed. */
void meters_request(struct meters *m, const struct snapshot *s, unsigned api, int route, int status,
                    int64_t total_us, int64_t ttft_us);
/* A finished request of weir's own; outcome ERR_OK: "ok". */
void meters_background(struct meters *m, const char *purpose, enum err outcome);
/* A decision of a route that judges its answers; chosen: a model, or "stop". */
void meters_decision(struct meters *m, const char *route, const char *chosen, const char *reason);
/* A stream was held back so long. */
void meters_held(struct meters *m, const char *route, int64_t held_us);
/* A request's class was found, the wait included. */
void meters_classified(struct meters *m, const struct classification *c, int64_t took_us);
/* The encoder did not tell it: ERR_OVERLOADED; ERR_REQUEST_TIMEOUT: it took too long; its error. */
void meters_encoder_shed(struct meters *m, const char *reason);
void meters_classify_cost(struct meters *m, const char *encoder, const struct policy_tenant *tenant,
                          nanousd cost);
/* What the cache said to a request whose route has one; saved: what its answer had cost. */
void meters_cached(struct meters *m, enum cache_said said, const struct policy_route *route,
                   const struct policy_tenant *tenant, nanousd saved);
void meters_kept(struct meters *m, enum answer_worth worth);
/* An audit that was not made: "budget" (of the day), "busy" (too many under way), "failed". */
void meters_audit_skipped(struct meters *m, const char *why);
/* A comparison of two answers; names of router/judge.h. */
void meters_judged(struct meters *m, const char *by, const char *verdict);
void meters_in_flight(struct meters *m, int64_t n);

#endif
