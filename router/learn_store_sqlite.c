/* What one process has learned, in a file of its own. Owns the connection; the state directory's
 * lock makes it the only one. Calls are put on a list and carried out from the loop, one after the
 * other, which is what lets them block for the moment that a commit takes. */
#include "router/learn_store.h"

#include <sqlite3.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define SCHEMA_VERSION   2 /* 1 had no scorers */
#define DIRTY_UNITS      4096
#define PRUNE_EVERY      4096 /* writes */
#define MEMORIES_AT_MOST 2000000

#define SCORERS                                                                                    \
    "CREATE TABLE scorers (model TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;\n"   \
    "PRAGMA user_version = 2;\n"

static const char schema[] = "CREATE TABLE counts (\n"
                             "  context TEXT NOT NULL,\n"
                             "  arm TEXT NOT NULL,\n"
                             "  kind INTEGER NOT NULL,\n"
                             "  start_us INTEGER NOT NULL,\n"
                             "  field TEXT NOT NULL,\n"
                             "  value INTEGER NOT NULL,\n"
                             "  PRIMARY KEY (context, arm, kind, start_us, field)\n"
                             ") STRICT, WITHOUT ROWID;\n"
                             "CREATE TABLE memories (\n"
                             "  id INTEGER PRIMARY KEY,\n"
                             "  request_id TEXT NOT NULL,\n"
                             "  tenant TEXT NOT NULL,\n"
                             "  decided_us INTEGER NOT NULL,\n"
                             "  text TEXT NOT NULL,\n"
                             "  labels TEXT NOT NULL,\n"
                             "  UNIQUE (request_id, tenant)\n"
                             ") STRICT;\n" SCORERS;

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    ADD,             /* context, arm, kind, start, field, by */
    REMEMBER,        /* request id, tenant, decided, text, labels */
    ADOPT,           /* the same, if it is not there */
    FIND,            /* request id, tenant -> text, labels */
    RELABEL,         /* new labels, request id, tenant, old labels, new text, old text */
    READ_ALL,        /* -> context, arm, kind, start, field, value */
    READ_ONE,        /* context, arm, kind, start -> the same */
    FORGET_COUNTS,   /* kind, start */
    FORGET_MEMORIES, /* decided, how many there may be */
    READ_SCORERS,    /* -> model, text */
    PUBLISH,         /* model, text */
    RECENT,          /* id, how many -> id, tenant, request id, text, labels */
    STATEMENTS
};

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [ADD] = "INSERT INTO counts VALUES (?,?,?,?,?,?)"
            " ON CONFLICT DO UPDATE SET"
            " value = max(-4611686018427387903, min(4611686018427387903, value + excluded.value))",
    [REMEMBER] = "INSERT OR REPLACE INTO memories (request_id, tenant, decided_us, text, labels)"
                 " VALUES (?,?,?,?,?)",
    [ADOPT] = "INSERT OR IGNORE INTO memories (request_id, tenant, decided_us, text, labels)"
              " VALUES (?,?,?,?,?)",
    [FIND] = "SELECT text, labels FROM memories WHERE request_id = ? AND tenant = ?",
    [RELABEL] = "UPDATE memories SET labels = ?1, text = ?5 WHERE request_id = ?2 AND tenant = ?3"
                " AND labels = ?4 AND text = ?6",
    [READ_SCORERS] = "SELECT model, text FROM scorers",
    [PUBLISH] = "INSERT OR REPLACE INTO scorers VALUES (?,?)",
    [RECENT] = "SELECT id, tenant, request_id, text, labels FROM memories WHERE id < ?"
               " ORDER BY id DESC LIMIT ?",
    [READ_ALL] = "SELECT * FROM counts ORDER BY context, arm, kind, start_us",
    [READ_ONE] = "SELECT * FROM counts WHERE context = ? AND arm = ? AND kind = ? AND start_us = ?",
    [FORGET_COUNTS] = "DELETE FROM counts WHERE kind = ? AND start_us < ?",
    /* Ids grow with time: the oldest come first. */
    [FORGET_MEMORIES] = "DELETE FROM memories WHERE id IN (SELECT id FROM memories ORDER BY id"
                        " LIMIT 20000) AND (decided_us < ? OR id <= (SELECT max(id) FROM memories)"
                        " - ?)",
};

