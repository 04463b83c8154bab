/* The embedded store: what it keeps over a kill, what it refuses, what it throws out. */
#include <cmocka.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/unit/cache/samples.h"
#include "tests/unit/cache/store_harness.h"
#include "tests/unit/cache/store_suite.h"

static struct store_harness h;
static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/cache.db", folder);
    store_harness_init(&h);
    struct store_options opt = store_harness_options(&h);
    struct err_text t;
    if (store_sqlite_open(&opt, path, &h.store, &t))
        fail_msg("%s", t.s);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"cache.db", "cache.db-wal", "cache.db-shm",
                                        "cache.db-journal"};
    char name[128];

    (void)state;
    store_harness_clear(&h);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        unlink(name);
    }
    rmdir(folder);
    return 0;
}

static void reopen_with(size_t max_entries)
{
    struct store_options opt = store_harness_options(&h);
    struct err_text t;

    store_close(h.store);
    h.store = NULL;
    opt.max_entries = max_entries;
    if (store_sqlite_open(&opt, path, &h.store, &t))
        fail_msg("%s", t.s);
}

static void keeps_over_a_restart(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), other = sample_fields("evil", 1);

    (void)state;
    assert_null(store_harness_exact(&h, &f));
    assert_int_equal(h.err, ERR_OK);
    uint64_t id = store_harness_put(&h, &f);
    assert_int_not_equal(id, 0);
    for (int round = 0; round < 2; round++) {
        struct cache_entry *e = store_harness_exact(&h, &f);
        assert_non_null(e);
        assert_int_equal(e->f.id, id);
        assert_true(slice_eq(e->f.body, f.body));
        e = store_harness_get(&h, "acme", id);
        assert_non_null(e);
        assert_null(store_harness_get(&h, "acme", id + 1));
        assert_null(store_harness_exact(&h, &other));
        /* The same digest, asked for by another scope. */
        other.exact = f.exact;
        assert_null(store_harness_exact(&h, &other));
        assert_int_equal(store_harness_tagged(&h, "acme", "maths"), 1);
        assert_int_equal(store_harness_tagged(&h, "evil", "maths"), 0);
        reopen_with(1000);
    }
}

static void the_last_writer_wins(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct store_stat st;

    (void)state;
    uint64_t first = store_harness_put(&h, &f);
    f.body = SLICE("another");
    uint64_t second = store_harness_put(&h, &f);
    assert_int_equal(h.value, first);
    assert_int_equal(store_harness_exact(&h, &f)->f.id, second);
    assert_null(store_harness_get(&h, "acme", first));
    store_stat(h.store, &st);
    assert_int_equal(st.entries, 1);
    assert_int_equal(store_harness_tagged(&h, "acme", "v1"), 1);
    assert_int_equal(store_harness_del(&h, "acme", second), ERR_OK);
    assert_int_equal(h.value, 1);
    assert_int_equal(store_harness_del(&h, "acme", second), ERR_OK);
    assert_int_equal(h.value, 0);
    assert_int_equal(store_harness_tagged(&h, "acme", "v1"), 0);
    store_stat(h.store, &st);
    assert_int_equal(st.entries, 0);
    assert_int_equal(st.bytes, 0);
}

static void a_flush_stays(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("other", 1);

    (void)state;
    uint64_t before = store_generation(h.store, SLICE("acme"));
    assert_int_not_equal(before, 0);
    assert_int_not_equal(store_harness_put(&h, &f), 0);
    assert_int_not_equal(store_harness_put(&h, &g), 0);
    assert_int_equal(store_harness_flush(&h, "acme"), ERR_OK);
    uint64_t after = store_generation(h.store, SLICE("acme"));
    assert_true(after > before && after == h.value);
    assert_int_equal(store_generation(h.store, SLICE("other")), before);
    reopen_with(1000);
    assert_int_equal(store_generation(h.store, SLICE("acme")), after);
}

static void on_put(void *ctx, enum err err, uint64_t replaced)
{
    (void)replaced;
    *(enum err *)ctx = err;
}

