/* router/learner_fit with both stores: answers whose truth their features tell, though the default
 * scorer does not see it. A scorer is fitted by one replica and used by all, counters of both
 * versions are exact whatever is labelled or killed meanwhile, and nothing worse or foreign gets in
 * force. */
#include <cmocka.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <event2/event.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "router/confidence.h"
#include "router/decide/beliefs.h"
#include "router/evidence.h"
#include "router/learn_store.h"
#include "router/learner.h"
#include "router/scorer_table.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/policies/policy_fixture.h"
#include "tests/unit/sqlite_files.h"

#define REQUESTS 600

static char dir[64], path[96];
static struct redis_server redis;
static struct mailbox box;

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/weir_fit_XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/learn.sqlite", dir);
    if (redis_server_installed())
        redis_server_start(&redis);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sqlite_files_remove(path);
    if (redis.folder[0])
        redis_server_remove(&redis);
    return rmdir(dir);
}

static int each(void **state)
{
    (void)state;
    sqlite_files_remove(path);
    if (redis.pid)
        redis_server_do(&redis, "FLUSHALL");
    return 0;
}

static struct learner *open_learner(bool shared)
{
    struct learner_options opt = {
        .path = shared ? NULL : path, .redis_url = redis.url, .prefix = "w:", .fit_every_ms = 500};
    struct policy *p = fixture_load(
        "version: 1\n" FIXTURE_BACKEND "models:\n"
        "  small: {backend: local, price: {input: 0.1, output: 0.4}}\n"
        "  big: {backend: local, price: {input: 2, output: 8}}\n"
        "routes:\n"
        "  - {name: chat, match: {model: auto}, cascade: [small, big], objective: {floor: 0.8}}\n");
    struct err_text t = {""};
    struct learner *l;
    if (shared && !redis.pid)
        skip();
    if (learner_open(&opt, &l, &t) != ERR_OK)
        fail_msg("%s", t.s);
    learner_set_policy(l, p);
    policy_unref(p);
    return l;
}

/* ---- requests, and what becomes of them ---- */

/* The median token tells, which the default believes least; what it believes most is noise. */
static bool make_answer(int i, float x[CONFIDENCE_FEATURES])
{
    struct rng r;
    rng_seed(&r, (uint64_t)i * 7919 + 1);
    for (int f = 0; f < CONFIDENCE_FEATURES; f++)
        x[f] = 0;
    x[CONFIDENCE_SURENESS] = (float)(6 * rng_unit(&r));
    x[CONFIDENCE_Q50] = (float)(-5 * rng_unit(&r));
    return rng_unit(&r) < 1 / (1 + exp(-3 * ((double)x[CONFIDENCE_Q50] + 2.5)));
}

static void post(struct learner *l, int i)
{
    float x[CONFIDENCE_FEATURES];
    char id[32];
    make_answer(i, x);
    struct evidence_answer a = {.model = "small",
                                .bin = curve_bin(confidence_score(x, NULL)),
                                .chance = 0.5,
                                .first = true,
                                .served = true,
                                .cost = 1000,
                                .verdict_milli = -1,
                                .features = x,
                                .feature_count = CONFIDENCE_FEATURES};
    snprintf(id, sizeof id, "r%d", i);
    learner_post(l, &(struct evidence){.tenant = "acme",
                                       .request_id = id,
                                       .route = "chat",
                                       .class_name = "math",
                                       .decided_wall_us = clock_wall_us(),
                                       .learn = true,
                                       .answers = &a,
                                       .count = 1});
}

struct asked {
    struct learner_label label;
    char id[32];
    int *waiting;
};

static void on_done(struct message *m, void *ctx)
{
    struct asked *a = CONTAINER_OF(CONTAINER_OF(m, struct learner_label, msg), struct asked, label);
    (void)ctx;
    assert_int_equal(a->label.err, ERR_OK);
    --*a->waiting;
    free(a);
}

static void on_discard(struct message *m)
{
    (void)m;
    fail_msg("a label was discarded");
}

