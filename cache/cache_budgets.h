/* Whose wrong answers count against which bound: a struct risk for each scope and bound that was
 * asked for, all under one root, which learns from all of them. What each of them learned outlives
 * the process, as a note in the store named after the encoder, the scope and the bound: another
 * encoder's vectors are no evidence about this one's.
 *
 * A scope whose note cannot be read yet goes on learning from nothing, and so serves nothing; when
 * the note comes it wins if it stands on more labels. Replicas that share a store learn as one:
 * what one of them is told by its audits all hear of within a second or so, under the same names,
 * and each counts the requests of all (cache_budgets_notes.c says how). Cache thread. */
#ifndef CACHE_CACHE_BUDGETS_H
#define CACHE_CACHE_BUDGETS_H

#include "cache/cache.h"
#include "cache/store.h"

struct cache_budgets;

/* store: borrowed, outlives every call here but cache_budgets_free. */
struct cache_budgets *cache_budgets_new(struct store *store,
                                        const uint8_t fingerprint[CACHE_FINGERPRINT_BYTES]);
void cache_budgets_free(struct cache_budgets *b); /* after the store is closed; NULL is fine */

/* Whose error a question counts against; its number, from 1. */
unsigned cache_budgets_find(struct cache_budgets *b, struct slice scope,
                            const struct cache_rules *rules);
/* NULL: no such number. */
struct risk *cache_budgets_risk(const struct cache_budgets *b, unsigned number);
/* In a shared store what it changes shows at one of the next ticks. */
void cache_budgets_learn(struct cache_budgets *b, unsigned number, const struct risk_label *l);

/* Of all together: sums; cut, correction and weights are those of the one with most requests;
 * warm: one of them is; alarm: one has one. */
void cache_budgets_facts(const struct cache_budgets *b, struct risk_facts *out,
                         uint64_t *quarantined);

/* One of them, in no order, for operators; i from 0. false: there is none. scope: borrowed. */
struct cache_budget_facts {
    struct slice scope;
    double max_error, audit_min;
    const struct risk *risk;
};
bool cache_budgets_at(const struct cache_budgets *b, size_t i, struct cache_budget_facts *out);

/* Asks for notes that have not been read, hears what others learned, and writes a note that is due.
 * current: the store is up. */
void cache_budgets_tick(struct cache_budgets *b, bool current, int64_t now_us);
void cache_budgets_save(struct cache_budgets *b); /* all that is newer than its note */
bool cache_budgets_writing(
    const struct cache_budgets *b); /* something is on its way to the store */

#endif
