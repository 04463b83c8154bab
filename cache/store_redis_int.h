/* The inside of the Redis store, shared by the files store_redis*.c. Nobody else includes it. */
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
void redis_words_entry_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                           uint64_t id);
void redis_words_exact_key(struct redis_words *w, const struct store_redis *s, unsigned bucket,
                           struct digest exact);
void redis_words_home(struct redis_words *w, struct slice scope); /* as a word of 16 hex digits */
void redis_words_fields(struct redis_words *w, size_t count); /* the first of redis_field_keys */

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
    char away[160];      /* why it was last said to be away; "": it was not since it was there */
};

static inline struct store_redis *redis_of(struct store *s)
{
    return CONTAINER_OF(s, struct store_redis, store);
}

static inline const struct store_redis *redis_of_const(const struct store *s)
{
    return (const struct store_redis *)(const void *)((const char *)s -
                                                      offsetof(struct store_redis, store));
}

/* store_redis_words.c. Begins a command that runs a script: by its name where the server has it. */
void redis_words_script(struct store_redis *s, struct redis_words *w, enum redis_script which,
                        int keys);
void redis_scripts_load(struct store_redis *s);
enum err redis_refusal(struct store_redis *s, const struct redis_reply *r); /* ERR_OK: it is none */
uint64_t redis_decimal(struct slice s); /* up to the first that is no digit */
uint64_t redis_hex(struct slice s);     /* of at most 16 digits; 0: something else */

/* The calls of struct store_ops: store_redis_entries.c, */
void redis_get_exact(struct store *st, struct slice scope, struct digest exact,
                     store_entries_fn *fn, void *ctx);
void redis_get(struct store *st, const struct store_ref *refs, size_t n, store_entries_fn *fn,
               void *ctx);
void redis_find(struct store *st, uint64_t id, store_entries_fn *fn, void *ctx);
/* The values of a hash, in order of the fields. false: it is not there (any more). */
bool redis_take_values(const struct redis_reply *r, size_t count, struct slice *value);
/* store_redis_write.c, */
void redis_put(struct store *st, struct cache_entry *e, store_put_fn *fn, void *ctx);
void redis_del(struct store *st, const struct store_ref *ref, store_done_fn *fn, void *ctx);
void redis_flush(struct store *st, struct slice scope, store_done_fn *fn, void *ctx);
void redis_touch(struct store *st, const struct store_ref *ref, uint32_t hits);
void redis_release_held(struct store_redis *s); /* in the next turn */
void redis_held_go(evutil_socket_t fd, short what, void *ctx);
struct redis_done_call; /* a call whose answer is a number, or nothing */
struct redis_done_call *redis_done_new(struct store_redis *s, store_done_fn *fn, void *ctx);
void redis_done(void *ctx, enum err err, const struct redis_reply *r);
/* store_redis_pages.c, */
void redis_scan(struct store *st, struct slice cursor, store_page_fn *fn, void *ctx);
void redis_tagged(struct store *st, const struct store_tag *tag, struct slice cursor,
                  store_page_fn *fn, void *ctx);
/* store_redis_notes.c. */
void redis_note(struct store *st, struct slice name, struct slice value, store_done_fn *fn,
                void *ctx);
void redis_recall(struct store *st, struct slice name, store_bytes_fn *fn, void *ctx);
void redis_append(struct store *st, struct slice name, struct slice record, store_done_fn *fn,
                  void *ctx);
void redis_read(struct store *st, struct slice name, struct store_place after, store_records_fn *fn,
                void *ctx);

void redis_log_up(void *ctx);
void redis_log_down(void *ctx, const char *why);
int64_t redis_log_lag_ms(const struct store_redis *s); /* as in struct store_inspection */
void redis_log_start(struct store_redis *s);
void redis_log_stop(struct store_redis *s);

#endif
