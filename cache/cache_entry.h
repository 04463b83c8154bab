/* One stored answer to one question. Immutable from the moment it is shared, but for `dead`; shared
 * by reference between the cache thread, the hot sets of the workers and replies in flight. Owns
 * everything it points to, in one allocation. Any thread. */
#ifndef CACHE_CACHE_ENTRY_H
#define CACHE_CACHE_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/money.h"
#include "base/slice.h"
#include "base/tokens.h"

#define CACHE_FINGERPRINT_BYTES 16 /* of the encoder that made the vector */
#define CACHE_MAX_TAGS          16

enum cache_source { CACHE_FROM_TRAFFIC, CACHE_FROM_AUDIT, CACHE_FROM_WARMING, CACHE_FROM_IMPORT };
const char *cache_source_name(enum cache_source s); /* "traffic", "audit", "warming", "import" */

/* What an entry is made from, and what it reads as. Slices are borrowed from the caller, or from
 * the entry. */
struct cache_fields {
    uint64_t id;     /* 0: a new one is drawn; never reused */
    uint64_t answer; /* entries of one answer share what is learned about it; 0: its own id */
    struct digest exact, rest; /* backends/wire/ask_identity.h: the question, and its neighbours */
    struct slice scope;        /* whose it is: the tenant's name; "" everybody's */
    struct slice text;         /* the user's text, UTF-8; "" when it has no neighbours */
    struct slice body;         /* the whole answer, as the server of `dialect` would give it */
    struct slice dialect;      /* "openai", "anthropic" */
    struct slice api;          /* "chat", "messages" ... */
    struct slice model;        /* of the policy: who answered */
    struct slice route, class_label;
    struct slice
        owner; /* the tenant whose request it was; "" none. Of a shared scope: see cache.h */
    struct slice tags[CACHE_MAX_TAGS];
    size_t tag_count;
    const uint16_t *vector; /* [dim] IEEE half floats, unit length; NULL: none */
    int dim;
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES]; /* of the vector */
    int64_t created_ms, expires_ms;               /* Unix time */
    uint64_t generation;                          /* of its scope when it was written */
    struct token_usage usage;                     /* of the attempt that made it */
    nanousd cost;                                 /* what it had cost, and what a hit saves */
    enum cache_source source;
    bool pinned;       /* never evicted; expiry still holds */
    bool quarantined;  /* kept to be looked at: not served until a fresh answer replaces it */
    size_t body_bytes; /* in a store's page, which has no bodies: how long this one is */
};

struct cache_entry {
    _Atomic int refs;
    _Atomic bool dead;     /* removed, flushed or quarantined: whoever holds it must not serve it */
    _Atomic uint32_t hits; /* since it came into memory: what evicting it would cost */
    struct cache_fields f;
    size_t bytes; /* of memory, for accounting */
};

struct cache_entry *cache_entry_new(const struct cache_fields *f); /* copies; one reference */
struct cache_entry *cache_entry_ref(struct cache_entry *e);
void cache_entry_unref(struct cache_entry *e); /* NULL is fine */
/* Not dead, not quarantined, not expired at now_ms. */
bool cache_entry_serves(const struct cache_entry *e, int64_t now_ms);

/* The stored form: versioned, with a checksum, the same in every store and in export files.
 * ERR_BAD_CACHE_ENTRY for anything that is not exactly such bytes. */
size_t cache_entry_pack_bytes(const struct cache_fields *f);
void cache_entry_pack(const struct cache_fields *f, char *out);
enum err cache_entry_unpack(struct slice packed, struct cache_entry **out) MUST_CHECK;
/* Without its body (body_bytes says how long that is) and so without looking at the checksum: for
 * those who look at many, and take none of them for an answer. */
enum err cache_entry_unpack_head(struct slice packed, struct cache_entry **out) MUST_CHECK;

/* The checksum that ends the stored form, for stores that keep the fields apart. */
#define CACHE_SUM_BYTES 16
void cache_entry_sum(const struct cache_fields *f, uint8_t out[static CACHE_SUM_BYTES]);

#endif
