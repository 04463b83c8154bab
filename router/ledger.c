/* The ledger's writer. Owns the database connection, the records from post to commit, and one
 * thread. The only file of the room that includes SQLite. Called by workers (post, full), by
 * control (open, flush, close).
 *
 *   worker: record_new -> post --.                                         requests
 *   worker: record_new -> post --+-> mailbox -> (50 ms) -> pending --------> attempt_rows
 *                                                             ^   one transaction |
 *                                                             '-- failed: back off'
 *
 * The first record after a pause wakes the writer, which then sleeps until the batch is due without
 * looking at the mailbox: under load a post costs no system call. Indices are the greater part of
 * an insert's cost, and one on random text the greatest: request ids that grow with time make an
 * insert here three times cheaper than random ones. */
#include "router/ledger.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stats.h"

#define SCHEMA_VERSION 4
#define BATCH_MS       50
#define BATCH_RECORDS  1000
#define BUSY_MS        1000 /* another process may hold the write lock (a careless shell) */
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000
#define CLOSE_TRY_MS   10000 /* a disk that stays full must not keep the process for ever */

/* sum() fails when integers overflow, total() does not: one absurd row must not close the views.
 * Times are Unix microseconds, durations microseconds (NULL: there was none), money nano-dollars.
 * Attempts are clustered by their request; the view adds its request_id, which is the client's to
 * choose and therefore neither unique nor a key. */
static const char schema[] =
    "CREATE TABLE requests (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  request_id TEXT NOT NULL,\n"
    "  received_wall_us INTEGER NOT NULL,\n"
    "  api TEXT NOT NULL,\n"
    "  requested_model TEXT NOT NULL,\n"
    "  tenant TEXT NOT NULL,\n"
    "  route TEXT NOT NULL,\n"
    "  policy_version TEXT NOT NULL,\n"
    "  served_model TEXT NOT NULL,\n"
    "  stream INTEGER NOT NULL,\n"
    "  status INTEGER NOT NULL,\n"
    "  outcome TEXT NOT NULL,\n"
    "  attempts INTEGER NOT NULL,\n"
    "  cost_nanousd INTEGER NOT NULL,\n"
    "  ttft_us INTEGER,\n"
    "  duration_us INTEGER\n"
    ") STRICT;\n"
    "CREATE TABLE attempt_rows (\n"
    "  request INTEGER NOT NULL REFERENCES requests (id),\n"
    "  seq INTEGER NOT NULL,\n"
    "  role TEXT NOT NULL,\n"
    "  started_wall_us INTEGER NOT NULL,\n"
    "  model TEXT NOT NULL,\n"
    "  upstream_model TEXT NOT NULL,\n"
    "  backend TEXT NOT NULL,\n"
    "  endpoint TEXT NOT NULL,\n"
    "  outcome TEXT NOT NULL,\n"
    "  http_status INTEGER NOT NULL,\n"
    "  input_tokens INTEGER NOT NULL,\n"
    "  cached_input_tokens INTEGER NOT NULL,\n"
    "  cache_write_tokens INTEGER NOT NULL,\n"
    "  output_tokens INTEGER NOT NULL,\n"
    "  reasoning_tokens INTEGER NOT NULL,\n"
    "  usage_source TEXT NOT NULL,\n"
    "  cost_nanousd INTEGER NOT NULL,\n"
    "  price_version TEXT NOT NULL,\n"
    "  first_byte_us INTEGER,\n"
    "  duration_us INTEGER,\n"
    "  served INTEGER NOT NULL,\n"
    "  PRIMARY KEY (request, seq)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX requests_by_time ON requests (received_wall_us);\n"
    "CREATE INDEX requests_by_request_id ON requests (request_id);\n"
    "CREATE VIEW attempts AS\n"
    "  SELECT r.request_id, a.* FROM attempt_rows AS a JOIN requests AS r ON r.id = a.request;\n"
    "CREATE VIEW spend_by_model AS\n"
    "  SELECT model, count(*) AS attempts, sum(served) AS served,\n"
    "         sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,\n"
    "         sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,\n"
    "         sum(reasoning_tokens) AS reasoning_tokens, total(cost_nanousd) / 1e9 AS cost_usd\n"
    "  FROM attempt_rows GROUP BY model;\n"
    "CREATE VIEW spend_by_day AS\n"
    "  SELECT date(r.received_wall_us / 1000000, 'unixepoch') AS day, r.tenant, a.model,\n"
    "         count(*) AS attempts, total(a.cost_nanousd) / 1e9 AS cost_usd\n"
    "  FROM attempt_rows AS a JOIN requests AS r ON r.id = a.request GROUP BY 1, 2, 3;\n"
    "PRAGMA user_version = 1;\n";

