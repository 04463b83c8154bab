/* The tables and views of the ledger's file, versioned by PRAGMA user_version. */
#ifndef ROUTER_LEDGER_SCHEMA_H
#define ROUTER_LEDGER_SCHEMA_H

#include <sqlite3.h>
#include <stdbool.h>
#include "base/err.h"

#define LEDGER_SCHEMA_VERSION 6

/* Creates the schema in an empty database, or brings an older one up to date, in one transaction.
 * false with t: a newer weir wrote it, it is something else, or SQLite's reason. */
bool ledger_schema_prepare(sqlite3 *db, struct err_text *t);
bool ledger_schema_exec(sqlite3 *db, const char *sql, struct err_text *t);

#endif
