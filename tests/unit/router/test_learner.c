/* router/learner with its two stores, a file and a real redis-server: what is posted and labelled
 * is counted once, whatever is killed, stalled or emptied; replicas learn as one. */
#include <cmocka.h>
#include <event2/event.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "router/decide/beliefs.h"
#include "router/encoder/static_table.h"
#include "router/evidence.h"
#include "router/learn_store.h"
#include "router/learner.h"
#include "router/ledger_read.h"
#include "router/neighbours.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/policies/policy_fixture.h"
#include "tests/unit/sqlite_files.h"

static char dir[64], path[96], ledger_file[96];
static struct redis_server redis;

static void remove_files(void)
{
    sqlite_files_remove(path);
    sqlite_files_remove(ledger_file);
}

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/weir_learner_XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/learn.sqlite", dir);
    snprintf(ledger_file, sizeof ledger_file, "%s/ledger.sqlite", dir);
    if (redis_server_installed())
        redis_server_start(&redis);
    return 0;
}

static int end(void **state)
{
    (void)state;
    remove_files();
    if (redis.folder[0])
        redis_server_remove(&redis);
    return rmdir(dir);
}

static int each(void **state)
{
    (void)state;
    remove_files();
    if (redis.pid)
        redis_server_do(&redis, "FLUSHALL");
    return 0;
}

static struct learner *open_learner(bool shared)
{
    struct learner_options opt = {
        .path = shared ? NULL : path, .redis_url = redis.url, .prefix = "w:"};
    struct err_text t = {""};
    struct learner *l;
    if (shared && !redis.pid)
        skip();
    if (learner_open(&opt, &l, &t) != ERR_OK)
        fail_msg("%s", t.s);
    return l;
}

#define NOW (clock_wall_us())

/* about: its query, and when it was decided; 0: now. */
static void post_about(struct learner *l, const char *id, const char *model, int bin,
                       const struct evidence *about)
{
    static const float features[] = {1, 2};
    struct evidence_answer a[] = {{.model = model,
                                   .bin = bin,
                                   .chance = 0.5,
                                   .first = true,
                                   .served = true,
                                   .cost = 1000,
                                   .verdict_milli = -1,
                                   .features = features,
                                   .feature_count = 2}};
    learner_post(l, &(struct evidence){.tenant = "acme",
                                       .request_id = id,
                                       .route = "chat",
                                       .class_name = "math",
                                       .decided_wall_us =
                                           about->decided_wall_us ? about->decided_wall_us : NOW,
                                       .learn = true,
                                       .answers = a,
                                       .count = 1,
                                       .query = about->query,
                                       .query_dim = about->query_dim,
                                       .query_space = about->query_space});
}

static void post(struct learner *l, const char *id, const char *model, int bin)
{
    post_about(l, id, model, bin, &(struct evidence){.query = NULL});
}

/* ---- labels ---- */

struct asked {
    struct learner_label label;
    char id[64];
    bool done;
};

static void on_done(struct message *m, void *ctx)
{
    (void)ctx;
    CONTAINER_OF(CONTAINER_OF(m, struct learner_label, msg), struct asked, label)->done = true;
}

static void on_discard(struct message *m)
{
    (void)m;
    fail_msg("a label was discarded");
}

static struct mailbox box;

static void begin_word(struct asked *a, const char *tenant, const char *id, int value,
                       int64_t said_us)
{
    *a = (struct asked){.label = {.msg.discard = on_discard,
                                  .reply_to = &box,
                                  .on_done = on_done,
                                  .tenant = tenant,
                                  .model = "",
                                  .source = TALLY_EXPLICIT,
                                  .value_milli = value,
                                  .said_us = said_us,
                                  .note = ""}};
    snprintf(a->id, sizeof a->id, "%s", id);
    a->label.request_id = a->id;
}

static void say(struct learner *l, struct asked *a, const char *tenant, const char *id, int value,
                int64_t said_us)
{
    begin_word(a, tenant, id, value, said_us);
    learner_label(l, &a->label);
}

static void await(struct asked *a)
{
    struct pollfd p = {.fd = box.fd, .events = POLLIN};
    for (int i = 0; !a->done && i < 1000; i++) {
        (void)poll(&p, 1, 20);
        mailbox_drain(&box, NULL);
    }
    assert_true(a->done);
}

static enum err label(struct learner *l, const char *id, int value, int64_t said_us)
{
    struct asked a;
    say(l, &a, "acme", id, value, said_us);
    await(&a);
    return a.label.err;
}

/* ---- what the store has ---- */

struct dump {
    struct tally sum;
    size_t units;
    bool done;
    struct event_base *base;
};

static void dump_scorer(void *ctx, struct slice model, struct slice text)
{
    (void)ctx, (void)model, (void)text;
}

