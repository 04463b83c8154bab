/* Two replicas and a real Redis: what one does the other heeds, whatever happens to the server or
 * to the replica meanwhile. */
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/rng.h"
#include "cache/cache_hot.h"
#include "cache/store.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/redis_relay.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/cache/samples.h"

/* Of what must come to be, however slow the machine. */
#define PATIENCE_US INT64_C(60000000)

static struct redis_server server;
static struct redis_relay relay;
static struct cache_harness a, b;

static const struct cache_rules rules = {
    .exact = true, .store = true, .ttl_ms = 3600000, .timely_ttl_ms = 60000, .max_age_ms = -1};

static void open_through(struct cache_harness *h, const char *url, int64_t budget_us)
{
    struct cache_options opt = {.redis_url = url,
                                .prefix = "weir",
                                .redis_budget_us = budget_us,
                                .max_entries = 1000,
                                .max_bytes = 16 << 20,
                                .dim = SAMPLE_DIM,
                                .fingerprint = {1, 2, 3},
                                .seed = 1};
    struct err_text t;

    if (cache_open(&opt, &h->cache, &t))
        fail_msg("%s", t.s);
}

static void open_replica(struct cache_harness *h)
{
    open_through(h, server.url, 50000);
}

static struct cache_facts facts_of(const struct cache_harness *h)
{
    struct cache_facts f;
    cache_facts(h->cache, &f);
    return f;
}

static void wait_current(const struct cache_harness *h, bool wanted)
{
    int64_t now_ms, end_us = clock_mono_us() + PATIENCE_US;

    while (cache_current(h->cache, &now_ms) != wanted || facts_of(h).store_up != wanted) {
        assert_true(clock_mono_us() < end_us);
        usleep(5000);
    }
}

static int set_up(void **state)
{
    (void)state;
    if (!redis_server_installed())
        skip();
    memset(&server, 0, sizeof server);
    redis_server_start(&server);
    cache_harness_init(&a);
    cache_harness_init(&b);
    open_replica(&a);
    open_replica(&b);
    wait_current(&a, true);
    wait_current(&b, true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cache_harness_clear(&a);
    cache_harness_clear(&b);
    redis_server_remove(&server);
    return 0;
}

static void put(struct cache_harness *h, struct cache_fields f)
{
    cache_harness_now(&f, 3600000);
    cache_put(h->cache, cache_entry_new(&f), &rules);
}

static bool has(struct cache_harness *h, const struct cache_fields *f)
{
    struct cache_entry *e = cache_harness_look_up(h, f, &rules);
    bool there = e;

    assert_true(!e || (slice_eq(e->f.body, f->body) && slice_eq(e->f.scope, f->scope)));
    cache_entry_unref(e);
    return there;
}

static void wait_has(struct cache_harness *h, const struct cache_fields *f, bool wanted)
{
    int64_t end_us = clock_mono_us() + PATIENCE_US;

    while (has(h, f) != wanted) {
        assert_true(clock_mono_us() < end_us);
        usleep(2000);
    }
}

static void replicas_share(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    put(&a, f);
    wait_has(&b, &f, true);
    /* The other's index heard of it, too. */
    int64_t end_us = clock_mono_us() + PATIENCE_US;
    while (facts_of(&b).indexed < 1) {
        assert_true(clock_mono_us() < end_us);
        usleep(5000);
    }
    cache_harness_flush(&a, "acme");
    assert_false(has(&a, &f));
    wait_has(&b, &f, false);
    put(&b, f);
    wait_has(&a, &f, true);
}

/* A removal on one replica reaches the hot sets of the other's workers. */
static void a_removal_reaches_hot_sets(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct cache_hot *hot = cache_hot_new(1 << 20);
    int64_t now_ms;

    (void)state;
    put(&a, f);
    wait_has(&b, &f, true);
    struct cache_entry *e = cache_harness_look_up(&b, &f, &rules);
    assert_true(cache_current(b.cache, &now_ms));
    cache_hot_put(hot, e, now_ms);
    assert_true(cache_harness_remove(&a, "acme", e->f.id));
    int64_t end_us = clock_mono_us() + PATIENCE_US;
    while (cache_hot_get(hot, f.exact, now_ms)) {
        assert_true(clock_mono_us() < end_us);
        usleep(2000);
    }
    cache_entry_unref(e);
    cache_hot_free(hot);
}

static void wait_gone(const struct cache_entry *e)
{
    int64_t end_us = clock_mono_us() + PATIENCE_US;

    while (cache_entry_serves(e, 0)) {
        assert_true(clock_mono_us() < end_us);
        usleep(2000);
    }
}

/* What one has put before, the other has heard of after this: an entry of the same scope that it
 * has read goes with the word of its coming, or of its end. */
static void hear(struct cache_harness *to, struct cache_harness *from)
{
    struct cache_fields f = sample_fields("acme", 99);

    put(from, f);
    wait_has(to, &f, true);
    struct cache_entry *e = cache_harness_look_up(to, &f, &rules);
    assert_true(cache_harness_remove(from, "acme", e->f.id));
    wait_gone(e);
    cache_entry_unref(e);
}

/* What a replica has read and not yet been told is removed elsewhere: the word comes first, then
 * what it read. It is not served, nor does it come into memory. */
static void a_removal_overtakes_a_read(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), later = sample_fields("acme", 2);
    struct cache_harness c;
    int64_t end_us = clock_mono_us() + PATIENCE_US;

    (void)state;
    redis_relay_start(&relay, &server);
    cache_harness_init(&c);
    open_through(&c, relay.url, PATIENCE_US);
    wait_current(&c, true);
    put(&a, f);
    put(&a, later);
    wait_has(&a, &f, true);
    struct cache_entry *mine = cache_harness_look_up(&a, &f, &rules);
    wait_has(&c, &later, true);
    hear(&c, &a);
    struct cache_entry *held = cache_harness_look_up(&c, &later, &rules);
    redis_relay_hold(&relay, true);
    cache_harness_ask(&c, 7, &f, &rules, false);
    while (!redis_relay_keeps(&relay, "{\"answer\": 2}")) {
        assert_true(clock_mono_us() < end_us);
        usleep(2000);
    }
    assert_true(cache_harness_remove(&a, "acme", mine->f.id));
    assert_true(cache_harness_remove(&a, "acme", held->f.id));
    wait_gone(held); /* the second was heard, and so the first */
    redis_relay_hold(&relay, false);
    struct cache_ask *ask = cache_harness_next(&c);
    assert_int_equal(ask->id, 7);
    assert_int_equal(ask->verdict, CACHE_MISS);
    cache_ask_free(ask);
    assert_false(has(&c, &f));
    cache_entry_unref(mine);
    cache_entry_unref(held);
    cache_harness_clear(&c);
    redis_relay_stop(&relay);
}

