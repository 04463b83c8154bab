/* The inside of struct cache, shared by cache.c (the thread and its life), cache_lookup.c
 * (questions and answers) and cache_changes.c (what other replicas did). Nobody else includes it.
 * Everything here is the cache thread's, but for what is _Atomic and the mailbox. */
#ifndef CACHE_CACHE_INT_H
#define CACHE_CACHE_INT_H

#include <event2/event.h>
#include <pthread.h>
#include "cache/admin_trail.h"
#include "cache/cache.h"
#include "cache/cache_flights.h"
#include "cache/cache_removals.h"
#include "cache/cache_residents.h"
#include "cache/store.h"

struct cache_budgets;

struct cache_cells {
    struct stats_cell *lookups[4], *puts, *refused_puts, *entries, *bytes, *store_up, *failed,
        *late, *indexed, *labels, *right, *wrong, *warm, *alarm, *quarantined;
};

/* A copy of the facts as of the last tick. */
struct cache_told {
    pthread_mutex_t lock;
    struct cache_facts facts;
};

struct cache {
    struct cache_options opt; /* its strings are the caller's, and gone after cache_open */
    struct mailbox mailbox;
    pthread_t thread;
    struct event_base *base;
    struct event *mail, *tick;
    struct store *store;
    struct cache_residents residents;
    struct cache_removals removals;
    struct cache_flights flights;
    struct admin_trail *trail;     /* owned: the newest look-ups */
    struct list admin_runs;        /* of struct admin_run: jobs on their way */
    struct cache_meaning *meaning; /* owned; NULL: exact tier only */
    struct cache_meaning *retired; /* owned: of encoders before; the store may still call them */
    char *snapshot_path;           /* owned; NULL: none */
    struct rng rng;
    bool closing;
    uint64_t ticks;
    _Atomic int64_t current_until_us, clock_offset_ms; /* for the workers */
    struct cache_facts facts;                          /* the cache thread's */
    struct cache_told *told;                           /* owned; for everybody */
    struct cache_cells cells;
    uint64_t counted_failed, counted_late; /* of the store: as the counters have them */
};

int64_t cache_now_ms(const struct cache *c); /* by the store's clock */

void cache_lookup_start(struct cache *c, struct cache_ask *a);
void cache_lookup_answer(struct cache *c, struct cache_ask *a, enum cache_verdict v,
                         struct cache_entry *e); /* e: borrowed, NULL on a miss */
void cache_store_answer(struct cache *c, struct cache_entry *e, const struct cache_rules *rules);
void cache_give_up(struct cache *c, const struct digest *exact);
void cache_release_overdue(struct cache *c);
void cache_release_all(struct cache *c);

void cache_lookup_miss(struct cache *c, struct cache_ask *a); /* leads, waits or goes */
bool cache_may_serve(const struct cache *c, const struct cache_ask *a, const struct cache_entry *e);
bool cache_is_current(const struct cache *c);
/* No longer served from here, nor found. */
void cache_drop_entry(struct cache *c, uint64_t id);
/* Into memory: what a call of the store brought that was sent at `since` (cache_removals_now).
 * Borrowed; NULL: word of its removal came meanwhile. */
struct cache_entry *cache_keep_read(struct cache *c, struct cache_entry *e, uint64_t since);
bool cache_removed_since(const struct cache *c, const struct cache_fields *f, uint64_t since);

/* cache_meaning*.c; all do nothing without vectors. */
enum err cache_meaning_open(struct cache *c, struct err_text *t) MUST_CHECK;
void cache_meaning_save(struct cache *c);                       /* before the store is closed */
bool cache_meaning_saving(const struct cache *c);               /* the store has not all of it */
void cache_meaning_close(struct cache *c);                      /* after it */
bool cache_meaning_begin(struct cache *c, struct cache_ask *a); /* false: not by meaning */
void cache_meaning_add(struct cache *c, const struct cache_fields *f);
void cache_meaning_drop(struct cache *c, uint64_t id);
void cache_meaning_fetch(struct cache *c, struct slice scope, uint64_t id); /* and add */
void cache_meaning_lost(struct cache *c);
void cache_meaning_learn(struct cache *c, const struct cache_label *l);
void cache_meaning_remember(struct cache *c, const struct digest *reply,
                            const struct cache_label *l);
void cache_meaning_word(struct cache *c, const struct digest *reply, bool right, double weight);
void cache_meaning_tick(struct cache *c);
/* NULL: there are none. */
const struct cache_budgets *cache_meaning_budgets(const struct cache *c);
void cache_meaning_change(struct cache *c, int dim, const uint8_t *fingerprint);

void cache_heed_change(void *c, const struct store_change *change);

#endif
