/* What becomes of a look-up by meaning after the reply is out: was the stored answer right for this
 * question?
 *
 *   a hit that is to be audited   the question is asked afresh in the background, by the same
 * route; its answer is compared with the one that was served, and kept a miss that had a neighbour
 * its answer is here already: it is compared with the neighbour's
 *
 * A judge compares (router/judge.h); what it says goes to the cache as a label, with the features
 * and shares of the decision as they were. Fresh answers that say the same become keys of the
 * stored answer. No verdict is no label.
 *
 * Never in the client's way: both begin when the reply is out, are bounded in number and in USD a
 * day, and end with the worker's drain. threads: the worker's. */
#ifndef ROUTER_CACHE_AUDIT_H
#define ROUTER_CACHE_AUDIT_H

#include "cache/cache.h"
#include "router/daily_cap.h"

struct request;

/* Of the process: shared by the workers, kept over reloads. */
struct cache_caps {
    struct daily_cap audits, judge;
};

/* A hit by meaning is about to go out, and why.audit is set. */
void cache_audit_plan(struct request *r);
/* The request is over: begins what was planned, or compares this answer with the neighbour's. */
void cache_audit_begin(struct request *r);

/* The one way in for verdicts, of judges (weight 1) and users (less): was `why`'s answer right?
 * key: the entry of a fresh answer that was compared; 0: none. */
void cache_audit_label(struct cache *c, const struct cache_why *why, bool right, double weight,
                       uint64_t key);

#endif
