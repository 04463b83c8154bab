/* The cache of one process: what was answered before, and whether it may be served again.
 *
 * One thread owns everything that changes: the vector index, the store's connection, what was
 * learned about answers (risk). Workers send it questions as messages and get answers in their
 * mailbox, under an id; a question whose id is dead by then is dropped. Beside that each worker has
 * a hot set of its own (cache_hot.h), which answers exact repeats without a message.
 *
 * Nothing here ever makes a request wait longer than its budget: a store that is slow, down or
 * restarting is a miss, counted. Nothing here ever serves what is expired, dead, foreign to the
 * scope or of another encoder: it is checked at the moment of serving, whatever the index said.
 *
 * A shared scope holds what several tenants asked, and one of them may have asked it to mislead the
 * others. An answer is served by meaning to a tenant that did not pay for it only when the
 * questions of two tenants lead to it (they got answers that say the same, in traffic or in an
 * audit), or the operator put it there: among the neighbours at hand, two owners, or one that was
 * warmed or imported. An audit of the owner's own hit is no second word: it asks the owner's
 * question again. (A repeat is served at once: it is what that
 * tenant's own question gives.)
 *
 * threads: cache_open and cache_close from control; the rest from any thread. */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "base/mailbox.h"
#include "base/stats.h"
#include "cache/cache_entry.h"
#include "cache/risk.h"

struct cache;

struct cache_options {
    /* Where entries are kept: a SQLite file, or a Redis (then path is NULL). */
    const char *path;
    const char *redis_url; /* "redis://[user:password@]host:port[/db]", "unix:/path" */
    const char *prefix;    /* of all keys in Redis: "weir" */
    int64_t redis_budget_us;
    size_t max_entries, max_bytes; /* of this process: index and resident entries */
    int dim;                       /* of vectors; 0: exact tier only */
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES];
    const char *snapshot_path; /* of the vector index; NULL: none */
    int64_t snapshot_every_ms; /* while anything changes. 0: CACHE_SNAPSHOT_EVERY_MS */
    uint64_t seed;             /* of audits; 0: random */
    struct stats *stats;       /* written by the cache thread; NULL: none */
    /* A leader that has not come back by then is gone. 0: CACHE_LEAD_MAX_US. */
    int64_t lead_max_us;
};
#define CACHE_LEAD_MAX_US       INT64_C(120000000)
#define CACHE_SNAPSHOT_EVERY_MS INT64_C(300000)

/* What the policy allows for one question; plain values, filled in by the router. */
struct cache_rules {
    bool exact, semantic, store;   /* may be looked up exactly, by meaning; may be stored */
    bool shadow;                   /* decide and count, serve nothing by meaning */
    double max_error;              /* wrong answers by meaning per request, 0 < x < 1 */
    double audit_min;              /* share of hits that is audited at least */
    unsigned guards;               /* of cache/guard.h */
    int64_t ttl_ms, timely_ttl_ms; /* timely: answers that depend on when they are asked */
    int64_t max_age_ms;            /* of the caller's Cache-Control: max-age; -1 none */
};

struct cache_question {
    struct digest exact, rest;
    struct slice scope; /* borrowed by cache_ask_new, which copies */
    struct slice text;  /* "" : exact only */
    struct slice asker; /* the tenant; "" none */
    struct cache_rules rules;
};

enum cache_verdict {
    CACHE_MISS,
    CACHE_HIT_EXACT,
    CACHE_HIT_SEMANTIC,
    CACHE_WAIT_LEADER, /* the same question is being answered: another message follows when it is */
};

/* Why a neighbour was or was not served; for explain, the decision log and the tests. */
struct cache_why {
    double cosine, probability, cut; /* of the best neighbour */
    int guard;                       /* of enum guard that refused it; -1: none did */
    bool shadow, audit;
    uint64_t entry, answer; /* of the best neighbour; 0: there was none */
    /* For the label that may follow; copied into it as they are. */
    unsigned budget;    /* whose max_error decided; 0: nobody's, there is nothing to learn */
    double audit_share; /* as in struct risk_verdict */
    float features[RISK_FEATURES];
};

/* A question that is asked only to know what would become of it: nothing is counted, nobody is
 * kept waiting by it, nothing is learned. */
struct cache_neighbour {
    struct cache_entry *entry; /* a reference */
    double cosine;
    int guard;          /* of enum guard that refuses it; -1: none */
    double probability; /* -1: it is refused, or its answer is in quarantine */
    bool admitted;      /* to that asker; false: of a shared scope, and nobody vouches for it yet */
    float features[RISK_FEATURES];
};
struct cache_explained {
    bool by_meaning; /* neighbours were looked for; else: no index, no vector, not allowed */
    struct cache_neighbour near[RISK_NEIGHBOURS]; /* by falling cosine */
    size_t count;
    double cut;
    int choice; /* the one that would be served, or would be if it were sure enough; -1 */
    bool would_serve, serve;
    unsigned budget;
    struct risk_facts risk; /* of that budget */
};