static void refuses_another_generation(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    enum err err = ERR_OK;

    (void)state;
    f.generation = 5;
    struct cache_entry *e = cache_entry_new(&f);
    store_put(h.store, e, on_put, &err);
    assert_int_equal(err, ERR_OK); /* never before the call returned */
    event_base_loop(h.base, EVLOOP_NONBLOCK);
    assert_int_equal(err, ERR_CONFLICT);
    cache_entry_unref(e);
}

static void scans_all(void **state)
{
    bool seen[500] = {false};
    uint64_t ids[500];

    (void)state;
    for (int i = 0; i < 500; i++) {
        struct cache_fields f = sample_fields(i % 2 ? "a" : "b", i);
        ids[i] = store_harness_put(&h, &f);
    }
    assert_int_equal(store_harness_scan(&h), 500);
    for (size_t i = 0; i < h.page_count; i++)
        for (int j = 0; j < 500; j++)
            seen[j] = seen[j] || ids[j] == h.page_ids[i];
    for (int j = 0; j < 500; j++)
        assert_true(seen[j]);
}

/* What is dear stays, wherever its id lies: the last ids, too, are compared with enough others. */
static void stays_below_its_capacity(void **state)
{
    enum { DEAR = 60 };
    struct store_stat st;
    struct cache_fields pinned = sample_fields("acme", 100000);
    uint64_t dear_id[DEAR];

    (void)state;
    reopen_with(200);
    for (int i = 0; i < DEAR; i++) {
        struct cache_fields dear = sample_fields("acme", 100001 + i);
        dear.cost = NANOUSD_PER_USD;
        dear_id[i] = store_harness_put(&h, &dear);
    }
    pinned.cost = 0;
    pinned.pinned = true;
    uint64_t pinned_id = store_harness_put(&h, &pinned);
    for (int i = 0; i < 1000; i++) {
        struct cache_fields f = sample_fields("acme", i);
        assert_int_not_equal(store_harness_put(&h, &f), 0);
        store_stat(h.store, &st);
        assert_true(st.entries <= 200);
    }
    for (int i = 0; i < DEAR; i++)
        assert_non_null(store_harness_get(&h, "acme", dear_id[i]));
    assert_non_null(store_harness_get(&h, "acme", pinned_id));
}

static bool swept(struct store_harness *x)
{
    struct store_stat st;
    store_stat(x->store, &st);
    return st.entries == 1;
}

static void the_expired_leave(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);

    (void)state;
    f.expires_ms = 1000;
    assert_int_not_equal(store_harness_put(&h, &f), 0);
    assert_int_not_equal(store_harness_put(&h, &g), 0);
    assert_true(store_harness_until(&h, swept, STORE_HARNESS_PATIENCE_MS));
}

static void notes(void **state)
{
    (void)state;
    assert_null(store_harness_recall(&h, "risk"));
    assert_int_equal(h.err, ERR_NOT_FOUND);
    assert_int_equal(store_harness_note(&h, "risk", "one"), ERR_OK);
    assert_int_equal(store_harness_note(&h, "risk", "two"), ERR_OK);
    reopen_with(100);
    assert_string_equal(store_harness_recall(&h, "risk"), "two");
}

/* What happened after a snapshot is told again; a mark of other data is refused. */
static void the_log_since_a_mark(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);
    struct buf mark;
    char foreign[16] = "not of this file";

    (void)state;
    buf_init(&mark, 64);
    uint64_t first = store_harness_put(&h, &f);
    assert_int_equal(store_mark(h.store, &mark), ERR_OK);
    uint64_t second = store_harness_put(&h, &g);
    store_harness_del(&h, "acme", first);
    store_harness_flush(&h, "acme");
    reopen_with(100);
    assert_false(store_resume(h.store, slice_make(foreign, sizeof foreign)));
    assert_true(store_resume(h.store, buf_slice(&mark)));
    assert_null(store_harness_exact(&h, &f));
    assert_int_equal(h.change_count, 3);
    assert_int_equal(h.changes[0].kind, STORE_PUT);
    assert_int_equal(h.changes[0].id, second);
    assert_int_equal(h.changes[1].kind, STORE_DEL);
    assert_int_equal(h.changes[1].id, first);
    assert_int_equal(h.changes[2].kind, STORE_FLUSH);
    buf_clear(&mark);
}

