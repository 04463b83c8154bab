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

struct request;

/* A hit by meaning is about to go out, and why.audit is set. */
void cache_audit_plan(struct request *r);
/* The request is over: begins what was planned, or compares this answer with the neighbour's. */
void cache_audit_begin(struct request *r);

/* ---- what users say ---- */

/* A judge compares two answers; a user who likes or dislikes one may do so for other reasons than
 * that the stored one did not fit the question: a user's word is half a judge's, times the weight
 * that the policy gives its source. */
#define CACHE_AUDIT_WORD 0.5

/* A hit by meaning is about to go out: its user may yet say something of it. Before the reply's
 * last byte. */
void cache_audit_remember(struct request *r);
/* What was said of the reply to that tenant's request: a value of 0..1000 (below 500: wrong, above:
 * right; in the middle, or withdrawn (-1), it says nothing) of a source of that weight. Nothing
 * happens when it was no hit by meaning, or is no longer remembered; the same is learned once only.
 * What a word has taught cannot be taken back: it is one of many labels, and fades like them. */
void cache_audit_word(struct cache *c, const char *tenant, const char *request_id, int value_milli,
                      int weight_milli);

#endif
