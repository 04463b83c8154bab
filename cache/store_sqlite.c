/* The store in a file of its own. Owns the connection, the calls that wait for their turn and the
 * transaction that is open (store_sqlite_sql.c). Called by the cache thread only.
 *
 *   call -> queue -> (next turn of the loop) -> statements -> callback
 *                                                   |
 *                          BEGIN at the first write | COMMIT after STORE_COMMIT_MS,
 *                                                   | BATCH_WRITES, or a del, flush or note
 *
 * A put is answered before it is committed: what a crash takes is the answers of the last moment,
 * never half of one. A removal is answered when it is committed, for it must not come back. The
 * file is held exclusively: generations are mirrored in memory, and a second process would not hear
 * of a flush. */
#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cache/store_sqlite_int.h"

#define TURN_CALLS 256 /* calls answered before the loop gets its turn */
#define SWEEP_MS   1000

/* ---- notes, and how it is ---- */

static void do_note(struct store_sqlite *s, struct sqlite_call *c)
{
    sql_bind_bytes(s, SQL_NOTE, 1, c->text);
    sql_bind_bytes(s, SQL_NOTE, 2, c->value);
    bool good = sqlite_begin_write(s) && sqlite_end_write(s, sql_run(s, SQL_NOTE));
    c->fn.done(c->ctx, good ? sqlite_commit(s) : ERR_OVERLOADED, 0);
}

static void do_recall(struct store_sqlite *s, struct sqlite_call *c)
{
    sql_bind_bytes(s, SQL_RECALL, 1, c->text);
    if (sql_step_row(s, SQL_RECALL))
        c->fn.bytes(c->ctx, ERR_OK, sql_column_bytes(s, SQL_RECALL, 0));
    else
        c->fn.bytes(c->ctx, ERR_NOT_FOUND, SLICE(""));
    sql_done_with(s, SQL_RECALL);
}

static void do_inspect(struct store_sqlite *s, struct sqlite_call *c)
{
    struct store_inspection about = {0};

    snprintf(about.version, sizeof about.version, "SQLite %s", sqlite3_libversion());
    about.used_bytes =
        (uint64_t)(sql_select_int(s, "PRAGMA page_count") * sql_select_int(s, "PRAGMA page_size"));
    c->fn.inspect(c->ctx, ERR_OK, &about);
}

/* ---- turns ---- */

static void free_call(struct sqlite_call *c)
{
    cache_entry_unref(c->entry);
    free(c);
}

static void perform(struct store_sqlite *s, struct sqlite_call *c)
{
    static void (*const perform_as[])(struct store_sqlite * s, struct sqlite_call * c) = {
        [CALL_GET_EXACT] = sqlite_do_get_exact,
        [CALL_GET] = sqlite_do_get,
        [CALL_PUT] = sqlite_do_put,
        [CALL_DEL] = sqlite_do_del,
        [CALL_FLUSH] = sqlite_do_flush,
        [CALL_TAGGED] = sqlite_do_tagged,
        [CALL_SCAN] = sqlite_do_scan,
        [CALL_NOTE] = do_note,
        [CALL_RECALL] = do_recall,
        [CALL_INSPECT] = do_inspect,
        [CALL_TOUCH] = sqlite_do_touch,
    };

    s->stat.calls++;
    perform_as[c->kind](s, c);
}

/* What the log says since the mark of the snapshot. */
static void replay_log(struct store_sqlite *s)
{
    static const char text[] =
        "SELECT kind, bucket, id, replaced, scope, generation FROM log WHERE seq > ?1 ORDER BY seq";
    sqlite3_stmt *q = NULL;

    s->resuming = false;
    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) != SQLITE_OK)
        return;
    sqlite3_bind_int64(q, 1, s->resume_from);
    while (sqlite3_step(q) == SQLITE_ROW) {
        const char *scope = sqlite3_column_blob(q, 4);
        struct store_change c = {
            .kind = (enum store_change_kind)sqlite3_column_int(q, 0),
            .bucket = (unsigned)sqlite3_column_int(q, 1) % STORE_BUCKETS,
            .id = (uint64_t)sqlite3_column_int64(q, 2),
            .replaced = (uint64_t)sqlite3_column_int64(q, 3),
            .scope = slice_make(scope, scope ? (size_t)sqlite3_column_bytes(q, 4) : 0),
            .generation = (uint64_t)sqlite3_column_int64(q, 5),
        };
        s->opt.changed(s->opt.ctx, &c);
    }
    sqlite3_finalize(q);
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
    struct store_sqlite *s = ctx;

    (void)fd, (void)what;
    if (s->resuming)
        replay_log(s);
    s->in_turn = true;
    for (int i = 0; i < TURN_CALLS && !list_empty(&s->calls); i++) {
        struct sqlite_call *c = CONTAINER_OF(s->calls.next, struct sqlite_call, link);
        bool is_page = c->kind == CALL_SCAN || c->kind == CALL_TAGGED;
        list_remove(&c->link);
        perform(s, c);
        free_call(c);
        if (is_page)
            break; /* hundreds of rows: others first */
    }
    s->in_turn = false;
    /* By the clock: an event that is made active here would run before the loop looks at anything
     * else, mail included. */
    if (!list_empty(&s->calls))
        event_add(s->turn, &(struct timeval){0});
}

