/* Budgets over replicas: what tenants, audits and judges have spent here is told to the others, and
 * what they have spent is heard, by way of a Redis that all share. A thread of its own does both
 * four times a second; nothing of it is on a request's way. So a limit holds over all replicas, but
 * for what was in flight when it was reached and what the others booked since they last told it:
 * a quarter of a second, longer while the Redis is slow or away. Then budgets go by what was last
 * heard and what is booked here, which the log and weir_spends_store_up say.
 *
 *   PREFIX:spend:2026-11-22, PREFIX:spend:2026-11   hashes, of a day and a month (UTC); they expire
 *     "changed"             whatever the last writer chose: who has seen it need not read the rest
 *     "REPLICA KIND NAME"   nano-dollars, decimal; KIND t: a tenant; c: a cap
 *
 * REPLICA is an id that a replica keeps in a file beside its ledger, because its sums are those of
 * that ledger. Sums are absolute, each field has one writer, and none is ever made smaller: so a
 * write may be repeated, a replica may be killed and come again, and a Redis that lost everything
 * is told again what the living know. Two processes with one id (a copied state directory) are
 * noticed; the first one that does takes a new id, and what the copy had is counted twice until the
 * period is over. A server that evicts the hashes has them written again by the living.
 *
 * While nothing is spent a replica asks for two tokens, four times a second. When something was, it
 * reads the fields of all replicas: their number times that of the names that spend.
 *
 * threads: open and close from control, the rest from any. */
#ifndef ROUTER_SPENDS_SHARE_H
#define ROUTER_SPENDS_SHARE_H

#include "base/err.h"
#include "base/stats.h"
#include "router/spends.h"

struct spends_share;
struct spends_share_options {
    const char *redis_url, *prefix;
    const char *id_path;   /* the file of the id; made when it is not there */
    struct spends *spends; /* borrowed until the close, already filled from the ledger */
};

/* Connects in the background. Errors with t: the URL, or the file of the id. */
enum err spends_share_open(const struct spends_share_options *opt, struct spends_share **out,
                           struct err_text *t) MUST_CHECK;
/* Waits until what others have spent is known for the first time. false after timeout_ms. */
bool spends_share_await(struct spends_share *s, int64_t timeout_ms);
bool spends_share_up(struct spends_share *s); /* the last exchange went well */
struct stats *spends_share_stats(struct spends_share *s);
/* Tells what is left, for at most a second, and ends. After the last booking. NULL is fine. */
void spends_share_close(struct spends_share *s);

#endif