/* From each version to the next. A new file goes the same way, so that there is one. */
static const char *const upgrades[] = {
    /* 2: what the question was about. class "": of none, or nobody asked; class_us NULL then. */
    "ALTER TABLE requests ADD COLUMN class TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE requests ADD COLUMN class_confidence REAL NOT NULL DEFAULT 0;\n"
    "ALTER TABLE requests ADD COLUMN class_tier TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE requests ADD COLUMN class_us INTEGER;\n"
    "PRAGMA user_version = 2;\n",
    /* 3: what the cache said, what it gave again, and what that had cost. */
    "ALTER TABLE requests ADD COLUMN cache TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE requests ADD COLUMN cache_entry INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE requests ADD COLUMN saved_nanousd INTEGER NOT NULL DEFAULT 0;\n"
    "PRAGMA user_version = 3;\n",
    /* 4: requests of weir's own, under the id of the client's request that caused them; how near
     * the nearest stored question was, and how probably its answer right (NULL: nobody looked).
     * What the cache saved, beside what its checks cost. */
    "ALTER TABLE requests ADD COLUMN purpose TEXT NOT NULL DEFAULT 'serve';\n"
    "ALTER TABLE requests ADD COLUMN cache_cosine REAL;\n"
    "ALTER TABLE requests ADD COLUMN cache_probability REAL;\n"
    "CREATE VIEW cache_by_day AS\n"
    "  SELECT date(received_wall_us / 1000000, 'unixepoch') AS day, tenant,\n"
    "         sum(purpose = 'serve') AS requests, sum(cache = 'hit') AS hits,\n"
    "         sum(cache = 'coalesced') AS coalesced, sum(cache = 'semantic') AS semantic,\n"
    "         total(saved_nanousd) / 1e9 AS saved_usd, sum(purpose <> 'serve') AS checks,\n"
    "         total(iif(purpose = 'serve', 0, cost_nanousd)) / 1e9 AS checks_usd\n"
    "  FROM requests WHERE cache <> '' OR purpose IN ('audit', 'judge') GROUP BY 1, 2;\n"
    "PRAGMA user_version = 4;\n",
};
_Static_assert(sizeof upgrades / sizeof upgrades[0] == SCHEMA_VERSION - 1, "a step per version");

static const char insert_request_sql[] =
    "INSERT INTO requests (request_id, received_wall_us, api, requested_model, tenant, route, "
    "policy_version, served_model,"
    " stream, status, outcome, attempts, cost_nanousd, ttft_us, duration_us, class, "
    "class_confidence, class_tier, class_us, cache, cache_entry, saved_nanousd, "
    "purpose, cache_cosine, cache_probability)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
static const char insert_attempt_sql[] =
    "INSERT INTO attempt_rows (request, seq, role, started_wall_us, model, upstream_model, "
    "backend, endpoint, outcome,"
    " http_status, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, "
    "reasoning_tokens, usage_source,"
    " cost_nanousd, price_version, first_byte_us, duration_us, served)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

enum statement { BEGIN, INSERT_REQUEST, INSERT_ATTEMPT, COMMIT, ROLLBACK, STATEMENTS };
static const char *const statement_sql[STATEMENTS] = {"BEGIN IMMEDIATE", insert_request_sql,
                                                      insert_attempt_sql, "COMMIT", "ROLLBACK"};

struct ledger_record { /* one block: this, the attempts, their strings */
    struct message msg;
    struct ledger_request request;
    size_t attempt_count;
    struct ledger_attempt attempts[];
};

struct ledger {
    struct mailbox mailbox;
    int wake_fd; /* eventfd: do not wait for the batch to be due */
    pthread_t thread;
    int64_t max_queue;
    _Atomic int64_t posted, written; /* records since open; the difference is the queue */
    _Atomic bool closing;
    struct stats *stats; /* owned; written by the writer's thread */
    struct stats_cell *rows_cell, *queue_cell, *errors_cell;

    pthread_mutex_t lock; /* of the condition only */
    pthread_cond_t progress;

    /* the writer's own */
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct list pending; /* of struct message, oldest first */
    int64_t backoff_ms;  /* 0: the last write succeeded */
    int last_rc;
};