static struct sqlite_call *new_call(struct store *st, enum sqlite_call_kind kind,
                                    struct slice scope, struct slice text, struct slice value,
                                    void *ctx)
{
    struct store_sqlite *s = sqlite_of(st);
    struct sqlite_call *c = mem_zalloc(1, sizeof *c + scope.n + text.n + value.n);
    struct slice *to[] = {&c->scope, &c->text, &c->value}, from[] = {scope, text, value};
    char *p = c->room;

    for (size_t i = 0; i < 3; i++) {
        if (from[i].n)
            memcpy(p, from[i].p, from[i].n);
        *to[i] = slice_make(p, from[i].n);
        p += from[i].n;
    }
    c->kind = kind;
    c->ctx = ctx;
    list_push_back(&s->calls, &c->link);
    if (!s->in_turn)
        event_active(s->turn, EV_TIMEOUT, 0);
    return c;
}

static void sqlite_get_exact(struct store *s, struct slice scope, struct digest exact,
                             store_entries_fn *fn, void *ctx)
{
    struct sqlite_call *c = new_call(s, CALL_GET_EXACT, scope, SLICE(""), SLICE(""), ctx);
    c->exact = exact;
    c->fn.entries = fn;
}

static void sqlite_get(struct store *s, const struct store_ref *refs, size_t n,
                       store_entries_fn *fn, void *ctx)
{
    assert(n > 0 && n <= STORE_MAX_IDS);
    struct sqlite_call *c = new_call(s, CALL_GET, SLICE(""), SLICE(""), SLICE(""), ctx);
    for (size_t i = 0; i < n; i++)
        c->ids[i] = refs[i].id;
    c->id_count = n;
    c->fn.entries = fn;
}

static void sqlite_find(struct store *s, uint64_t id, store_entries_fn *fn, void *ctx)
{
    sqlite_get(s, &(struct store_ref){.id = id}, 1, fn, ctx);
}

static void sqlite_put(struct store *s, struct cache_entry *e, store_put_fn *fn, void *ctx)
{
    struct sqlite_call *c = new_call(s, CALL_PUT, SLICE(""), SLICE(""), SLICE(""), ctx);
    c->entry = cache_entry_ref(e);
    c->fn.put = fn;
}

static void sqlite_del(struct store *s, const struct store_ref *ref, store_done_fn *fn, void *ctx)
{
    struct sqlite_call *c = new_call(s, CALL_DEL, ref->scope, SLICE(""), SLICE(""), ctx);
    c->ids[0] = ref->id;
    c->fn.done = fn;
}

static void sqlite_flush(struct store *s, struct slice scope, store_done_fn *fn, void *ctx)
{
    new_call(s, CALL_FLUSH, scope, SLICE(""), SLICE(""), ctx)->fn.done = fn;
}

static void sqlite_tagged(struct store *s, const struct store_tag *tag, struct slice cursor,
                          store_page_fn *fn, void *ctx)
{
    struct sqlite_call *c = new_call(s, CALL_TAGGED, tag->scope, tag->tag, cursor, ctx);
    c->any_scope = tag->any_scope;
    c->fn.page = fn;
}

static void sqlite_scan(struct store *s, struct slice cursor, store_page_fn *fn, void *ctx)
{
    new_call(s, CALL_SCAN, SLICE(""), cursor, SLICE(""), ctx)->fn.page = fn;
}

