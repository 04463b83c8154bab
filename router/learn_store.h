/* Where what was learned outlives the process: counters that are only ever added to, and the
 * requests whose outcome may still come. Two kinds: a file of one process's own (SQLite), and a
 * Redis that replicas share. Both keep lines of text that they do not understand.
 *
 *   write    a batch: counters and remembered requests, all or nothing, and never twice
 *   find     what is remembered of a request, and its labels
 *   relabel  swaps what is remembered of a request and its labels, if both still are what they
 *            were, and adds what that changes, in one step
 *   read     the scorers, and then units that have changed since the last read: whole, or what was
 *            added to them
 *   recent   visits the newest remembered requests, page by page
 *   claim    asks for the right to fit scorers; one process at a time has it
 *   publish  puts a model's new scorer in the place of its old one
 *
 * threads: the learner's, which runs an event loop. A call never calls back before it returns, and
 * always calls back once, unless the store is closed; until then what it was given stays as it is.
 * One write, and one read, at a time. */
#ifndef ROUTER_LEARN_STORE_H
#define ROUTER_LEARN_STORE_H

#include <event2/event.h>
#include "base/err.h"
#include "router/learn_sheet.h"

#define LEARN_REMEMBER_S (INT64_C(7) * 86400) /* how long an outcome may take */

struct learn_memory { /* one block with its strings */
    struct list link;
    struct slice tenant, request_id, text, labels;
    int64_t decided_wall_us;
};

struct learn_batch {
    uint64_t number;          /* 1.. of this process; a batch that is written again keeps its own */
    struct learn_sheet sheet; /* of at most LEARN_BATCH_UNITS */
    struct list memories;     /* of struct learn_memory, at most LEARN_BATCH_MEMORIES */
};
#define LEARN_BATCH_UNITS    256
#define LEARN_BATCH_MEMORIES 2000

struct learn_found {
    struct slice text, labels; /* borrowed during the call */
};

/* ERR_OVERLOADED: the store is away or too slow; try again later. */
typedef void learn_done_fn(void *ctx, enum err err);
/* ERR_NOT_FOUND: nothing is remembered. */
typedef void learn_found_fn(void *ctx, enum err err, const struct learn_found *found);
/* For each unit that has changed: its whole content, or what was added to it. */
typedef void learn_unit_fn(void *ctx, const struct learn_unit_name *name, const struct tally *t);

struct learn_relabel {
    struct slice tenant, request_id;
    /* What is remembered. No text, of a file only: nothing yet, as text_after stood elsewhere. */
    struct slice text, text_after;
    int64_t decided_wall_us;    /* without a text */
    struct slice before, after; /* labels */
    const struct learn_sheet *sheet;
};

#define LEARN_RECENT_PAGE 200
#define LEARN_RECENT_MOST 20000 /* of which a shared store keeps the order */
/* next: where the following page begins; -1: there is none. */
typedef void learn_page_fn(void *ctx, enum err err, int64_t next);
struct learn_recent {
    int64_t from; /* 0: the newest; else what the last page gave */
    void (*visit)(void *ctx, const struct learn_memory *m); /* its slices: during the call */
    learn_page_fn *done;
    void *ctx;
};

/* version: greater than all that were given before. */
typedef void learn_claim_fn(void *ctx, enum err err, unsigned version);

struct learn_read {
    void (*scorer)(void *ctx, struct slice model, struct slice text);
    learn_unit_fn *unit, *added;
    void (*reset)(void *ctx); /* what was read before is gone: the store was emptied */
    learn_done_fn *done;
    void *ctx;
};

struct learn_store;
struct learn_store_ops {
    void (*write)(struct learn_store *s, const struct learn_batch *b, learn_done_fn *done,
                  void *ctx);
    void (*find)(struct learn_store *s, struct slice tenant, struct slice request_id,
                 learn_found_fn *done, void *ctx);
    /* ERR_CONFLICT: the line or the labels are others. ERR_NOT_FOUND. */
    void (*relabel)(struct learn_store *s, const struct learn_relabel *r, learn_done_fn *done,
                    void *ctx);
    void (*read)(struct learn_store *s, const struct learn_read *r);
    void (*anew)(struct learn_store *s); /* the next read is of everything; none is under way */
    void (*recent)(struct learn_store *s, const struct learn_recent *r);
    /* For hold_ms. ERR_CONFLICT: another process has it. */
    void (*claim)(struct learn_store *s, int64_t hold_ms, learn_claim_fn *done, void *ctx);
    void (*publish)(struct learn_store *s, struct slice model, struct slice text,
                    learn_done_fn *done, void *ctx);
    bool (*up)(struct learn_store *s);
    void (*close)(struct learn_store *s);
};
struct learn_store {
    const struct learn_store_ops *ops;
};

/* In one file. Errors with t. */
enum err learn_store_sqlite_open(const char *path, struct event_base *base,
                                 struct learn_store **out, struct err_text *t) MUST_CHECK;
/* The same beside the process whose it is, which may be running: only `read`, `find` and `recent`
 * work, once: what changes later is not seen. The file must be there. */
enum err learn_store_sqlite_read(const char *path, struct event_base *base,
                                 struct learn_store **out, struct err_text *t) MUST_CHECK;
/* At a Redis; keys begin with the prefix and a colon. Connects in the background. */
enum err learn_store_redis_open(const char *url, const char *prefix, struct event_base *base,
                                struct learn_store **out, struct err_text *t) MUST_CHECK;

#endif