struct file_store;

struct job {
    struct list link;
    void (*run)(struct file_store *s, const struct job *j);
    const struct learn_batch *batch;
    struct slice tenant, request_id, model, text;
    struct learn_relabel relabel;
    struct learn_read read;
    struct learn_recent recent;
    learn_found_fn *found;
    learn_claim_fn *claimed;
    learn_done_fn *done;
    void *ctx;
};

struct file_store {
    struct learn_store store;
    sqlite3 *db;
    sqlite3_stmt *of[STATEMENTS];
    struct event *working; /* owned: the list is not empty */
    struct list jobs;
    struct learn_sheet dirty; /* names of units that were written since the last read */
    bool read_all;            /* everything is to be read */
    bool failing;             /* and it has been said */
    int64_t writes;
    unsigned version; /* the last that was given to a scorer */
};

static struct file_store *of(struct learn_store *s)
{
    return CONTAINER_OF(s, struct file_store, store);
}

/* ---- statements ---- */

static int run(struct file_store *s, enum statement which)
{
    int rc = sqlite3_step(s->of[which]);

    sqlite3_reset(s->of[which]);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static void bind_text(sqlite3_stmt *stmt, int column, struct slice text)
{
    sqlite3_bind_text(stmt, column, text.n ? text.p : "", (int)text.n, SQLITE_STATIC);
}

static void bind_unit(sqlite3_stmt *stmt, const struct learn_unit_name *name)
{
    bind_text(stmt, 1, name->context);
    bind_text(stmt, 2, name->arm);
    sqlite3_bind_int(stmt, 3, name->kind);
    sqlite3_bind_int64(stmt, 4, name->start_us);
}

static struct slice column_text(sqlite3_stmt *stmt, int column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return slice_make(text ? text : "", (size_t)sqlite3_column_bytes(stmt, column));
}

/* One line when it begins to fail, one when it works again. */
static enum err verdict(struct file_store *s, int rc)
{
    char why[256];

    if (rc == SQLITE_OK) {
        if (s->failing)
            log_line(LOG_INFO, "learn", "the store works again", NULL);
        s->failing = false;
        return ERR_OK;
    }
    if (!s->failing)
        log_line(LOG_ERROR, "learn", "the store cannot be written; trying again", "error=%s",
                 log_quote(slice_str(sqlite3_errmsg(s->db)), why, sizeof why));
    s->failing = true;
    return ERR_OVERLOADED;
}

static int end_transaction(struct file_store *s, int rc)
{
    if (rc == SQLITE_OK)
        rc = run(s, COMMIT);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(s->db))
        run(s, ROLLBACK);
    return rc;
}

/* ---- writing ---- */

static int add_unit(struct file_store *s, const struct learn_unit *u)
{
    sqlite3_stmt *stmt = s->of[ADD];
    char field[TALLY_NAME_BYTES];
    int rc = SQLITE_OK;

    bind_unit(stmt, &u->name);
    for (int f = 0; f < TALLY_FIELDS && rc == SQLITE_OK; f++) {
        if (u->tally.count[f] == 0 || (u->name.kind == TALLY_QUICK && !tally_is_fast(f)))
            continue;
        tally_field_name(f, field);
        bind_text(stmt, 5, slice_str(field));
        sqlite3_bind_int64(stmt, 6, u->tally.count[f]);
        rc = run(s, ADD);
    }
    return rc;
}