static void sqlite_note(struct store *s, struct slice name, struct slice value, store_done_fn *fn,
                        void *ctx)
{
    new_call(s, CALL_NOTE, SLICE(""), name, value, ctx)->fn.done = fn;
}

static void sqlite_recall(struct store *s, struct slice name, store_bytes_fn *fn, void *ctx)
{
    new_call(s, CALL_RECALL, SLICE(""), name, SLICE(""), ctx)->fn.bytes = fn;
}

static void sqlite_inspect(struct store *s, store_inspect_fn *fn, void *ctx)
{
    new_call(s, CALL_INSPECT, SLICE(""), SLICE(""), SLICE(""), ctx)->fn.inspect = fn;
}

static void sqlite_touch(struct store *s, const struct store_ref *ref, uint32_t hits)
{
    struct sqlite_call *c = new_call(s, CALL_TOUCH, SLICE(""), SLICE(""), SLICE(""), NULL);
    c->ids[0] = ref->id;
    c->hits = hits;
}

/* ---- what it knows ---- */

static uint64_t sqlite_generation(const struct store *s, struct slice scope)
{
    return generations_of(&sqlite_of_const(s)->generations, scope);
}

static bool sqlite_current(const struct store *s, int64_t *until_mono_us)
{
    (void)s;
    *until_mono_us = INT64_MAX; /* nobody else writes */
    return true;
}

static int64_t sqlite_clock_offset_ms(const struct store *s)
{
    (void)s;
    return 0;
}

struct mark {
    uint64_t epoch;
    int64_t seq;
};

static enum err sqlite_mark(const struct store *st, struct buf *out)
{
    const struct store_sqlite *s = sqlite_of_const(st);
    struct mark m = {s->epoch, s->log_seq};

    return buf_append(out, &m, sizeof m);
}

static bool sqlite_resume(struct store *st, struct slice mark)
{
    struct store_sqlite *s = sqlite_of(st);
    struct mark m;

    if (mark.n != sizeof m)
        return false;
    memcpy(&m, mark.p, sizeof m);
    /* The newest records of a crash may be missing although a snapshot saw them. */
    if (m.epoch != s->epoch || m.seq > s->log_seq ||
        m.seq + 1 < sql_select_int(s, "SELECT coalesce(min(seq), 1) FROM log"))
        return false;
    s->resume_from = m.seq;
    s->resuming = true;
    event_active(s->turn, EV_TIMEOUT, 0);
    return true;
}

static void sqlite_stat(const struct store *st, struct store_stat *out)
{
    const struct store_sqlite *s = sqlite_of_const(st);

    *out = s->stat;
    out->kind = "sqlite";
    out->up = true;
    out->counts = true;
    out->entries = s->entries;
    out->bytes = s->bytes;
}

/* ---- opening and closing ---- */

static void fail_call(struct sqlite_call *c)
{
    switch (c->kind) {
    case CALL_GET_EXACT:
    case CALL_GET:
        c->fn.entries(c->ctx, ERR_OVERLOADED, NULL, 0);
        break;
    case CALL_PUT:
        c->fn.put(c->ctx, ERR_OVERLOADED, 0);
        break;
    case CALL_DEL:
    case CALL_FLUSH:
    case CALL_NOTE:
        c->fn.done(c->ctx, ERR_OVERLOADED, 0);
        break;
    case CALL_TAGGED:
    case CALL_SCAN:
        c->fn.page(c->ctx, ERR_OVERLOADED, NULL, 0, SLICE(""));
        break;
    case CALL_RECALL:
        c->fn.bytes(c->ctx, ERR_OVERLOADED, SLICE(""));
        break;
    case CALL_INSPECT:
        c->fn.inspect(c->ctx, ERR_OVERLOADED, NULL);
        break;
    case CALL_TOUCH:
        break;
    }
}

/* Writes that were asked for are made; nobody waits for the answers of the rest. */
static void finish_calls(struct store_sqlite *s)
{
    while (!list_empty(&s->calls)) {
        struct sqlite_call *c = CONTAINER_OF(s->calls.next, struct sqlite_call, link);
        list_remove(&c->link);
        if (c->kind == CALL_PUT || c->kind == CALL_DEL || c->kind == CALL_FLUSH ||
            c->kind == CALL_NOTE || c->kind == CALL_TOUCH)
            perform(s, c);
        else
            fail_call(c);
        free_call(c);
    }
    (void)sqlite_commit(s);
}

