/* Replicas that share a Redis learn as one: what any of them is told by its audits all know, once
 * each, also who comes later, whatever was written down until then. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "cache/cache_learned.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/cache/samples.h"

/* Of what must come to be, however slow the machine. */
#define PATIENCE_US INT64_C(60000000)
#define EACH        200 /* labels of one replica: alone too few to be warm */

static struct redis_server server;
static struct cache_harness a, b;
static int told; /* labels ever: no two are alike */

static struct cache_facts facts_of(const struct cache_harness *h)
{
    struct cache_facts f;
    cache_facts(h->cache, &f);
    return f;
}

/* Its first budget is that of the scope "acme" from now on. */
static void ask_once(struct cache_harness *h)
{
    struct cache_fields f = sample_fields("acme", 1);

    cache_harness_ask(h, 1, &f, &cache_harness_by_meaning, false);
    cache_ask_free(cache_harness_next(h));
}

static void open_replica(struct cache_harness *h)
{
    struct cache_options opt = {.redis_url = server.url,
                                .prefix = "weir",
                                .redis_budget_us = PATIENCE_US,
                                .max_entries = 1000,
                                .max_bytes = 16 << 20,
                                .dim = SAMPLE_DIM,
                                .fingerprint = {1, 2, 3},
                                .seed = 1};
    struct err_text t;
    int64_t now_ms, end_us = clock_mono_us() + PATIENCE_US;

    cache_harness_init(h);
    if (cache_open(&opt, &h->cache, &t))
        fail_msg("%s", t.s);
    while (!cache_current(h->cache, &now_ms)) {
        assert_true(clock_mono_us() < end_us);
        usleep(5000);
    }
    ask_once(h);
}

