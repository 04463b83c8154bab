/* Where answers are kept beyond this process: a SQLite file (store_sqlite.h) or a Redis
 * (store_redis.h), behind one asynchronous interface.
 *
 * Every call answers by exactly one callback, on the cache thread, never before the call has
 * returned; store_close answers what is open with ERR_OVERLOADED. ERR_OVERLOADED also means: not
 * reachable now, too slow for the budget, or too much queued. Nobody waits longer than the budget
 * of the store's options; a late answer is dropped.
 *
 *   atomic    put (entry, exact key, tags, removal of what it replaces, log record), del, flush
 *   survives  SQLite: what was committed, at most STORE_COMMIT_MS ago, also kill -9 and power cuts
 *             (a batch is there or it is not). Redis: what its own persistence keeps; this process
 *             may die at any point.
 *   order     of calls on one store: kept. Between replicas: the last put of a question wins.
 *
 * Generations: each scope has one, a number that only grows; an entry is good while it carries that
 * of its scope. A flush takes the next one: O(1), whatever is stored. Put refuses an entry of
 * another generation, so that an answer from before a flush cannot come in after it. A store that
 * lost its data draws new ones, so that nothing old comes back.
 *
 * The log: what others changed comes as struct store_change, at most a second late. STORE_LOST
 * says that word of some changes is lost: drop what you hold of that bucket and scan.
 *
 * One thread: that of the loop in the options. */
#ifndef CACHE_STORE_H
#define CACHE_STORE_H

#include <event2/event.h>
#include "base/buf.h"
#include "cache/cache_entry.h"

#define STORE_BUCKETS     64
#define STORE_MAX_IDS     64
#define STORE_COMMIT_MS   50
#define STORE_RECORDS     5000
#define STORE_MAX_RECORDS 500

struct store;

/* All entries of a scope live in one bucket (one hash slot of a Redis cluster). */
unsigned store_bucket(struct slice scope);
/* The same for every process and in every file: beside a tag, where the entries of a scope lie. */
uint64_t store_home(struct slice scope);

struct store_ref {
    struct slice scope; /* copied by the call */
    uint64_t id;
};

struct store_tag {
    struct slice tag, scope; /* copied by the call */
    bool any_scope;          /* then `scope` says nothing */
};

enum store_change_kind {
    STORE_PUT,   /* id is there; what it replaced is in `replaced` */
    STORE_DEL,   /* id is gone */
    STORE_FLUSH, /* scope has a new generation */
    STORE_LOST,  /* anything may have changed in the bucket */
};
struct store_change {
    enum store_change_kind kind;
    unsigned bucket;
    uint64_t id, replaced; /* 0: none */
    struct slice scope;    /* of PUT and FLUSH */
    uint64_t generation;   /* of FLUSH */
};

/* Entries in the order of the ids asked for, NULL where there is none; borrowed: take a reference
 * to keep one. */
typedef void store_entries_fn(void *ctx, enum err err, struct cache_entry *const *e, size_t n);
/* ERR_CONFLICT: of another generation than its scope now; ERR_TOO_LARGE: the store has no room.
 * replaced: the id that this one took the place of, 0: none. */
typedef void store_put_fn(void *ctx, enum err err, uint64_t replaced);
typedef void store_done_fn(void *ctx, enum err err, uint64_t value);
/* A page of what is stored, without bodies (.body is "", .body_bytes its length), borrowed. next:
 * cursor of the next page, "" : that was the last. Checksums are not looked at: what is served is
 * got whole. An entry that is there all the time comes at least once. */
typedef void store_page_fn(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                           struct slice next);
typedef void store_bytes_fn(void *ctx, enum err err, struct slice value);

/* Of a record that replicas share; 0, 0: before the first. */
struct store_place {
    uint64_t at, number;
};
static inline bool store_place_before(struct store_place a, struct store_place b)
{
    return a.at != b.at ? a.at < b.at : a.number < b.number;
}
/* Records in the order in which they were appended, borrowed, and the place of the last of them.
 * gap: `after` is no longer there, so that some behind it may be lost. */
typedef void store_records_fn(void *ctx, enum err err, const struct slice *record, size_t n,
                              struct store_place last, bool gap);

