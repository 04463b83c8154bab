/* The ledger read by somebody else than its writer: what `weir why` tells, what was spent before
 * this process began, and the requests that outcomes name. Opens the file
 * read-only, beside a running weir or without one. One thread. */
#ifndef ROUTER_LEDGER_READ_H
#define ROUTER_LEDGER_READ_H

#include "base/arena.h"
#include "base/err.h"
#include "router/ledger.h"

struct ledger_reader;

/* ERR_NOT_FOUND, ERR_CONFLICT (another version's), ERR_INTERNAL; with t. */
enum err ledger_reader_open(const char *path, struct ledger_reader **out,
                            struct err_text *t) MUST_CHECK;
void ledger_reader_close(struct ledger_reader *r);

/* A client's request with everything that belongs to it; all in the arena. Outcomes in the order
 * in which they were booked. */
struct ledger_story {
    struct ledger_request request;
    const struct ledger_attempt *attempts;
    const struct ledger_decision *decisions;
    const struct ledger_outcome *outcomes;
    size_t attempt_count, decision_count, outcome_count;
    int64_t checks; /* requests of weir's own that it caused: audits, judges */
    nanousd checks_cost;
};

/* Without decisions, outcomes and checks; else as the next. */
enum err ledger_reader_request(struct ledger_reader *r, const char *request_id, const char *tenant,
                               struct arena *a, struct ledger_story *out,
                               struct err_text *t) MUST_CHECK;
/* The newest of that id; of that tenant when it is not NULL. ERR_NOT_FOUND; ERR_INTERNAL with t.
 * The newest request of all when the id is NULL. */
enum err ledger_reader_story(struct ledger_reader *r, const char *request_id, const char *tenant,
                             struct arena *a, struct ledger_story *out,
                             struct err_text *t) MUST_CHECK;

/* What requests of a tenant cost on a day, those among them that count in a daily cap apart. */
struct ledger_spend {
    int64_t day;              /* since 1970, UTC, of when they were received */
    const char *tenant, *cap; /* "": none; valid during the visit */
    nanousd cost;
};
/* Visits all sums of that day and later ones. ERR_INTERNAL with t. */
enum err ledger_reader_spend(struct ledger_reader *r, int64_t since_day,
                             void (*visit)(void *ctx, const struct ledger_spend *s), void *ctx,
                             struct err_text *t) MUST_CHECK;

#endif
