/* The inside of the learner, shared by learner.c (thread, flushing), learner_label.c (outcomes) and
 * learner_beliefs.c (building), learner_near.c (neighbours), learner_publish.c (who gets which),
 * learner_recall.c (requests that only the ledger has). Nobody else includes it.
 * Everything but the fields under `lock` is the learner's thread's own. */
#ifndef ROUTER_LEARNER_INT_H
#define ROUTER_LEARNER_INT_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include "policies/policy.h"
#include "router/decide/beliefs.h"
#include "router/evidence.h"
#include "router/learn_store.h"
#include "router/learned.h"
#include "router/learner.h"
#include "router/ledger_read.h"
#include "router/scorer_table.h"

/* What is believed under a policy. Both references are owned, both NULL: nothing is here. */
struct learner_published {
    struct policy *policy;
    struct beliefs *beliefs; /* NULL: no route decides by them */
};

/* Reloads may follow each other faster than workers take them up. */
#define LEARNER_OTHERS 8

struct learner {
    struct learner_options opt;
    pthread_t thread;
    struct mailbox evidence;       /* looked at with each tick */
    struct mailbox requests;       /* looked at at once: labels, policies, flushes */
    _Atomic int64_t posted, taken; /* evidence; the difference is in the mailbox */
    _Atomic int64_t refused;       /* that found the mailbox full */

    pthread_mutex_t lock;
    pthread_cond_t progress;
    struct learner_published serving; /* written by the learner's thread only, as is the next */
    struct learner_published other[LEARNER_OTHERS]; /* of the one that comes and of those before */
    struct neighbours *neighbours;                  /* owned reference; NULL: none */
    uint64_t flush_asked, flushed; /* calls of learner_flush: the newest, the last that is done */

    struct event_base *base;
    struct event *mail, *tick, *soon; /* soon: a word waits for the ledger */
    struct learn_store *store;
    bool closing;
    int64_t close_until_us;

    /* on their way to the store */
    struct learn_sheet sheet;
    struct list memories; /* of struct learn_memory */
    size_t memory_count, memory_bytes;
    struct learn_batch batch; /* under way, or to be tried again */
    bool batch_full, writing;

    /* back from it */
    struct learned learned;
    int64_t forgot_us; /* wall clock of the last time that old buckets were dropped */
    bool reading, changed;
    int ticks;
    uint64_t flush_heard;   /* the newest call of learner_flush that has come here */
    uint64_t flush_reading; /* the read under way serves that flush; 0: none */

    struct outcome_signals *signals; /* owned */
    struct list labels;              /* of struct label_job */
    size_t label_count;
    struct ledger_reader *reader; /* owned; NULL until a word needs it */
    struct policy *next;          /* owned reference: its beliefs are asked for; NULL */
    bool has_read;                /* what was learned before is here */
    uint64_t version;             /* of the newest beliefs */
    int next_other;               /* the place in `other` that is filled next, the oldest */
    int64_t other_us;             /* since when `other` is as it is */
    int64_t built_bucket_us;      /* quick bucket of the last build */
    int64_t built_us, build_took_us;
    struct scorer_table scorers; /* in force */
    struct learner_fit *fit;     /* owned */
    struct learner_near *near;   /* owned */

    struct stats *stats;
    struct stats_cell *waiting, *dropped, *lost_units, *up, *build_us, *neighbour_rows;
};

/* ---- learner.c ---- */
/* Takes what workers have posted, and sends a batch off if none is under way. */
void learner_send(struct learner *l);
void learner_take(struct learner *l); /* takes only */
bool learner_nothing_waits(const struct learner *l);
void learner_serve_flush(struct learner *l); /* if somebody waits for one and all is written */

/* ---- learner_label.c ---- */
void learner_label_begin(struct message *m, void *ctx); /* a label's deliver */
/* One that nobody waits for. Copies. */
void learner_label_own(struct learner *l, const struct learner_label *label);
void learner_labels_retry(struct learner *l); /* with each tick, and after a batch */
void learner_labels_end(struct learner *l);   /* fails all that are open */

/* ---- learner_recall.c ---- */
/* Such a request, of the ledger; strings in the arena. ERR_NOT_FOUND: not there, too old, or on its
 * way to the store; ERR_OVERLOADED: the ledger cannot be read now. */
enum err learner_recall(struct learner *l, struct slice tenant, struct slice request_id,
                        struct arena *a, struct evidence *out) MUST_CHECK;

/* ---- learner_signals.c ---- */
/* A request that has ended: is it one asked again, and will its silence mean something? */
void learner_signals_note(struct learner *l, const struct evidence *e);
void learner_signals_due(struct learner *l); /* with each tick */

/* ---- learner_fit.c ---- */
struct learner_fit *learner_fit_new(struct learner *l);
void learner_fit_free(struct learner_fit *f); /* after the store is closed; NULL is fine */
void learner_fit_note(struct learner *l, enum tally_source source); /* a new label */
void learner_fit_tick(struct learner *l);

/* ---- learner_near.c ---- */
struct learner_near *learner_near_new(struct learner *l);
void learner_near_free(struct learner_near *n); /* after the store is closed; NULL is fine */
void learner_near_note(struct learner *l);      /* counters changed: labels may have */
void learner_near_tick(struct learner *l);

/* ---- learner_beliefs.c ---- */
/* From the counters as they are now; a reference. NULL: no route of the policy decides by them. */
struct beliefs *learner_build(struct learner *l, const struct policy *p, int64_t now_us,
                              uint64_t version);
/* What a route has of `learn`, else the policy's own; NULL: there is no policy yet. */
const struct policy_learn *learner_learn(const struct policy *p, struct slice route);
/* How far sources are believed on that route; p may be NULL. */
struct tally_trust learner_trust(const struct policy *p, struct slice route);

/* ---- learner_publish.c ---- */
/* Counters changed, or the weights of all of them with the bucket of time; and building would not
 * take more than its share. */
bool learner_publish_due(const struct learner *l);
void learner_publish(struct learner *l); /* of the policy that serves */
void learner_publish_next(struct learner *l, struct policy *p);
void learner_publish_under(struct learner *l, struct policy *p); /* that policy serves now */
void learner_publish_end(struct learner *l);
/* Any thread: waits until that policy's beliefs are there. false after timeout_ms. */
bool learner_await_next(struct learner *l, const struct policy *p, int64_t timeout_ms);

#endif
