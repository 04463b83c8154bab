/* What an operator does with the entries of a running cache: looks at them page by page, takes them
 * out, marks them. A job is one message, handed over whole and answered once, on the mailbox that
 * it names; its work is done on the cache thread in small pieces, between which questions of
 * requests have their turn. */
#ifndef CACHE_ADMIN_JOB_H
#define CACHE_ADMIN_JOB_H

#include "base/arena.h"
#include "base/mailbox.h"
#include "cache/admin_cursor.h"
#include "cache/admin_filter.h"
#include "cache/admin_trail.h"
#include "cache/cache.h"
#include "cache/store.h"

enum admin_job_kind {
    ADMIN_PAGE,    /* what matches the filter, from the cursor on, without bodies */
    ADMIN_GET,     /* the entries of `ids`, whole: in their scopes, or one of any scope */
    ADMIN_REMOVE,  /* as ADMIN_PAGE, and what it matched is gone */
    ADMIN_PUT,     /* `entries` are stored, but where something as new is there already */
    ADMIN_WATCH,   /* the look-ups after number `after` */
    ADMIN_TUNE,    /* what bounds would give, budget by budget */
    ADMIN_INSPECT, /* how the store is */
    ADMIN_FLUSH,   /* nothing of the filter's scope is served any more */
    ADMIN_DELETE,  /* the entry `ids[0]` is gone */
    ADMIN_MARK,    /* it is pinned or not, quarantined or not */
    ADMIN_VECTOR,  /* it has `vector` from now on; ERR_CONFLICT: of an encoder not in force */
};

/* Dead is what has expired or was flushed, and waits to be swept away. */
enum admin_life { ADMIN_LIVING, ADMIN_DEAD, ADMIN_BOTH };

#define ADMIN_BOUNDS 8

/* A mark is left as it is, set, or taken away. */
enum admin_mark { ADMIN_LEAVE, ADMIN_SET, ADMIN_UNSET };

/* Of one scope and the bound that holds for it. */
struct admin_prospect {
    struct slice scope; /* in the job's arena */
    double max_error;
    struct risk_facts now;
    struct risk_prospect then[ADMIN_BOUNDS]; /* of each of the job's bounds */
};

struct admin_job {
    struct message msg; /* the asker sets deliver and discard */
    struct mailbox *reply_to;
    void *owner; /* the asker's own, as is id; the cache looks at neither */
    uint64_t id;
    struct arena arena; /* holds what the slices of the question point to */

    enum admin_job_kind kind;
    struct admin_filter filter;
    enum admin_life life;
    bool count_only; /* of ADMIN_PAGE: how many, not which */
    bool stale;      /* of ADMIN_PAGE: with a text to compare, and a vector of another encoder; or
                      * without      one, if they were imported */
    struct slice cursor; /* "0" begins */
    size_t limit;        /* a page ends once it has that many: a hint, like SCAN's COUNT */
    struct store_ref ids[STORE_MAX_IDS];
    size_t id_count;
    bool any_scope; /* of ADMIN_GET: ids[0] is all that is known */
    bool by_exact;  /* of ADMIN_GET: the one that answers `exact` in the filter's scope */
    struct digest exact;
    bool expects; /* of ADMIN_DELETE and ADMIN_MARK: only if it still has that checksum */
    uint8_t expected[CACHE_SUM_BYTES];
    enum admin_mark pin, quarantine;
    const uint16_t *vector;      /* of ADMIN_VECTOR: [dim] halves, in the arena; by `fingerprint` */
    uint64_t after;              /* of ADMIN_WATCH */
    int64_t wait_ms;             /* of ADMIN_WATCH: for one to come, at most; 0: not at all */
    double bounds[ADMIN_BOUNDS]; /* of ADMIN_TUNE: values of max_error */
    size_t bound_count;

    /* the answer. ERR_PRECONDITION_FAILED: it is not as expected; ERR_BAD_REQUEST: the cursor is
     * none of this cache; ERR_NOT_FOUND; ERR_CONFLICT: the entry was replaced meanwhile;
     * ERR_OVERLOADED: the store cannot be reached, and what was done until then is told. */
    enum err err;
    struct err_text why;
    struct cache_entry **entries; /* references, freed with the job; NULL in it: not there. Of
                                   * ADMIN_PUT the question: their generations are given here */
    size_t entry_count, entry_cap;
    char next[ADMIN_CURSOR_BYTES];      /* "0": that was all */
    uint64_t looked_at, matched, bytes; /* entries; bytes of those that matched, as they are kept */
    uint64_t removed;
    /* of ADMIN_PUT, entries: stored; left alone because the question has an answer that is as new;
     * dead or not taken by the store; stored without their vector, which is another encoder's */
    uint64_t stored, kept, refused, without_vector;
    struct admin_event *events; /* of ADMIN_WATCH, owned */
    size_t event_count;
    uint64_t lost; /* events that were overwritten before anybody asked for them */
    struct admin_prospect *prospects; /* of ADMIN_TUNE, owned */
    size_t prospect_count;
    /* of ADMIN_INSPECT */
    struct store_stat store;
    bool inspected; /* the store answered: */
    struct store_inspection inspection;
    int64_t clock_offset_ms; /* the store's clock minus ours */
    /* Of the encoder's vectors, 0: exact only; of ADMIN_VECTOR the question. */
    int dim;
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES];
    uint64_t generation; /* of ADMIN_FLUSH: the scope's new one */
};

struct admin_job *admin_job_new(enum admin_job_kind kind);
void admin_job_free(struct admin_job *j); /* NULL is fine */
/* e: a reference that the job takes over; NULL: there is none. */
void admin_job_add(struct admin_job *j, struct cache_entry *e);
void admin_job_give(struct cache *c, struct admin_job *j); /* j is handed over */

/* What an entry (or a page's head of one) takes in a store: the stored form, with its body. */
size_t admin_job_entry_bytes(const struct cache_fields *f);

/* For cache.c, on its thread: a job begins; the cache is closed, all jobs are answered. */
void admin_job_start(struct cache *c, struct admin_job *j);
void admin_job_seen(struct cache *c); /* a look-up is in the trail: whoever watches may go on */
void admin_job_stop_all(struct cache *c);

#endif
