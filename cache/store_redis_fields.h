/* An entry as the fields of a Redis hash, readable in redis-cli, and back. A checksum over the
 * stored form (cache_entry.h) is one of them: a hash that lost a field, or mixes two entries, is
 * not an entry. Pure. */
#ifndef CACHE_STORE_REDIS_FIELDS_H
#define CACHE_STORE_REDIS_FIELDS_H

#include "cache/cache_entry.h"

/* r, the answer, comes last: pages of a scan do without it and without the checksum before it. */
#define REDIS_FIELDS(F)                                                                            \
    F(ID, "id") /* 16 hex digits */                                                                \
    F(ANSWER, "a")                                                                                 \
    F(EXACT, "x")                                                                                  \
    F(REST, "c")                                                                                   \
    F(SCOPE, "own")                                                                                \
    F(TEXT, "q")                                                                                   \
    F(DIALECT, "dialect")                                                                          \
    F(API, "api")                                                                                  \
    F(MODEL, "m")                                                                                  \
    F(ROUTE, "route")                                                                              \
    F(CLASS, "class")                                                                              \
    F(OWNER, "by")                                                                                 \
    F(TAGS, "tags") /* one a line */                                                               \
    F(VECTOR, "v")  /* halves, little endian */                                                    \
    F(FINGERPRINT, "enc")                                                                          \
    F(CREATED, "t0") /* Unix ms */                                                                 \
    F(EXPIRES, "exp")                                                                              \
    F(GENERATION, "gen")                                                                           \
    F(TOKENS, "tok") /* by kind, then where the counts are from */                                 \
    F(COST, "cost")  /* nano-dollars */                                                            \
    F(SOURCE, "src")                                                                               \
    F(MARKS, "pin") /* the sum of 1: pinned, 2: quarantined */                                     \
    F(SUM, "sum")                                                                                  \
    F(BODY, "r")

enum redis_field {
#define F(name, key) REDIS_FIELD_##name,
    REDIS_FIELDS(F)
#undef F
        REDIS_FIELD_COUNT
};
extern const char *const redis_field_keys[REDIS_FIELD_COUNT];

/* The values, some of them in room. false: the entry has what these fields cannot say (a line break
 * in a tag). */
struct redis_fields {
    struct slice value[REDIS_FIELD_COUNT];
    char room[4096];
    char *vector; /* owned */
    char *tags;   /* owned */
};
bool redis_fields_from(struct redis_fields *r, const struct cache_fields *f) MUST_CHECK;
void redis_fields_clear(struct redis_fields *r);

/* ERR_BAD_CACHE_ENTRY: not exactly such values. */
enum err redis_fields_entry(const struct slice value[static REDIS_FIELD_COUNT],
                            struct cache_entry **out) MUST_CHECK;
/* Without body and checksum: an entry with the body "". */
enum err redis_fields_head(const struct slice value[static REDIS_FIELD_COUNT],
                           struct cache_entry **out) MUST_CHECK;

#endif