static int add_sheet(struct file_store *s, const struct learn_sheet *sheet)
{
    int rc = SQLITE_OK;

    LIST_FOREACH (it, &sheet->units)
        if (rc == SQLITE_OK)
            rc = add_unit(s, CONTAINER_OF(it, struct learn_unit, link));
    return rc;
}

static void note_written(struct file_store *s, const struct learn_sheet *sheet)
{
    LIST_FOREACH (it, &sheet->units)
        if (!learn_sheet_unit(&s->dirty, &CONTAINER_OF(it, struct learn_unit, link)->name))
            s->read_all = true;
}

static int remember(struct file_store *s, enum statement how, const struct learn_memory *m)
{
    sqlite3_stmt *stmt = s->of[how];

    bind_text(stmt, 1, m->request_id);
    bind_text(stmt, 2, m->tenant);
    sqlite3_bind_int64(stmt, 3, m->decided_wall_us);
    bind_text(stmt, 4, m->text);
    bind_text(stmt, 5, m->labels);
    return run(s, how);
}

static void prune(struct file_store *s)
{
    int64_t now_us = clock_wall_us();

    for (int k = 0; k < TALLY_KINDS; k++) {
        sqlite3_bind_int(s->of[FORGET_COUNTS], 1, k);
        sqlite3_bind_int64(s->of[FORGET_COUNTS], 2,
                           now_us - tally_keep_us((enum tally_kind)k) -
                               tally_bucket_us((enum tally_kind)k));
        run(s, FORGET_COUNTS);
    }
    sqlite3_bind_int64(s->of[FORGET_MEMORIES], 1, now_us - LEARN_REMEMBER_S * 1000000);
    sqlite3_bind_int64(s->of[FORGET_MEMORIES], 2, MEMORIES_AT_MOST);
    run(s, FORGET_MEMORIES);
}

static void run_write(struct file_store *s, const struct job *j)
{
    int rc = run(s, BEGIN);

    if (rc == SQLITE_OK)
        rc = add_sheet(s, &j->batch->sheet);
    LIST_FOREACH (it, &j->batch->memories)
        if (rc == SQLITE_OK)
            rc = remember(s, REMEMBER, CONTAINER_OF(it, struct learn_memory, link));
    rc = end_transaction(s, rc);
    if (rc == SQLITE_OK) {
        note_written(s, &j->batch->sheet);
        if (s->writes++ % PRUNE_EVERY == 0)
            prune(s);
    }
    j->done(j->ctx, verdict(s, rc));
}

/* ---- labels ---- */

static void run_find(struct file_store *s, const struct job *j)
{
    sqlite3_stmt *stmt = s->of[FIND];
    struct learn_found found;

    bind_text(stmt, 1, j->request_id);
    bind_text(stmt, 2, j->tenant);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        found = (struct learn_found){column_text(stmt, 0), column_text(stmt, 1)};
        j->found(j->ctx, ERR_OK, &found);
    } else {
        j->found(j->ctx, rc == SQLITE_DONE ? ERR_NOT_FOUND : verdict(s, rc), NULL);
    }
    sqlite3_reset(stmt);
}

static int swap_memory(struct file_store *s, const struct learn_relabel *r)
{
    sqlite3_stmt *stmt = s->of[RELABEL];

    if (r->text.n == 0)
        return remember(s, ADOPT,
                        &(struct learn_memory){.tenant = r->tenant,
                                               .request_id = r->request_id,
                                               .text = r->text_after,
                                               .labels = r->after,
                                               .decided_wall_us = r->decided_wall_us});
    bind_text(stmt, 1, r->after);
    bind_text(stmt, 2, r->request_id);
    bind_text(stmt, 3, r->tenant);
    bind_text(stmt, 4, r->before);
    bind_text(stmt, 5, r->text_after);
    bind_text(stmt, 6, r->text);
    return run(s, RELABEL);
}

