/* What the readers of the ledger share: statements, and rows back into structs. ledger_read.c and
 * ledger_scan.c alone include it. */
#ifndef ROUTER_LEDGER_READ_INT_H
#define ROUTER_LEDGER_READ_INT_H

#include <sqlite3.h>
#include "router/ledger_read.h"

struct ledger_reader {
    sqlite3 *db;
};

/* Columns are read in the statement's order; strings go to the arena. */
struct ledger_row {
    sqlite3_stmt *stmt;
    struct arena *arena;
    int column;
};

#define LEDGER_REQUEST_COLUMNS                                                                     \
    "id, request_id, received_wall_us, api, requested_model, tenant, route, policy_version,"       \
    " served_model, stream, status, outcome, attempts, cost_nanousd, ttft_us, duration_us, class," \
    " class_confidence, class_tier, class_us, cache, cache_entry, saved_nanousd, purpose,"         \
    " cache_cosine, cache_probability, conversation, cap"
extern const char ledger_attempts_sql[], ledger_decisions_sql[]; /* of a request's row id */
extern const char ledger_outcomes_sql[];                         /* of a request id and a tenant */

int64_t ledger_row_number(struct ledger_row *r);
void ledger_read_request(struct ledger_row *r, struct ledger_request *q); /* behind its id */
void ledger_read_attempt(struct ledger_row *r, void *to);
void ledger_read_decision(struct ledger_row *r, void *to);
void ledger_read_outcome(struct ledger_row *r, void *to);

/* ERR_INTERNAL with t; *stmt is then NULL. */
enum err ledger_prepare(struct ledger_reader *r, const char *sql, sqlite3_stmt **stmt,
                        struct err_text *t) MUST_CHECK;
/* All rows of a statement whose parameters are bound, as an array of `size`d elements; the
 * statement is reset and ends its read transaction. */
enum err ledger_read_rows(struct ledger_reader *r, sqlite3_stmt *stmt, struct arena *a,
                          void (*read)(struct ledger_row *r, void *to), size_t size,
                          const void **out, size_t *count, struct err_text *t) MUST_CHECK;

#endif