/* ---- records ---- */

#define REQUEST_STRINGS(F, r)                                                                      \
    F((r)->request_id)                                                                             \
    F((r)->api)                                                                                    \
    F((r)->requested_model)                                                                        \
    F((r)->tenant)                                                                                 \
    F((r)->route)                                                                                  \
    F((r)->policy_version)                                                                         \
    F((r)->served_model)                                                                           \
    F((r)->outcome)                                                                                \
    F((r)->class_name)                                                                             \
    F((r)->class_tier)                                                                             \
    F((r)->cache)                                                                                  \
    F((r)->purpose)
#define ATTEMPT_STRINGS(F, a)                                                                      \
    F((a)->role)                                                                                   \
    F((a)->model)                                                                                  \
    F((a)->upstream_model)                                                                         \
    F((a)->backend)                                                                                \
    F((a)->endpoint)                                                                               \
    F((a)->outcome)                                                                                \
    F((a)->price_version)

static void discard_record(struct message *m)
{
    free(CONTAINER_OF(m, struct ledger_record, msg));
}

static void deliver_record(struct message *m, void *ctx)
{
    struct ledger *l = ctx;
    list_push_back(&l->pending, &m->link);
}

struct ledger_record *ledger_record_new(const struct ledger_request *r,
                                        const struct ledger_attempt *attempts, size_t n)
{
    size_t bytes = sizeof(struct ledger_record) + n * sizeof *attempts;
#define ADD_LENGTH(s) bytes += strlen(s) + 1;
#define MOVE_STRING(s)                                                                             \
    {                                                                                              \
        size_t len = strlen(s) + 1;                                                                \
        (s) = memcpy(p, (s), len);                                                                 \
        p += len;                                                                                  \
    }
    REQUEST_STRINGS(ADD_LENGTH, r)
    for (size_t i = 0; i < n; i++) {
        ATTEMPT_STRINGS(ADD_LENGTH, &attempts[i])
    }
    struct ledger_record *rec = mem_alloc(bytes);
    char *p = (char *)rec + sizeof *rec + n * sizeof *attempts;
    rec->msg = (struct message){.deliver = deliver_record, .discard = discard_record};
    rec->request = *r;
    rec->attempt_count = n;
    REQUEST_STRINGS(MOVE_STRING, &rec->request)
    int32_t seq = 0;
    for (size_t i = 0; i < n; i++) {
        struct ledger_attempt *a = &rec->attempts[i];
        *a = attempts[i];
        ATTEMPT_STRINGS(MOVE_STRING, a)
        /* (request, seq) is a key: a repeated number would make the writer fail for ever. */
        if (a->seq <= seq)
            a->seq = seq + 1;
        seq = a->seq;
    }
#undef ADD_LENGTH
#undef MOVE_STRING
    return rec;
}

/* ---- writing ---- */

/* Parameters are bound in the order of the statement's columns. The strings outlive the step, hence
 * SQLITE_STATIC. A failed bind (out of memory) leaves a NULL behind, which every text column
 * refuses, so that the step reports it. */
struct binder {
    sqlite3_stmt *stmt;
    int column;
};

static void bind_text(struct binder *b, const char *s)
{
    sqlite3_bind_text(b->stmt, ++b->column, s, -1, SQLITE_STATIC);
}

static void bind_int(struct binder *b, int64_t v)
{
    sqlite3_bind_int64(b->stmt, ++b->column, v);
}

static void bind_duration(struct binder *b, int64_t us)
{
    ++b->column;
    if (us < 0)
        sqlite3_bind_null(b->stmt, b->column);
    else
        sqlite3_bind_int64(b->stmt, b->column, us);
}

static void bind_share(struct binder *b, double v)
{
    ++b->column;
    if (v < 0)
        sqlite3_bind_null(b->stmt, b->column);
    else
        sqlite3_bind_double(b->stmt, b->column, v);
}