static void sqlite_close(struct store *st)
{
    struct store_sqlite *s = sqlite_of(st);

    if (s->turn)
        finish_calls(s);
    sql_finalize(s);
    sqlite3_close(s->db);
    if (s->turn)
        event_free(s->turn);
    if (s->commit_due)
        event_free(s->commit_due);
    if (s->sweep)
        event_free(s->sweep);
    generations_clear(&s->generations);
    free(s);
}

static const struct store_ops sqlite_ops = {
    .get_exact = sqlite_get_exact,
    .get = sqlite_get,
    .find = sqlite_find,
    .put = sqlite_put,
    .del = sqlite_del,
    .flush = sqlite_flush,
    .tagged = sqlite_tagged,
    .scan = sqlite_scan,
    .note = sqlite_note,
    .recall = sqlite_recall,
    .inspect = sqlite_inspect,
    .touch = sqlite_touch,
    .generation = sqlite_generation,
    .current = sqlite_current,
    .clock_offset_ms = sqlite_clock_offset_ms,
    .mark = sqlite_mark,
    .resume = sqlite_resume,
    .stat = sqlite_stat,
    .close = sqlite_close,
};

static void load_generations(struct store_sqlite *s)
{
    sqlite3_stmt *q = NULL;

    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        generations_set_epoch(&s->generations, b, s->epoch);
    if (sqlite3_prepare_v2(s->db, "SELECT scope, generation FROM generations", -1, &q, NULL) !=
        SQLITE_OK)
        return;
    while (sqlite3_step(q) == SQLITE_ROW) {
        const char *scope = sqlite3_column_blob(q, 0);
        generations_set(&s->generations,
                        slice_make(scope, scope ? (size_t)sqlite3_column_bytes(q, 0) : 0),
                        (uint64_t)sqlite3_column_int64(q, 1));
    }
    sqlite3_finalize(q);
}

static enum err open_file(struct store_sqlite *s, const char *path, struct err_text *t)
{
    static const char pragmas[] = "PRAGMA busy_timeout = 200;"
                                  "PRAGMA locking_mode = EXCLUSIVE;"
                                  "PRAGMA journal_mode = WAL;"
                                  "PRAGMA synchronous = NORMAL;"
                                  "PRAGMA recursive_triggers = ON;"
                                  "PRAGMA cache_size = -8192;";

    if (sqlite3_open_v2(path, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return sqlite_fail(s, path, "cannot be opened", t);
    sqlite3_extended_result_codes(s->db, 1);
    /* The second statement takes the lock that is then kept. */
    if (sqlite3_exec(s->db, pragmas, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(s->db, "BEGIN IMMEDIATE; COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_fail(s, path,
                           (sqlite3_errcode(s->db) & 0xFF) == SQLITE_BUSY
                               ? "another process holds it"
                               : "cannot be used",
                           t);
    enum err err = sqlite_make_schema(s, path, t);
    if (err == ERR_OK && !sql_prepare(s))
        err = sqlite_fail(s, path, "has not the tables of weir's cache", t);
    if (err != ERR_OK)
        return err;
    sqlite_load_totals(s);
    load_generations(s);
    return ERR_OK;
}

enum err store_sqlite_open(const struct store_options *opt, const char *path, struct store **out,
                           struct err_text *t)
{
    struct store_sqlite *s = mem_zalloc(1, sizeof *s);

    s->store.ops = &sqlite_ops;
    s->opt = *opt;
    list_init(&s->calls);
    generations_init(&s->generations);
    rng_seed_os(&s->rng);
    enum err err = open_file(s, path, t);
    if (err != ERR_OK) {
        sqlite_close(&s->store);
        *out = NULL;
        return err;
    }
    s->turn = event_new(opt->base, -1, 0, on_turn, s);
    s->commit_due = event_new(opt->base, -1, 0, sqlite_on_commit_due, s);
    s->sweep = event_new(opt->base, -1, EV_PERSIST, sqlite_on_sweep, s);
    mem_need(s->turn);
    mem_need(s->commit_due);
    mem_need(s->sweep);
    event_add(s->sweep, &(struct timeval){.tv_sec = SWEEP_MS / 1000});
    *out = &s->store;
    return ERR_OK;
}