/* A file of the first version: its tags lay by scope. */
static void a_file_of_the_first_version(void **state)
{
    static const char back[] =
        "DROP TRIGGER untag; DROP TABLE tags;"
        "CREATE TABLE tags (scope BLOB, tag BLOB, id INTEGER, PRIMARY KEY (scope, tag, id))"
        "  WITHOUT ROWID;"
        "CREATE INDEX tags_by_id ON tags (id);"
        "CREATE TRIGGER untag AFTER DELETE ON entries WHEN old.tags > 0"
        "  BEGIN DELETE FROM tags WHERE id = old.id; END;"
        "INSERT INTO tags SELECT CAST('acme' AS BLOB), CAST('maths' AS BLOB), id FROM entries;"
        "PRAGMA user_version = 1;";
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);
    sqlite3 *db;

    (void)state;
    uint64_t id = store_harness_put(&h, &f);
    assert_int_not_equal(store_harness_put(&h, &g), 0);
    store_close(h.store);
    h.store = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, back, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    for (int round = 0; round < 2; round++) {
        struct store_options opt = store_harness_options(&h);
        assert_int_equal(store_sqlite_open(&opt, path, &h.store, NULL), ERR_OK);
        assert_int_equal(store_harness_tagged(&h, "acme", "maths"), 2);
        assert_int_equal(store_harness_tagged(&h, NULL, "maths"), 2);
        assert_int_equal(store_harness_tagged(&h, "other", "maths"), 0);
        store_close(h.store);
        h.store = NULL;
    }
    reopen_with(1000);
    assert_int_equal(store_harness_del(&h, "acme", id), ERR_OK);
    assert_int_equal(store_harness_tagged(&h, "acme", "maths"), 1);
}

/* Bytes that rot in the file are a miss, and gone. */
static void damage_is_a_miss(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct store_stat st;
    sqlite3 *db;

    (void)state;
    uint64_t id = store_harness_put(&h, &f);
    store_close(h.store);
    h.store = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE entries SET packed = substr(packed, 1, 300)", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    struct store_options opt = store_harness_options(&h);
    assert_int_equal(store_sqlite_open(&opt, path, &h.store, NULL), ERR_OK);
    assert_int_equal(store_harness_scan(&h), 0);
    assert_null(store_harness_exact(&h, &f));
    assert_null(store_harness_get(&h, "acme", id));
    store_stat(h.store, &st);
    assert_int_equal(st.entries, 0);
    assert_true(st.bad_entries > 0);
    assert_int_not_equal(store_harness_put(&h, &f), 0);
}

static void files_it_refuses(void **state)
{
    struct store_options opt = store_harness_options(&h);
    struct store *second;
    struct err_text t;
    char name[128];

    (void)state;
    assert_int_equal(store_sqlite_open(&opt, path, &second, &t), ERR_INTERNAL);
    assert_non_null(strstr(t.s, "another process holds it"));
    assert_int_equal(store_sqlite_open(&opt, "/nowhere/cache.db", &second, &t), ERR_INTERNAL);
    assert_non_null(strstr(t.s, "/nowhere/cache.db"));

    snprintf(name, sizeof name, "%s/noise", folder);
    FILE *file = fopen(name, "w");
    for (int i = 0; i < 2000; i++)
        fputs("this is not a database ", file);
    fclose(file);
    assert_int_equal(store_sqlite_open(&opt, name, &second, &t), ERR_INTERNAL);
    unlink(name);

    sqlite3 *db;
    assert_int_equal(sqlite3_open(name, &db), SQLITE_OK);
    sqlite3_exec(db, "CREATE TABLE ledger (x)", NULL, NULL, NULL);
    assert_int_equal(store_sqlite_open(&opt, name, &second, &t), ERR_INTERNAL);
    assert_non_null(strstr(t.s, "not one of weir's"));
    sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(store_sqlite_open(&opt, name, &second, &t), ERR_INTERNAL);
    assert_non_null(strstr(t.s, "newer"));
    assert_null(second);
    unlink(name);
}

