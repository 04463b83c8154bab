/* What the ledger's files share: a record on its way from a worker to the disk, and the prepared
 * statements that put it there. Nobody else includes it. */
#ifndef ROUTER_LEDGER_INT_H
#define ROUTER_LEDGER_INT_H

#include <sqlite3.h>
#include "base/mailbox.h"
#include "router/ledger.h"

/* One block: this, its rows and their strings. Either a request or, when is_outcome, an outcome. */
struct ledger_record {
    struct message msg;
    bool is_outcome;
    struct ledger_request request;
    struct ledger_outcome outcome;
    struct ledger_attempt *attempts;
    struct ledger_decision *decisions;
    size_t attempt_count, decision_count;
};

enum ledger_statement {
    LEDGER_BEGIN,
    LEDGER_INSERT_REQUEST,
    LEDGER_INSERT_ATTEMPT,
    LEDGER_INSERT_DECISION,
    LEDGER_INSERT_OUTCOME,
    LEDGER_INSERT_SPEND,
    LEDGER_COMMIT,
    LEDGER_ROLLBACK,
    LEDGER_STATEMENTS
};

#define LEDGER_SUMS    16
#define LEDGER_COLUMNS 27 /* of the widest insert */

/* What a parameter of a statement has. */
struct ledger_bound {
    int type;       /* SQLITE_TEXT, SQLITE_INTEGER or SQLITE_NULL; 0: not known */
    int64_t number; /* of SQLITE_INTEGER */
    char text[40];  /* of SQLITE_TEXT; longer ones are not kept */
};

struct ledger_statements { /* of one connection */
    sqlite3_stmt *of[LEDGER_STATEMENTS];
    struct ledger_bound bound[LEDGER_STATEMENTS][LEDGER_COLUMNS];
    /* What the transaction's requests cost so far, for table spend: a row of it is written once for
     * many of them. Strings are the records'. */
    struct ledger_sum {
        int64_t day;
        const char *tenant, *cap;
        nanousd cost;
    } sum[LEDGER_SUMS];
    size_t sums;
};

/* An SQLite result code; what was prepared before a failure is finalized with the rest. */
int ledger_statements_prepare(struct ledger_statements *s, sqlite3 *db);
void ledger_statements_finalize(struct ledger_statements *s);
/* SQLITE_OK or the reason, as all of these. */
int ledger_statement_run(struct ledger_statements *s, enum ledger_statement which);
int ledger_transaction_begin(struct ledger_statements *s);
int ledger_transaction_commit(struct ledger_statements *s);
/* Within a transaction; the record lives until its end. *rows grows by the rows written. */
int ledger_record_insert(const struct ledger_record *rec, struct ledger_statements *s,
                         int64_t *rows);

#endif