static void run_relabel(struct file_store *s, const struct job *j)
{
    enum err err = ERR_OK;
    int rc = run(s, BEGIN);

    if (rc == SQLITE_OK) {
        rc = swap_memory(s, &j->relabel);
        if (rc == SQLITE_OK && sqlite3_changes(s->db) == 0)
            err = ERR_CONFLICT;
    }
    if (rc == SQLITE_OK && err == ERR_OK)
        rc = add_sheet(s, j->relabel.sheet);
    rc = end_transaction(s, rc);
    if (rc != SQLITE_OK)
        err = verdict(s, rc);
    else if (err == ERR_OK)
        note_written(s, j->relabel.sheet);
    j->done(j->ctx, err);
}

/* ---- reading ---- */

/* Rows of one unit follow each other; each is handed over when the next begins. */
struct unit_reader {
    const struct learn_read *to;
    struct learn_unit_name name;
    char *context, *arm; /* owned copies: a row's text goes with the row */
    struct tally tally;
};

static void hand_over(struct unit_reader *r)
{
    if (r->context)
        r->to->unit(r->to->ctx, &r->name, &r->tally);
    free(r->context);
    free(r->arm);
    r->context = r->arm = NULL;
}

static void take_row(struct unit_reader *r, sqlite3_stmt *stmt)
{
    struct learn_unit_name name = {column_text(stmt, 0), column_text(stmt, 1),
                                   sqlite3_column_int(stmt, 2) == TALLY_SLOW ? TALLY_SLOW
                                                                             : TALLY_QUICK,
                                   sqlite3_column_int64(stmt, 3)};
    int field;

    if (!r->context || !learn_unit_name_eq(&name, &r->name)) {
        hand_over(r);
        r->context = mem_strdup(name.context);
        r->arm = mem_strdup(name.arm);
        r->name = name;
        r->name.context.p = r->context;
        r->name.arm.p = r->arm;
        r->tally = (struct tally){0};
    }
    if (tally_field_parse(column_text(stmt, 4), &field)) /* a newer weir's are let be */
        tally_add(&r->tally, field, sqlite3_column_int64(stmt, 5));
}