struct store_options {
    struct event_base *base;
    void (*changed)(void *ctx, const struct store_change *c); /* by others than this process */
    void *ctx;
    int64_t budget_us; /* of a lookup */
    size_t max_entries, max_bytes;
};

struct store_stat {
    const char *kind; /* "sqlite", "redis" */
    bool up;          /* reachable, and its log is being followed */
    bool counts;      /* entries and bytes are known */
    uint64_t entries, bytes;
    uint64_t calls, failed, late; /* late: no answer within the budget */
    uint64_t dropped_writes;      /* there was no room in the queue while it was away */
    uint64_t losses;              /* STORE_LOST */
    uint64_t bad_entries;         /* could not be read: removed or skipped */
    char detail[160];             /* why it is not up; "" */
};

/* What only the store itself can say of its health. */
struct store_inspection {
    char version[32];      /* of the server or library; "" not known */
    char eviction[32];     /* Redis' maxmemory-policy; "" there is none */
    uint64_t used_bytes;   /* memory of the server, or the file; 0: not known */
    uint64_t limit_bytes;  /* of it; 0: none */
    int64_t round_trip_us; /* to the server and back; 0: there is none */
    int64_t log_lag_ms;    /* since word of all changes was here; 0: it always is, -1: never yet */
};
typedef void store_inspect_fn(void *ctx, enum err err, const struct store_inspection *about);

struct store_ops {
    void (*get_exact)(struct store *s, struct slice scope, struct digest exact,
                      store_entries_fn *fn, void *ctx);
    void (*get)(struct store *s, const struct store_ref *refs, size_t n, store_entries_fn *fn,
                void *ctx);
    void (*find)(struct store *s, uint64_t id, store_entries_fn *fn, void *ctx);
    void (*put)(struct store *s, struct cache_entry *e, store_put_fn *fn, void *ctx);
    void (*del)(struct store *s, const struct store_ref *ref, store_done_fn *fn, void *ctx);
    void (*flush)(struct store *s, struct slice scope, store_done_fn *fn, void *ctx);
    void (*tagged)(struct store *s, const struct store_tag *tag, struct slice cursor,
                   store_page_fn *fn, void *ctx);
    void (*scan)(struct store *s, struct slice cursor, store_page_fn *fn, void *ctx);
    void (*note)(struct store *s, struct slice name, struct slice value, store_done_fn *fn,
                 void *ctx);
    void (*recall)(struct store *s, struct slice name, store_bytes_fn *fn, void *ctx);
    void (*append)(struct store *s, struct slice name, struct slice record, store_done_fn *fn,
                   void *ctx);
    void (*read)(struct store *s, struct slice name, struct store_place after, store_records_fn *fn,
                 void *ctx);
    void (*inspect)(struct store *s, store_inspect_fn *fn, void *ctx);
    void (*touch)(struct store *s, const struct store_ref *ref, uint32_t hits);
    uint64_t (*generation)(const struct store *s, struct slice scope);
    bool (*current)(const struct store *s, int64_t *until_mono_us);
    int64_t (*clock_offset_ms)(const struct store *s);
    enum err (*mark)(const struct store *s, struct buf *out);
    bool (*resume)(struct store *s, struct slice mark);
    void (*stat)(const struct store *s, struct store_stat *out);
    void (*close)(struct store *s);
};

struct store {
    const struct store_ops *ops;
    bool shared; /* others may hold it, too: what one learns the others shall know */
};

static inline void store_get_exact(struct store *s, struct slice scope, struct digest exact,
                                   store_entries_fn *fn, void *ctx)
{
    s->ops->get_exact(s, scope, exact, fn, ctx);
}
/* n: 1 to STORE_MAX_IDS. */
static inline void store_get(struct store *s, const struct store_ref *refs, size_t n,
                             store_entries_fn *fn, void *ctx)
{
    s->ops->get(s, refs, n, fn, ctx);
}
/* The entry of that id, whatever its scope: for operators, who know no more. Slower than the others
 * where scopes lie apart; not bound by the budget of lookups. */
