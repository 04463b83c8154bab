/* The last requests with their heads and bodies, for tests that assert what reached the upstream. A
 * ring; entries are overwritten oldest first. Bodies are kept up to a limit and say so when they
 * were longer. Single-threaded. */
#ifndef FLEET_JOURNAL_H
#define FLEET_JOURNAL_H

#include "base/http1.h"
#include "tests/fleet/tally.h"

struct journal_entry {
    uint64_t serial;                      /* 0 = empty */
    char *head, *body;                    /* owned JSON: an array of header pairs, a string */
    char *target, *model, *faults;        /* owned; model and faults may be empty */
    size_t body_bytes;                    /* as received */
    uint64_t body_hash;                   /* FNV-1a 64 of all of it */
    int64_t began_wall_us, ended_wall_us; /* ended 0 = in flight */
    int64_t output_tokens, cost;
    int status;
    uint16_t port;
    enum outcome outcome; /* OUTCOME_KINDS while in flight */
};

struct journal {
    struct journal_entry *ring; /* owned */
    size_t cap, body_max_bytes;
};

void journal_init(struct journal *j, size_t entries, size_t body_max_bytes);
void journal_clear(struct journal *j);
void journal_reset(struct journal *j); /* forgets all entries */
void journal_begin(struct journal *j, uint64_t serial, const struct http1_head *head,
                   struct slice body, uint16_t port);
/* NULL once the entry has been overwritten. */
struct journal_entry *journal_find(struct journal *j, uint64_t serial);
/* The newest n entries with serial > since, oldest first, as a JSON array. */
void journal_print(const struct journal *j, uint64_t newest, uint64_t since, size_t n,
                   struct buf *out);

#endif
