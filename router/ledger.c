/* The ledger's writer. Owns the database connection, the records from post to commit, and one
 * thread. The rows are ledger_write.c's, the schema is ledger_schema.c's. Called by workers (post,
 * full), by control (open, flush, close).
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
#include "router/ledger_int.h"

#include <errno.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stats.h"
#include "base/thread.h"
#include "router/ledger_schema.h"

#define BATCH_MS       50
#define BATCH_RECORDS  1000
#define BUSY_MS        1000 /* another process may hold the write lock (a careless shell) */
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000
#define CLOSE_TRY_MS   10000 /* a disk that stays full must not keep the process for ever */

struct ledger {
    char *path; /* owned */
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
    struct ledger_statements statements;
    struct list pending; /* of struct message, oldest first */
    int64_t backoff_ms;  /* 0: the last write succeeded */
    int last_rc;
    char why[256]; /* of the last failure, as SQLite said it before the rollback */
};

static void deliver_record(struct message *m, void *ctx)
{
    struct ledger *l = ctx;
    list_push_back(&l->pending, &m->link);
}

/* ---- writing ---- */

/* The oldest BATCH_RECORDS pending ones in one transaction; *rows and *records say how much it was.
 */
static int write_transaction(struct ledger *l, int64_t *records, int64_t *rows)
{
    *records = *rows = 0;
    int rc = ledger_transaction_begin(&l->statements);
    LIST_FOREACH (it, &l->pending) {
        if (rc != SQLITE_OK || *records == BATCH_RECORDS)
            break;
        const struct ledger_record *rec =
            CONTAINER_OF(CONTAINER_OF(it, struct message, link), struct ledger_record, msg);
        rc = ledger_record_insert(rec, &l->statements, rows);
        *records += 1;
    }
    if (rc == SQLITE_OK)
        rc = ledger_transaction_commit(&l->statements);
    if (rc != SQLITE_OK)
        snprintf(l->why, sizeof l->why, "%s", sqlite3_errmsg(l->db));
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(l->db))
        ledger_statement_run(&l->statements, LEDGER_ROLLBACK);
    return rc;
}

static void forget_written(struct ledger *l, int64_t records, int64_t rows)
{
    for (int64_t i = 0; i < records; i++) {
        struct message *m = CONTAINER_OF(l->pending.next, struct message, link);
        list_remove(&m->link);
        m->discard(m);
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
                     "error=%s queued=%lld", log_quote(slice_str(l->why), why, sizeof why),
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

/* ---- the database ---- */

/* A new file's pages are of 8 KB: under load a tenth cheaper than 4, and no dearer when there is
 * little to write, which 16 are. Rows are appended, so that a small cache holds what is written to
 * next; with ids at random neither 512 KB nor 2 MB would hold the index. */
static const char pragmas[] =
    "PRAGMA page_size = 8192; PRAGMA cache_size = -512; PRAGMA journal_mode = WAL;"
    " PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864";

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
    if (!ledger_schema_exec(l->db, pragmas, t) || !ledger_schema_prepare(l->db, t))
        return false;
    if (ledger_statements_prepare(&l->statements, l->db) == SQLITE_OK)
        return true;
    err_say(t, "%s", sqlite3_errmsg(l->db));
    return false;
}

static void close_database(struct ledger *l)
{
    ledger_statements_finalize(&l->statements);
    sqlite3_close(l->db);
}

/* ---- life ---- */

static void free_ledger(struct ledger *l)
{
    close_database(l);
    mailbox_clear(&l->mailbox);
    close(l->wake_fd);
    pthread_cond_destroy(&l->progress);
    pthread_mutex_destroy(&l->lock);
    stats_free(l->stats);
    free(l->path);
    free(l);
}

const char *ledger_path(const struct ledger *l)
{
    return l->path;
}

struct ledger *ledger_open(const char *path, int64_t max_queue, struct err_text *t)
{
    struct err_text why = {""};
    struct ledger *l = mem_zalloc(1, sizeof *l);
    l->path = mem_strdup(slice_str(path));
    l->max_queue = max_queue;
    list_init(&l->pending);
    pthread_mutex_init(&l->lock, NULL);
    cond_init(&l->progress);
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
    int rc = thread_start(&l->thread, "ledger", run_writer, l);
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
    free(l->path);
    free(l);
    return NULL;
}

void ledger_post(struct ledger *l, struct ledger_record *rec)
{
    rec->msg.deliver = deliver_record;
    atomic_fetch_add_explicit(&l->posted, 1, memory_order_relaxed);
    mailbox_post(&l->mailbox, &rec->msg);
}

int64_t ledger_queued(const struct ledger *l)
{
    /* In this order: a record counted as written was counted as posted before. */
    int64_t written = atomic_load_explicit(&l->written, memory_order_acquire);
    return atomic_load_explicit(&l->posted, memory_order_relaxed) - written;
}

/* Counting is enough: the mailbox keeps the order, and whatever it holds before the caller's
 * records was counted before. */
int64_t ledger_posted(const struct ledger *l)
{
    return atomic_load_explicit(&l->posted, memory_order_relaxed);
}

bool ledger_has_written(const struct ledger *l, int64_t posted)
{
    return atomic_load_explicit(&l->written, memory_order_acquire) >= posted;
}

bool ledger_full(const struct ledger *l)
{
    return ledger_queued(l) >= l->max_queue;
}

struct stats *ledger_stats(struct ledger *l)
{
    return l->stats;
}

bool ledger_flush(struct ledger *l, int64_t timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    int64_t target = ledger_posted(l);
    bool in_time = true;
    wake(l);
    pthread_mutex_lock(&l->lock);
    while (!ledger_has_written(l, target) && in_time)
        in_time = cond_wait_until(&l->progress, &l->lock, until_us);
    bool done = ledger_has_written(l, target);
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
        m->discard(m);
    }
    free_ledger(l);
}
