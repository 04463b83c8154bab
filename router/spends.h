/* What was spent by whom and on what, under names that outlive reloads: tenants, and the daily caps
 * of audits and judges ("route/NAME" of a route's own; "cache/audits" and "cache/judge"). The names
 * of caps stand in the ledger, too (ledger_request.cap), from which the sums are filled when the
 * process starts: a restart gives nobody a new budget.
 *
 * The ledgers are each replica's own. What the others have booked is heard by way of a Redis, where
 * there is one (router/spends_share.h).
 *
 * Owned and filled by control; others only get at the sums, which never move. */
#ifndef ROUTER_SPENDS_H
#define ROUTER_SPENDS_H

#include "base/err.h"
#include "router/spend.h"

struct named_spend;
struct snapshot;

enum spends_kind { SPENDS_TENANT, SPENDS_CAP, SPENDS_KINDS };

struct spends { /* embedded; zeroed: none */
    _Atomic(struct named_spend *) first[SPENDS_KINDS];
};

/* Borrowed from a struct spends by a snapshot. */
struct snapshot_spends {
    struct spend **tenants; /* [tenant] of the policy */
    struct spend **audits;  /* [route]; NULL where nothing is audited */
    struct spend *cache_audits, *cache_judge;
};

#define SPENDS_CACHE_AUDITS "cache/audits"
#define SPENDS_CACHE_JUDGE  "cache/judge"
#define SPENDS_ROUTE        "route/" /* and its name */

/* From the ledger: this day and this month. Once, before anything is booked. Errors with t. */
enum err spends_fill(struct spends *s, const char *ledger, int64_t wall_us,
                     struct err_text *t) MUST_CHECK;
void spends_clear(struct spends *s);
/* Gives the snapshot its sums. Before it is shared. */
void spends_serve(struct spends *s, struct snapshot *snap);
/* Visits all there are, by their names (spend->name). Any thread; those that are added meanwhile
 * may be missed. */
typedef void spends_visit_fn(void *ctx, enum spends_kind kind, struct spend *spend);
void spends_each(struct spends *s, spends_visit_fn *fn, void *ctx);

#endif
