/* Local model servers that weir starts itself: on first need, waits until they are ready, stops
 * them after idle time, restarts them with back-off, lets only one member of an exclusive group run
 * at a time (two models never fight for one GPU), and ends them all on exit.
 *
 * One launcher per process with a thread of its own; it owns the child processes. Workers ask with
 * launcher_want and get the answer through their mailbox; use is counted with atomics, so that a
 * request on a running server costs two increments.
 *
 *                +----------- ready -----------+
 *                |                             v
 *   STOPPED --> STARTING ---- fails ----+    READY --> STOPPING --> STOPPED
 *      ^  want   ^                      v      |   idle, swapped for another member of its group,
 *      |         +-- next want, after FAILED <-+   changed or dropped by the policy, exit
 *      |             its back-off             dies
 *
 * Back-off: a start that failed may be tried again after backoff_base_ms, doubled for each further
 * failure up to backoff_max_ms; wants in between are refused at once with the last failure, so that
 * their routes go on to the next model. A server that was ready for backoff_max_ms has a clean
 * record; the first death of such a one is followed by a restart without delay.
 *
 * Exclusive groups: a want for a member waits (at most max_queue per server; beyond:
 * ERR_UPSTREAM_BUSY) until the member that runs may be let go, oldest want first:
 *   - busy: not before it has been ready for min_run_ms; then no new use is let in, those in flight
 *     end, and it is stopped;
 *   - without a request: once it has been so for as long as it took to start (the ski-rental rule:
 *     at most twice the swapping that one who knew the future would do), or after min_run_ms.
 * So swaps are bounded by time and nobody starves.
 *
 * Not this module's: whether a READY server answers well (endpoints' passive health, probe.h). */
#ifndef BACKENDS_LAUNCHER_H
#define BACKENDS_LAUNCHER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/mailbox.h"

#define LAUNCHER_NAME_BYTES 136 /* a backend's name has at most 128; a longer one is cut */

struct launcher;

/* Plain values, copied by launcher_configure. */
struct launcher_spec {
    const char *name;        /* the backend's */
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH; no shell */
    /* "NAME=value" beside weir's own environment; NULL-terminated; may be NULL */
    const char *const *env;
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
const char *launcher_state_name(enum launcher_state s); /* "stopped", "starting" ... */

/* NULL with *t when the thread or its loop cannot be had. */
struct launcher *launcher_new(struct err_text *t);
/* Replaces the set of specs: unchanged ones keep running, changed and absent ones are stopped when
 * their requests have ended. Any thread. */
void launcher_configure(struct launcher *l, const struct launcher_spec *specs, size_t n);
/* Refuses what waits (ERR_DRAINING), stops every child (group kill after stop_ms) and waits for
 * them. Nothing else of the launcher may be called any more. */
void launcher_free(struct launcher *l);

/* One use of a server. Heap-allocated: it may outlive its request. */
struct launcher_want {
    /* Posted to reply_to when decided. deliver and discard are the asker's; either owns the use
     * when err is ERR_OK and must see to launcher_done, the only function of this module that
     * discard may call. */
    struct message msg;
    struct mailbox *reply_to;
    uint64_t token; /* the asker's own: to find its request again */
    /* ERR_OK: ready, the use is counted until launcher_done; UPSTREAM_BUSY: the queue is full;
     * UPSTREAM_CONNECT: it does not start, or is not configured; CLIENT_GONE: cancelled; DRAINING
     */
    enum err err;
    struct err_text why; /* with the child's last words */
    /* Private to the launcher, under its lock. */
    struct launcher_server *queued_on; /* NULL: not waiting */
    int64_t asked_us;                  /* when it began to wait */
    uint64_t number;                   /* order of arrival */
};
/* true: the server is READY and the use is counted; w is not used and remains the asker's. false: w
 * will be posted, also when the answer is known at once. */
bool launcher_want(struct launcher *l, const char *name, struct launcher_want *w);
/* The request behind a want that was not delivered yet is gone: it leaves the queue and is posted
 * with ERR_CLIENT_GONE, unless its answer is on the way already. On the asker's thread. */
void launcher_cancel(struct launcher *l, struct launcher_want *w);
void launcher_done(struct launcher *l, const char *name); /* the request on it has ended */
/* Discards what waits for this mailbox; nothing is posted to it any more when this has returned. */
void launcher_forget(struct launcher *l, struct mailbox *reply_to);

/* Told of each server that becomes READY: a message of its own to the watcher's mailbox, which
 * outlives the launcher or is closed first. */
struct launcher_ready {
    struct message msg; /* deliver owns and frees it */
    char name[LAUNCHER_NAME_BYTES];
};
void launcher_watch(struct launcher *l, struct mailbox *to,
                    void (*deliver)(struct message *m, void *receiver_ctx));
bool launcher_is_ready(struct launcher *l, const char *name);

struct launcher_info {
    char name[LAUNCHER_NAME_BYTES];
    enum launcher_state state;
    int pid;           /* 0: no child */
    int64_t rss_bytes; /* of its process group */
    int64_t since_ms;  /* how long it has been in this state */
    int64_t uses;      /* requests on it now */
    int64_t waiting, starts, failures;
    int64_t retry_in_ms; /* FAILED: wants are refused for so long; 0: the next one starts it */
    char last_error[sizeof(struct err_text)];
};
/* At most max are written; returns how many there are. Any thread; looks through /proc. */
size_t launcher_list(struct launcher *l, struct launcher_info *out, size_t max);
/* The last bytes (up to 16 KB) of its stdout and stderr, over restarts. ERR_NOT_FOUND. */
enum err launcher_log_tail(struct launcher *l, const char *name, struct buf *out) MUST_CHECK;

#endif