static void the_server_is_emptied(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    put(&a, f);
    wait_has(&b, &f, true);
    redis_server_do(&server, "FLUSHALL");
    wait_has(&a, &f, false);
    wait_has(&b, &f, false);
    for (int i = 0; i < 50; i++)
        assert_false(has(&a, &f) || has(&b, &f)); /* and it does not come back */
    int64_t end_us = clock_mono_us() + PATIENCE_US;
    do { /* until the new data's generation is known, answers are refused */
        put(&a, f);
        assert_true(clock_mono_us() < end_us);
        usleep(10000);
    } while (!has(&b, &f));
}

static void the_server_dies_and_comes_back(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    put(&a, f);
    wait_has(&b, &f, true);
    redis_server_stop(&server);
    wait_current(&a, false);
    wait_current(&b, false);
    int64_t begin_us = clock_mono_us();
    assert_false(has(&a, &f));
    assert_false(has(&b, &f));
    assert_true(clock_mono_us() - begin_us < PATIENCE_US); /* nobody waits for it */
    redis_server_start(&server);
    wait_current(&a, true);
    wait_current(&b, true);
    assert_false(has(&a, &f));
    put(&a, f);
    wait_has(&b, &f, true);
}

/* ---- replicas that are processes: this program again, by exec ---- */

