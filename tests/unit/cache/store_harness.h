/* A store and a loop to run it in: each call waits for its answer. */
#ifndef TESTS_UNIT_CACHE_STORE_HARNESS_H
#define TESTS_UNIT_CACHE_STORE_HARNESS_H

#include "cache/store.h"

/* For what must come to be, however slow the machine. */
#define STORE_HARNESS_PATIENCE_MS 60000

struct store_harness {
    struct event_base *base;
    struct store *store;
    /* of the last call */
    bool answered;
    enum err err;
    uint64_t value;
    struct cache_entry *entries[STORE_MAX_IDS]; /* references, dropped at the next call */
    size_t count;
    struct buf bytes; /* value or cursor */
    uint64_t page_ids[4096];
    size_t page_count, pages; /* pages: of the last walk */
    /* of all calls */
    struct store_change changes[4096]; /* without scopes */
    size_t change_count;
};

struct store_options store_harness_options(struct store_harness *h);
void store_harness_init(struct store_harness *h); /* no store yet */
void store_harness_clear(struct store_harness *h);

/* NULL: a miss. Borrowed until the next call. */
struct cache_entry *store_harness_exact(struct store_harness *h, const struct cache_fields *f);
struct cache_entry *store_harness_get(struct store_harness *h, const char *scope, uint64_t id);
/* A new entry of the current generation; its id, 0 when it was refused (h->err). */
uint64_t store_harness_put(struct store_harness *h, struct cache_fields *f);
enum err store_harness_del(struct store_harness *h, const char *scope, uint64_t id);
enum err store_harness_flush(struct store_harness *h, const char *scope);
size_t store_harness_scan(struct store_harness *h); /* all ids into page_ids */
/* All with that tag into page_ids; scope NULL: of all. */
size_t store_harness_tagged(struct store_harness *h, const char *scope, const char *tag);
enum err store_harness_note(struct store_harness *h, const char *name, const char *value);
enum err store_harness_append(struct store_harness *h, const char *name, const char *record);
const char *store_harness_recall(struct store_harness *h, const char *name); /* NULL: none */
/* Runs the loop until it is so; false after timeout_ms. */
bool store_harness_until(struct store_harness *h, bool (*so)(struct store_harness *h),
                         int timeout_ms);

#endif
