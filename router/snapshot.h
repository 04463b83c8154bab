/* A policy made ready to serve: the policy, and for each of its endpoints the shared load/health
 * record and the upstream target. Immutable, refcounted (atomic); built by control, posted to
 * workers; a request keeps the one it began with. */
#ifndef ROUTER_SNAPSHOT_H
#define ROUTER_SNAPSHOT_H

#include <stdatomic.h>
#include "backends/endpoints.h"
#include "backends/upstream.h"
#include "backends/wire/quirks.h"
#include "backends/wire/wire.h"
#include "policies/policy.h"
#include "router/spends.h"

/* Sent to Anthropic-like servers when neither the client nor the policy names a version. */
#define SNAPSHOT_ANTHROPIC_VERSION "2023-06-01"

struct cache;
struct classifier;
struct embedder;
struct validate_set;

struct snapshot_backend {
    struct endpoint_shared *
        *shared; /* borrowed from the registry; parallel to policy->backends[i].endpoints */
    struct upstream_target *targets; /* parallel */
    struct slice
        *paths; /* [endpoint * WIRE_APIS + api]: path on that endpoint, "/v1/chat/completions" */
    struct http1_header *headers; /* constant request headers of this backend: its key and the
                                     policy's extra ones */
    size_t header_count;
    uint64_t *hashes; /* rendezvous identities, parallel to shared; NULL without prefix_affinity */
    enum wire_dialect dialect;
    const struct quirks *quirks; /* of an OpenAI-like server */
    int count;
};

struct snapshot {
    struct policy *policy;             /* owned reference */
    struct snapshot_backend *backends; /* policy->backend_count */
    uint64_t serial;                   /* grows by one with each load */
    struct classifier *classifier;     /* owned reference; NULL: no route hangs on a class */
    struct embedder *embedder;         /* held; NULL: no transformer */
    _Atomic bool *refuses_logprobs;    /* owned; of each model: it did, when asked for them */
    struct validate_set **validators;  /* owned; of each route; NULL: it has none */
    struct cache *cache;               /* borrowed from control; NULL: no route uses one */
    struct snapshot_spends spends;     /* borrowed likewise: router/spends.h */
    /* private */
    _Atomic int refs;
    struct arena *arena;
};

/* Takes over the caller's reference to p. */
struct snapshot *snapshot_new(struct policy *p, struct endpoint_registry *reg, uint64_t serial);
/* Before it is shared. Takes over the caller's reference to c (may be NULL), and holds e (may be
 * NULL). */
void snapshot_set_classifier(struct snapshot *s, struct classifier *c, struct embedder *e);
/* Of a route of its policy, or a copy of one. NULL: it has none. */
const struct validate_set *snapshot_validators(const struct snapshot *s,
                                               const struct policy_route *route);
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* NULL allowed */

#endif