static pid_t start_replica(const char *role, int in, int out)
{
    char in_text[16], out_text[16];
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(in_text, sizeof in_text, "%d", in);
        snprintf(out_text, sizeof out_text, "%d", out);
        execl("/proc/self/exe", "replica", role, server.url, in_text, out_text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Says after each byte that it reads whether its worker's own set would serve the entry: 'H' it
 * would, 'm' it is not there, 'M' nobody knows what was removed meanwhile. */
static int be_sleeper(struct cache_harness *c, int in, int out)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct cache_hot *hot = cache_hot_new(1 << 20);
    struct cache_entry *e = cache_harness_look_up(c, &f, &rules);
    int64_t now_ms;
    char byte;

    if (!e || !cache_current(c->cache, &now_ms))
        return 1;
    cache_hot_put(hot, e, now_ms);
    for (;;) {
        bool current = cache_current(c->cache, &now_ms);
        bool served = current && cache_hot_get(hot, f.exact, now_ms);
        if (write(out, served ? "H" : current ? "m" : "M", 1) != 1 || read(in, &byte, 1) != 1)
            return 0;
    }
}

static int be_writer(struct cache_harness *c, int out)
{
    for (int i = 0;; i++) {
        put(c, sample_fields(i % 2 ? "acme" : "other", i % 200));
        if (i % 50 == 0) /* waits its turn behind the puts */
            (void)has(c, &(struct cache_fields){.scope = SLICE("acme")});
        if (i == 100 && write(out, "x", 1) != 1)
            return 1;
    }
}

static int be_replica(char **argv)
{
    struct cache_harness c;
    int in = (int)strtol(argv[3], NULL, 10), out = (int)strtol(argv[4], NULL, 10);

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    snprintf(server.url, sizeof server.url, "%s", argv[2]);
    cache_harness_init(&c);
    open_replica(&c);
    wait_current(&c, true);
    return strcmp(argv[1], "sleeper") == 0 ? be_sleeper(&c, in, out) : be_writer(&c, out);
}

/* All logs empty, as if what was in them had been long ago. */
static void trim_logs(void)
{
    for (unsigned bucket = 0; bucket < STORE_BUCKETS; bucket++) {
        char command[64];
        snprintf(command, sizeof command, "XTRIM weir:{%u}:log MAXLEN 0", bucket);
        redis_server_do(&server, command);
    }
}

/* Runs `meanwhile` while a replica sleeps that has the entry in a worker's own set. It serves
 * nothing of before when it wakes, and it knows how things stand again soon after. */
static void sleep_through(void (*meanwhile)(uint64_t id))
{
    struct cache_fields f = sample_fields("acme", 1);
    int go[2], said[2];
    char answer;

    put(&a, f);
    wait_has(&b, &f, true);
    struct cache_entry *e = cache_harness_look_up(&a, &f, &rules);
    uint64_t id = e->f.id;
    cache_entry_unref(e);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(said), 0);
    pid_t pid = start_replica("sleeper", go[0], said[1]);
    assert_int_equal(read(said[0], &answer, 1), 1);
    assert_int_equal(answer, 'H');
    kill(pid, SIGSTOP);
    meanwhile(id);
    usleep(2700000); /* longer than anything may be served, or waited for, without word from it */
    kill(pid, SIGCONT);
    int64_t end_us = clock_mono_us() + PATIENCE_US;
    do {
        assert_true(clock_mono_us() < end_us);
        assert_int_equal(write(go[1], "x", 1), 1);
        assert_int_equal(read(said[0], &answer, 1), 1);
        assert_int_not_equal(answer, 'H');
    } while (answer == 'M');
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 2; i++) {
        close(go[i]);
        close(said[i]);
    }
}

static void flush_acme(uint64_t id)
{
    (void)id;
    cache_harness_flush(&a, "acme");
}

static void remove_without_a_trace(uint64_t id)
{
    assert_true(cache_harness_remove(&a, "acme", id));
    trim_logs();
}

static void a_replica_sleeps(void **state)
{
    (void)state;
    sleep_through(flush_acme);
}

/* What it missed is in no log any more, and nothing else happens: only the count tells. */
static void a_replica_sleeps_and_the_log_is_trimmed(void **state)
{
    (void)state;
    sleep_through(remove_without_a_trace);
}

