/* The control thread's one struct, shared by control.c (the process's life), control_state.c (its
 * directory), control_loop.c (what it hears), control_policy.c (what serves) and control_metrics.c.
 * No other file may include this. */
#ifndef GATEWAY_CONTROL_INT_H
#define GATEWAY_CONTROL_INT_H

#include <event2/util.h>
#include <pthread.h>
#include <stdatomic.h>
#include "backends/catalog.h"
#include "backends/launcher.h"
#include "backends/probe.h"
#include "base/stats.h"
#include "gateway/control.h"
#include "gateway/control_cache.h"
#include "gateway/control_encoder.h"
#include "gateway/control_vectors.h"
#include "gateway/policy_reload.h"
#include "router/snapshot.h"
#include "router/spends.h"
#include "router/spends_share.h"

struct control {
    struct control_options opt; /* borrowed strings */
    int exit_code;

    /* the loop */
    struct event_base *base;
    int signal_fd;
    struct event *signals, *mail, *drain_poll;
    struct event *trim; /* what a burst has left behind goes back to the system */
    struct mailbox mailbox;

    /* the policy */
    struct policy_draft *first;   /* read at start, until the first snapshot takes it over */
    struct policy_reload *reload; /* owned: the queue of later ones; NULL: not started yet */
    struct policy_watch *watch;
    struct policy_store *store;
    int64_t store_serial;
    uint64_t loads; /* snapshot serials */
    struct endpoint_registry *registry;
    struct snapshot *snapshot;
    struct launcher *launcher; /* owned: the servers that weir starts itself */
    struct upstream *probing;  /* owned: the connections of health checks and of the catalog */
    struct prober *prober;     /* owned */
    struct catalog *catalog;   /* owned: what servers list */
    struct control_cache cache;
    struct control_vectors vectors;
    struct spends spends;              /* what tenants, audits and judges have spent */
    struct spends_share *spends_share; /* owned: with other replicas; NULL: they share no store */
    struct control_encoder encoder;
    struct event *sweep; /* encoders that a reload left behind end when nobody holds them */
    struct control_fault fault;

    /* the process */
    int lock_fd; /* flock on <state_dir>/lock: one process owns a state directory */
    struct ledger *ledger;
    struct learner *learner; /* owned */
    struct access_log *access_log;
    struct stats *stats;
    struct stats_cell *stale, *loaded_at;
    struct worker **workers;
    size_t worker_count;
    _Atomic int64_t connections, in_flight;
    struct http_server *admin_server;
    struct api_admin *admin;

    /* the end */
    bool draining, joining;
    int64_t drain_until_us;
    pthread_t joiner;
};

static inline const struct policy_server *control_server_of(const struct control *c)
{
    return &c->snapshot->policy->server;
}

/* Logs why the process cannot start. */
void control_start_error(const char *what, const char *why);
/* Steps of the start; false: exit_code is set and the reason logged. */
bool control_state_open(struct control *c);
/* Once a policy serves: what others have spent is known then, if the store says it within a second.
 */
bool control_state_share_spends(struct control *c);
bool control_loop_start(struct control *c);
/* Before the first load, so that no change falls between the two. */
bool control_loop_watch_file(struct control *c);
/* The loop that read the signalfd has ended: from here on a second signal does its default work. */
void control_loop_release_signals(void);

void control_on_sweep(evutil_socket_t fd, short what, void *ctx); /* of the event `sweep` */
void control_policy_init(struct control *c);
void control_policy_clear(struct control *c);
/* The first load: problems go to stderr as `weir check` prints them. false: nothing to serve. */
bool control_load_first(struct control *c);
struct catalog_owner control_catalog_owner(struct control *c);
/* Lets the first one serve. Not ERR_OK: its encoder, a class or the cache cannot be made, and t
 * says why. */
enum err control_serve_first(struct control *c, struct err_text *t) MUST_CHECK;
/* From here on nothing new serves; control_policy_end waits until nobody works at it either. */
void control_policy_stop(struct control *c);
void control_policy_end(struct control *c);

#endif