static int read_rows(struct file_store *s, enum statement which, const struct learn_read *to)
{
    struct unit_reader r = {.to = to};
    int rc;

    while ((rc = sqlite3_step(s->of[which])) == SQLITE_ROW)
        take_row(&r, s->of[which]);
    sqlite3_reset(s->of[which]);
    hand_over(&r);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_scorers(struct file_store *s, const struct learn_read *to)
{
    sqlite3_stmt *stmt = s->of[READ_SCORERS];
    int rc;

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        to->scorer(to->ctx, column_text(stmt, 0), column_text(stmt, 1));
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static void run_read(struct file_store *s, const struct job *j)
{
    int rc = read_scorers(s, &j->read);

    if (rc != SQLITE_OK) {
        j->read.done(j->read.ctx, verdict(s, rc));
        return;
    }
    if (s->read_all) {
        rc = read_rows(s, READ_ALL, &j->read);
    } else {
        LIST_FOREACH (it, &s->dirty.units) {
            bind_unit(s->of[READ_ONE], &CONTAINER_OF(it, struct learn_unit, link)->name);
            if (rc == SQLITE_OK)
                rc = read_rows(s, READ_ONE, &j->read);
        }
    }
    if (rc == SQLITE_OK) {
        s->read_all = false;
        learn_sheet_clear(&s->dirty);
    }
    j->read.done(j->read.ctx, verdict(s, rc));
}

/* ---- scorers ---- */

static void run_recent(struct file_store *s, const struct job *j)
{
    sqlite3_stmt *stmt = s->of[RECENT];
    const struct learn_recent *r = &j->recent;
    int64_t next = -1;
    int rc, rows = 0;

    sqlite3_bind_int64(stmt, 1, r->from > 0 ? r->from : INT64_MAX);
    sqlite3_bind_int64(stmt, 2, LEARN_RECENT_PAGE);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        rows++;
        next = sqlite3_column_int64(stmt, 0);
        r->visit(r->ctx, &(struct learn_memory){.tenant = column_text(stmt, 1),
                                                .request_id = column_text(stmt, 2),
                                                .text = column_text(stmt, 3),
                                                .labels = column_text(stmt, 4)});
    }
    sqlite3_reset(stmt);
    rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
    r->done(r->ctx, verdict(s, rc), rows < LEARN_RECENT_PAGE ? -1 : next);
}

/* The only process is always the one; versions are times, so that a new process's are greater. */
static void run_claim(struct file_store *s, const struct job *j)
{
    int64_t now_s = clock_wall_us() / 1000000;

    s->version =
        now_s > (int64_t)s->version && now_s <= UINT32_MAX ? (unsigned)now_s : s->version + 1;
    j->claimed(j->ctx, ERR_OK, s->version);
}

static void run_publish(struct file_store *s, const struct job *j)
{
    bind_text(s->of[PUBLISH], 1, j->model);
    bind_text(s->of[PUBLISH], 2, j->text);
    j->done(j->ctx, verdict(s, run(s, PUBLISH)));
}

/* ---- the calls ---- */

static void on_work(evutil_socket_t fd, short what, void *ctx)
{
    struct file_store *s = ctx;
    struct list now;

    (void)fd, (void)what;
    list_init(&now);
    while (!list_empty(&s->jobs)) { /* what these bring about is for the next turn */
        struct list *first = s->jobs.next;
        list_remove(first);
        list_push_back(&now, first);
    }
    LIST_FOREACH_SAFE (it, &now) {
        struct job *j = CONTAINER_OF(it, struct job, link);

        list_remove(it);
        j->run(s, j);
        free(j);
    }
}

static void put_job(struct learn_store *store, const struct job *job)
{
    struct file_store *s = of(store);
    struct job *j = mem_alloc(sizeof *j);

    *j = *job;
    list_push_back(&s->jobs, &j->link);
    event_active(s->working, EV_TIMEOUT, 0);
}

static void op_write(struct learn_store *s, const struct learn_batch *b, learn_done_fn *done,
                     void *ctx)
{
    put_job(s, &(struct job){.run = run_write, .batch = b, .done = done, .ctx = ctx});
}

static void op_find(struct learn_store *s, struct slice tenant, struct slice request_id,
                    learn_found_fn *done, void *ctx)
{
    put_job(s, &(struct job){.run = run_find,
                             .tenant = tenant,
                             .request_id = request_id,
                             .found = done,
                             .ctx = ctx});
}

static void op_relabel(struct learn_store *s, const struct learn_relabel *r, learn_done_fn *done,
                       void *ctx)
{
    put_job(s, &(struct job){.run = run_relabel, .relabel = *r, .done = done, .ctx = ctx});
}

static void op_anew(struct learn_store *s)
{
    of(s)->read_all = true;
}

static void op_read(struct learn_store *s, const struct learn_read *r)
{
    put_job(s, &(struct job){.run = run_read, .read = *r});
}

static void op_recent(struct learn_store *s, const struct learn_recent *r)
{
    put_job(s, &(struct job){.run = run_recent, .recent = *r});
}

static void op_claim(struct learn_store *s, int64_t hold_ms, learn_claim_fn *done, void *ctx)
{
    (void)hold_ms;
    put_job(s, &(struct job){.run = run_claim, .claimed = done, .ctx = ctx});
}

static void op_publish(struct learn_store *s, struct slice model, struct slice text,
                       learn_done_fn *done, void *ctx)
{
    put_job(s, &(struct job){
                   .run = run_publish, .model = model, .text = text, .done = done, .ctx = ctx});
}

static bool op_up(struct learn_store *s)
{
    return !of(s)->failing;
}

static void op_close(struct learn_store *store)
{
    struct file_store *s = of(store);

    LIST_FOREACH_SAFE (it, &s->jobs)
        free(CONTAINER_OF(it, struct job, link));
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(s->of[i]);
    sqlite3_close(s->db);
    learn_sheet_clear(&s->dirty);
    if (s->working)
        event_free(s->working);
    free(s);
}

static const struct learn_store_ops ops = {op_write,  op_find,  op_relabel, op_read, op_anew,
                                           op_recent, op_claim, op_publish, op_up,   op_close};

/* ---- opening ---- */

static bool exec(struct file_store *s, const char *text, struct err_text *t)
{
    if (sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    err_say(t, "%s", sqlite3_errmsg(s->db));
    return false;
}

static int64_t query_int(struct file_store *s, const char *text)
{
    sqlite3_stmt *stmt;
    int64_t v = -1;

    if (sqlite3_prepare_v2(s->db, text, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        v = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return v;
}

static bool prepare_schema(struct file_store *s, struct err_text *t)
{
    int64_t version = query_int(s, "PRAGMA user_version");

    if (version == SCHEMA_VERSION)
        return true;
    if (version > SCHEMA_VERSION)
        err_say(t, "a newer weir wrote it (schema %lld, this one knows %d)", (long long)version,
                SCHEMA_VERSION);
    else if (version == 1)
        return exec(s, "BEGIN IMMEDIATE", t) && exec(s, SCORERS, t) && exec(s, "COMMIT", t);
    else if (query_int(s, "SELECT count(*) FROM sqlite_schema") != 0)
        err_say(t, "it is a database of something else");
    else
        return exec(s, "BEGIN IMMEDIATE", t) && exec(s, schema, t) && exec(s, "COMMIT", t);
    return false;
}

/* Whoever reads beside the process that writes brings nothing up to date. */
static bool has_schema(struct file_store *s, struct err_text *t)
{
    int64_t version = query_int(s, "PRAGMA user_version");

    if (version < 0)
        err_say(t, "%s", sqlite3_errmsg(s->db));
    else if (version != SCHEMA_VERSION)
        err_say(t, "schema %lld, this weir reads %d", (long long)version, SCHEMA_VERSION);
    return version == SCHEMA_VERSION;
}

static bool open_database(struct file_store *s, const char *path, bool read_only,
                          struct err_text *t)
{
    int flags = read_only ? SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX
                          : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK) {
        err_say(t, "%s", s->db ? sqlite3_errmsg(s->db) : "out of memory");
        return false;
    }
    sqlite3_busy_timeout(s->db, 1000);
    if (read_only ? !has_schema(s, t)
                  : !exec(s,
                          "PRAGMA cache_size = -512; PRAGMA journal_mode = WAL;"
                          " PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864",
                          t) ||
                        !prepare_schema(s, t))
        return false;
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->of[i], NULL)) {
            err_say(t, "%s", sqlite3_errmsg(s->db));
            return false;
        }
    return true;
}

static enum err open_store(const char *path, bool read_only, struct event_base *base,
                           struct learn_store **out, struct err_text *t)
{
    struct file_store *s = mem_zalloc(1, sizeof *s);
    struct err_text why = {""};

    s->store.ops = &ops;
    s->read_all = true;
    list_init(&s->jobs);
    learn_sheet_init(&s->dirty, DIRTY_UNITS);
    s->working = event_new(base, -1, 0, on_work, s);
    mem_need(s->working);
    if (open_database(s, path, read_only, &why)) {
        *out = &s->store;
        return ERR_OK;
    }
    err_say(t, "%s: %s", path, why.s);
    op_close(&s->store);
    return ERR_INTERNAL;
}

enum err learn_store_sqlite_open(const char *path, struct event_base *base,
                                 struct learn_store **out, struct err_text *t)
{
    return open_store(path, false, base, out, t);
}

enum err learn_store_sqlite_read(const char *path, struct event_base *base,
                                 struct learn_store **out, struct err_text *t)
{
    return open_store(path, true, base, out, t);
}