/* A replica is killed while it writes: what is left is whole. */
static void a_writer_is_killed(void **state)
{
    size_t found = 0;

    (void)state;
    for (int round = 0; round < 3; round++) {
        int ready[2];
        char byte;
        assert_int_equal(pipe(ready), 0);
        pid_t pid = start_replica("writer", ready[0], ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        usleep(10000 + 7000 * (useconds_t)round);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(ready[0]);
        close(ready[1]);
        for (int i = 0; i < 200; i++) {
            struct cache_fields f = sample_fields(i % 2 ? "acme" : "other", i);
            found += has(&b, &f);
        }
    }
    assert_true(found > 0);
    assert_int_equal(facts_of(&b).bad_entries, 0);
}

/* How far off a replica takes its clock to be, when that is more than *worst_ms. All clocks here
 * are one: what it finds is how long the server's word of its time was under way. */
static void see_clock(const struct cache_harness *h, int64_t *worst_ms)
{
    int64_t now_ms;

    (void)cache_current(h->cache, &now_ms);
    int64_t error_ms = llabs(now_ms - clock_wall_us() / 1000);
    *worst_ms = error_ms > *worst_ms ? error_ms : *worst_ms;
}

/* Anything at random by both: whoever asks gets the answer of just that question and scope, never
 * one that has expired by the clocks of both. */
static void anything_at_random(void **state)
{
    struct rng r;
    int64_t error_ms = 0;
    int hits = 0;

    (void)state;
    rng_seed(&r, 9);
    for (int i = 0; i < 4000; i++) {
        struct cache_harness *h = rng_below(&r, 2) ? &a : &b;
        char scope[8];
        snprintf(scope, sizeof scope, "t%d", (int)rng_below(&r, 4));
        struct cache_fields f = sample_fields(scope, (int)rng_below(&r, 15));
        switch (rng_below(&r, 40)) {
        case 0:
            cache_harness_flush(h, scope);
            break;
        case 1:
            cache_harness_remove_tag(h, scope, "maths");
            break;
        default:
            if (rng_below(&r, 3) == 0) {
                cache_harness_now(&f, 5 + (int64_t)rng_below(&r, 300));
                cache_put(h->cache, cache_entry_new(&f), &rules);
                break;
            }
            int64_t asked_ms = clock_wall_us() / 1000;
            struct cache_entry *e = cache_harness_look_up(h, &f, &rules);
            see_clock(&a, &error_ms);
            see_clock(&b, &error_ms);
            if (e) {
                hits++;
                assert_true(slice_eq(e->f.scope, f.scope) && slice_eq(e->f.body, f.body));
                assert_true(digest_eq(e->f.exact, f.exact));
                assert_true(asked_ms <= e->f.expires_ms + 5 + 2 * error_ms);
            }
            cache_entry_unref(e);
        }
    }
    assert_true(hits > 200);
}

/* A writer that claims to answer from an hour ahead does not get an hour more. */
static void a_writer_with_a_wrong_clock(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct cache_rules brief = rules;

    (void)state;
    cache_harness_now(&f, 3600000);
    f.created_ms += 3600000;
    f.expires_ms += 7200000; /* claims to live for two hours more */
    brief.ttl_ms = 60000;
    cache_put(a.cache, cache_entry_new(&f), &brief);
    wait_has(&b, &f, true);
    struct cache_entry *e = cache_harness_look_up(&b, &f, &rules);
    assert_true(e->f.expires_ms <= clock_wall_us() / 1000 + 60000);
    cache_entry_unref(e);
}

/* Closing waits for nobody: what is open is answered, as a miss. */
static void closing_while_the_server_stalls(void **state)
{
    struct cache_harness c;
    int answered = 0;

    (void)state;
    cache_harness_init(&c);
    open_replica(&c);
    wait_current(&c, true);
    kill(server.pid, SIGSTOP);
    for (uint64_t id = 0; id < 50; id++) {
        struct cache_fields f = sample_fields("acme", (int)id % 20);
        cache_harness_ask(&c, id, &f, &rules, true);
        put(&c, sample_fields("acme", 100 + (int)id));
    }
    cache_harness_give(&c, admin_job_new(ADMIN_REMOVE));
    int64_t begin_us = clock_mono_us();
    cache_close(c.cache);
    c.cache = NULL;
    assert_true(clock_mono_us() - begin_us < PATIENCE_US);
    kill(server.pid, SIGCONT);
    mailbox_drain(&c.mail, &c);
    while (!list_empty(&c.arrived)) {
        struct cache_ask *x = cache_harness_next(&c);
        answered += x->verdict == CACHE_MISS;
        cache_ask_free(x);
    }
    assert_int_equal(answered, 50);
    assert_non_null(c.job);
    assert_int_not_equal(c.job->err, ERR_OK);
    admin_job_free(c.job);
    cache_harness_clear(&c);
}

int main(int argc, char **argv)
{
    if (argc == 5)
        return be_replica(argv);
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(replicas_share),
        TEST(a_removal_reaches_hot_sets),
        TEST(a_removal_overtakes_a_read),
        TEST(the_server_is_emptied),
        TEST(the_server_dies_and_comes_back),
        TEST(a_replica_sleeps),
        TEST(a_replica_sleeps_and_the_log_is_trimmed),
        TEST(a_writer_is_killed),
        TEST(anything_at_random),
        TEST(a_writer_with_a_wrong_clock),
        TEST(closing_while_the_server_stalls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
