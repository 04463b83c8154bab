/* The store in a file of its own. Owns the connection, the calls that wait for their turn and the
 * transaction that is open. Called by the cache thread only.
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
#include "cache/store.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cache/generations.h"

#define SCHEMA_VERSION 2
#define BATCH_WRITES   512
#define TURN_CALLS     256 /* calls answered before the loop gets its turn */
#define SWEEP_MS       1000
#define SWEEP_ROWS     200
#define LOG_ROWS       100000
#define SAMPLE_ROWS    24  /* of which an eviction takes the least valuable */
#define PAGE_ROWS      200 /* of a scan */

/* Beside each entry with tags. home: of its scope (store_home), so that one scope's lie together
 * and all scopes' one after the other. */
#define TAGS_TABLE                                                                                 \
    "CREATE TABLE tags (tag BLOB, home INTEGER, id INTEGER, PRIMARY KEY (tag, home, id))\n"        \
    "  WITHOUT ROWID;\n"                                                                           \
    "CREATE INDEX tags_by_id ON tags (id);\n"                                                      \
    "CREATE TRIGGER untag AFTER DELETE ON entries WHEN old.tags > 0\n"                             \
    "  BEGIN DELETE FROM tags WHERE id = old.id; END;\n"

/* packed comes last: what an eviction looks at lies before it, on the row's first page. */
static const char schema[] =
    "CREATE TABLE entries (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  exact BLOB NOT NULL,\n"
    "  expires_ms INTEGER NOT NULL,\n"
    "  cost_nanousd INTEGER NOT NULL,\n"
    "  hits INTEGER NOT NULL,\n"
    "  bytes INTEGER NOT NULL,\n"
    "  pinned INTEGER NOT NULL,\n"
    "  tags INTEGER NOT NULL,\n"
    "  packed BLOB NOT NULL\n"
    ") STRICT;\n"
    "CREATE UNIQUE INDEX entries_by_exact ON entries (exact);\n"
    "CREATE INDEX entries_by_expiry ON entries (expires_ms);\n" TAGS_TABLE
    "CREATE TABLE generations (scope BLOB PRIMARY KEY, generation INTEGER NOT NULL)\n"
    "  WITHOUT ROWID;\n"
    "CREATE TABLE log (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,\n"
    "  bucket INTEGER NOT NULL, id INTEGER NOT NULL, replaced INTEGER NOT NULL,\n"
    "  scope BLOB NOT NULL, generation INTEGER NOT NULL) STRICT;\n"
    "CREATE TABLE notes (name BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;\n"
    "CREATE TABLE totals (epoch INTEGER NOT NULL, entries INTEGER NOT NULL,\n"
    "  bytes INTEGER NOT NULL) STRICT;\n"
    "INSERT INTO totals VALUES\n"
    "  (CAST(strftime('%s') AS INTEGER) * 1000000 + abs(random() % 1000000), 0, 0);\n"
    "PRAGMA application_id = 0x77656972;\n" /* "weir" */
    "PRAGMA user_version = 2;\n";

/* Tags lay by scope and tag in the first version. */
static const char second_version[] = "DROP TRIGGER untag;\n"
                                     "DROP INDEX tags_by_id;\n"
                                     "ALTER TABLE tags RENAME TO tags_by_scope;\n" TAGS_TABLE
                                     "INSERT INTO tags SELECT tag, home(scope), id"
                                     " FROM tags_by_scope;\n"
                                     "DROP TABLE tags_by_scope;\n"
                                     "PRAGMA user_version = 2;\n";