/* SQLITE_OK or the reason. */
static int run(struct ledger *l, enum statement s)
{
    int rc = sqlite3_step(l->statements[s]);
    sqlite3_reset(l->statements[s]);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int insert_request(struct ledger *l, const struct ledger_request *r)
{
    struct binder b = {.stmt = l->statements[INSERT_REQUEST]};
    bind_text(&b, r->request_id);
    bind_int(&b, r->received_wall_us);
    bind_text(&b, r->api);
    bind_text(&b, r->requested_model);
    bind_text(&b, r->tenant);
    bind_text(&b, r->route);
    bind_text(&b, r->policy_version);
    bind_text(&b, r->served_model);
    bind_int(&b, r->stream);
    bind_int(&b, r->status);
    bind_text(&b, r->outcome);
    bind_int(&b, r->attempts);
    bind_int(&b, r->cost);
    bind_duration(&b, r->ttft_us);
    bind_duration(&b, r->duration_us);
    bind_text(&b, r->class_name);
    sqlite3_bind_double(b.stmt, ++b.column, r->class_confidence);
    bind_text(&b, r->class_tier);
    bind_duration(&b, r->class_us);
    bind_text(&b, r->cache);
    bind_int(&b, (int64_t)r->cache_entry);
    bind_int(&b, r->saved);
    bind_text(&b, r->purpose);
    bind_share(&b, r->cache_cosine);
    bind_share(&b, r->cache_probability);
    return run(l, INSERT_REQUEST);
}

static int insert_attempt(struct ledger *l, int64_t request, const struct ledger_attempt *a)
{
    struct binder b = {.stmt = l->statements[INSERT_ATTEMPT]};
    bind_int(&b, request);
    bind_int(&b, a->seq);
    bind_text(&b, a->role);
    bind_int(&b, a->started_wall_us);
    bind_text(&b, a->model);
    bind_text(&b, a->upstream_model);
    bind_text(&b, a->backend);
    bind_text(&b, a->endpoint);
    bind_text(&b, a->outcome);
    bind_int(&b, a->http_status);
    for (int k = 0; k < TOK_KINDS; k++)
        bind_int(&b, a->usage.n[k]);
    bind_text(&b, usage_source_name(a->usage.source));
    bind_int(&b, a->cost);
    bind_text(&b, a->price_version);
    bind_duration(&b, a->first_byte_us);
    bind_duration(&b, a->duration_us);
    bind_int(&b, a->served);
    return run(l, INSERT_ATTEMPT);
}
_Static_assert(TOK_INPUT == 0 && TOK_CACHED_INPUT == 1 && TOK_CACHE_WRITE == 2 && TOK_OUTPUT == 3 &&
                   TOK_REASONING == 4 && TOK_KINDS == 5,
               "insert_attempt_sql names the token columns in this order");

static int insert_record(struct ledger *l, const struct ledger_record *rec)
{
    int rc = insert_request(l, &rec->request);
    int64_t request = sqlite3_last_insert_rowid(l->db);
    for (size_t i = 0; i < rec->attempt_count && rc == SQLITE_OK; i++)
        rc = insert_attempt(l, request, &rec->attempts[i]);
    return rc;
}

/* The oldest BATCH_RECORDS pending ones in one transaction; *rows and *records say how much it was.
 */
static int write_transaction(struct ledger *l, int64_t *records, int64_t *rows)
{
    *records = *rows = 0;
    int rc = run(l, BEGIN);
    LIST_FOREACH (it, &l->pending) {
        if (rc != SQLITE_OK || *records == BATCH_RECORDS)
            break;
        const struct ledger_record *rec =
            CONTAINER_OF(CONTAINER_OF(it, struct message, link), struct ledger_record, msg);
        rc = insert_record(l, rec);
        *records += 1;
        *rows += 1 + (int64_t)rec->attempt_count;
    }
    if (rc == SQLITE_OK)
        rc = run(l, COMMIT);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(l->db))
        run(l, ROLLBACK);
    return rc;
}

static void forget_written(struct ledger *l, int64_t records, int64_t rows)
{
    for (int64_t i = 0; i < records; i++) {
        struct message *m = CONTAINER_OF(l->pending.next, struct message, link);
        list_remove(&m->link);
        discard_record(m);
    }
    stats_add(l->rows_cell, rows);
    pthread_mutex_lock(&l->lock);
    atomic_fetch_add_explicit(&l->written, records, memory_order_release);
    stats_set(l->queue_cell, ledger_queued(l)); /* whoever waited for the flush sees it */
    pthread_cond_broadcast(&l->progress);
    pthread_mutex_unlock(&l->lock);
}

