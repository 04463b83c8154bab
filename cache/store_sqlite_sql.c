/* Statements and the transaction that is open: every write goes into it, and it ends after
 * STORE_COMMIT_MS, after BATCH_WRITES, or when a removal must be answered. */
#include <stdio.h>
#include "base/log.h"
#include "cache/store_sqlite_int.h"

#define BATCH_WRITES 512
#define LOG_ROWS     100000

static const char *const sql_text[SQL_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVE] = "SAVEPOINT call",
    [SQL_SAVED] = "RELEASE call",
    [SQL_UNDO] = "ROLLBACK TO call",
    [SQL_GET_EXACT] = "SELECT id, packed FROM entries WHERE exact = ?1",
    [SQL_GET] = "SELECT id, packed FROM entries WHERE id = ?1",
    [SQL_FIND_EXACT] = "SELECT id, bytes FROM entries WHERE exact = ?1",
    [SQL_FIND_ID] = "SELECT id, bytes FROM entries WHERE id = ?1",
    [SQL_INSERT] = "INSERT INTO entries VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8)",
    [SQL_DELETE] = "DELETE FROM entries WHERE id = ?1",
    [SQL_TAG] = "INSERT OR IGNORE INTO tags VALUES (?1, ?2, ?3)",
    [SQL_TAGGED] =
        "SELECT t.id, e.packed, t.home FROM tags AS t CROSS JOIN entries AS e ON e.id = t.id"
        " WHERE t.tag = ?1 AND (t.home, t.id) > (?2, ?3) AND t.home <= ?4"
        " ORDER BY t.home, t.id LIMIT ?5",
    [SQL_SCAN] = "SELECT id, packed FROM entries WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_SAMPLE] = "SELECT id, bytes, expires_ms, cost_nanousd, hits FROM entries"
                   " WHERE id >= ?1 AND NOT pinned ORDER BY id LIMIT ?2",
    [SQL_EXPIRED] = "SELECT id, bytes FROM entries WHERE expires_ms <= ?1 LIMIT ?2",
    [SQL_HITS] = "UPDATE entries SET hits = hits + ?2 WHERE id = ?1",
    [SQL_FLUSH] = "INSERT OR REPLACE INTO generations VALUES (?1, ?2)",
    [SQL_LOG] = "INSERT INTO log (kind, bucket, id, replaced, scope, generation)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_TRIM] = "DELETE FROM log WHERE seq <= ?1",
    [SQL_TOTALS] = "UPDATE totals SET entries = ?1, bytes = ?2",
    [SQL_NOTE] = "INSERT OR REPLACE INTO notes VALUES (?1, ?2)",
    [SQL_RECALL] = "SELECT value FROM notes WHERE name = ?1",
};

/* ---- statements ---- */

void sql_bind_int(struct store_sqlite *s, enum sqlite_statement which, int at, int64_t v)
{
    sqlite3_bind_int64(s->sql[which], at, v);
}

/* The bytes stay where they are until the statement is done. */
void sql_bind_bytes(struct store_sqlite *s, enum sqlite_statement which, int at, struct slice b)
{
    sqlite3_bind_blob64(s->sql[which], at, b.n ? b.p : "", b.n, SQLITE_STATIC);
}

bool sql_step_row(struct store_sqlite *s, enum sqlite_statement which)
{
    return sqlite3_step(s->sql[which]) == SQLITE_ROW;
}

/* Ends a statement whose rows were read: true when nothing failed on the way. */
bool sql_done_with(struct store_sqlite *s, enum sqlite_statement which)
{
    int rc = sqlite3_reset(s->sql[which]);

    sqlite3_clear_bindings(s->sql[which]);
    if (rc != SQLITE_OK) {
        snprintf(s->stat.detail, sizeof s->stat.detail, "%s", sqlite3_errmsg(s->db));
        s->stat.failed++;
    }
    return rc == SQLITE_OK;
}

bool sql_run(struct store_sqlite *s, enum sqlite_statement which)
{
    sqlite3_step(s->sql[which]);
    return sql_done_with(s, which);
}