enum sql {
    BEGIN,
    COMMIT,
    ROLLBACK,
    SAVE,
    SAVED,
    UNDO,
    GET_EXACT,
    GET,
    FIND_EXACT,
    FIND_ID,
    INSERT,
    DELETE,
    TAG,
    TAGGED,
    SCAN,
    SAMPLE,
    EXPIRED,
    HITS,
    FLUSH,
    LOG,
    TRIM,
    TOTALS,
    NOTE,
    RECALL,
    STATEMENTS
};
static const char *const sql_text[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [SAVE] = "SAVEPOINT call",
    [SAVED] = "RELEASE call",
    [UNDO] = "ROLLBACK TO call",
    [GET_EXACT] = "SELECT id, packed FROM entries WHERE exact = ?1",
    [GET] = "SELECT id, packed FROM entries WHERE id = ?1",
    [FIND_EXACT] = "SELECT id, bytes FROM entries WHERE exact = ?1",
    [FIND_ID] = "SELECT id, bytes FROM entries WHERE id = ?1",
    [INSERT] = "INSERT INTO entries VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8)",
    [DELETE] = "DELETE FROM entries WHERE id = ?1",
    [TAG] = "INSERT OR IGNORE INTO tags VALUES (?1, ?2, ?3)",
    [TAGGED] = "SELECT t.id, e.packed, t.home FROM tags AS t CROSS JOIN entries AS e ON e.id = t.id"
               " WHERE t.tag = ?1 AND (t.home, t.id) > (?2, ?3) AND t.home <= ?4"
               " ORDER BY t.home, t.id LIMIT ?5",
    [SCAN] = "SELECT id, packed FROM entries WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SAMPLE] = "SELECT id, bytes, expires_ms, cost_nanousd, hits FROM entries"
               " WHERE id >= ?1 AND NOT pinned ORDER BY id LIMIT ?2",
    [EXPIRED] = "SELECT id, bytes FROM entries WHERE expires_ms <= ?1 LIMIT ?2",
    [HITS] = "UPDATE entries SET hits = hits + ?2 WHERE id = ?1",
    [FLUSH] = "INSERT OR REPLACE INTO generations VALUES (?1, ?2)",
    [LOG] = "INSERT INTO log (kind, bucket, id, replaced, scope, generation)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [TRIM] = "DELETE FROM log WHERE seq <= ?1",
    [TOTALS] = "UPDATE totals SET entries = ?1, bytes = ?2",
    [NOTE] = "INSERT OR REPLACE INTO notes VALUES (?1, ?2)",
    [RECALL] = "SELECT value FROM notes WHERE name = ?1",
};

enum call_kind {
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
struct call {
    struct list link;
    enum call_kind kind;
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
    sqlite3_stmt *sql[STATEMENTS];
    struct event *turn, *commit_due, *sweep; /* owned */
    struct list calls;                       /* of struct call */
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

static struct store_sqlite *of(struct store *s)
{
    return CONTAINER_OF(s, struct store_sqlite, store);
}

static const struct store_sqlite *of_const(const struct store *s)
{
    return (const struct store_sqlite *)(const void *)((const char *)s -
                                                       offsetof(struct store_sqlite, store));
}

/* ---- statements ---- */

static void bind_int(struct store_sqlite *s, enum sql which, int at, int64_t v)
{
    sqlite3_bind_int64(s->sql[which], at, v);
}

/* The bytes stay where they are until the statement is done. */
static void bind_bytes(struct store_sqlite *s, enum sql which, int at, struct slice b)
{
    sqlite3_bind_blob64(s->sql[which], at, b.n ? b.p : "", b.n, SQLITE_STATIC);
}

static bool step_row(struct store_sqlite *s, enum sql which)
{
    return sqlite3_step(s->sql[which]) == SQLITE_ROW;
}

/* Ends a statement whose rows were read: true when nothing failed on the way. */
static bool done_with(struct store_sqlite *s, enum sql which)
{
    int rc = sqlite3_reset(s->sql[which]);

    sqlite3_clear_bindings(s->sql[which]);
    if (rc != SQLITE_OK) {
        snprintf(s->stat.detail, sizeof s->stat.detail, "%s", sqlite3_errmsg(s->db));
        s->stat.failed++;
    }
    return rc == SQLITE_OK;
}

static bool run(struct store_sqlite *s, enum sql which)
{
    sqlite3_step(s->sql[which]);
    return done_with(s, which);
}

static uint64_t column_id(struct store_sqlite *s, enum sql which, int at)
{
    return (uint64_t)sqlite3_column_int64(s->sql[which], at);
}

static struct slice column_bytes(struct store_sqlite *s, enum sql which, int at)
{
    const char *p = sqlite3_column_blob(s->sql[which], at);
    int n = sqlite3_column_bytes(s->sql[which], at);

