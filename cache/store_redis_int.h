/* The inside of the Redis store, shared by store_redis.c (calls) and store_redis_log.c (following
 * the change logs). Nobody else includes it. */
#ifndef CACHE_STORE_REDIS_INT_H
#define CACHE_STORE_REDIS_INT_H

#include "base/arena.h"
#include "base/list.h"
#include "cache/generations.h"
#include "cache/redis_link.h"
#include "cache/store.h"

#define REDIS_WRITE_US 1000000 /* budget of what nobody waits for */
#define REDIS_STALL_US 1500000 /* unanswered beyond its budget: the connection is dead */

struct store_redis;

/* A command as it is put together. */
struct redis_words {
    struct slice word[160];
    size_t count;
    struct arena room; /* of what had to be written */
};
void redis_words_init(struct redis_words *w);
void redis_words_clear(struct redis_words *w);
void redis_words_add(struct redis_words *w, struct slice s); /* borrowed */
void redis_words_format(struct redis_words *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void redis_words_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                     const char *kind, struct slice name);

/* What is known of one bucket's log. */
struct redis_bucket {
    uint64_t epoch, seen; /* of its data; number of the last record */
    uint64_t told;        /* how many records there were at the last beat */
    size_t got;           /* records in the last read */
    char last[48];        /* id of the last record */
    bool joined;          /* on this connection */
};

enum redis_script { SCRIPT_PUT, SCRIPT_EXACT, SCRIPT_DEL, SCRIPT_FLUSH, SCRIPT_TAGGED, SCRIPTS };

struct store_redis {
    struct store store;
    struct store_options opt;
    char *prefix; /* owned */
    struct redis_link *calls, *watch;
    char sha[SCRIPTS][41]; /* "" : the server does not have it yet */
    struct generations generations;
    char writer[17]; /* who we are in the logs */
    struct store_stat stat;
    bool closing;
    /* calls */
    struct list held; /* puts that wait for the connection */
    size_t held_count, held_bytes;
    struct event *released;  /* owned: the queue may go on */
    int failures;            /* of lookups, one after the other */
    int64_t broken_until_us; /* lookups are not tried before; 0: the breaker is closed */
    /* log */
    struct redis_bucket buckets[STORE_BUCKETS];
    int open_joins, open_beats;
    bool beat_holds;
    bool owed; /* the next read must bring what the beat counted */
    int64_t beat_at_us, current_until_us, clock_offset_ms;
    struct event *again; /* owned: when the logs are asked next */
};

void redis_release_held(struct store_redis *s);
void redis_log_up(void *ctx);
void redis_log_down(void *ctx, const char *why);
int64_t redis_log_lag_ms(const struct store_redis *s); /* as in struct store_inspection */
void redis_log_start(struct store_redis *s);
void redis_log_stop(struct store_redis *s);

#endif