uint64_t sql_column_id(struct store_sqlite *s, enum sqlite_statement which, int at)
{
    return (uint64_t)sqlite3_column_int64(s->sql[which], at);
}

struct slice sql_column_bytes(struct store_sqlite *s, enum sqlite_statement which, int at)
{
    const char *p = sqlite3_column_blob(s->sql[which], at);
    int n = sqlite3_column_bytes(s->sql[which], at);

    return slice_make(p, p ? (size_t)n : 0);
}

bool sql_prepare(struct store_sqlite *s)
{
    for (int i = 0; i < SQL_STATEMENTS; i++)
        if (sqlite3_prepare_v3(s->db, sql_text[i], -1, SQLITE_PREPARE_PERSISTENT, &s->sql[i],
                               NULL) != SQLITE_OK)
            return false;
    return true;
}

void sql_finalize(struct store_sqlite *s)
{
    for (int i = 0; i < SQL_STATEMENTS; i++)
        sqlite3_finalize(s->sql[i]);
}

/* ---- the transaction ---- */

int64_t sql_select_int(struct store_sqlite *s, const char *text)
{
    sqlite3_stmt *q = NULL;
    int64_t v = 0;

    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return v;
}

void sqlite_load_totals(struct store_sqlite *s)
{
    s->epoch = (uint64_t)sql_select_int(s, "SELECT epoch FROM totals");
    s->entries = (uint64_t)sql_select_int(s, "SELECT entries FROM totals");
    s->bytes = (uint64_t)sql_select_int(s, "SELECT bytes FROM totals");
    s->log_seq = sql_select_int(s, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence");
}

enum err sqlite_commit(struct store_sqlite *s)
{
    if (s->writes == 0)
        return ERR_OK;
    s->writes = 0;
    event_del(s->commit_due);
    sql_bind_int(s, SQL_TRIM, 1, s->log_seq - LOG_ROWS);
    sql_bind_int(s, SQL_TOTALS, 1, (int64_t)s->entries);
    sql_bind_int(s, SQL_TOTALS, 2, (int64_t)s->bytes);
    if (sql_run(s, SQL_TRIM) && sql_run(s, SQL_TOTALS) && sql_run(s, SQL_COMMIT))
        return ERR_OK;
    log_line(LOG_WARN, "cache", "answers were not stored", "error=\"%s\"", s->stat.detail);
    sql_run(s, SQL_ROLLBACK);
    sqlite_load_totals(s);
    return ERR_OVERLOADED;
}

void sqlite_on_commit_due(evutil_socket_t fd, short what, void *ctx)
{
    struct store_sqlite *s = ctx;

    (void)fd, (void)what;
    (void)sqlite_commit(s); /* said in the log; what was lost is answers that will be made again */
}

bool sqlite_begin_write(struct store_sqlite *s)
{
    if (s->writes == 0) {
        if (!sql_run(s, SQL_BEGIN))
            return false;
        event_add(s->commit_due, &(struct timeval){.tv_usec = STORE_COMMIT_MS * 1000});
    }
    s->writes++;
    return sql_run(s, SQL_SAVE);
}

/* All of a call's rows, or none of them. */
bool sqlite_end_write(struct store_sqlite *s, bool good)
{
    if (!good)
        sql_run(s, SQL_UNDO);
    good = sql_run(s, SQL_SAVED) && good;
    if (s->writes >= BATCH_WRITES)
        good = sqlite_commit(s) == ERR_OK && good;
    return good;
}

bool sqlite_write_log(struct store_sqlite *s, const struct store_change *c)
{
    sql_bind_int(s, SQL_LOG, 1, c->kind);
    sql_bind_int(s, SQL_LOG, 2, c->bucket);
    sql_bind_int(s, SQL_LOG, 3, (int64_t)c->id);
    sql_bind_int(s, SQL_LOG, 4, (int64_t)c->replaced);
    sql_bind_bytes(s, SQL_LOG, 5, c->scope);
    sql_bind_int(s, SQL_LOG, 6, (int64_t)c->generation);
    if (!sql_run(s, SQL_LOG))
        return false;
    s->log_seq = sqlite3_last_insert_rowid(s->db);
    return true;
}