static inline void store_find(struct store *s, uint64_t id, store_entries_fn *fn, void *ctx)
{
    s->ops->find(s, id, fn, ctx);
}
/* Takes a reference of its own. Whatever is stored under the same `exact` is replaced. */
static inline void store_put(struct store *s, struct cache_entry *e, store_put_fn *fn, void *ctx)
{
    s->ops->put(s, e, fn, ctx);
}
/* value: 1 when it was there. */
static inline void store_del(struct store *s, const struct store_ref *ref, store_done_fn *fn,
                             void *ctx)
{
    s->ops->del(s, ref, fn, ctx);
}
/* value: the new generation. */
static inline void store_flush(struct store *s, struct slice scope, store_done_fn *fn, void *ctx)
{
    s->ops->flush(s, scope, fn, ctx);
}
/* A page of those with that tag, as store_scan gives pages, with cursors of its own. Looks at no
 * others, however many are stored; what turns out not to carry the tag (any more) may be among
 * them. */
static inline void store_tagged(struct store *s, const struct store_tag *tag, struct slice cursor,
                                store_page_fn *fn, void *ctx)
{
    s->ops->tagged(s, tag, cursor, fn, ctx);
}
/* cursor: "" begins. */
static inline void store_scan(struct store *s, struct slice cursor, store_page_fn *fn, void *ctx)
{
    s->ops->scan(s, cursor, fn, ctx);
}
/* Small state under a name, such as what was learned about answers; no expiry. */
static inline void store_note(struct store *s, struct slice name, struct slice value,
                              store_done_fn *fn, void *ctx)
{
    s->ops->note(s, name, value, fn, ctx);
}
/* ERR_NOT_FOUND: there is none. */
static inline void store_recall(struct store *s, struct slice name, store_bytes_fn *fn, void *ctx)
{
    s->ops->recall(s, name, fn, ctx);
}
/* Of a shared store only: one more record under that name, for all who hold the store. The newest
 * STORE_RECORDS or so are kept. */
static inline void store_append(struct store *s, struct slice name, struct slice record,
                                store_done_fn *fn, void *ctx)
{
    s->ops->append(s, name, record, fn, ctx);
}
/* Likewise: those behind `after`, at most STORE_MAX_RECORDS. */
static inline void store_read(struct store *s, struct slice name, struct store_place after,
                              store_records_fn *fn, void *ctx)
{
    s->ops->read(s, name, after, fn, ctx);
}
static inline void store_inspect(struct store *s, store_inspect_fn *fn, void *ctx)
{
    s->ops->inspect(s, fn, ctx);
}
/* It was served that often since the last time: for the store's choice of what to evict. */
static inline void store_touch(struct store *s, const struct store_ref *ref, uint32_t hits)
{
    s->ops->touch(s, ref, hits);
}
/* 0: not known, nothing of that scope may be served or stored. */
static inline uint64_t store_generation(const struct store *s, struct slice scope)
{
    return s->ops->generation(s, scope);
}
/* Is word of all changes here? *until: as long as nothing is heard, this holds until then. What is
 * held in memory may be served only while it does. */
static inline bool store_current(const struct store *s, int64_t *until_mono_us)
{
    return s->ops->current(s, until_mono_us);
}
/* The store's clock minus ours: expiry is judged by the store's. */
static inline int64_t store_clock_offset_ms(const struct store *s)
{
    return s->ops->clock_offset_ms(s);
}
/* How far the log has been heard, as bytes for a snapshot beside which they are kept. */
static inline enum err store_mark(const struct store *s, struct buf *out)
{
    return s->ops->mark(s, out);
}
/* Changes since that mark are told again. false: the log does not reach back that far, or it is
 * not of this store's data: discard the snapshot and scan. Only before the loop runs, once. */
static inline bool store_resume(struct store *s, struct slice mark)
{
    return s->ops->resume(s, mark);
}
static inline void store_stat(const struct store *s, struct store_stat *out)
{
    s->ops->stat(s, out);
}
static inline void store_close(struct store *s)
{
    if (s)
        s->ops->close(s);
}

/* A file of its own, made when it is not there. ERR_INTERNAL with t: it cannot be opened, is no
 * database of this program, or of a newer schema. */
enum err store_sqlite_open(const struct store_options *opt, const char *path, struct store **out,
                           struct err_text *t) MUST_CHECK;

/* url as in cache/redis_link.h. ERR_BAD_REQUEST with t: a URL that says nothing usable. A server
 * that cannot be reached is no error here: everything misses until it can. */
enum err store_redis_open(const struct store_options *opt, const char *url, const char *prefix,
                          struct store **out, struct err_text *t) MUST_CHECK;

#endif