/* One question on its way; heap, handed over whole, freed by whoever holds it with cache_ask_free.
 */
struct cache_ask {
    struct message msg; /* the asker sets deliver and discard */
    struct mailbox *reply_to;
    void *owner; /* the asker's own; the cache does not look at it */
    uint64_t id;
    struct cache_question q; /* slices owned */
    const uint16_t *vector;  /* [dim] halves, owned; NULL: exact tier only */
    int dim;
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES]; /* of the vector; the asker's to set */
    struct cache_explained *explain; /* owned; NULL: an ordinary question. Then all of the answer */
    bool lead;                       /* take part in coalescing: be the leader, or wait for one */
    bool join; /* wait for a leader if there is one; whoever comes back may lead all the same */
    /* the answer */
    enum cache_verdict verdict;
    struct cache_entry *entry; /* a reference of the asker's; NULL on a miss */
    /* On a miss that had a neighbour to learn from (why.budget is not 0): that one; a reference. */
    struct cache_entry *neighbour;
    bool leading; /* the asker must end with cache_put or cache_abandon */
    struct cache_why why;
};
struct cache_ask *cache_ask_new(const struct cache_question *q, const uint16_t *vector, int dim);
void cache_ask_free(struct cache_ask *a);
void cache_ask_explain(struct cache_ask *a); /* it is one of those: before cache_lookup */

enum err cache_open(const struct cache_options *opt, struct cache **out,
                    struct err_text *t) MUST_CHECK;
void cache_close(struct cache *c); /* answers what is queued with misses, writes the snapshot */

void cache_lookup(struct cache *c, struct cache_ask *a); /* a is handed over */
/* A whole, good answer. The entry is handed over (one reference); it replaces one of equal `exact`.
 * Leaders of that question are done, their followers are answered. */
void cache_put(struct cache *c, struct cache_entry *e, const struct cache_rules *rules);
/* The leader has no answer to give, or is gone: its first follower leads in its place. When that
 * one gives up as well, the question has no answer that can be stored, and all go on by themselves,
 * for waiting in line would cost them more than asking. */
void cache_abandon(struct cache *c, struct digest exact);

/* What became of serving `answer` for a question of that features; from audits and judges (weight
 * 1) and users (less). Unknown answers are ignored. */
struct cache_label {
    uint64_t entry, answer;
    struct digest rest;
    double cosine, second_cosine;
    bool right, audit;
    /* A user said so of a hit: no audit, for users speak when they like, but two that say wrong put
     * the answer in quarantine all the same. */
    bool word;
    double weight;
    double probability; /* as it was at the decision */
    unsigned budget;    /* of cache_why, like the next two */
    double audit_share;
    float features[RISK_FEATURES];
    /* The entry of the fresh answer; 0: none. When it says the same as `answer`, its question
     * becomes one more key of that answer. */
    uint64_t key;
};
void cache_learn(struct cache *c, const struct cache_label *label);

/* A hit by meaning goes out as the reply of that name (a digest of the caller's choice). The label
 * that may follow is remembered without what is said (cache_served.h says for how long). */
void cache_remember(struct cache *c, const struct digest *reply, const struct cache_label *label);
/* Its user says that it was right, or wrong. Learned once each, if the reply is still remembered.
 */
void cache_word(struct cache *c, const struct digest *reply, bool right, double weight);

/* Another encoder from now on (dim 0: none). Vectors of the one before are not compared with its
 * vectors: its index begins with what the store has of it, and older entries are found exactly
 * until they get vectors of it (ADMIN_VECTOR of cache/admin_job.h) or expire. Nothing happens when
 * it is the same. */
void cache_set_encoder(struct cache *c, int dim, const uint8_t *fingerprint);

/* May a worker's hot set be asked now? false while nobody knows what other replicas removed: then
 * every question goes through cache_lookup. *now_ms: the store's time, by which entries expire. */
bool cache_current(const struct cache *c, int64_t *now_ms);

/* As it stands; any thread. */
struct cache_facts {
    uint64_t lookups, hits_exact, hits_semantic, waits, puts, refused_puts;
    uint64_t resident, resident_bytes, flights;
    uint64_t indexed, index_bytes; /* of the vector index */
    bool scanning;                 /* the index is being filled from the store */
    struct risk_facts risk;        /* of all budgets together; the cut is the busiest one's */
    uint64_t quarantined;          /* answers that were found wrong too often, since the start */
    bool store_up, store_counts;   /* counts: entries and bytes of the store are known */
    uint64_t store_entries, store_bytes, store_failed, store_late, store_losses, bad_entries;
};
void cache_facts(const struct cache *c, struct cache_facts *out);

#endif