static int set_up(void **state)
{
    (void)state;
    if (!redis_server_installed())
        skip();
    memset(&server, 0, sizeof server);
    redis_server_start(&server);
    open_replica(&a);
    open_replica(&b);
    told = 0;
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

static void learn(const struct cache_harness *h, uint64_t answer, bool right)
{
    struct cache_label l = {.entry = 1,
                            .answer = answer,
                            .right = right,
                            .audit = true,
                            .weight = 1,
                            .probability = 0.9,
                            .budget = 1,
                            .audit_share = 1};

    l.features[0] = 1;
    l.features[1] = (float)(told % 100) / 100;
    told++;
    cache_learn(h->cache, &l);
}

static void learn_many(const struct cache_harness *h, int count)
{
    for (int i = 0; i < count; i++)
        learn(h, 1000 + (uint64_t)told, told % 10 != 0);
}

/* Of the scope, and of all scopes together. */
static void wait_learned(const struct cache_harness *h, uint64_t count)
{
    int64_t end_us = clock_mono_us() + PATIENCE_US;
    struct cache_facts f;

    do {
        f = facts_of(h);
        if (f.risk.audits > count || f.risk.labels > count)
            fail_msg("%d audits, %d labels, and only %d were told", (int)f.risk.audits,
                     (int)f.risk.labels, (int)count);
        if (clock_mono_us() > end_us)
            fail_msg("%d audits, %d labels of %d", (int)f.risk.audits, (int)f.risk.labels,
                     (int)count);
        usleep(5000);
    } while (f.risk.audits < count || f.risk.labels < count);
}

static void replicas_learn_as_one(void **state)
{
    struct cache_harness c;

    (void)state;
    learn_many(&a, EACH);
    learn_many(&b, EACH);
    wait_learned(&a, 2 * EACH);
    wait_learned(&b, 2 * EACH);
    assert_true(facts_of(&a).risk.warm && facts_of(&b).risk.warm);
    assert_int_equal(facts_of(&a).risk.audited_wrong, 2 * EACH / 10);
    assert_int_equal(facts_of(&b).risk.audited_wrong, 2 * EACH / 10);
    for (int i = 0; i < RISK_FEATURES; i++) /* the same labels in the same order */
        assert_true(facts_of(&a).risk.weights[i] == facts_of(&b).risk.weights[i]);
    open_replica(&c); /* notes hold little of it yet */
    wait_learned(&c, 2 * EACH);
    assert_true(facts_of(&c).risk.warm);
    cache_harness_clear(&c);
}

/* Two wrong answers put an answer in quarantine, whoever found them. */
static void quarantine_is_everybodys(void **state)
{
    (void)state;
    learn(&a, 77, false);
    wait_learned(&b, 1);
    assert_int_equal(facts_of(&a).quarantined + facts_of(&b).quarantined, 0);
    learn(&b, 77, false);
    wait_learned(&a, 2);
    wait_learned(&b, 2);
    assert_int_equal(facts_of(&a).quarantined, 1);
    assert_int_equal(facts_of(&b).quarantined, 1);
}

/* Each knows how many requests there were for the wrong answers that it knows of. */
static void requests_are_counted_together(void **state)
{
    int64_t end_us = clock_mono_us() + PATIENCE_US;

    (void)state;
    learn(&b, 77, false);
    wait_learned(&b, 1);
    for (int i = 0; i < 250; i++)
        ask_once(&a);
    while (facts_of(&b).risk.error > 1.0 / 200) {
        assert_true(clock_mono_us() < end_us);
        usleep(5000);
    }
    wait_learned(&a, 1);
    assert_true(facts_of(&a).risk.error < 1.0 / 200);
}

/* Notes and what was told since: each label once, whoever wrote its note last. */
static void those_who_come_later(void **state)
{
    (void)state;
    learn_many(&a, 50);
    wait_learned(&a, 50);
    wait_learned(&b, 50);
    cache_harness_clear(&a); /* with a note of its 50 */
    learn_many(&b, 25);
    wait_learned(&b, 75);
    open_replica(&a);
    wait_learned(&a, 75);
    cache_harness_clear(&b);
    cache_harness_clear(&a);
    open_replica(&a);
    open_replica(&b);
    learn_many(&a, 1);
    wait_learned(&b, 76);
    wait_learned(&a, 76);
}

/* All that was told since the note is lost: what comes after is heard all the same. */
static void the_record_is_lost(void **state)
{
    (void)state;
    learn_many(&a, 50);
    wait_learned(&a, 50);
    wait_learned(&b, 50);
    redis_server_do(&server, "EVAL \"for _, k in ipairs(redis.call('KEYS', 'weir:{note}:*:log')) "
                             "do redis.call('XTRIM', k, 'MAXLEN', 0) end\" 0");
    learn_many(&a, 10);
    wait_learned(&a, 60);
    wait_learned(&b, 60);
    redis_server_do(&server, "EVAL \"for _, k in ipairs(redis.call('KEYS', 'weir:{note}:*')) "
                             "do redis.call('DEL', k) end\" 0");
    learn_many(&b, 10);
    wait_learned(&a, 70);
    wait_learned(&b, 70);
}

static void nonsense_in_the_record(void **state)
{
    (void)state;
    learn_many(&a, 1);
    wait_learned(&b, 1);
    redis_server_do(&server, "EVAL \"for _, k in ipairs(redis.call('KEYS', 'weir:{note}:*:log')) "
                             "do redis.call('XADD', k, '*', 'r', 'nonsense') "
                             "redis.call('XADD', k, '*', 'other', '') end\" 0");
    learn_many(&a, 1);
    wait_learned(&a, 2);
    wait_learned(&b, 2);
}

/* ---- records ---- */

static bool reads(const struct cache_learned_bytes *bytes, struct cache_learned *out)
{
    return cache_learned_read(slice_make((const char *)bytes, sizeof *bytes), out);
}

static void records_are_read_or_refused(void **state)
{
    struct cache_learned l = {.kind = CACHE_LEARNED_LABEL,
                              .writer = 5,
                              .label = {.answer = 9,
                                        .features = {1, -2},
                                        .p = 0.5,
                                        .audit_share = 0.25,
                                        .weight = 0.75,
                                        .word = true,
                                        .right = true}},
                         out;
    struct cache_learned_bytes good, bad;

    (void)state;
    cache_learned_write(&l, &good);
    assert_true(reads(&good, &out));
    assert_int_equal(out.kind, CACHE_LEARNED_LABEL);
    assert_int_equal(out.writer, 5);
    assert_memory_equal(&out.label, &l.label, sizeof l.label);
    for (size_t n = 0; n < sizeof good; n++)
        assert_false(cache_learned_read(slice_make((const char *)&good, n), &out));
    static const double wrong[] = {NAN, INFINITY, -INFINITY, -0.1, 1e300};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        double *const members[] = {&bad.p, &bad.audit_share, &bad.weight};
        for (size_t k = 0; k < 3; k++) {
            bad = good;
            *members[k] = wrong[i];
            assert_false(reads(&bad, &out));
        }
    }
    bad = good;
    bad.features[RISK_FEATURES - 1] = NAN;
    assert_false(reads(&bad, &out));
    bad = good;
    bad.kind = 3;
    assert_false(reads(&bad, &out));
    bad = good;
    bad.answer = 0;
    assert_false(reads(&bad, &out));
    bad = good;
    bad.magic[7]++;
    assert_false(reads(&bad, &out));

    l = (struct cache_learned){.kind = CACHE_LEARNED_COUNTS,
                               .counts = {.requests = 100, .risked = 1.5}};
    cache_learned_write(&l, &good);
    assert_true(reads(&good, &out));
    assert_true(out.counts.requests == 100 && fabs(out.counts.risked - 1.5) < 1e-12);
    bad = good;
    bad.risked = NAN;
    assert_false(reads(&bad, &out));
    bad.risked = 101;
    assert_false(reads(&bad, &out));
    bad = good;
    bad.requests = UINT64_MAX;
    assert_false(reads(&bad, &out));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_or_refused),
        TEST(replicas_learn_as_one),
        TEST(quarantine_is_everybodys),
        TEST(requests_are_counted_together),
        TEST(those_who_come_later),
        TEST(the_record_is_lost),
        TEST(nonsense_in_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