static void say(struct learner *l, int i, int value, int64_t said_us, int *waiting)
{
    struct asked *a = mem_zalloc(1, sizeof *a);
    a->label = (struct learner_label){.msg.discard = on_discard,
                                      .reply_to = &box,
                                      .on_done = on_done,
                                      .tenant = "acme",
                                      .model = "",
                                      .source = TALLY_EXPLICIT,
                                      .value_milli = value,
                                      .said_us = said_us,
                                      .note = ""};
    snprintf(a->id, sizeof a->id, "r%d", i);
    a->label.request_id = a->id;
    a->waiting = waiting;
    ++*waiting;
    learner_label(l, &a->label);
}

static void await(const int *waiting)
{
    struct pollfd p = {.fd = box.fd, .events = POLLIN};
    for (int i = 0; *waiting && i < 2000; i++) {
        (void)poll(&p, 1, 20);
        mailbox_drain(&box, NULL);
    }
    assert_int_equal(*waiting, 0);
}

/* Each third request through the second learner (where there is one), labels through the other. */
static void traffic(struct learner *a, struct learner *b, bool told)
{
    int waiting = 0;
    float x[CONFIDENCE_FEATURES];
    for (int i = 0; i < REQUESTS; i++)
        post(i % 3 ? a : b, i);
    assert_true(learner_flush(a, 120000));
    assert_true(learner_flush(b, 120000));
    for (int i = 0; i < REQUESTS; i++) {
        bool good = told ? make_answer(i, x) : (i * 2654435761U >> 9 & 1) == 0;
        say(i % 3 ? b : a, i, good ? 1000 : 0, clock_wall_us(), &waiting);
    }
    await(&waiting);
}

/* As /metrics tells it: the table's cells are the learner's thread's to make. */
static int64_t results(struct learner *l, const char *result)
{
    struct stats *tables[] = {learner_stats(l)};
    char line[128];
    struct buf b;
    int n = snprintf(line, sizeof line, "weir_learn_scorers_total{result=\"%s\"} ", result);
    int64_t value = 0;

    buf_init(&b, 1 << 20);
    assert_int_equal(stats_write_prometheus(tables, 1, &b), ERR_OK);
    assert_int_equal(buf_append(&b, "", 1), ERR_OK); /* a string */
    const char *at = strstr(buf_slice(&b).p, line);
    if (at)
        value = strtoll(at + n, NULL, 10);
    buf_clear(&b);
    return value;
}

/* The version that the beliefs come with; 0: the default's. */
static unsigned version_of(struct learner *l, double *auroc)
{
    struct beliefs *b = learner_beliefs(l, NULL);
    const struct beliefs_context *c = b ? beliefs_find(b, SLICE("chat"), SLICE("math")) : NULL;
    unsigned v = c && c->arm[0].scored_by ? c->arm[0].scored_by->scorer.version : 0;
    if (c && auroc)
        *auroc = c->arm[0].auroc;
    beliefs_unref(b);
    return v;
}

static unsigned await_version(struct learner *l, double *auroc)
{
    unsigned v = 0;
    for (int i = 0; i < 3000 && !v; i++) {
        usleep(20000);
        v = version_of(l, auroc);
    }
    assert_true(v > 0);
    return v;
}

/* ---- what the store has ---- */

struct version_sums {
    int64_t answers, good, bad, asked;
};

struct dump {
    unsigned version;
    struct version_sums old, new;
    bool done;
    struct event_base *base;
};

static void dump_scorer(void *ctx, struct slice model, struct slice text)
{
    struct dump *d = ctx;
    struct scorer_record r;
    struct err_text t;
    assert_true(slice_eq(model, SLICE("small")));
    if (scorer_record_read(&r, text, &t) == ERR_OK)
        d->version = r.scorer.version;
}

