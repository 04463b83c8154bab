/* A worker's side of the cache: asks and waits for its mail. */
#ifndef TESTS_UNIT_CACHE_CACHE_HARNESS_H
#define TESTS_UNIT_CACHE_CACHE_HARNESS_H

#include "cache/admin_job.h"
#include "cache/cache.h"

struct cache_harness {
    struct cache *cache; /* the test opens it */
    struct mailbox mail;
    struct list arrived;   /* of struct cache_ask, in order */
    struct admin_job *job; /* the last that was answered, whoever takes it frees it */
};

/* Answers by meaning, at most 5 % of them wrong, with all guards; they live an hour. */
extern const struct cache_rules cache_harness_by_meaning;

void cache_harness_init(struct cache_harness *h);
void cache_harness_clear(struct cache_harness *h); /* closes the cache */

void cache_harness_now(struct cache_fields *f, int64_t life_ms);
void cache_harness_ask(struct cache_harness *h, uint64_t id, const struct cache_fields *f,
                       const struct cache_rules *rules, bool lead);
struct cache_ask *cache_harness_next(struct cache_harness *h); /* waits; the caller frees it */
/* Asks and waits: a reference; NULL: a miss. */
struct cache_entry *cache_harness_look_up(struct cache_harness *h, const struct cache_fields *f,
                                          const struct cache_rules *rules);

/* What an operator does. give: nobody waits; do: waits for the answer, which the caller frees. */
void cache_harness_give(struct cache_harness *h, struct admin_job *j);
struct admin_job *cache_harness_do(struct cache_harness *h, struct admin_job *j);
void cache_harness_flush(struct cache_harness *h, const char *scope);
bool cache_harness_remove(struct cache_harness *h, const char *scope, uint64_t id); /* was there */
/* All of the scope with that tag: how many they were. */
uint64_t cache_harness_remove_tag(struct cache_harness *h, const char *scope, const char *tag);

#endif
