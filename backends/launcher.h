/* Local model servers that weir starts itself: on first need, waits until they are ready, stops
 * them after idle time, restarts them with back-off, lets only one member of an exclusive group run
 * at a time (two models never fight for one GPU), and ends them all on exit.
 *
 * One launcher per process with a thread of its own; it owns the child processes. Workers ask with
 * launcher_want and get the answer through their mailbox; use is counted with atomics, so that a
 * request on a running server costs two increments.
 *
 *   STOPPED -> STARTING -> READY -> STOPPING -> STOPPED          (idle, replaced by another member
 * of its group, policy change, exit) |          | v          v  child died FAILED  -> (back-off) ->
 * STARTING on the next want
 *
 * A want on a group whose other member is busy queues (bounded by max_queue; beyond:
 * ERR_UPSTREAM_BUSY) and is served when that member has been idle for min_run_ms or has no requests
 * in flight, oldest first: swaps are bounded, nobody starves. */
#ifndef BACKENDS_LAUNCHER_H
#define BACKENDS_LAUNCHER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/mailbox.h"

struct launcher;

/* Plain values, copied by launcher_configure. */
struct launcher_spec {
    const char *name;        /* the backend's */
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH; no shell */
    const char *const
        *env; /* "NAME=value" beside weir's own environment; NULL-terminated; may be NULL */
    const char *directory; /* NULL: weir's */
    const char *host;      /* where it will listen, for the readiness probe */
    uint16_t port;
    const char *ready_path;   /* GET until 200: "/health"; NULL: until the port accepts */
    int64_t ready_timeout_ms; /* from start; then the start has failed */
    int64_t idle_ms;          /* stop after so long without a request; -1: never */
    int64_t stop_ms;          /* SIGTERM, then SIGKILL to its process group after so long */
    const char *group;        /* exclusive group, NULL: none */
    int64_t min_run_ms;       /* a member of a group is not swapped out sooner while it has work */
    int64_t max_queue;        /* wants that may wait */
    int64_t backoff_base_ms, backoff_max_ms;
};

enum launcher_state {
    LAUNCHER_STOPPED,
    LAUNCHER_STARTING,
    LAUNCHER_READY,
    LAUNCHER_STOPPING,
    LAUNCHER_FAILED
};
const char *launcher_state_name(enum launcher_state s);

struct launcher *launcher_new(struct err_text *t);
/* Replaces the set of specs: unchanged ones keep running, changed and absent ones are stopped when
 * their requests have ended. Any thread. */
void launcher_configure(struct launcher *l, const struct launcher_spec *specs, size_t n);
void launcher_free(
    struct launcher *l); /* stops every child (group kill after stop_ms) and waits for them */

/* One use of a server. Embedded in the asker's record. */
struct launcher_want {
    struct message msg; /* posted to reply_to when decided; deliver and discard are the asker's */
    struct mailbox *reply_to;
    uint64_t token; /* the asker's own: to find its request again */
    enum err err; /* ERR_OK: ready, the use is counted until launcher_done; else ERR_UPSTREAM_BUSY,
                     ERR_UPSTREAM_CONNECT (start failed) */
    struct err_text why; /* with the child's last words */
};
/* true: the server is READY and the use is counted; w is not used. false: w will be posted.
 * Heap-allocate w: it may outlive its request. */
bool launcher_want(struct launcher *l, const char *name, struct launcher_want *w);
void launcher_done(struct launcher *l, const char *name); /* the request on it has ended */

struct launcher_info {
    char name[64];
    enum launcher_state state;
    int pid;
    int64_t rss_bytes, since_ms, uses, waiting, starts, failures;
    char last_error[256];
};
size_t launcher_list(struct launcher *l, struct launcher_info *out, size_t max); /* any thread */
/* The last bytes (up to 16 KB) of its stdout and stderr. */
enum err launcher_log_tail(struct launcher *l, const char *name, struct buf *out) MUST_CHECK;

#endif