/* One line when it begins to fail or fails differently, one when it works again. */
static void note_result(struct ledger *l, int rc)
{
    if (rc == SQLITE_OK) {
        if (l->backoff_ms)
            log_line(LOG_INFO, "ledger", "writing again", NULL);
        l->backoff_ms = 0;
    } else {
        char why[256];
        stats_add(l->errors_cell, 1);
        stats_set(l->queue_cell, ledger_queued(l));
        if (rc != l->last_rc)
            log_line(LOG_ERROR, "ledger", "cannot write; nothing is lost, trying again",
                     "error=%s queued=%lld",
                     log_quote(slice_str(sqlite3_errmsg(l->db)), why, sizeof why),
                     (long long)ledger_queued(l));
        l->backoff_ms = l->backoff_ms ? l->backoff_ms * 2 : BACKOFF_MIN_MS;
        if (l->backoff_ms > BACKOFF_MAX_MS)
            l->backoff_ms = BACKOFF_MAX_MS;
    }
    l->last_rc = rc;
}

/* Writes what is pending as far as it goes. */
static void write_pending(struct ledger *l)
{
    int64_t records, rows;
    int rc = SQLITE_OK;
    while (rc == SQLITE_OK && !list_empty(&l->pending)) {
        rc = write_transaction(l, &records, &rows);
        note_result(l, rc);
        if (rc == SQLITE_OK)
            forget_written(l, records, rows);
    }
}

/* ---- the thread ---- */

static void wake(struct ledger *l)
{
    uint64_t one = 1;
    while (write(l->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static bool is_closing(struct ledger *l)
{
    return atomic_load_explicit(&l->closing, memory_order_acquire);
}

/* Until woken (true), or timeout_ms have passed; with any_post (and nothing else to do) also until
 * a record is posted. */
static bool rest(struct ledger *l, int timeout_ms, bool any_post)
{
    struct pollfd fds[2] = {{.fd = l->wake_fd, .events = POLLIN},
                            {.fd = l->mailbox.fd, .events = POLLIN}};
    if (poll(fds, any_post ? 2 : 1, timeout_ms) <= 0 || !fds[0].revents)
        return false;
    uint64_t count;
    while (read(l->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    return true;
}

static void *run_writer(void *arg)
{
    struct ledger *l = arg;
    pthread_setname_np(pthread_self(), "ledger");
    while (!is_closing(l)) {
        if (l->backoff_ms)
            rest(l, (int)l->backoff_ms, false);
        else if (!rest(l, -1, true))
            rest(l, BATCH_MS, false);
        mailbox_drain(&l->mailbox, l);
        write_pending(l);
    }
    int64_t give_up_us = clock_mono_us() + CLOSE_TRY_MS * 1000;
    mailbox_drain(&l->mailbox, l);
    write_pending(l);
    while (!list_empty(&l->pending) && clock_mono_us() < give_up_us) {
        rest(l, (int)l->backoff_ms, false);
        write_pending(l);
    }
    return NULL;
}

static int start_writer(struct ledger *l)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are control's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&l->thread, NULL, run_writer, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* ---- the database ---- */

static bool exec(struct ledger *l, const char *sql, struct err_text *t)
{
    if (sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    err_say(t, "%s", sqlite3_errmsg(l->db));
    return false;
}

/* One integer out of the database, -1 when there is none. */
static int64_t query_int(struct ledger *l, const char *sql)
{
    sqlite3_stmt *stmt;
    int64_t v = -1;
    if (sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        v = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return v;
}

static bool create_schema(struct ledger *l, struct err_text *t)
{
    if (query_int(l, "SELECT count(*) FROM sqlite_schema") != 0) {
        err_say(t, "it is a database of something else");
        return false;
    }
    return exec(l, schema, t);
}

/* After a failure the transaction ends with the connection. */
static bool check_schema(struct ledger *l, struct err_text *t)
{
    if (!exec(l, "BEGIN IMMEDIATE", t))
        return false;
    int64_t version = query_int(l, "PRAGMA user_version");
    if (version > SCHEMA_VERSION) {
        err_say(t, "a newer weir wrote it (schema %lld, this one knows %d)", (long long)version,
                SCHEMA_VERSION);
        return false;
    }
    if (version < 1 && !create_schema(l, t))
        return false;
    for (size_t v = version < 1 ? 0 : (size_t)version - 1; v < SCHEMA_VERSION - 1; v++)
        if (!exec(l, upgrades[v], t))
            return false;
    return exec(l, "COMMIT", t);
}

static bool open_database(struct ledger *l, const char *path, struct err_text *t)
{
    /* One thread at a time uses the connection: control until the writer starts, then the writer.
     */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &l->db, flags, NULL) != SQLITE_OK) {
        err_say(t, "%s", l->db ? sqlite3_errmsg(l->db) : "out of memory");
        return false;
    }
    sqlite3_busy_timeout(l->db, BUSY_MS);
    if (sqlite3_db_readonly(l->db, "main") == 1) { /* SQLite falls back to it silently */
        err_say(t, "it cannot be written");
        return false;
    }
    if (!exec(l,
              "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = "
              "67108864",
              t) ||
        !check_schema(l, t))
        return false;
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(l->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &l->statements[i], NULL)) {
            err_say(t, "%s", sqlite3_errmsg(l->db));
            return false;
        }
    return true;
}

static void close_database(struct ledger *l)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(l->statements[i]);
    sqlite3_close(l->db);
}

/* ---- life ---- */

static void init_progress(struct ledger *l)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->progress, &attr);
    pthread_condattr_destroy(&attr);
}

static void free_ledger(struct ledger *l)
{
    close_database(l);
    mailbox_clear(&l->mailbox);
    close(l->wake_fd);
    pthread_cond_destroy(&l->progress);
    pthread_mutex_destroy(&l->lock);
    stats_free(l->stats);
    free(l);
}

struct ledger *ledger_open(const char *path, int64_t max_queue, struct err_text *t)
{
    struct err_text why = {""};
    struct ledger *l = mem_zalloc(1, sizeof *l);
    l->max_queue = max_queue;
    list_init(&l->pending);
    init_progress(l);
    l->stats = stats_new();
    l->rows_cell = stats_cell(l->stats, STAT_LEDGER_ROWS, NULL);
    l->queue_cell = stats_cell(l->stats, STAT_LEDGER_QUEUE, NULL);
    l->errors_cell = stats_cell(l->stats, STAT_LEDGER_ERRORS, NULL);
    if (mailbox_init(&l->mailbox) < 0)
        goto fail_mailbox;
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0)
        goto fail_wake;
    if (!open_database(l, path, &why))
        goto fail_database;
    int rc = start_writer(l);
    if (rc == 0)
        return l;
    err_say(&why, "no thread: %s", strerror(rc));

fail_database:
    err_say(t, "ledger %s: %s", path, why.s);
    free_ledger(l);
    return NULL;
fail_wake:
    mailbox_clear(&l->mailbox);
fail_mailbox:
    err_say(t, "ledger %s: %s", path, strerror(errno));
    pthread_cond_destroy(&l->progress);
    pthread_mutex_destroy(&l->lock);
    stats_free(l->stats);
    free(l);
    return NULL;
}

