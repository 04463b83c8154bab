/* Processes that are killed at any moment, again and again, over the same file or the same Redis:
 * what they leave is looked at by a judge who knows what was promised.
 *
 * The victim is this program, run again. It puts, removes and flushes as fast as it can, writes
 * snapshots of its index all the while, and says over a pipe what it begins and what was confirmed.
 * The judge opens what is left and asks for everything: each answer must be one that was begun for
 * just that question and scope, whole, and none of what was confirmed to be removed may come back,
 * neither as an answer nor as a neighbour. */
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/rng.h"
#include "cache/guard.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/cache/samples.h"

#define SCOPES   2
#define KEYS     20
#define ROUNDS   8
#define BODY_MAX 6000

static const char *const scopes[SCOPES] = {"acme", "other"};
static struct redis_server server; /* .url "": there is none, the file is the store */
static char folder[64], file[96], snapshot[96];

static void name_files(void)
{
    snprintf(file, sizeof file, "%s/cache.db", folder);
    snprintf(snapshot, sizeof snapshot, "%s/index", folder);
}

static void open_cache(struct cache_harness *h)
{
    struct cache_options opt = {.path = server.url[0] ? NULL : file,
                                .redis_url = server.url[0] ? server.url : NULL,
                                .prefix = "weir",
                                .redis_budget_us = 500000,
                                .max_entries = 1000,
                                .max_bytes = 16 << 20,
                                .dim = SAMPLE_DIM,
                                .fingerprint = {1, 2, 3},
                                .snapshot_path = snapshot,
                                .snapshot_every_ms = 10,
                                .seed = 1};
    struct err_text t;
    struct cache_facts facts;
    int64_t now_ms, end_us = clock_mono_us() + INT64_C(120000000);

    cache_harness_init(h);
    if (cache_open(&opt, &h->cache, &t))
        fail_msg("%s", t.s);
    do { /* everything of before has been heard of */
        assert_true(clock_mono_us() < end_us);
        usleep(2000);
        cache_facts(h->cache, &facts);
    } while (!cache_current(h->cache, &now_ms) || !facts.store_up || facts.scanning);
}

/* The answer says of which question and which time it is, over and over up to its whole length. */
static struct cache_fields wish(int scope, int key, int version, char body[static BODY_MAX])
{
    struct cache_fields f = sample_fields(scopes[scope], key);
    size_t n = 0, length = 200 + (size_t)(key * 271 + version * 97) % (BODY_MAX - 300);

    while (n < length)
        n += (size_t)snprintf(body + n, BODY_MAX - n, "%d/%d/%d.", scope, key, version);
    f.body = slice_make(body, n);
    cache_harness_now(&f, 3600000);
    return f;
}

/* ---- the victim ---- */

enum deed { DEED_PUT, DEED_REMOVED, DEED_FLUSHED, DEED_READY };

struct record {
    uint8_t deed, scope, key, unused;
    int version;
};

static void say(int out, enum deed deed, int scope, int key, int version)
{
    struct record r = {(uint8_t)deed, (uint8_t)scope, (uint8_t)key, 0, version};

    if (write(out, &r, sizeof r) != sizeof r)
        _exit(1);
}

static void remove_one(struct cache_harness *h, int out, int scope, int key, int version)
{
    char body[BODY_MAX];
    struct cache_fields f = wish(scope, key, version, body);
    struct cache_entry *e = cache_harness_look_up(h, &f, &cache_harness_by_meaning);

    if (!e)
        return;
    cache_harness_remove(h, scopes[scope], e->f.id);
    say(out, DEED_REMOVED, scope, key, version);
    cache_entry_unref(e);
}

/* Until it is killed. */
static _Noreturn void be_victim(char **argv)
{
    int version = (int)strtol(argv[3], NULL, 10), out = (int)strtol(argv[4], NULL, 10);
    struct cache_harness h;
    struct rng r;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rng_seed(&r, (uint64_t)version);
    snprintf(server.url, sizeof server.url, "%s", argv[1]);
    snprintf(folder, sizeof folder, "%s", argv[2]);
    name_files();
    open_cache(&h);
    say(out, DEED_READY, 0, 0, 0);
    for (;; version++) {
        char body[BODY_MAX];
        int scope = (int)rng_below(&r, SCOPES), key = (int)rng_below(&r, KEYS);
        struct cache_fields f = wish(scope, key, version, body);
        switch (rng_below(&r, 24)) {
        case 0:
            cache_harness_flush(&h, scopes[scope]);
            say(out, DEED_FLUSHED, scope, 0, version);
            break;
        case 1:
        case 2:
        case 3:
            remove_one(&h, out, scope, key, version);
            break;
        default:
            say(out, DEED_PUT, scope, key, version);
            cache_put(h.cache, cache_entry_new(&f), &cache_harness_by_meaning);
            /* Waits its turn behind the put: what is removed next is what was put. */
            cache_entry_unref(cache_harness_look_up(&h, &f, &cache_harness_by_meaning));
        }
    }
}