    return slice_make(p, p ? (size_t)n : 0);
}

/* ---- the transaction ---- */

static int64_t select_int(struct store_sqlite *s, const char *text)
{
    sqlite3_stmt *q = NULL;
    int64_t v = 0;

    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return v;
}

static void load_totals(struct store_sqlite *s)
{
    s->epoch = (uint64_t)select_int(s, "SELECT epoch FROM totals");
    s->entries = (uint64_t)select_int(s, "SELECT entries FROM totals");
    s->bytes = (uint64_t)select_int(s, "SELECT bytes FROM totals");
    s->log_seq = select_int(s, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence");
}

static enum err commit(struct store_sqlite *s)
{
    if (s->writes == 0)
        return ERR_OK;
    s->writes = 0;
    event_del(s->commit_due);
    bind_int(s, TRIM, 1, s->log_seq - LOG_ROWS);
    bind_int(s, TOTALS, 1, (int64_t)s->entries);
    bind_int(s, TOTALS, 2, (int64_t)s->bytes);
    if (run(s, TRIM) && run(s, TOTALS) && run(s, COMMIT))
        return ERR_OK;
    log_line(LOG_WARN, "cache", "answers were not stored", "error=\"%s\"", s->stat.detail);
    run(s, ROLLBACK);
    load_totals(s);
    return ERR_OVERLOADED;
}

static void on_commit_due(evutil_socket_t fd, short what, void *ctx)
{
    struct store_sqlite *s = ctx;

    (void)fd, (void)what;
    (void)commit(s); /* said in the log; what was lost is answers that will be made again */
}

static bool begin_write(struct store_sqlite *s)
{
    if (s->writes == 0) {
        if (!run(s, BEGIN))
            return false;
        event_add(s->commit_due, &(struct timeval){.tv_usec = STORE_COMMIT_MS * 1000});
    }
    s->writes++;
    return run(s, SAVE);
}

/* All of a call's rows, or none of them. */
static bool end_write(struct store_sqlite *s, bool good)
{
    if (!good)
        run(s, UNDO);
    good = run(s, SAVED) && good;
    if (s->writes >= BATCH_WRITES)
        good = commit(s) == ERR_OK && good;
    return good;
}

static bool write_log(struct store_sqlite *s, const struct store_change *c)
{
    bind_int(s, LOG, 1, c->kind);
    bind_int(s, LOG, 2, c->bucket);
    bind_int(s, LOG, 3, (int64_t)c->id);
    bind_int(s, LOG, 4, (int64_t)c->replaced);
    bind_bytes(s, LOG, 5, c->scope);
    bind_int(s, LOG, 6, (int64_t)c->generation);
    if (!run(s, LOG))
        return false;
    s->log_seq = sqlite3_last_insert_rowid(s->db);
    return true;
}

/* ---- entries ---- */

static bool erase(struct store_sqlite *s, uint64_t id, uint64_t bytes)
{
    bind_int(s, DELETE, 1, (int64_t)id);
    if (!run(s, DELETE))
        return false;
    s->entries--;
    s->bytes -= bytes;
    return true;
}

/* Of a row that cannot be read: gone, so that nobody reads it again. */
static void erase_bad(struct store_sqlite *s, uint64_t id, uint64_t bytes)
{
    s->stat.bad_entries++;
    log_line(LOG_WARN, "cache", "a stored answer is damaged; removed", "entry=%016llx",
             (unsigned long long)id);
    if (begin_write(s))
        end_write(s, erase(s, id, bytes));
}

/* The entry of the row that `which` finds, NULL: none, or not readable. */
static struct cache_entry *read_row(struct store_sqlite *s, enum sql which)
{
    struct cache_entry *e = NULL;
    uint64_t id = 0, bytes = 0;
    bool bad = false;

    if (step_row(s, which)) {
        struct slice packed = column_bytes(s, which, 1);
        id = column_id(s, which, 0);
        bytes = packed.n;
        bad = cache_entry_unpack(packed, &e) != ERR_OK || e->f.id != id;
    }
    done_with(s, which);
    if (bad) {
        cache_entry_unref(e);
        e = NULL;
        erase_bad(s, id, bytes);
    }
    return e;
}

static void do_get_exact(struct store_sqlite *s, struct call *c)
{
    bind_bytes(s, GET_EXACT, 1, slice_make((const char *)c->exact.bytes, DIGEST_BYTES));
    struct cache_entry *e = read_row(s, GET_EXACT);
    struct cache_entry *one =
        e && slice_eq(e->f.scope, c->scope) && digest_eq(e->f.exact, c->exact) ? e : NULL;

    c->fn.entries(c->ctx, ERR_OK, &one, 1);
    cache_entry_unref(e);
}

static void do_get(struct store_sqlite *s, struct call *c)
{
    struct cache_entry *found[STORE_MAX_IDS];

    for (size_t i = 0; i < c->id_count; i++) {
        bind_int(s, GET, 1, (int64_t)c->ids[i]);
        found[i] = read_row(s, GET);
    }
    c->fn.entries(c->ctx, ERR_OK, found, c->id_count);
    for (size_t i = 0; i < c->id_count; i++)
        cache_entry_unref(found[i]);
}

/* What the question of digest `exact` has now, 0: nothing. */
static uint64_t find_row(struct store_sqlite *s, enum sql which, uint64_t *bytes)
{
    uint64_t id = 0;

    if (step_row(s, which)) {
        id = column_id(s, which, 0);
        *bytes = column_id(s, which, 1);
    }
    done_with(s, which);
    return id;
}

static bool insert(struct store_sqlite *s, const struct cache_entry *e)
{
    size_t n = cache_entry_pack_bytes(&e->f);
    char *packed = mem_alloc(n);

    cache_entry_pack(&e->f, packed);
    bind_int(s, INSERT, 1, (int64_t)e->f.id);
    bind_bytes(s, INSERT, 2, slice_make((const char *)e->f.exact.bytes, DIGEST_BYTES));
    bind_int(s, INSERT, 3, e->f.expires_ms);
    bind_int(s, INSERT, 4, e->f.cost);
    bind_int(s, INSERT, 5, (int64_t)n);
    bind_int(s, INSERT, 6, e->f.pinned);
    bind_int(s, INSERT, 7, (int64_t)e->f.tag_count);
    bind_bytes(s, INSERT, 8, slice_make(packed, n));
    bool good = run(s, INSERT);
    free(packed);
    for (size_t i = 0; good && i < e->f.tag_count; i++) {
        bind_bytes(s, TAG, 1, e->f.tags[i]);
        bind_int(s, TAG, 2, (int64_t)store_home(e->f.scope));
        bind_int(s, TAG, 3, (int64_t)e->f.id);
        good = run(s, TAG);
    }
    if (good) {
        s->entries++;
        s->bytes += n;
    }
    return good;
}

/* What keeping a row saves per byte: its cost again for each further hit that may be expected. */
static double row_value(struct store_sqlite *s, int64_t now_ms)
{
    double bytes = (double)sqlite3_column_int64(s->sql[SAMPLE], 1);
    double cost = (double)sqlite3_column_int64(s->sql[SAMPLE], 3);
    double hits = (double)sqlite3_column_int64(s->sql[SAMPLE], 4);

    if (sqlite3_column_int64(s->sql[SAMPLE], 2) <= now_ms)
        return -1;
    return (1 + cost) * (1 + hits) / (bytes + 1);
}

/* The least valuable of some rows from a random place on: ids are drawn uniformly. false: there is
 * nothing that may go. */
static bool evict_one(struct store_sqlite *s)
{
    uint64_t id = 0, bytes = 0;
    double least = 0;
    int64_t now_ms = clock_wall_us() / 1000, from = (int64_t)rng_u64(&s->rng);

    for (int round = 0; round < 2 && id == 0; round++, from = INT64_MIN) {
        bind_int(s, SAMPLE, 1, from);
        bind_int(s, SAMPLE, 2, SAMPLE_ROWS);
        while (step_row(s, SAMPLE)) {
            double v = row_value(s, now_ms);
            if (id == 0 || v < least) {
                least = v;
                id = column_id(s, SAMPLE, 0);
                bytes = column_id(s, SAMPLE, 1);
            }
        }
        done_with(s, SAMPLE);
    }
    return id && erase(s, id, bytes) &&
           write_log(s, &(struct store_change){.kind = STORE_DEL, .id = id});
}

static bool over_capacity(const struct store_sqlite *s)
{
    return s->entries > s->opt.max_entries || s->bytes > s->opt.max_bytes;
}

static enum err put_entry(struct store_sqlite *s, struct cache_entry *e, uint64_t *replaced)
{
    uint64_t old_bytes = 0, entries = s->entries, bytes = s->bytes;

    if (e->f.generation != generations_of(&s->generations, e->f.scope))
        return ERR_CONFLICT;
    if (cache_entry_pack_bytes(&e->f) > s->opt.max_bytes / 8)
        return ERR_TOO_LARGE;
    if (!begin_write(s))
        return ERR_OVERLOADED;
    bind_bytes(s, FIND_EXACT, 1, slice_make((const char *)e->f.exact.bytes, DIGEST_BYTES));
    *replaced = find_row(s, FIND_EXACT, &old_bytes);
    bool good = (*replaced == 0 || erase(s, *replaced, old_bytes)) && insert(s, e);
    good = good && write_log(s, &(struct store_change){.kind = STORE_PUT,
                                                       .bucket = store_bucket(e->f.scope),
                                                       .id = e->f.id,
                                                       .replaced = *replaced,
                                                       .scope = e->f.scope});
    while (good && over_capacity(s) && evict_one(s))
        ;
    if (!good) {
        s->entries = entries;
        s->bytes = bytes;
    }
    return end_write(s, good) ? ERR_OK : ERR_OVERLOADED;
}

static void do_put(struct store_sqlite *s, struct call *c)
{
    uint64_t replaced = 0;
    enum err err = put_entry(s, c->entry, &replaced);

    c->fn.put(c->ctx, err, err == ERR_OK ? replaced : 0);
}

static void do_del(struct store_sqlite *s, struct call *c)
{
    uint64_t bytes = 0;

    bind_int(s, FIND_ID, 1, (int64_t)c->ids[0]);
    uint64_t id = find_row(s, FIND_ID, &bytes);
    enum err err = ERR_OK;
    if (id) {
        struct store_change change = {
            .kind = STORE_DEL, .bucket = store_bucket(c->scope), .id = id};
        bool good = begin_write(s) && end_write(s, erase(s, id, bytes) && write_log(s, &change));
        err = good ? commit(s) : ERR_OVERLOADED;
    }
    c->fn.done(c->ctx, err, id ? 1 : 0);
}

static void do_flush(struct store_sqlite *s, struct call *c)
{
    uint64_t now = (uint64_t)clock_wall_us(), old = generations_of(&s->generations, c->scope);
    struct store_change change = {.kind = STORE_FLUSH,
                                  .bucket = store_bucket(c->scope),
                                  .scope = c->scope,
                                  .generation = now > old ? now : old + 1};

    bind_bytes(s, FLUSH, 1, c->scope);
    bind_int(s, FLUSH, 2, (int64_t)change.generation);
    bool good = begin_write(s) && end_write(s, run(s, FLUSH) && write_log(s, &change));
    enum err err = good ? commit(s) : ERR_OVERLOADED;
    if (err == ERR_OK)
        generations_set(&s->generations, c->scope, change.generation);
    c->fn.done(c->ctx, err, err == ERR_OK ? change.generation : 0);
}

/* ---- pages ---- */

struct page {
    struct cache_fields fields[PAGE_ROWS];
    struct cache_entry *entries[PAGE_ROWS]; /* references, which the fields borrow from */
    size_t n;
    uint64_t last, last_home; /* home: of a page by tag */
    bool more;
};

/* Rows that are none are left out; whoever asks for them removes them, and what is only wrong. */
static void read_page(struct store_sqlite *s, enum sql which, size_t limit, struct page *p)
{
    *p = (struct page){0};
    for (size_t rows = 0; step_row(s, which); rows++) {
        struct cache_entry *e;
        if (rows == limit - 1)
            p->more = true;
        p->last = column_id(s, which, 0);
        p->last_home = which == TAGGED ? column_id(s, which, 2) : 0;
        if (cache_entry_unpack_head(column_bytes(s, which, 1), &e) != ERR_OK) {
            s->stat.bad_entries++;
            continue;
        }
        p->entries[p->n] = e;
        p->fields[p->n++] = e->f;
    }
    done_with(s, which);
}

static void answer_page(struct call *c, struct page *p, struct slice next)
{
    c->fn.page(c->ctx, ERR_OK, p->fields, p->n, next);
    for (size_t i = 0; i < p->n; i++)
        cache_entry_unref(p->entries[i]);
    free(p);
}

/* As bytes a cursor: the last that was given. */
struct tag_place {
    int64_t home, id;
};

static void do_tagged(struct store_sqlite *s, struct call *c)
{
    struct page *p = mem_alloc(sizeof *p);
    int64_t home = (int64_t)store_home(c->scope);
    struct tag_place at = {c->any_scope ? INT64_MIN : home, INT64_MIN};

    if (c->value.n == sizeof at)
        memcpy(&at, c->value.p, sizeof at);
    bind_bytes(s, TAGGED, 1, c->text);
    bind_int(s, TAGGED, 2, at.home);
    bind_int(s, TAGGED, 3, at.id);
    bind_int(s, TAGGED, 4, c->any_scope ? INT64_MAX : home);
    bind_int(s, TAGGED, 5, PAGE_ROWS);
    read_page(s, TAGGED, PAGE_ROWS, p);
    at = (struct tag_place){(int64_t)p->last_home, (int64_t)p->last};
    answer_page(c, p, p->more ? slice_make((const char *)&at, sizeof at) : SLICE(""));
}

static void do_scan(struct store_sqlite *s, struct call *c)
{
    struct page *p = mem_alloc(sizeof *p);
    int64_t after = INT64_MIN;
    char next[32];

    if (c->text.n == sizeof after)
        memcpy(&after, c->text.p, sizeof after);
    bind_int(s, SCAN, 1, after);
    bind_int(s, SCAN, 2, PAGE_ROWS);
    read_page(s, SCAN, PAGE_ROWS, p);
    memcpy(next, &p->last, sizeof p->last);
    answer_page(c, p, slice_make(next, p->more ? sizeof p->last : 0));
}

static void do_note(struct store_sqlite *s, struct call *c)
{
    bind_bytes(s, NOTE, 1, c->text);
    bind_bytes(s, NOTE, 2, c->value);
    bool good = begin_write(s) && end_write(s, run(s, NOTE));
    c->fn.done(c->ctx, good ? commit(s) : ERR_OVERLOADED, 0);
}

static void do_recall(struct store_sqlite *s, struct call *c)
{
    bind_bytes(s, RECALL, 1, c->text);
    if (step_row(s, RECALL))
        c->fn.bytes(c->ctx, ERR_OK, column_bytes(s, RECALL, 0));
    else
        c->fn.bytes(c->ctx, ERR_NOT_FOUND, SLICE(""));
    done_with(s, RECALL);
}

static void do_inspect(struct store_sqlite *s, struct call *c)
{
    struct store_inspection about = {0};

    snprintf(about.version, sizeof about.version, "SQLite %s", sqlite3_libversion());
    about.used_bytes =
        (uint64_t)(select_int(s, "PRAGMA page_count") * select_int(s, "PRAGMA page_size"));
    c->fn.inspect(c->ctx, ERR_OK, &about);
}

static void do_touch(struct store_sqlite *s, struct call *c)
{
    bind_int(s, HITS, 1, (int64_t)c->ids[0]);
    bind_int(s, HITS, 2, c->hits);
    if (begin_write(s))
        end_write(s, run(s, HITS));
}

/* ---- turns ---- */

static void free_call(struct call *c)
{
    cache_entry_unref(c->entry);
    free(c);
}

static void perform(struct store_sqlite *s, struct call *c)
{
    static void (*const perform_as[])(struct store_sqlite * s, struct call * c) = {
        [CALL_GET_EXACT] = do_get_exact,
        [CALL_GET] = do_get,
        [CALL_PUT] = do_put,
        [CALL_DEL] = do_del,
        [CALL_FLUSH] = do_flush,
        [CALL_TAGGED] = do_tagged,
        [CALL_SCAN] = do_scan,
        [CALL_NOTE] = do_note,
        [CALL_RECALL] = do_recall,
        [CALL_INSPECT] = do_inspect,
        [CALL_TOUCH] = do_touch,
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
        struct call *c = CONTAINER_OF(s->calls.next, struct call, link);
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

static void on_sweep(evutil_socket_t fd, short what, void *ctx)
{
    struct store_sqlite *s = ctx;
    uint64_t ids[SWEEP_ROWS], bytes[SWEEP_ROWS];
    size_t n = 0;

    (void)fd, (void)what;
    bind_int(s, EXPIRED, 1, clock_wall_us() / 1000);
    bind_int(s, EXPIRED, 2, SWEEP_ROWS);
    while (step_row(s, EXPIRED)) {
        ids[n] = column_id(s, EXPIRED, 0);
        bytes[n++] = column_id(s, EXPIRED, 1);
    }
    done_with(s, EXPIRED);
    bool good = n > 0 && begin_write(s);
    for (size_t i = 0; good && i < n; i++)
        good = erase(s, ids[i], bytes[i]);
    if (n > 0 && s->writes > 0)
        end_write(s, good);
}

static struct call *new_call(struct store *st, enum call_kind kind, struct slice scope,
                             struct slice text, struct slice value, void *ctx)
{
    struct store_sqlite *s = of(st);
    struct call *c = mem_zalloc(1, sizeof *c + scope.n + text.n + value.n);
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
    struct call *c = new_call(s, CALL_GET_EXACT, scope, SLICE(""), SLICE(""), ctx);
    c->exact = exact;
    c->fn.entries = fn;
}

static void sqlite_get(struct store *s, const struct store_ref *refs, size_t n,
                       store_entries_fn *fn, void *ctx)
{
    assert(n > 0 && n <= STORE_MAX_IDS);
    struct call *c = new_call(s, CALL_GET, SLICE(""), SLICE(""), SLICE(""), ctx);
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
    struct call *c = new_call(s, CALL_PUT, SLICE(""), SLICE(""), SLICE(""), ctx);
    c->entry = cache_entry_ref(e);
    c->fn.put = fn;
}

static void sqlite_del(struct store *s, const struct store_ref *ref, store_done_fn *fn, void *ctx)
{
    struct call *c = new_call(s, CALL_DEL, ref->scope, SLICE(""), SLICE(""), ctx);
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
    struct call *c = new_call(s, CALL_TAGGED, tag->scope, tag->tag, cursor, ctx);
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
    struct call *c = new_call(s, CALL_TOUCH, SLICE(""), SLICE(""), SLICE(""), NULL);
    c->ids[0] = ref->id;
    c->hits = hits;
}

/* ---- what it knows ---- */

static uint64_t sqlite_generation(const struct store *s, struct slice scope)
{
    return generations_of(&of_const(s)->generations, scope);
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
    const struct store_sqlite *s = of_const(st);
    struct mark m = {s->epoch, s->log_seq};

    return buf_append(out, &m, sizeof m);
}

static bool sqlite_resume(struct store *st, struct slice mark)
{
    struct store_sqlite *s = of(st);
    struct mark m;

    if (mark.n != sizeof m)
        return false;
    memcpy(&m, mark.p, sizeof m);
    /* The newest records of a crash may be missing although a snapshot saw them. */
    if (m.epoch != s->epoch || m.seq > s->log_seq ||
        m.seq + 1 < select_int(s, "SELECT coalesce(min(seq), 1) FROM log"))
        return false;
    s->resume_from = m.seq;
    s->resuming = true;
    event_active(s->turn, EV_TIMEOUT, 0);
    return true;
}

static void sqlite_stat(const struct store *st, struct store_stat *out)
{
    const struct store_sqlite *s = of_const(st);

    *out = s->stat;
    out->kind = "sqlite";
    out->up = true;
    out->entries = s->entries;
    out->bytes = s->bytes;
}

/* ---- opening and closing ---- */

static void fail_call(struct call *c)
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
        struct call *c = CONTAINER_OF(s->calls.next, struct call, link);
        list_remove(&c->link);
        if (c->kind == CALL_PUT || c->kind == CALL_DEL || c->kind == CALL_FLUSH ||
            c->kind == CALL_NOTE || c->kind == CALL_TOUCH)
            perform(s, c);
        else
            fail_call(c);
        free_call(c);
    }
    (void)commit(s);
}

static void sqlite_close(struct store *st)
{
    struct store_sqlite *s = of(st);

    if (s->turn)
        finish_calls(s);
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(s->sql[i]);
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

static enum err fail(struct store_sqlite *s, const char *path, const char *what, struct err_text *t)
{
    err_say(t, "%s: %s: %s", path, what, s->db ? sqlite3_errmsg(s->db) : "out of memory");
    return ERR_INTERNAL;
}

static bool run_script(struct store_sqlite *s, const char *script)
{
    return sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
           sqlite3_exec(s->db, script, NULL, NULL, NULL) == SQLITE_OK &&
           sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
}

static void home_of_value(sqlite3_context *ctx, int count, sqlite3_value **value)
{
    const char *scope = sqlite3_value_blob(value[0]);
    size_t n = (size_t)sqlite3_value_bytes(value[0]);

    (void)count;
    sqlite3_result_int64(ctx, (int64_t)store_home(slice_make(scope, scope ? n : 0)));
}

static bool bring_to_second_version(struct store_sqlite *s)
{
    bool good = sqlite3_create_function(s->db, "home", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                        home_of_value, NULL, NULL) == SQLITE_OK &&
                run_script(s, second_version);

    return sqlite3_create_function(s->db, "home", 1, SQLITE_UTF8, NULL, NULL, NULL, NULL) ==
               SQLITE_OK &&
           good;
}

static enum err make_schema(struct store_sqlite *s, const char *path, struct err_text *t)
{
    int64_t version = select_int(s, "PRAGMA user_version"),
            tables = select_int(s, "SELECT count(*) FROM sqlite_schema");

    if (version > SCHEMA_VERSION) {
        err_say(t, "%s: written by a newer weir (schema %lld, this one knows %d)", path,
                (long long)version, SCHEMA_VERSION);
        return ERR_INTERNAL;
    }
    if (version == 0 && tables > 0) {
        err_say(t, "%s: a database, but not one of weir's cache", path);
        return ERR_INTERNAL;
    }
    if (version == 0 && !run_script(s, schema))
        return fail(s, path, "cannot be set up", t);
    if (version == 1 && !bring_to_second_version(s))
        return fail(s, path, "cannot be brought from an earlier version to this one", t);
    return ERR_OK;
}

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
        return fail(s, path, "cannot be opened", t);
    sqlite3_extended_result_codes(s->db, 1);
    /* The second statement takes the lock that is then kept. */
    if (sqlite3_exec(s->db, pragmas, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(s->db, "BEGIN IMMEDIATE; COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        return fail(s, path,
                    (sqlite3_errcode(s->db) & 0xFF) == SQLITE_BUSY ? "another process holds it"
                                                                   : "cannot be used",
                    t);
    enum err err = make_schema(s, path, t);
    for (int i = 0; err == ERR_OK && i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(s->db, sql_text[i], -1, SQLITE_PREPARE_PERSISTENT, &s->sql[i],
                               NULL) != SQLITE_OK)
            err = fail(s, path, "has not the tables of weir's cache", t);
    if (err != ERR_OK)
        return err;
    load_totals(s);
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
    s->commit_due = event_new(opt->base, -1, 0, on_commit_due, s);
    s->sweep = event_new(opt->base, -1, EV_PERSIST, on_sweep, s);
    mem_need(s->turn);
    mem_need(s->commit_due);
    mem_need(s->sweep);
    event_add(s->sweep, &(struct timeval){.tv_sec = SWEEP_MS / 1000});
    *out = &s->store;
    return ERR_OK;
}
