/* The inside of the SQLite store, shared by the files store_sqlite*.c. Nobody else includes it. */
#ifndef CACHE_STORE_SQLITE_INT_H
#define CACHE_STORE_SQLITE_INT_H

#include <sqlite3.h>
#include "base/list.h"
#include "base/rng.h"
#include "cache/generations.h"
#include "cache/store.h"

/* Statements that are prepared once; their text is in store_sqlite_sql.c. */
enum sqlite_statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVE,
    SQL_SAVED,
    SQL_UNDO,
    SQL_GET_EXACT,
    SQL_GET,
    SQL_FIND_EXACT,
    SQL_FIND_ID,
    SQL_INSERT,
    SQL_DELETE,
    SQL_TAG,
    SQL_TAGGED,
    SQL_SCAN,
    SQL_SAMPLE,
    SQL_EXPIRED,
    SQL_HITS,
    SQL_FLUSH,
    SQL_LOG,
    SQL_TRIM,
    SQL_TOTALS,
    SQL_NOTE,
    SQL_RECALL,
    SQL_STATEMENTS
};

enum sqlite_call_kind {
    CALL_GET_EXACT,
    CALL_GET,
    CALL_PUT,
    CALL_DEL,
    CALL_FLUSH,
    CALL_TAGGED,
    CALL_SCAN,
    CALL_NOTE,
    CALL_RECALL,
    CALL_INSPECT,
    CALL_TOUCH,
};

/* A call that waits for its turn; one block with its texts. */
struct sqlite_call {
    struct list link;
    enum sqlite_call_kind kind;
    union {
        store_entries_fn *entries;
        store_put_fn *put;
        store_done_fn *done;
        store_page_fn *page;
        store_bytes_fn *bytes;
        store_inspect_fn *inspect;
    } fn;
    void *ctx;
    struct digest exact;
    struct cache_entry *entry; /* a reference; of put */
    size_t id_count;
    uint64_t ids[STORE_MAX_IDS];
    uint32_t hits;
    bool any_scope;                  /* of tagged */
    struct slice scope, text, value; /* text: tag, name, or cursor of a scan; value: also cursor */
    char room[];
};

struct store_sqlite {
    struct store store;
    struct store_options opt;
    sqlite3 *db;
    sqlite3_stmt *sql[SQL_STATEMENTS];
    struct event *turn, *commit_due, *sweep; /* owned */
    struct list calls;                       /* of struct sqlite_call */
    struct generations generations;
    struct rng rng;
    uint64_t epoch;
    int64_t log_seq; /* newest record, in the open transaction too */
    int64_t resume_from;
    bool resuming;
    bool in_turn;            /* calls are being answered; new ones wait for the next turn */
    uint64_t entries, bytes; /* as in totals */
    size_t writes;           /* in the open transaction; 0: none is open */
    struct store_stat stat;
};

static inline struct store_sqlite *sqlite_of(struct store *s)
{
    return CONTAINER_OF(s, struct store_sqlite, store);
}

static inline const struct store_sqlite *sqlite_of_const(const struct store *s)
{
    return (const struct store_sqlite *)(const void *)((const char *)s -
                                                       offsetof(struct store_sqlite, store));
}

/* store_sqlite_sql.c: statements, */
bool sql_prepare(struct store_sqlite *s);
void sql_finalize(struct store_sqlite *s);
void sql_bind_int(struct store_sqlite *s, enum sqlite_statement which, int at, int64_t v);
/* The bytes stay where they are until the statement is done. */
void sql_bind_bytes(struct store_sqlite *s, enum sqlite_statement which, int at, struct slice b);
bool sql_step_row(struct store_sqlite *s, enum sqlite_statement which);
/* Ends a statement whose rows were read: true when nothing failed on the way. */
bool sql_done_with(struct store_sqlite *s, enum sqlite_statement which);
bool sql_run(struct store_sqlite *s, enum sqlite_statement which);
uint64_t sql_column_id(struct store_sqlite *s, enum sqlite_statement which, int at);
struct slice sql_column_bytes(struct store_sqlite *s, enum sqlite_statement which, int at);
int64_t sql_select_int(struct store_sqlite *s, const char *text); /* 0: it selects none */
/* and the transaction. */
void sqlite_load_totals(struct store_sqlite *s);
enum err sqlite_commit(struct store_sqlite *s);
void sqlite_on_commit_due(evutil_socket_t fd, short what, void *ctx);
bool sqlite_begin_write(struct store_sqlite *s);
bool sqlite_end_write(struct store_sqlite *s, bool good); /* all of a call's rows, or none */
bool sqlite_write_log(struct store_sqlite *s, const struct store_change *c);

/* store_sqlite_schema.c. A new file's tables, or an older one's brought to this version. */
enum err sqlite_make_schema(struct store_sqlite *s, const char *path, struct err_text *t);
enum err sqlite_fail(struct store_sqlite *s, const char *path, const char *what,
                     struct err_text *t);

/* The calls in their turn: store_sqlite_entries.c, */
void sqlite_do_get_exact(struct store_sqlite *s, struct sqlite_call *c);
void sqlite_do_get(struct store_sqlite *s, struct sqlite_call *c);
void sqlite_do_put(struct store_sqlite *s, struct sqlite_call *c);
void sqlite_do_del(struct store_sqlite *s, struct sqlite_call *c);
void sqlite_do_flush(struct store_sqlite *s, struct sqlite_call *c);
void sqlite_do_touch(struct store_sqlite *s, struct sqlite_call *c);
void sqlite_on_sweep(evutil_socket_t fd, short what, void *ctx);
/* store_sqlite_pages.c. */
void sqlite_do_tagged(struct store_sqlite *s, struct sqlite_call *c);
void sqlite_do_scan(struct store_sqlite *s, struct sqlite_call *c);

#endif