static pid_t start_victim(int version, int out)
{
    char version_text[16], out_text[16];
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(version_text, sizeof version_text, "%d", version);
        snprintf(out_text, sizeof out_text, "%d", out);
        execl("/proc/self/exe", "victim", server.url, folder, version_text, out_text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* ---- the judge ---- */

struct promise {
    int begun[4096]; /* versions whose put was begun since the newest confirmed removal */
    int count;
    int removed; /* nothing of that version or before may be there */
};
static struct promise promises[SCOPES][KEYS];
static int newest;

static void remove_promise(struct promise *p, int version)
{
    p->count = 0;
    p->removed = version;
}

static void note(const struct record *r)
{
    struct promise *p = &promises[r->scope][r->key];

    newest = r->version > newest ? r->version : newest;
    if (r->deed == DEED_PUT) {
        assert_true(p->count < 4096);
        p->begun[p->count++] = r->version;
    } else if (r->deed == DEED_REMOVED) {
        remove_promise(p, r->version);
    } else if (r->deed == DEED_FLUSHED) {
        for (int key = 0; key < KEYS; key++)
            remove_promise(&promises[r->scope][key], r->version);
    }
}

/* Which version an answer is, which must be one that may be there. */
static void judge_answer(const struct cache_entry *e, int scope, int key)
{
    const struct promise *p = &promises[scope][key];
    char body[BODY_MAX];

    assert_true(slice_eq(e->f.scope, slice_str(scopes[scope])));
    for (int i = p->count; i-- > 0;)
        if (slice_eq(e->f.body, wish(scope, key, p->begun[i], body).body))
            return;
    fail_msg("%s, question %d: %.60s of %zu bytes, removed up to %d", scopes[scope], key,
             e->f.body.p, e->f.body.n, p->removed);
}

/* What lives of a scope: the ids of what is found, 0 where nothing is. */
static size_t judge_scope(struct cache_harness *h, int scope, uint64_t ids[static KEYS])
{
    size_t found = 0;

    for (int key = 0; key < KEYS; key++) {
        char body[BODY_MAX];
        struct cache_fields f = wish(scope, key, 0, body);
        struct cache_entry *e = cache_harness_look_up(h, &f, &cache_harness_by_meaning);
        ids[key] = e ? e->f.id : 0;
        if (e)
            judge_answer(e, scope, key);
        found += e != NULL;
        cache_entry_unref(e);
    }
    return found;
}

/* By meaning every question of a scope is near every other: what is seen there must live. */
static void judge_neighbours(struct cache_harness *h, int scope, const uint64_t ids[static KEYS])
{
    for (int key = 0; key < KEYS; key++) {
        char body[BODY_MAX];
        struct cache_fields f = wish(scope, key, 0, body);
        bool known = false;
        f.exact = digest_of(SLICE("a question that nobody asked"));
        cache_harness_ask(h, 2, &f, &cache_harness_by_meaning, false);
        struct cache_ask *a = cache_harness_next(h);
        assert_int_equal(a->verdict, CACHE_MISS); /* nothing was taught */
        for (int k = 0; k < KEYS; k++)
            known = known || a->why.entry == ids[k];
        assert_true(known || a->why.entry == 0);
        cache_ask_free(a);
    }
}

static size_t judge_all(void)
{
    struct cache_harness h;
    struct cache_facts facts;
    size_t found = 0;

    open_cache(&h);
    for (int scope = 0; scope < SCOPES; scope++) {
        uint64_t ids[KEYS];
        found += judge_scope(&h, scope, ids);
        judge_neighbours(&h, scope, ids);
    }
    int64_t end_us = clock_mono_us() + INT64_C(120000000);
    do { /* the facts are those of the last tick */
        assert_true(clock_mono_us() < end_us);
        usleep(5000);
        cache_facts(h.cache, &facts);
    } while (facts.indexed < found);
    assert_int_equal(facts.bad_entries, 0);
    cache_harness_clear(&h);
    return found;
}

/* What the victim says next; less when it says no more. */
static void hear(int in, uint64_t most)
{
    struct record r;

    for (; most > 0 && read(in, &r, sizeof r) == sizeof r; most--)
        note(&r);
}

static void kill_again_and_again(void)
{
    struct rng r;
    size_t found = 0;

    rng_seed(&r, 3);
    memset(promises, 0, sizeof promises);
    newest = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct record ready;
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t pid = start_victim(newest + 1000, ends[1]);
        close(ends[1]);
        assert_int_equal(read(ends[0], &ready, sizeof ready), sizeof ready);
        hear(ends[0], 40 + rng_below(&r, 300));
        usleep((useconds_t)rng_below(&r, 3000));
        kill(pid, SIGKILL);
        hear(ends[0], UINT64_MAX); /* to the end */
        close(ends[0]);
        waitpid(pid, NULL, 0);
        found += judge_all();
    }
    assert_true(found > 4 * ROUNDS);
}

static void over_a_file(void **state)
{
    (void)state;
    kill_again_and_again();
}

static void over_redis(void **state)
{
    (void)state;
    if (!redis_server_installed())
        skip();
    redis_server_start(&server);
    kill_again_and_again();
}

/* ---- the frame ---- */

static int set_up(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    snprintf(folder, sizeof folder, "/tmp/weir-kills-XXXXXX");
    assert_non_null(mkdtemp(folder));
    name_files();
    return 0;
}

static int tear_down(void **state)
{
    DIR *d = opendir(folder);
    char name[400];

    (void)state;
    if (server.pid)
        redis_server_remove(&server);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
        unlink(name);
    }
    if (d)
        closedir(d);
    rmdir(folder);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5)
        be_victim(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(over_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(over_redis, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