void ledger_post(struct ledger *l, struct ledger_record *rec)
{
    atomic_fetch_add_explicit(&l->posted, 1, memory_order_relaxed);
    mailbox_post(&l->mailbox, &rec->msg);
}

int64_t ledger_queued(const struct ledger *l)
{
    /* In this order: a record counted as written was counted as posted before. */
    int64_t written = atomic_load_explicit(&l->written, memory_order_acquire);
    return atomic_load_explicit(&l->posted, memory_order_relaxed) - written;
}

bool ledger_full(const struct ledger *l)
{
    return ledger_queued(l) >= l->max_queue;
}

struct stats *ledger_stats(struct ledger *l)
{
    return l->stats;
}

/* Counting is enough: the mailbox keeps the order, and whatever it holds before the caller's
 * records was counted before. */
bool ledger_flush(struct ledger *l, int64_t timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    int64_t target = atomic_load_explicit(&l->posted, memory_order_relaxed);
    int rc = 0;
    wake(l);
    pthread_mutex_lock(&l->lock);
    while (atomic_load_explicit(&l->written, memory_order_acquire) < target && rc == 0)
        rc = pthread_cond_timedwait(&l->progress, &l->lock, &until);
    bool done = atomic_load_explicit(&l->written, memory_order_acquire) >= target;
    pthread_mutex_unlock(&l->lock);
    return done;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    atomic_store_explicit(&l->closing, true, memory_order_release);
    wake(l);
    pthread_join(l->thread, NULL);
    int64_t lost = ledger_queued(l);
    if (lost)
        log_line(LOG_ERROR, "ledger", "closed without having been able to write", "records=%lld",
                 (long long)lost);
    while (!list_empty(&l->pending)) {
        struct message *m = CONTAINER_OF(l->pending.next, struct message, link);
        list_remove(&m->link);
        discard_record(m);
    }
    free_ledger(l);
}
