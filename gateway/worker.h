/* A worker: one thread, one event loop, one listener (SO_REUSEPORT), one upstream with its pools,
 * one request table, the current policy snapshot. Shared-nothing: others reach it only through its
 * mailbox. threads: worker_start/stop/post from control; everything else runs on the worker's own
 * thread. */
#ifndef GATEWAY_WORKER_H
#define GATEWAY_WORKER_H

#include <stdatomic.h>
#include "base/mailbox.h"
#include "base/stats.h"
#include "router/snapshot.h"

struct launcher;
struct learner;
struct ledger;
struct worker;
struct access_log;

struct worker_options {
    int index;
    struct snapshot *snapshot; /* the worker takes its own reference */
    const char *host;
    uint16_t port;                 /* of the shared listener; 0 only for the first worker */
    struct ledger *ledger;         /* borrowed for the worker's life */
    struct learner *learner;       /* borrowed for the worker's life */
    struct access_log *access_log; /* borrowed; NULL: none */
    struct launcher *launcher;     /* borrowed for the worker's life; NULL: none */
    _Atomic int64_t *connections, *in_flight; /* of the process, borrowed */
};

struct worker *worker_start(const struct worker_options *opt,
                            struct err_text *t); /* thread running and listening on return */
uint16_t worker_port(const struct worker *w);
struct stats *worker_stats(struct worker *w); /* readable from any thread */

/* Posted, asynchronous: */
void worker_set_snapshot(struct worker *w, struct snapshot *s); /* takes a reference of its own */
void worker_drain(
    struct worker *w,
    int64_t drain_ms); /* stop accepting; after drain_ms abort what is left; then the loop ends */
/* Lists the requests in flight: the worker fills json and posts the record to reply_to, where
 * on_listed receives it (and owns it). When the worker is gone already, msg.discard is called
 * instead. */
struct worker_listing {
    struct message msg; /* msg.discard is the asker's to set; msg.deliver is the worker's */
    struct mailbox *reply_to;
    void (*on_listed)(struct message *m, void *receiver_ctx);
    struct buf json; /* objects separated by commas, without brackets; buf_clear it */
    int worker_index;
};
void worker_list_requests(struct worker *w, struct worker_listing *l); /* l is handed over */

void worker_join(struct worker *w); /* waits for the thread, frees */

#endif
