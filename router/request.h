/* One client request from the moment its body is complete until it is accounted: the only place
 * where a request moves.
 *
 * The decisions are pure (router/flow.h); this performs them: it calls the upstream, times, writes
 * the reply, books each attempt in the ledger. threads: a request lives and dies on one worker. */
#ifndef ROUTER_REQUEST_H
#define ROUTER_REQUEST_H

#include "backends/retry.h"
#include "backends/wire/wire.h"
#include "base/idtable.h"
#include "base/list.h"
#include "base/rng.h"
#include "router/reply.h"
#include "router/snapshot.h"
#include "router/validate_run.h"

struct background;
struct learner;
struct ledger;
struct request;
struct meters;
struct prefix_memory;
struct cache;
struct cache_hot;

/* What a request may reach; one per worker, filled in by gateway/worker.c, lives as long as the
 * worker. */
struct router_env {
    struct event_base *base;
    struct upstream *upstream;
    struct ledger *ledger;
    struct learner *learner; /* borrowed; NULL: nothing is learned */
    struct stats *stats;
    struct rng rng;
    struct retry_budget budget;
    struct meters *meters; /* metric cells of the current snapshot; router/meters.h */
    struct list in_flight; /* of struct request, oldest first */
    struct list idle;      /* finished request records, kept for reuse */
    size_t in_flight_count, idle_count;
    struct launcher *launcher; /* borrowed; NULL: no backend has a command */
    struct mailbox *mailbox;   /* the worker's, for its answers; borrowed */
    struct idtable waiting;    /* requests that wait for a server to start, or for the encoder */
    size_t owed; /* answers of encoders and of the cache to this worker's mailbox that are still to
                    come */
    struct prefix_memory *prefixes;    /* owned; NULL until answers are judged */
    struct cache *cache;               /* that was asked; borrowed */
    struct cache_hot *hot;             /* owned; NULL until the cache is used */
    struct validate_runner validators; /* programs and judges that look at answers */
    int background_count;              /* requests of weir's own: router/background.h */
    bool background_closed;            /* no more of them */
    int judges;                        /* comparisons under way: router/judge.h */
};
void router_env_init(struct router_env *env, struct event_base *base, struct upstream *up,
                     struct ledger *ledger, struct stats *stats);
void router_env_clear(struct router_env *env); /* after every request has ended */

#define REQUEST_ID_BYTES 40

struct request_spec {
    enum wire_api api;
    const char *id;                     /* x-request-id; copied */
    struct snapshot *snapshot;          /* a reference is taken */
    const struct policy_tenant *tenant; /* of snapshot->policy; NULL: none */
    const struct http1_head *head; /* borrowed until the reply's last call or request_client_gone */
    struct slice body;             /* likewise */
    struct slice query;            /* of the target, without '?'; likewise */
    int64_t received_us;           /* monotonic */
    struct background *background; /* whose request it is; NULL: a client's */
};

/* May answer at once (a malformed body, an unknown model): then NULL is returned and the reply has
 * had its last call. */
struct request *request_start(struct router_env *env, const struct request_spec *spec,
                              struct reply *reply);
void request_client_gone(
    struct request *r); /* cancels the upstream at once, books what was used; r is dead on return */
void request_writable(struct request *r); /* the client took enough: go on */
/* Ends every request with e (drain deadline). */
void request_abort_all(struct router_env *env, enum err e);
void request_abort_background(struct router_env *env, enum err e); /* those that have no client */

/* For /admin/requests: a plain description, strings borrowed until the request moves. */
struct request_info {
    const char *id, *state, *api, *tenant, *route, *serving_model, *endpoint;
    struct slice model; /* as the client asked for it */
    int64_t age_us, state_age_us;
    int attempts;
    bool stream;
    uint64_t bytes_out;
};
void request_describe(const struct request *r, struct request_info *out);
void request_each(struct router_env *env, void (*fn)(const struct request *r, void *ctx),
                  void *ctx);

#endif