static void dump_unit(void *ctx, const struct learn_unit_name *name, const struct tally *t)
{
    struct dump *d = ctx;
    d->units++;
    for (int f = 0; f < TALLY_FIELDS; f++)
        if (name->kind == TALLY_SLOW)
            tally_add(&d->sum, f, t->count[f]);
        else
            assert_true(t->count[f] == 0 || tally_is_fast(f));
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

/* All counters, summed over contexts, arms and buckets. */
static struct dump dump(bool shared)
{
    struct dump d = {.base = event_base_new()};
    struct learn_store *s;
    struct err_text t = {""};
    enum err err = shared ? learn_store_redis_open(redis.url, "w:", d.base, &s, &t)
                          : learn_store_sqlite_open(path, d.base, &s, &t);
    assert_int_equal(err, ERR_OK);
    while (!d.done) {
        s->ops->read(
            s, &(struct learn_read){dump_scorer, dump_unit, dump_unit, dump_reset, dump_done, &d});
        event_base_dispatch(d.base);
    }
    s->ops->close(s);
    event_base_free(d.base);
    return d;
}

static int64_t good(const struct dump *d)
{
    int64_t sum = 0;
    for (int b = 0; b < TALLY_BINS; b++)
        sum += d->sum.count[tally_label(TALLY_EXPLICIT, true, false, b)];
    return sum;
}

static int64_t bad(const struct dump *d)
{
    int64_t sum = 0;
    for (int b = 0; b < TALLY_BINS; b++)
        sum += d->sum.count[tally_label(TALLY_EXPLICIT, false, false, b)];
    return sum;
}

/* ---- one learner ---- */

static void labels_come_and_go(bool shared)
{
    struct learner *l = open_learner(shared);
    struct asked a;
    struct dump d;

    post(l, "r1", "small", 3);
    post(l, "r2", "small", 3);
    assert_int_equal(label(l, "r1", 1000, 10), ERR_OK); /* before it was flushed */
    assert_int_equal(label(l, "r2", 0, 10), ERR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(label(l, "r1", 1000, 11 + i), ERR_OK);
    assert_true(learner_flush(l, 120000));
    d = dump(shared);
    assert_int_equal(d.sum.count[TALLY_ASKED], 2);
    assert_int_equal(d.sum.count[TALLY_RESOLVED], 2);
    assert_int_equal(good(&d), 1000);
    assert_int_equal(bad(&d), 1000);
    assert_int_equal(label(l, "r1", 250, 20), ERR_OK);  /* another mind */
    assert_int_equal(label(l, "r1", 1000, 15), ERR_OK); /* late: an older word */
    assert_int_equal(label(l, "r2", -1, 20), ERR_OK);   /* taken back */
    d = dump(shared);
    assert_int_equal(d.sum.count[TALLY_RESOLVED], 1);
    assert_int_equal(good(&d), 250);
    assert_int_equal(bad(&d), 750);
    assert_int_equal(d.sum.count[TALLY_ASKED], 2);

    assert_int_equal(label(l, "nobody", 0, 20), ERR_NOT_FOUND);
    say(l, &a, "other", "r1", 0, 99); /* not theirs */
    await(&a);
    assert_int_equal(a.label.err, ERR_NOT_FOUND);
    say(l, &a, "acme", "r1", 500, 99);
    await(&a);
    assert_true(a.label.changed);
    assert_string_equal(a.label.about, "small");
    learner_close(l);

    l = open_learner(shared); /* another process */
    assert_int_equal(label(l, "r1", 1000, 100), ERR_OK);
    learner_close(l);
    d = dump(shared);
    assert_int_equal(good(&d), 1000);
    assert_int_equal(bad(&d), 0);
}

static void labels_in_a_file(void **state)
{
    (void)state;
    labels_come_and_go(false);
}

static void labels_in_redis(void **state)
{
    (void)state;
    labels_come_and_go(true);
}

/* Of a repeated id the newest request of that tenant is meant. */
static void a_repeated_id(bool shared)
{
    struct learner *l = open_learner(shared);
    struct asked a;
    struct dump d;

    post(l, "same", "small", 3);
    assert_true(learner_flush(l, 120000));
    post(l, "same", "big", 4);
    assert_true(learner_flush(l, 120000));
    say(l, &a, "acme", "same", 1000, 1);
    await(&a);
    assert_string_equal(a.label.about, "big");
    d = dump(shared);
    assert_int_equal(d.sum.count[tally_label(TALLY_EXPLICIT, true, false, 4)], 1000);
    assert_int_equal(d.sum.count[tally_label(TALLY_EXPLICIT, true, false, 3)], 0);
    learner_close(l);
}

static void repeated_ids(void **state)
{
    (void)state;
    a_repeated_id(false);
    a_repeated_id(true);
}

/* ---- requests that only the ledger has ---- */

static struct ledger *open_ledger(void)
{
    struct err_text t = {""};
    struct ledger *ledger = ledger_open(ledger_file, 1000, &t);
    if (!ledger)
        fail_msg("%s", t.s);
    return ledger;
}

static struct learner *open_beside(struct ledger *ledger)
{
    struct learner_options opt = {.path = path, .ledger = ledger};
    struct err_text t = {""};
    struct learner *l;
    if (learner_open(&opt, &l, &t) != ERR_OK)
        fail_msg("%s", t.s);
    return l;
}

static struct ledger_attempt attempt(const char *role, const char *model, const char *outcome)
{
    return (struct ledger_attempt){.role = role,
                                   .model = model,
                                   .upstream_model = "",
                                   .backend = "",
                                   .endpoint = "",
                                   .outcome = outcome,
                                   .price_version = "",
                                   .served = strcmp(role, "serve") == 0 && *outcome == 'o',
                                   .confidence = -1,
                                   .verdict = ""};
}

/* One that an encoder looked at, whose first model was passed over and whose second failed. */
static void book(struct ledger *ledger, const char *id, const char *route, const char *purpose,
                 int64_t received_us)
{
    struct ledger_attempt rows[] = {
        attempt("classify", "encoder", "ok"),    attempt("escalated", "small", "ok"),
        attempt("lost", "stale", "unavailable"), attempt("serve", "broken", "unavailable"),
        attempt("serve", "big", "ok"),           attempt("serve", "big", "ok")};
    ledger_post(ledger, ledger_record_new(&(struct ledger_request){.request_id = id,
                                                                   .received_wall_us = received_us,
                                                                   .api = "chat",
                                                                   .requested_model = "auto",
                                                                   .tenant = "acme",
                                                                   .route = route,
                                                                   .policy_version = "1",
                                                                   .served_model = "big",
                                                                   .outcome = "ok",
                                                                   .class_name = "math",
                                                                   .class_tier = "static",
                                                                   .cache = "",
                                                                   .purpose = purpose,
                                                                   .cap = ""},
                                          rows, sizeof rows / sizeof *rows, NULL, 0));
}

static struct learner_label word(struct learner *l, const char *tenant, const char *id,
                                 const char *model, int value, int64_t said_us)
{
    struct asked a;
    begin_word(&a, tenant, id, value, said_us);
    a.label.model = model;
    learner_label(l, &a.label);
    await(&a);
    return a.label;
}

static size_t outcomes_of(const char *id)
{
    struct ledger_reader *r;
    struct ledger_story story;
    struct err_text t;
    struct arena a;
    arena_init(&a, 4096);
    assert_int_equal(ledger_reader_open(ledger_file, &r, &t), ERR_OK);
    assert_int_equal(ledger_reader_story(r, id, "acme", &a, &story, &t), ERR_OK);
    size_t n = story.outcome_count;
    arena_clear(&a);
    ledger_reader_close(r);
    return n;
}

static void found_in_the_ledger(void **state)
{
    struct ledger *ledger = open_ledger();
    struct learner *l = open_beside(ledger);
    struct learner_label said;

    (void)state;
    assert_true(learner_recalls(l));
    book(ledger, "r1", "chat", "serve", NOW);
    said = word(l, "acme", "r1", "", 1000, 10); /* its rows are still on their way */
    assert_int_equal(said.err, ERR_OK);
    assert_true(said.changed);
    assert_string_equal(said.about, "big");
    said = word(l, "acme", "r1", "", 1000, 11);
    assert_int_equal(said.err, ERR_OK);
    assert_false(said.changed);
    assert_true(word(l, "acme", "r1", "small", 0, 12).changed); /* passed over, but it answered */
    assert_int_equal(word(l, "acme", "r1", "broken", 0, 13).err, ERR_CONFLICT);
    assert_int_equal(word(l, "acme", "r1", "stale", 0, 13).err, ERR_CONFLICT);
    assert_int_equal(word(l, "acme", "r1", "encoder", 0, 13).err, ERR_CONFLICT);
    assert_int_equal(word(l, "other", "r1", "", 0, 13).err, ERR_NOT_FOUND);
    learner_close(l);
    assert_true(ledger_flush(ledger, 60000));
    assert_int_equal(outcomes_of("r1"), 2);

    l = open_beside(ledger); /* another process: the word is remembered, the request is not asked
                              * for again */
    assert_false(word(l, "acme", "r1", "", 1000, 14).changed);
    assert_true(word(l, "acme", "r1", "", -1, 15).changed);
    learner_close(l);
    ledger_close(ledger);
    assert_int_equal(outcomes_of("r1"), 3);
    assert_int_equal(dump(false).units, 0); /* nothing was learned */
}

static void not_found_in_the_ledger(void **state)
{
    struct ledger *ledger = open_ledger();
    struct learner *l = open_beside(ledger);

    (void)state;
    book(ledger, "old", "chat", "serve", NOW - (LEARN_REMEMBER_S + 60) * 1000000);
    book(ledger, "nowhere", "", "serve", NOW);
    book(ledger, "ours", "chat", "audit", NOW);
    assert_int_equal(word(l, "acme", "old", "", 0, 1).err, ERR_NOT_FOUND);
    assert_int_equal(word(l, "acme", "nowhere", "", 0, 1).err, ERR_NOT_FOUND);
    assert_int_equal(word(l, "acme", "ours", "", 0, 1).err, ERR_NOT_FOUND);
    assert_int_equal(word(l, "acme", "' OR 1=1 --", "", 0, 1).err, ERR_NOT_FOUND);
    assert_int_equal(word(l, "acme", "", "", 0, 1).err, ERR_NOT_FOUND);
    learner_close(l);
    ledger_close(ledger);
}

/* What is learned from is not taken from the ledger, though that may have it first. */
static void learned_and_in_the_ledger(void **state)
{
    struct ledger *ledger = open_ledger();
    struct learner *l = open_beside(ledger);
    struct dump d;
    char id[16];

    (void)state;
    for (int i = 0; i < 40; i++) {
        snprintf(id, sizeof id, "r%d", i);
        post(l, id, "big", 3);
        book(ledger, id, "chat", "serve", NOW);
        if (i % 2)
            assert_true(ledger_flush(ledger, 60000));
        assert_int_equal(label(l, id, 1000, 10), ERR_OK);
        assert_int_equal(label(l, id, 1000, 11), ERR_OK);
    }
    learner_close(l);
    ledger_close(ledger);
    d = dump(false);
    assert_int_equal(d.sum.count[TALLY_RESOLVED], 40);
    assert_int_equal(good(&d), 40000);
    assert_int_equal(outcomes_of("r7"), 1);
}

static void without_a_ledger_to_read(void **state)
{
    struct ledger *ledger = open_ledger();
    struct learner *l = open_beside(ledger);

    (void)state;
    sqlite_files_remove(ledger_file);
    assert_int_equal(word(l, "acme", "r1", "", 0, 1).err, ERR_OVERLOADED);
    learner_close(l);
    ledger_close(ledger);
}

/* ---- kill -9 ---- */

static void work_until_killed(bool shared, int begun)
{
    struct learner *l = open_learner(shared);
    char id[64];
    mailbox_init(&box);
    for (int i = 0;; i++) {
        snprintf(id, sizeof id, "%d_%d", (int)getpid(), i);
        post(l, id, i % 2 ? "small" : "big", i % TALLY_BINS);
        if (i % 5 == 0)
            label(l, id, 1000, i);
        if (i == 0 && write(begun, "", 1) != 1)
            _exit(1);
        if (i % 7 == 0)
            usleep(1000);
    }
}

/* Counters and what they count are written in one step: after any death they agree. */
static void killed_at_any_time(bool shared)
{
    struct rng rng;
    if (shared && !redis.pid)
        skip();
    rng_seed(&rng, 3);
    for (int round = 0; round < 4; round++) {
        int begun[2];
        char byte;
        assert_int_equal(pipe(begun), 0);
        pid_t child = fork();
        if (child == 0) {
            work_until_killed(shared, begun[1]);
            _exit(1);
        }
        assert_int_equal(read(begun[0], &byte, 1), 1);
        close(begun[0]);
        close(begun[1]);
        usleep((useconds_t)rng_below(&rng, 400000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    struct dump d = dump(shared);
    int64_t answers = 0;
    for (int b = 0; b < TALLY_BINS; b++)
        answers += d.sum.count[tally_answers(0, b)];
    assert_true(d.sum.count[TALLY_ASKED] > 0);
    assert_int_equal(d.sum.count[TALLY_ASKED], answers);
    assert_int_equal(d.sum.count[TALLY_COST_NANOUSD], 1000 * answers);
    assert_int_equal(good(&d), 1000 * d.sum.count[TALLY_RESOLVED]);
    assert_int_equal(d.sum.count[TALLY_REALISED_MILLI], good(&d));
    assert_true(d.sum.count[TALLY_RESOLVED] <= answers);
}

static void a_killed_process(void **state)
{
    (void)state;
    killed_at_any_time(false);
    killed_at_any_time(true);
}

/* ---- a Redis in trouble ---- */

static void a_stalled_redis(void **state)
{
    struct learner *l = open_learner(true);
    struct dump d;
    char id[32];
    (void)state;
    for (int i = 0; i < 300; i++) {
        snprintf(id, sizeof id, "r%d", i);
        post(l, id, "small", 1);
        if (i == 100) { /* in the middle of a batch, longer than a call may take */
            kill(redis.pid, SIGSTOP);
            assert_false(learner_flush(l, 2500));
            kill(redis.pid, SIGCONT);
        }
    }
    assert_true(learner_flush(l, 120000));
    d = dump(true);
    assert_int_equal(d.sum.count[TALLY_ASKED], 300);
    assert_int_equal(label(l, "r0", 1000, 1), ERR_OK);
    assert_int_equal(label(l, "r299", 1000, 1), ERR_OK);
    d = dump(true);
    assert_int_equal(good(&d), 2000);
    learner_close(l);
}

static void a_redis_that_is_away(void **state)
{
    struct learner *l = open_learner(true);
    struct dump d;
    (void)state;
    post(l, "before", "small", 1);
    assert_true(learner_flush(l, 120000));
    redis_server_stop(&redis); /* and all that it had is lost */
    assert_int_equal(label(l, "before", 1000, 1), ERR_OVERLOADED);
    for (int i = 0; i < 70000; i++) { /* more than may wait */
        char id[32];
        snprintf(id, sizeof id, "r%d", i);
        post(l, id, "small", 1);
        if (i % 10000 == 0)
            assert_false(learner_flush(l, 1)); /* they are taken, and go nowhere */
    }
    assert_false(learner_flush(l, 300));
    redis_server_start(&redis);
    assert_true(learner_flush(l, 120000));
    d = dump(true);
    assert_true(d.sum.count[TALLY_ASKED] > 60000);
    assert_int_equal(label(l, "r69999", 1000, 1), ERR_OK);
    assert_int_equal(label(l, "before", 1000, 1), ERR_NOT_FOUND);
    assert_true(atomic_load(&stats_cell(learner_stats(l), STAT_LEARN_DROPPED, NULL)->value) > 0);
    learner_close(l);
}

/* ---- replicas ---- */

#define POLICY(cascade)                                                                            \
    "version: 1\n" FIXTURE_BACKEND "models:\n"                                                     \
    "  small: {backend: local, price: {input: 0.1, output: 0.4}}\n"                                \
    "  big: {backend: local, price: {input: 2, output: 8}}\n"                                      \
    "routes:\n"                                                                                    \
    "  - {name: chat, match: {model: auto}, cascade: " cascade ", objective: {floor: 0.8}}\n"

static struct policy *policy(void)
{
    return fixture_load(POLICY("[small, big]"));
}

/* Waits until beliefs have seen so many answers of a model. */
static struct beliefs *beliefs_of(struct learner *l, double asked)
{
    for (int i = 0; i < 3000; i++) {
        assert_true(learner_flush(l, 60000));
        struct beliefs *b = learner_beliefs(l, NULL);
        const struct beliefs_context *c = b ? beliefs_find(b, SLICE("chat"), SLICE("math")) : NULL;
        if (c && c->arm[0].asked + c->arm[1].asked > asked - 0.5)
            return b;
        beliefs_unref(b);
        usleep(20000);
    }
    fail_msg("beliefs never saw %.0f answers", asked);
    return NULL;
}

#define REQUESTS 300

/* The same traffic through n learners; each label goes to some replica, some twice. */
static struct tally traffic(int n, struct beliefs **beliefs)
{
    struct learner *l[3];
    struct asked *asked = mem_zalloc((size_t)REQUESTS * 2, sizeof *asked);
    struct policy *p = policy();
    struct rng rng;
    char id[32];

    redis_server_do(&redis, "FLUSHALL");
    for (int i = 0; i < n; i++) {
        l[i] = open_learner(true);
        learner_set_policy(l[i], p);
    }
    policy_unref(p);
    rng_seed(&rng, 11);
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(id, sizeof id, "r%d", i);
        post(l[(int)rng_below(&rng, 3) % n], id, i % 3 ? "small" : "big",
             (int)rng_below(&rng, TALLY_BINS));
    }
    for (int i = 0; i < 2 * REQUESTS; i++) {
        int r = (int)rng_below(&rng, REQUESTS);
        snprintf(id, sizeof id, "r%d", r);
        say(l[(int)rng_below(&rng, 3) % n], &asked[i], "acme", id, (int)rng_below(&rng, 3) * 500,
            (int64_t)rng_below(&rng, 20));
    }
    for (int i = 0; i < 2 * REQUESTS; i++) {
        await(&asked[i]);
        assert_int_equal(asked[i].label.err, ERR_OK);
    }
    for (int i = 0; i < n; i++)
        assert_true(learner_flush(l[i], 120000));
    for (int i = 0; i < n; i++)
        beliefs[i] = beliefs_of(l[i], REQUESTS);
    for (int i = 0; i < n; i++)
        learner_close(l[i]);
    free(asked);
    return dump(true).sum;
}

static void same_bits(const struct beliefs *a, const struct beliefs *b)
{
    assert_int_equal(beliefs_count(a), beliefs_count(b));
    for (size_t i = 0; i < beliefs_count(a); i++) {
        struct beliefs_context x = *beliefs_at(a, i), y = *beliefs_at(b, i);
        assert_string_equal(x.label, y.label);
        for (int j = 0; j < x.arms; j++)
            x.arm[j].model = y.arm[j].model = NULL; /* names are each one's own copies */
        for (int j = 0; j < x.arms; j++)
            assert_memory_equal(&x.arm[j].p, &y.arm[j].p, sizeof x.arm[j].p);
        assert_memory_equal(&x.floor_share, &y.floor_share, sizeof x.floor_share);
        assert_memory_equal(&x.draw, &y.draw, sizeof x.draw);
        assert_memory_equal(&x.price.v, &y.price.v, sizeof x.price.v);
    }
}

static void three_replicas_learn_as_one(void **state)
{
    struct beliefs *one[1], *three[3];
    (void)state;
    if (!redis.pid)
        skip();
    struct tally alone = traffic(1, one), together = traffic(3, three);
    assert_memory_equal(&alone, &together, sizeof alone);
    assert_int_equal(alone.count[TALLY_ASKED], REQUESTS);
    for (int i = 0; i < 3; i++) {
        same_bits(one[0], three[i]);
        beliefs_unref(three[i]);
    }
    beliefs_unref(one[0]);
}

/* ---- a model that is not what it was ---- */

/* Labels of eight hours ago would weigh a sixteenth by the half-life of the last hours. */
static void a_change_is_remembered(void **state)
{
    struct policy *p = policy();
    struct learner *l = open_learner(false);
    int64_t now_us = NOW, hour_us = INT64_C(3600) * 1000000;

    (void)state;
    learner_set_policy(l, p);
    for (int i = 0; i < 160; i++) {
        bool later = i >= 120;
        char id[16];

        snprintf(id, sizeof id, "r%d", i);
        post_about(l, id, "small", 3,
                   &(struct evidence){.decided_wall_us = now_us - (later ? 8 : 16) * hour_us});
        assert_int_equal(label(l, id, later || i % 10 == 0 ? 0 : 1000, 10), ERR_OK);
    }
    assert_true(learner_flush(l, 120000));
    struct beliefs *b = learner_beliefs(l, NULL);
    const struct beliefs_arm *a = &beliefs_find(b, SLICE("chat"), SLICE("math"))->arm[0];
    assert_string_equal(a->model, "small");
    assert_true(a->changed_us == tally_bucket_start(TALLY_QUICK, now_us - 8 * hour_us));
    assert_true(a->p[0][3] < 0.25); /* of all labels two thirds are good */
    assert_true(beliefs_find(b, SLICE("chat"), SLICE("math"))->arm[1].changed_us == CHANGE_NONE);
    beliefs_unref(b);
    learner_close(l);
    policy_unref(p);
}

/* ---- another policy ---- */

/* The model that the route's cascade has first, in the beliefs of that policy, and their version.
 */
static uint64_t first_arm(struct learner *l, const struct policy *p, const char *model,
                          double asked)
{
    struct beliefs *b = learner_beliefs(l, p);
    assert_non_null(b);
    const struct beliefs_context *c = beliefs_find(b, SLICE("chat"), SLICE("math"));
    uint64_t version = beliefs_version(b);
    assert_string_equal(c->arm[0].model, model);
    /* a bucket of time may end meanwhile, and what it counted weighs a little less then */
    assert_true(fabs(c->arm[0].asked + c->arm[1].asked - asked) <= 0.05 * asked);
    beliefs_unref(b);
    return version;
}

/* Requests of each policy find its own beliefs, from before it serves to some time after. */
static void each_policy_has_its_own(void **state)
{
    struct policy *a = policy(), *b = fixture_load(POLICY("[big, small]")), *c = policy(),
                  *none = fixture_load(
                      "version: 1\n" FIXTURE_BACKEND
                      "models:\n  small: {backend: local, price: {input: 0.1, output: 0.4}}\n"
                      "routes:\n  - {name: chat, match: {model: auto}, cascade: [small]}\n");
    struct learner *l = open_learner(false);
    uint64_t version;

    (void)state;
    assert_null(learner_beliefs(l, a));
    assert_true(learner_prepare(l, a, 60000));
    learner_set_policy(l, a);
    for (int i = 0; i < 40; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%d", i);
        post(l, id, "small", i % TALLY_BINS);
    }
    assert_true(learner_flush(l, 60000));
    version = first_arm(l, a, "small", 40);
    assert_true(learner_prepare(l, b, 60000));
    assert_true(learner_prepare(l, b, 0)); /* it is */
    assert_true(first_arm(l, b, "big", 40) > version);
    assert_true(first_arm(l, a, "small", 40) == version);
    assert_true(first_arm(l, NULL, "small", 40) == version);
    learner_set_policy(l, b);
    post(l, "another", "small", 3);
    assert_true(learner_flush(l, 60000));
    first_arm(l, b, "big", 41);
    first_arm(l, NULL, "big", 41);
    assert_true(first_arm(l, a, "small", 40) == version);
    learner_set_policy(l, c); /* nobody prepared it */
    assert_true(learner_flush(l, 60000));
    first_arm(l, NULL, "small", 41);
    first_arm(l, b, "big", 41);
    assert_true(learner_prepare(l, none, 60000));
    assert_null(learner_beliefs(l, none));
    first_arm(l, b, "big", 41);
    learner_set_policy(l, none);
    assert_true(learner_flush(l, 60000));
    assert_null(learner_beliefs(l, NULL));
    learner_close(l);

    /* The next process knows it all before its first request. */
    l = open_learner(false);
    assert_true(learner_prepare(l, a, 60000));
    first_arm(l, a, "small", 41);
    learner_close(l);
    policy_unref(a);
    policy_unref(b);
    policy_unref(c);
    policy_unref(none);
}

/* A store that does not answer keeps nobody waiting for long. */
static void a_policy_without_a_store(void **state)
{
    struct learner_options opt = {.redis_url = "unix:/no/such/socket", .prefix = "w:"};
    struct policy *p = policy();
    struct err_text t = {""};
    struct learner *l;

    (void)state;
    assert_int_equal(learner_open(&opt, &l, &t), ERR_OK);
    assert_true(learner_prepare(l, p, 60000));
    first_arm(l, p, "small", 0);
    learner_close(l);
    policy_unref(p);
}

/* ---- opening ---- */

/* ---- neighbours ---- */

/* Waits until they are made of so many questions. */
static void await_neighbours(struct learner *l, size_t questions)
{
    size_t rows = SIZE_MAX;

    for (int i = 0; i < 6000; i++) {
        struct neighbours *n = learner_neighbours(l);
        const struct neighbours_route *r = neighbours_find(n, SLICE("chat"));
        rows = r ? neighbours_rows(r) : SIZE_MAX;
        neighbours_unref(n);
        if (rows == questions)
            return;
        usleep(20000);
    }
    fail_msg("%zu questions are neighbours, not %zu", rows, questions);
}

/* The first ones that are made. */
static size_t first_neighbours(struct learner *l)
{
    struct neighbours *n = NULL;

    for (int i = 0; i < 6000 && !n; i++) {
        n = learner_neighbours(l);
        usleep(n ? 0 : 20000);
    }
    assert_non_null(n);
    size_t rows = neighbours_rows(neighbours_find(n, SLICE("chat")));
    neighbours_unref(n);
    return rows;
}

static void serve_policy(struct learner *l)
{
    struct policy *p = policy();

    learner_set_policy(l, p);
    policy_unref(p);
}

static const int8_t query[1024] = {127, 3, -20};

/* Its dimensions and space are those of the built-in table. */
static struct evidence a_query(void)
{
    const struct static_table *table = static_table_builtin();

    return (struct evidence){.query = query,
                             .query_dim = static_table_dim(table),
                             .query_space =
                                 fingerprint_full(static_table_space(table), ENCODER_STATIC)};
}

/* A store that shows a request twice, here of a repeated id, makes one neighbour of it; vectors of
 * another encoder, of other dimensions or without a direction make none. All is there before the
 * first look. */
static void who_becomes_a_neighbour(bool shared)
{
    struct learner *l = open_learner(shared);
    struct evidence about = a_query(), space = about, dim = about, none = about, zero = about;
    static const int8_t zeros[1024];
    static const char *const ids[] = {"twice", "good", "space", "dim", "none", "zero"};

    space.query_space.bytes[0] ^= 1;
    dim.query_dim--;
    none.query = NULL;
    none.query_dim = 0;
    zero.query = zeros;
    post_about(l, "twice", "small", 3, &about);
    assert_true(learner_flush(l, 60000));
    post_about(l, "twice", "small", 3, &about);
    post_about(l, "good", "big", 3, &about);
    post_about(l, "silent", "big", 3, &about); /* nobody says a word about it */
    post_about(l, "space", "big", 3, &space);
    post_about(l, "dim", "big", 3, &dim);
    post_about(l, "none", "big", 3, &none);
    post_about(l, "zero", "big", 3, &zero);
    assert_true(learner_flush(l, 60000));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        assert_int_equal(label(l, ids[i], 1000, 10), ERR_OK);
    assert_true(learner_flush(l, 60000));
    assert_null(learner_neighbours(l)); /* without a policy */
    serve_policy(l);
    assert_int_equal(first_neighbours(l), 2);
    learner_close(l);
}

static void neighbours_of_a_file(void **state)
{
    (void)state;
    who_becomes_a_neighbour(false);
}

static void neighbours_of_redis(void **state)
{
    (void)state;
    who_becomes_a_neighbour(true);
}

/* A request that a replica of a later version remembers is left as it is: a word about it is not
 * taken here, and nothing else stops. */
static void a_line_of_a_later_version(void **state)
{
    struct learner *l = open_learner(true);
    struct evidence about = a_query();
    struct asked a;

    (void)state;
    post_about(l, "ours", "small", 3, &about);
    post_about(l, "later", "small", 3, &about);
    assert_true(learner_flush(l, 60000));
    assert_string_equal(
        redis_server_do(&redis, "HSET \"w::{learn}:m:acme later\" t \"4 what comes some day\""),
        ":0\r\n");
    say(l, &a, "acme", "later", 1000, 10);
    await(&a);
    assert_int_equal(a.label.err, ERR_NOT_FOUND);
    assert_false(a.label.changed);
    assert_int_equal(label(l, "ours", 1000, 10), ERR_OK);
    assert_true(learner_flush(l, 60000));
    serve_policy(l);
    assert_int_equal(first_neighbours(l), 1);
    learner_close(l);
    assert_string_equal(redis_server_do(&redis, "HGET \"w::{learn}:m:acme later\" t"),
                        "$21\r\n4 what comes some day\r\n");
    struct dump d = dump(true);
    assert_int_equal(d.sum.count[TALLY_ASKED], 2);
    assert_int_equal(d.sum.count[TALLY_RESOLVED], 1);
}

/* What others are told reaches a replica as increments; each word, and each that is taken back,
 * makes its neighbours anew, also when it is the last for long. */
static void neighbours_of_another_replica(void **state)
{
    struct learner *one = open_learner(true), *two = open_learner(true);
    struct evidence about = a_query();

    (void)state;
    serve_policy(one);
    serve_policy(two);
    await_neighbours(two, 0); /* it has looked once */
    for (int i = 0; i < 2; i++) {
        post_about(one, i ? "last" : "first", "small", 3, &about);
        assert_int_equal(label(one, i ? "last" : "first", 1000, 10), ERR_OK);
        await_neighbours(two, (size_t)i + 1);
    }
    assert_int_equal(label(one, "last", -1, 11), ERR_OK);
    await_neighbours(two, 1);
    await_neighbours(one, 1);
    learner_close(one);
    learner_close(two);
}

static void what_cannot_be_opened(void **state)
{
    struct learner *l;
    struct err_text t = {""};
    (void)state;
    assert_int_not_equal(learner_open(&(struct learner_options){.path = "/no/such/dir/x"}, &l, &t),
                         ERR_OK);
    assert_non_null(strstr(t.s, "/no/such/dir/x"));
    FILE *f = fopen(path, "w");
    fputs("no database at all, but long enough to be looked at as one: 0123456789 0123456789", f);
    fclose(f);
    assert_int_not_equal(learner_open(&(struct learner_options){.path = path}, &l, &t), ERR_OK);
    assert_int_not_equal(
        learner_open(&(struct learner_options){.redis_url = "http://x", .prefix = ""}, &l, &t),
        ERR_OK);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, each)
    const struct CMUnitTest tests[] = {
        TEST(labels_in_a_file),
        TEST(labels_in_redis),
        TEST(repeated_ids),
        TEST(found_in_the_ledger),
        TEST(not_found_in_the_ledger),
        TEST(learned_and_in_the_ledger),
        TEST(without_a_ledger_to_read),
        TEST(a_killed_process),
        TEST(a_stalled_redis),
        TEST(a_redis_that_is_away),
        TEST(three_replicas_learn_as_one),
        TEST(a_change_is_remembered),
        TEST(each_policy_has_its_own),
        TEST(a_policy_without_a_store),
        TEST(neighbours_of_a_file),
        TEST(neighbours_of_redis),
        TEST(a_line_of_a_later_version),
        TEST(neighbours_of_another_replica),
        TEST(what_cannot_be_opened),
    };
    signal(SIGPIPE, SIG_IGN);
    mailbox_init(&box);
    int failed = cmocka_run_group_tests(tests, begin, end);
    mailbox_close(&box);
    mailbox_clear(&box);
    return failed;
}
