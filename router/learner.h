/* What weir learns from its requests: one thread that counts evidence, keeps it in a store, takes
 * outcomes that come late, and publishes beliefs (router/decide/beliefs.h) from time to time.
 *
 *   worker: learner_post ------> every 250 ms: sheet of increments ---> store (a file, or a Redis)
 *   worker: learner_label -----> find, relabel in one step  --------->    |
 *                                                                         v  units that changed,
 *   worker: learner_beliefs <--- beliefs, built anew <--- counters <------'  also other replicas'
 *
 * Nothing here is on a request's way: posting never blocks, beliefs are a pointer under a short
 * lock. They follow what is learned within half a second, whichever replica learned it. A killed
 * process loses what it had not flushed, 250 ms of it, and counts nothing twice. While the store is
 * away, counters are summed up and requests are remembered within bounds; what finds no room is
 * dropped and counted in the metrics.
 *
 * threads: open, set_policy and close from control; the rest from any. */
#ifndef ROUTER_LEARNER_H
#define ROUTER_LEARNER_H

#include "base/err.h"
#include "base/mailbox.h"
#include "base/slice.h"
#include "base/stats.h"
#include "router/decide/tally.h"

struct beliefs;
struct evidence;
struct learner;
struct ledger;
struct neighbours;
struct policy;

struct learner_options {
    const char *path;      /* of the file; NULL: a Redis */
    const char *redis_url; /* NULL: a file */
    const char *prefix;    /* of its keys */
    /* Where outcomes are booked; borrowed until the close. With a file, requests that nothing is
     * learned from are found there, too, and not remembered; NULL: all are. */
    struct ledger *ledger;
    int64_t fit_every_ms; /* at most so often scorers are fitted; 0: once a minute */
    bool read_only;       /* the file is another process's: looked at, never written; nothing may
                             be posted */
};

enum err learner_open(const struct learner_options *opt, struct learner **out,
                      struct err_text *t) MUST_CHECK;
/* Writes what is left, for at most two seconds, and ends. After the last post. NULL is fine. */
void learner_close(struct learner *l);
struct stats *learner_stats(struct learner *l); /* its own table: STAT_LEARN_* */

/* Builds the beliefs of a policy that is to serve, so that its first request finds them; at a start
 * of what was learned before, if the store gives it within a second. Waits; false after timeout_ms:
 * they come later. Any thread. */
bool learner_prepare(struct learner *l, struct policy *p, int64_t timeout_ms);
/* Which routes there are and what they want. Takes a reference of its own. */
void learner_set_policy(struct learner *l, struct policy *p);

/* A request has ended. Copies. Before its reply's last byte, so that feedback finds it, and before
 * it is posted to the ledger. */
void learner_post(struct learner *l, const struct evidence *e);
/* Requests that nothing is learned from need not be posted, nor are they taken: when there is a
 * word about one, it is looked for in the ledger. */
bool learner_recalls(const struct learner *l);

/* A reference to the newest beliefs under that policy, for the caller to give back: of the one that
 * serves, one that is prepared, or one of the last that served before; of any other policy, and
 * NULL, those under the one that serves. NULL: there are none yet. */
struct beliefs *learner_beliefs(struct learner *l, const struct policy *p);

/* A reference to the newest neighbours (router/neighbours.h), for the caller to give back. They
 * follow what is told within seconds, within a minute where much is remembered. NULL: there are
 * none yet, or no route wants them. */
struct neighbours *learner_neighbours(struct learner *l);

/* ---- outcomes ---- */

#define LEARNER_NOTE_BYTES 512

/* What somebody says of an answer. Filled in by the caller, on the heap: handed over whole, and
 * comes back to reply_to, where on_done receives it (and owns it), with err set. */
struct learner_label {
    struct message msg;       /* msg.discard is the caller's to set; msg.deliver is the learner's */
    struct mailbox *reply_to; /* NULL: nobody waits; msg.discard is called when it is done */
    void (*on_done)(struct message *m, void *receiver_ctx);

    const char *tenant, *request_id; /* whose answer; as learner_post had them */
    const char *model;               /* "": the one that was served */
    enum tally_source source;
    int value_milli;  /* 0..1000; -1: what that source said is taken back */
    int64_t said_us;  /* wall clock: of two words the later one counts */
    const char *note; /* for the ledger; "" */

    /* ERR_OK; ERR_NOT_FOUND: no such request of that tenant, or longer ago than LEARN_REMEMBER_S;
     * ERR_OVERLOADED: the store is away. */
    enum err err;
    bool changed;     /* the label was news */
    int weight_milli; /* how far that source is believed where the request went, 0..1000 */
    char about[256];  /* model whose answer was labelled; "" when none was served */
};
void learner_label(struct learner *l, struct learner_label *label);

/* ---- for tests and the end ---- */

/* Waits until everything posted before is in the store and has come back from it, and beliefs are
 * built of it. false after timeout_ms. */
bool learner_flush(struct learner *l, int64_t timeout_ms);

/* What a route's policy asks of its beliefs. Pure. */
struct policy_decide;
struct beliefs_objective learner_objective(const struct policy_decide *d);

#endif