/* A writer that is killed while it puts, replaces and removes leaves whole entries: what can be
 * read is what was written for that very question. */
static void killed_while_writing(void **state)
{
    (void)state;
    store_close(h.store);
    h.store = NULL;
    for (int round = 0; round < 4; round++) {
        int started[2];
        char byte;
        assert_int_equal(pipe(started), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct store_harness w;
            store_harness_init(&w);
            struct store_options opt = store_harness_options(&w);
            if (store_sqlite_open(&opt, path, &w.store, NULL))
                _exit(1);
            for (int i = 0;; i++) {
                struct cache_fields f = sample_fields("acme", i % 300);
                uint64_t id = store_harness_put(&w, &f);
                if (i % 7 == 0)
                    store_harness_del(&w, "acme", id);
                if (i == 200 && write(started[1], "x", 1) != 1)
                    _exit(1);
            }
        }
        assert_int_equal(read(started[0], &byte, 1), 1);
        usleep(20000 + 13000 * (useconds_t)round);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(started[0]);
        close(started[1]);

        struct store_options opt = store_harness_options(&h);
        assert_int_equal(store_sqlite_open(&opt, path, &h.store, NULL), ERR_OK);
        size_t found = 0;
        for (int i = 0; i < 300; i++) {
            struct cache_fields f = sample_fields("acme", i);
            struct cache_entry *e = store_harness_exact(&h, &f);
            assert_int_equal(h.err, ERR_OK);
            assert_true(!e || slice_eq(e->f.body, f.body));
            found += e != NULL;
        }
        struct store_stat st;
        store_stat(h.store, &st);
        assert_int_equal(st.bad_entries, 0);
        assert_int_equal(st.entries, found);
        assert_int_equal(store_harness_scan(&h), found);
        assert_true(found > 0);
        store_close(h.store);
        h.store = NULL;
    }
}

/* ---- a long walk ---- */

struct walk {
    int pages, pages_when_heard; /* -1: nobody was heard yet */
    bool ended;
};

static void on_walked(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                      struct slice next)
{
    struct walk *w = ctx;

    (void)f, (void)n;
    assert_int_equal(err, ERR_OK);
    w->pages++;
    w->ended = next.n == 0;
    if (!w->ended)
        store_scan(h.store, next, on_walked, w);
}

static void on_heard(evutil_socket_t fd, short what, void *ctx)
{
    struct walk *w = ctx;

    (void)fd, (void)what;
    w->pages_when_heard = w->pages;
}

/* Whoever asks for page after page keeps nobody else waiting. */
static void a_walk_leaves_the_loop_its_turns(void **state)
{
    struct walk w = {.pages_when_heard = -1};
    int ends[2];

    (void)state;
    for (int n = 0; n < 1200; n++) {
        struct cache_fields f = sample_fields("acme", n);
        assert_int_not_equal(store_harness_put(&h, &f), 0);
    }
    assert_int_equal(pipe(ends), 0);
    struct event *e = event_new(h.base, ends[0], EV_READ, on_heard, &w);
    event_add(e, NULL);
    assert_int_equal(write(ends[1], "x", 1), 1);
    store_scan(h.store, SLICE(""), on_walked, &w);
    while (!w.ended)
        event_base_loop(h.base, EVLOOP_ONCE);
    assert_true(w.pages > 5);
    assert_in_range(w.pages_when_heard, 0, 2);
    event_free(e);
    close(ends[0]);
    close(ends[1]);
}

static void tags_find_theirs(void **state)
{
    (void)state;
    store_suite_tags(&h);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_walk_leaves_the_loop_its_turns),
        TEST(keeps_over_a_restart),
        TEST(tags_find_theirs),
        TEST(a_file_of_the_first_version),
        TEST(the_last_writer_wins),
        TEST(a_flush_stays),
        TEST(refuses_another_generation),
        TEST(scans_all),
        TEST(stays_below_its_capacity),
        TEST(the_expired_leave),
        TEST(notes),
        TEST(the_log_since_a_mark),
        TEST(damage_is_a_miss),
        TEST(files_it_refuses),
        TEST(killed_while_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