static void dump_unit(void *ctx, const struct learn_unit_name *name, const struct tally *t)
{
    struct dump *d = ctx;
    char arm[32];
    snprintf(arm, sizeof arm, "small/%u", d->version);
    struct version_sums *s = slice_eq(name->arm, SLICE("small/0")) ? &d->old
                             : slice_eq(name->arm, slice_str(arm)) ? &d->new
                                                                   : NULL;
    if (!s || name->kind != TALLY_SLOW)
        return;
    s->asked += t->count[TALLY_ASKED];
    for (int b = 0; b < TALLY_BINS; b++) {
        s->answers += t->count[tally_answers(0, b)];
        s->good += t->count[tally_label(TALLY_EXPLICIT, true, false, b)];
        s->bad += t->count[tally_label(TALLY_EXPLICIT, false, false, b)];
    }
}

static void dump_reset(void *ctx)
{
    (void)ctx;
}

static void dump_done(void *ctx, enum err err)
{
    struct dump *d = ctx;
    d->done = err == ERR_OK;
    event_base_loopbreak(d->base);
}

static struct dump dump(bool shared)
{
    struct dump d = {.base = event_base_new()};
    struct learn_store *s;
    struct err_text t = {""};
    assert_int_equal(shared ? learn_store_redis_open(redis.url, "w:", d.base, &s, &t)
                            : learn_store_sqlite_open(path, d.base, &s, &t),
                     ERR_OK);
    while (!d.done) {
        s->ops->read(
            s, &(struct learn_read){dump_scorer, dump_unit, dump_unit, dump_reset, dump_done, &d});
        event_base_dispatch(d.base);
    }
    s->ops->close(s);
    event_base_free(d.base);
    return d;
}

static void same_labels(const struct dump *d)
{
    assert_int_equal(d->new.answers, d->old.answers);
    assert_int_equal(d->new.good, d->old.good);
    assert_int_equal(d->new.bad, d->old.bad);
    assert_int_equal(d->new.asked, 0); /* all but bins and labels is counted once */
}

/* ---- the tests ---- */

static void a_scorer_is_fitted(bool shared)
{
    struct learner *a = open_learner(shared), *b = shared ? open_learner(true) : a;
    double auroc = 0;
    int waiting = 0;

    traffic(a, b, true);
    unsigned version = await_version(a, &auroc);
    assert_int_equal(await_version(b, NULL), version);
    assert_true(auroc > 0.85);
    assert_int_equal(results(a, "published") + (shared ? results(b, "published") : 0), 1);
    struct dump d = dump(shared);
    assert_int_equal(d.version, version);
    assert_int_equal(d.old.asked, REQUESTS);
    assert_int_equal(d.old.answers, REQUESTS);
    same_labels(&d);

    for (int i = 0; i < 60; i++) /* after the change, and taken back */
        say(i % 2 ? a : b, i, i % 3 ? 500 : -1, clock_wall_us() + 1000000, &waiting);
    await(&waiting);
    struct dump later = dump(shared);
    assert_int_not_equal(later.old.good, d.old.good);
    same_labels(&later);

    post(a, REQUESTS); /* begun under the default, ends now: both versions have it */
    assert_true(learner_flush(a, 120000));
    say(b, REQUESTS, 1000, clock_wall_us(), &waiting);
    await(&waiting);
    later = dump(shared);
    assert_int_equal(later.old.answers, REQUESTS + 1);
    same_labels(&later);
    learner_close(a);
    if (shared)
        learner_close(b);
    a = open_learner(shared); /* another process */
    assert_int_equal(await_version(a, NULL), version);
    learner_close(a);
}

static void in_a_file(void **state)
{
    (void)state;
    a_scorer_is_fitted(false);
}

static void two_replicas(void **state)
{
    (void)state;
    a_scorer_is_fitted(true);
}

/* Labels that nothing tells: the default stays. */
static void not_better(void **state)
{
    struct learner *l = open_learner(false);
    (void)state;
    traffic(l, l, false);
    for (int i = 0; i < 3000 && !results(l, "not_better"); i++)
        usleep(20000);
    assert_int_equal(results(l, "not_better"), 1);
    assert_true(learner_flush(l, 120000));
    assert_int_equal(version_of(l, NULL), 0);
    assert_int_equal(results(l, "published"), 0);
    learner_close(l);
}

