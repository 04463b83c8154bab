/* router/learner_near when a model changes: what it did before is no longer taken as told, and
 * that does not wait for the usual pause. */
#include <cmocka.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "router/decide/beliefs.h"
#include "router/decide/change.h"
#include "router/encoder/static_table.h"
#include "router/evidence.h"
#include "router/learner.h"
#include "router/neighbours.h"
#include "tests/unit/policies/policy_fixture.h"
#include "tests/unit/sqlite_files.h"

#define HOUR_US (INT64_C(3600) * 1000000)

/* In the place of libc's: each look at the neighbours seems to take ten seconds of CPU time, so
 * that the usual pause is a minute, the longest. */
static _Atomic int asked;

int getrusage(int who, struct rusage *u)
{
    (void)who;
    *u = (struct rusage){.ru_utime.tv_sec = 10 * (atomic_fetch_add(&asked, 1) + 1)};
    return 0;
}

/* And the wall clock can be put forward. */
static _Atomic int64_t later_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
    int status = (int)syscall(SYS_clock_gettime, id, t);

    if (id == CLOCK_REALTIME)
        t->tv_sec += atomic_load(&later_s);
    return status;
}

static char dir[64], path[96];
static struct mailbox box;

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/weir_near_XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/learn.sqlite", dir);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sqlite_files_remove(path);
    return rmdir(dir);
}

static struct learner *open_learner(void)
{
    struct err_text t = {""};
    struct learner *l;

    if (learner_open(&(struct learner_options){.path = path, .prefix = ""}, &l, &t) != ERR_OK)
        fail_msg("%s", t.s);
    return l;
}

static void serve_policy(struct learner *l)
{
    struct policy *p = fixture_load(
        "version: 1\n" FIXTURE_BACKEND "models:\n"
        "  small: {backend: local, price: {input: 0.1, output: 0.4}}\n"
        "  big: {backend: local, price: {input: 2, output: 8}}\n"
        "routes:\n"
        "  - {name: chat, match: {model: auto}, cascade: [small, big], objective: {floor: 0.8}}\n");

    learner_set_policy(l, p);
    policy_unref(p);
}

/* ---- requests and words about them ---- */

static bool done;

static void on_done(struct message *m, void *ctx)
{
    (void)m, (void)ctx;
    done = true;
}

static void on_discard(struct message *m)
{
    (void)m;
    fail_msg("a label was discarded");
}

static void label(struct learner *l, const char *id, int value_milli)
{
    struct pollfd p = {.fd = box.fd, .events = POLLIN};
    struct learner_label word = {.msg.discard = on_discard,
                                 .reply_to = &box,
                                 .on_done = on_done,
                                 .tenant = "acme",
                                 .request_id = id,
                                 .model = "",
                                 .source = TALLY_EXPLICIT,
                                 .value_milli = value_milli,
                                 .said_us = 10,
                                 .note = ""};

    done = false;
    learner_label(l, &word);
    for (int i = 0; !done && i < 1000; i++) {
        (void)poll(&p, 1, 20);
        mailbox_drain(&box, NULL);
    }
    assert_true(done);
    assert_int_equal(word.err, ERR_OK);
}

/* An answer of that time, of which somebody says so. */
static void told(struct learner *l, int number, const char *model, int64_t decided_us, bool good)
{
    static const int8_t query[NEIGHBOURS_MAX_DIM] = {127, 3, -20};
    static const float features[] = {1, 2};
    const struct static_table *table = static_table_builtin();
    struct evidence_answer a = {.model = model,
                                .bin = 3,
                                .chance = 0.5,
                                .first = true,
                                .served = true,
                                .cost = 1000,
                                .verdict_milli = -1,
                                .features = features,
                                .feature_count = 2};
    char id[16];

    snprintf(id, sizeof id, "r%d", number);
    learner_post(l, &(struct evidence){.tenant = "acme",
                                       .request_id = id,
                                       .route = "chat",
                                       .class_name = "math",
                                       .decided_wall_us = decided_us,
                                       .learn = true,
                                       .answers = &a,
                                       .count = 1,
                                       .query = query,
                                       .query_dim = static_table_dim(table),
                                       .query_space = fingerprint_full(static_table_space(table),
                                                                       ENCODER_STATIC)});
    label(l, id, good ? 1000 : 0);
}