/* Labels change while requests are being counted again. */
static void labels_meanwhile(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        if (shared && !redis.pid)
            skip();
        struct learner *l = open_learner(shared);
        int waiting = 0;
        int64_t now_us = clock_wall_us(), limit_us = clock_mono_us() + INT64_C(120000000);
        traffic(l, l, true);
        for (int round = 1; !version_of(l, NULL) && clock_mono_us() < limit_us; round++) {
            for (int i = round % 7; i < REQUESTS; i += 7)
                say(l, i, (i + round) % 2 ? 1000 : 0, now_us + round, &waiting);
            await(&waiting);
        }
        assert_true(version_of(l, NULL) > 0);
        struct dump d = dump(shared);
        assert_int_equal(d.old.good + d.old.bad, 1000 * REQUESTS);
        same_labels(&d);
        learner_close(l);
        sqlite_files_remove(path);
    }
}

/* Killed at any time while it fits: the versions in force are whole, and the next one is fitted. */
static void killed_meanwhile(void **state)
{
    (void)state;
    struct learner *l = open_learner(false);
    for (int i = 0; i < REQUESTS; i++)
        post(l, i);
    assert_true(learner_flush(l, 120000));
    learner_close(l);
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        if (child == 0) {
            int waiting = 0;
            float x[CONFIDENCE_FEATURES];
            mailbox_init(&box);
            l = open_learner(false);
            for (int i = round; i < REQUESTS; i += 3)
                say(l, i, make_answer(i, x) ? 1000 : 0, clock_wall_us(), &waiting);
            await(&waiting);
            for (;;)
                pause();
        }
        usleep(350000 + 250000 * (useconds_t)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    l = open_learner(false);
    int waiting = 0;
    float x[CONFIDENCE_FEATURES];
    for (int i = 0; i < REQUESTS; i++)
        say(l, i, make_answer(i, x) ? 1000 : 0, clock_wall_us(), &waiting);
    await(&waiting);
    for (int i = 0; i < REQUESTS / 2; i++) /* news, whatever was said before */
        say(l, i, 1000, clock_wall_us(), &waiting);
    await(&waiting);
    await_version(l, NULL);
    struct dump d = dump(false);
    assert_int_equal(d.old.asked, REQUESTS);
    assert_int_equal(d.old.good + d.old.bad, 1000 * REQUESTS);
    same_labels(&d);
    learner_close(l);
}

/* A file of the schema before, which had no scorers, is brought up to date. */
static void a_file_of_before(void **state)
{
    struct learner *l = open_learner(false);
    sqlite3 *db;
    (void)state;
    post(l, 1);
    learner_close(l);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE scorers; PRAGMA user_version = 1", 0, 0, 0), 0);
    sqlite3_close(db);
    l = open_learner(false);
    traffic(l, l, true);
    await_version(l, NULL);
    learner_close(l);
}

/* What others wrote is refused: the default stays, and then the scorer that was there. */
static void foreign_texts(void **state)
{
    static const char *const bad[] = {"x", "1 2 3 4 1 1 scorer/1 9 0 0",
                                      "999 2 3 4 1 1 scorer/1 9 0 0", "1 2 3 4 1 1 scorer/1 9 20"};
    struct learner *l = open_learner(true);
    (void)state;
    traffic(l, l, false);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char command[160];
        snprintf(command, sizeof command, "HSET w:{learn}:scorers small \"%s\"", bad[i]);
        redis_server_do(&redis, command);
        assert_true(learner_flush(l, 120000));
        assert_int_equal(version_of(l, NULL), 0);
    }
    learner_close(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, each)
    const struct CMUnitTest tests[] = {
        TEST(in_a_file),        TEST(two_replicas),  TEST(not_better),       TEST(labels_meanwhile),
        TEST(killed_meanwhile), TEST(foreign_texts), TEST(a_file_of_before),
    };
    signal(SIGPIPE, SIG_IGN);
    mailbox_init(&box);
    int failed = cmocka_run_group_tests(tests, begin, end);
    mailbox_close(&box);
    mailbox_clear(&box);
    return failed;
}