/* How many questions are neighbours once there are other than `before`; that, if it stays so for
 * half of a pause. SIZE_MAX: no neighbours were made yet. */
static size_t rows_after(struct learner *l, size_t before)
{
    int64_t limit_us = clock_mono_us() + 30 * INT64_C(1000000);
    size_t rows = before;

    while (rows == before && clock_mono_us() < limit_us) {
        struct neighbours *n = learner_neighbours(l);
        const struct neighbours_route *r = neighbours_find(n, SLICE("chat"));
        rows = r ? neighbours_rows(r) : SIZE_MAX;
        neighbours_unref(n);
        usleep(rows == before ? 20000 : 0);
    }
    return rows;
}

enum { SMALL, BIG };

static int64_t changed_us(struct learner *l, int arm)
{
    struct beliefs *b = learner_beliefs(l, NULL);
    const struct beliefs_context *c = beliefs_find(b, SLICE("chat"), SLICE("math"));
    int64_t since_us = c ? c->arm[arm].changed_us : CHANGE_NONE;

    beliefs_unref(b);
    return since_us;
}

/* ---- a change ---- */

/* A question that only a changed model's old answers speak of is no neighbour any more. Of the new
 * ones some may have been told only when the change was known already. Then another model turns out
 * to have changed, before the first one did; and a day later both still have, at the same moment.
 */
static void changes_are_heeded_at_once_and_kept(void **state)
{
    enum { OLD = 40, OTHERS = 40, NEW = 12, DAY = 30 * 3600 };
    struct learner *l = open_learner();
    int64_t now_us = clock_wall_us(), small_us, big_us;
    int next = OLD + OTHERS + NEW;

    (void)state;
    for (int i = 0; i < OLD + OTHERS; i++)
        told(l, i, i < OLD ? "small" : "big", now_us - 8 * HOUR_US, true);
    assert_true(learner_flush(l, 120000));
    serve_policy(l);
    assert_int_equal(rows_after(l, SIZE_MAX), OLD + OTHERS);
    assert_true(changed_us(l, SMALL) == CHANGE_NONE);
    assert_true(atomic_load(&asked) > 0); /* else the pause is short */

    for (int i = 0; i < NEW; i++)
        told(l, OLD + OTHERS + i, "small", now_us, false);
    assert_true(learner_flush(l, 120000));
    assert_true(changed_us(l, SMALL) != CHANGE_NONE && changed_us(l, BIG) == CHANGE_NONE);
    size_t rows = rows_after(l, OLD + OTHERS);
    assert_in_range(rows, OTHERS, OTHERS + NEW);

    for (int i = 0; i < NEW; i++)
        told(l, next++, "big", now_us - HOUR_US, false);
    assert_true(learner_flush(l, 120000));
    small_us = changed_us(l, SMALL);
    big_us = changed_us(l, BIG);
    assert_true(big_us != CHANGE_NONE && big_us < small_us);
    size_t rows_then = rows_after(l, rows);
    assert_true(rows_then != rows && rows_then <= 2 * NEW);

    atomic_store(&later_s, DAY);
    for (int i = 0; i < 2 * NEW; i++)
        told(l, next++, i % 2 ? "big" : "small", clock_wall_us(), false);
    assert_true(learner_flush(l, 120000));
    assert_true(changed_us(l, SMALL) == small_us && changed_us(l, BIG) == big_us);
    learner_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_heeded_at_once_and_kept),
    };
    mailbox_init(&box);
    int failed = cmocka_run_group_tests(tests, begin, end);
    mailbox_close(&box);
    mailbox_clear(&box);
    return failed;
}
