/* The cache as a worker sees it, over a real file: hits, coalescing, generations, closing. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/rng.h"
#include "cache/cache_hot.h"
#include "cache/vslab_dot.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/samples.h"

static struct cache_harness h;
static const char *snapshot; /* of the next open_cache */
static uint8_t encoder;      /* likewise: which one made the vectors */
static char folder[64], path[96];

static const struct cache_rules rules = {
    .exact = true, .store = true, .ttl_ms = 3600000, .timely_ttl_ms = 60000, .max_age_ms = -1};

static void open_cache(int64_t lead_max_us)
{
    struct cache_options opt = {.path = path,
                                .redis_budget_us = 5000,
                                .max_entries = 1000,
                                .max_bytes = 16 << 20,
                                .dim = SAMPLE_DIM,
                                .fingerprint = {encoder},
                                .snapshot_path = snapshot,
                                .seed = 1,
                                .lead_max_us = lead_max_us};
    struct err_text t;
    if (cache_open(&opt, &h.cache, &t))
        fail_msg("%s", t.s);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-cache-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/cache.db", folder);
    cache_harness_init(&h);
    open_cache(0);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"cache.db", "cache.db-wal", "cache.db-shm", "index",
                                        "index.mark"};
    char name[128];

    (void)state;
    snapshot = NULL; /* also after a test that failed half-way */
    encoder = 0;
    cache_harness_clear(&h);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        unlink(name);
    }
    rmdir(folder);
    return 0;
}

static void ask(uint64_t id, const struct cache_fields *f, const struct cache_rules *r, bool lead)
{
    cache_harness_ask(&h, id, f, r, lead);
}

static struct cache_ask *next_ask(void)
{
    return cache_harness_next(&h);
}

static struct cache_entry *look_up(const struct cache_fields *f, const struct cache_rules *r)
{
    return cache_harness_look_up(&h, f, r);
}

static void now_in(struct cache_fields *f, int64_t life_ms)
{
    cache_harness_now(f, life_ms);
}

static void put(struct cache_fields f)
{
    now_in(&f, 3600000);
    cache_put(h.cache, cache_entry_new(&f), &rules);
}

static void what_was_put_is_found(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);

    (void)state;
    assert_null(look_up(&f, &rules));
    put(f);
    for (int round = 0; round < 2; round++) {
        struct cache_entry *e = look_up(&f, &rules);
        assert_non_null(e);
        assert_true(slice_eq(e->f.body, f.body));
        cache_entry_unref(e);
        assert_null(look_up(&g, &rules));
        cache_close(h.cache);
        open_cache(0);
    }
}

static void callers_tighten(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), old = sample_fields("acme", 2);
    struct cache_rules none = rules, fresh = rules, brief = rules, keep_not = rules;

    (void)state;
    none.exact = false;
    fresh.max_age_ms = 5000;
    brief.ttl_ms = 5000;
    keep_not.store = false;
    put(f);
    assert_null(look_up(&f, &none));
    now_in(&old, 3600000);
    old.created_ms -= 10000;
    cache_put(h.cache, cache_entry_new(&old), &rules);
    struct cache_entry *e = look_up(&old, &rules);
    assert_non_null(e);
    cache_entry_unref(e);
    assert_null(look_up(&old, &fresh));
    assert_null(look_up(&old, &brief));
    e = look_up(&f, &fresh);
    assert_non_null(e);
    cache_entry_unref(e);
    struct cache_fields g = sample_fields("acme", 3);
    now_in(&g, 3600000);
    cache_put(h.cache, cache_entry_new(&g), &keep_not);
    assert_null(look_up(&g, &rules));
}

/* No question of a scope gets another scope's entry, whatever digest it comes with. */
static void scopes_are_apart(void **state)
{
    struct rng r;

    (void)state;
    rng_seed(&r, 3);
    for (int i = 0; i < 600; i++) {
        char scope[16], other[16];
        snprintf(scope, sizeof scope, "t%d", (int)rng_below(&r, 12));
        snprintf(other, sizeof other, "t%d", (int)rng_below(&r, 12));
        struct cache_fields f = sample_fields(scope, (int)rng_below(&r, 20));
        struct cache_fields g = sample_fields(other, (int)rng_below(&r, 20));
        put(f);
        g.exact = f.exact;
        struct cache_entry *e = look_up(&g, &rules);
        assert_true(!e || slice_eq(e->f.scope, g.scope));
        cache_entry_unref(e);
    }
}

static void the_expired_are_not_served(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct cache_entry *e = NULL;

    (void)state;
    for (int64_t life_ms = 300; !e && life_ms < 100000; life_ms *= 4) { /* looked up within it */
        now_in(&f, life_ms);
        cache_put(h.cache, cache_entry_new(&f), &rules);
        e = look_up(&f, &rules);
    }
    assert_non_null(e);
    assert_true(e->f.expires_ms <= f.expires_ms); /* jitter shortens only */
    int64_t expires_ms = e->f.expires_ms, asked_ms;
    do {
        cache_entry_unref(e);
        usleep(1000);
        asked_ms = clock_wall_us() / 1000;
        e = look_up(&f, &rules);
        assert_true(!e || asked_ms <= expires_ms + 1000);
    } while (e);
    assert_true(clock_wall_us() / 1000 >= expires_ms);
}

static void followers_get_the_leaders_answer(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    for (uint64_t id = 1; id <= 5; id++)
        ask(id, &f, &rules, true);
    for (uint64_t id = 1; id <= 5; id++) {
        struct cache_ask *a = next_ask();
        assert_int_equal(a->id, id);
        assert_int_equal(a->verdict, id == 1 ? CACHE_MISS : CACHE_WAIT_LEADER);
        assert_int_equal(a->leading, id == 1);
        cache_ask_free(a);
    }
    put(f);
    for (uint64_t id = 2; id <= 5; id++) {
        struct cache_ask *a = next_ask();
        assert_int_equal(a->id, id);
        assert_int_equal(a->verdict, CACHE_HIT_EXACT);
        assert_true(slice_eq(a->entry->f.body, f.body));
        cache_ask_free(a);
    }
}

static void expect(uint64_t id, enum cache_verdict verdict, bool leading)
{
    struct cache_ask *a = next_ask();
    assert_int_equal(a->id, id);
    assert_int_equal(a->verdict, verdict);
    assert_int_equal(a->leading, leading);
    cache_ask_free(a);
}

static void a_leader_gives_up(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    for (uint64_t id = 1; id <= 4; id++)
        ask(id, &f, &rules, true);
    expect(1, CACHE_MISS, true);
    for (uint64_t id = 2; id <= 4; id++)
        expect(id, CACHE_WAIT_LEADER, false);
    cache_abandon(h.cache, f.exact);
    expect(2, CACHE_MISS, true); /* the next one leads */
    cache_abandon(h.cache, f.exact);
    expect(3, CACHE_MISS, false); /* and then all go */
    expect(4, CACHE_MISS, false);
    cache_abandon(h.cache, f.exact); /* of nothing */
    ask(5, &f, &rules, true);
    expect(5, CACHE_MISS, true);
}

static void a_leader_that_never_comes_back(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    cache_close(h.cache);
    open_cache(200000);
    ask(1, &f, &rules, true);
    ask(2, &f, &rules, true);
    expect(1, CACHE_MISS, true);
    expect(2, CACHE_WAIT_LEADER, false);
    expect(2, CACHE_MISS, true);
}

static void a_flush_reaches_what_workers_hold(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("other", 1);
    struct cache_hot *hot = cache_hot_new(1 << 20);
    int64_t now_ms;

    (void)state;
    put(f);
    put(g);
    struct cache_entry *e = look_up(&f, &rules);
    assert_non_null(e);
    assert_true(cache_current(h.cache, &now_ms));
    cache_hot_put(hot, e, now_ms);
    assert_ptr_equal(cache_hot_get(hot, f.exact, now_ms), e);
    /* The answer of one who began before the flush comes after it. */
    struct cache_fields late = sample_fields("acme", 2);
    ask(7, &late, &rules, true);
    expect(7, CACHE_MISS, true);
    cache_harness_flush(&h, "acme");
    assert_null(cache_hot_get(hot, f.exact, now_ms));
    assert_null(look_up(&f, &rules));
    put(late);
    assert_null(look_up(&late, &rules));
    put(late);
    struct cache_entry *again = look_up(&late, &rules);
    assert_non_null(again);
    cache_entry_unref(again);
    again = look_up(&g, &rules);
    assert_non_null(again);
    cache_entry_unref(again);
    cache_entry_unref(e);
    cache_hot_free(hot);
}

static void what_operators_remove(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    for (int i = 0; i < 200; i++)
        put(sample_fields("acme", i));
    struct cache_entry *e = look_up(&f, &rules);
    assert_true(cache_harness_remove(&h, "acme", e->f.id));
    assert_true(atomic_load(&e->dead));
    assert_false(cache_harness_remove(&h, "acme", e->f.id));
    cache_entry_unref(e);
    assert_null(look_up(&f, &rules));
    assert_int_equal(cache_harness_remove_tag(&h, "acme", "nothing"), 0);
    assert_int_equal(cache_harness_remove_tag(&h, "acme", "maths"), 199);
    for (int i = 0; i < 200; i++) {
        struct cache_fields g = sample_fields("acme", i);
        assert_null(look_up(&g, &rules));
    }
}

static void large_and_empty_answers(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);
    static char large[3 << 20];

    (void)state;
    f.body = slice_make(large, sizeof large);
    put(f);
    g.body = SLICE("");
    put(g);
    assert_null(look_up(&f, &rules));
    assert_null(look_up(&g, &rules));
}

/* What is not answered when the cache closes is answered as a miss. */
static void closing_answers_everybody(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    bool answered[100] = {false};

    (void)state;
    for (uint64_t id = 0; id < 100; id++)
        ask(id, &f, &rules, true);
    cache_close(h.cache);
    h.cache = NULL;
    mailbox_drain(&h.mail, &h);
    while (!list_empty(&h.arrived)) {
        struct cache_ask *a = next_ask();
        if (a->verdict == CACHE_MISS)
            answered[a->id] = true;
        cache_ask_free(a);
    }
    for (int i = 0; i < 100; i++)
        assert_true(answered[i]);
}

static void memory_stays_bounded(void **state)
{
    struct cache_facts facts;

    (void)state;
    for (int i = 0; i < 3000; i++)
        put(sample_fields("acme", i));
    struct cache_fields last = sample_fields("acme", 2999);
    cache_entry_unref(look_up(&last, &rules));
    do {
        usleep(20000);
        cache_facts(h.cache, &facts);
    } while (facts.puts < 3000 || facts.resident > 1000);
    assert_true(facts.resident_bytes <= 8 << 20);
    assert_true(facts.store_entries <= 1000);
}

/* ---- by meaning ---- */

static const char *const topics[] = {"reset my password", "cancel my subscription",
                                     "change my delivery address"};
static const char *const ways[] = {"how can I %s", "please tell me how to %s",
                                   "what is the way to %s", "I want to %s"};

/* A way of asking for a topic: its vector is near those of the same topic. */
static struct cache_fields wish(const char *scope, int n, struct rng *r, uint16_t *vector)
{
    static char texts[8][96], bodies[8][32];
    struct cache_fields f = sample_fields(scope, n);
    int topic = n % 3, slot = n % 8;
    float v[SAMPLE_DIM] = {0}, length = 0;

    v[topic] = 1;
    for (int i = 0; i < SAMPLE_DIM; i++) {
        v[i] += 0.15f * (float)(rng_unit(r) - 0.5);
        length += v[i] * v[i];
    }
    for (int i = 0; i < SAMPLE_DIM; i++)
        vector[i] = vslab_half_of(v[i] / sqrtf(length));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(texts[slot], sizeof texts[slot], ways[rng_below(r, 4)], topics[topic]);
#pragma GCC diagnostic pop
    snprintf(bodies[slot], sizeof bodies[slot], "topic %d", topic);
    f.text = slice_str(texts[slot]);
    f.body = slice_str(bodies[slot]);
    f.vector = vector;
    memset(f.fingerprint, 0, sizeof f.fingerprint);
    f.fingerprint[0] = encoder;
    return f;
}

static struct cache_ask *ask_meaning(const struct cache_fields *f, const struct cache_rules *r)
{
    ask(1, f, r, false);
    return next_ask();
}

static bool right_body(const struct cache_entry *e, int n)
{
    char body[32];
    snprintf(body, sizeof body, "topic %d", n % 3);
    return slice_eq(e->f.body, slice_str(body));
}

/* What a router does after a miss, or an audited hit, with a judge that knows. */
static void judge(const struct cache_why *why, bool right)
{
    struct cache_label l = {.entry = why->entry,
                            .answer = why->answer,
                            .right = right,
                            .audit = why->audit,
                            .weight = 1,
                            .probability = why->probability,
                            .budget = why->budget,
                            .audit_share = why->audit_share};

    memcpy(l.features, why->features, sizeof l.features);
    cache_learn(h.cache, &l);
}

static uint64_t answers[3]; /* of each topic; what the judge goes by */

/* Traffic until answers are served by meaning; how many hits there were in the last of it. */
static int teach(const char *scope, struct rng *r, int first, int count, int *wrong)
{
    int hits = 0;

    *wrong = 0;
    for (int n = first; n < first + count; n++) {
        uint16_t vector[SAMPLE_DIM];
        struct cache_fields f = wish(scope, n, r, vector);
        struct cache_ask *a = ask_meaning(&f, &cache_harness_by_meaning);
        if (a->verdict == CACHE_HIT_SEMANTIC) {
            hits++;
            *wrong += !right_body(a->entry, n);
            assert_true(slice_eq(a->entry->f.scope, f.scope));
            if (a->why.audit)
                judge(&a->why, right_body(a->entry, n));
        } else {
            bool right = a->why.answer && a->why.answer == answers[n % 3];
            if (a->why.budget)
                judge(&a->why, right);
            f.answer = answers[n % 3];
            now_in(&f, 3600000);
            struct cache_entry *e = cache_entry_new(&f);
            if (!answers[n % 3])
                answers[n % 3] = e->f.answer;
            cache_put(h.cache, e, &cache_harness_by_meaning);
        }
        cache_ask_free(a);
    }
    return hits;
}

static void answers_by_meaning(void **state)
{
    struct cache_fields f;
    struct cache_rules shadow = cache_harness_by_meaning, exact = cache_harness_by_meaning;
    uint16_t vector[SAMPLE_DIM];
    struct rng r;
    int wrong;

    (void)state;
    rng_seed(&r, 5);
    memset(answers, 0, sizeof answers);
    assert_int_equal(teach("acme", &r, 1000, 300, &wrong), 0); /* nothing before it is warm */
    int hits = teach("acme", &r, 2000, 1200, &wrong);
    assert_true(hits > 400);
    assert_true(wrong <= 60);

    /* Shadow decides and serves nothing; so does a caller who wants exact answers only. */
    shadow.shadow = true;
    exact.semantic = false;
    bool would = false;
    for (int n = 5000; n < 5060; n++) {
        f = wish("acme", n, &r, vector);
        struct cache_ask *a = ask_meaning(&f, &shadow);
        assert_int_equal(a->verdict, CACHE_MISS);
        would = would || a->why.shadow;
        cache_ask_free(a);
        a = ask_meaning(&f, &exact);
        assert_int_equal(a->verdict, CACHE_MISS);
        assert_int_equal(a->why.entry, 0);
        cache_ask_free(a);
    }
    assert_true(would);

    /* Another conversation, another scope, another number: none of them gets an answer. */
    for (int n = 6000; n < 6100; n++) {
        char text[128];
        f = wish("acme", n, &r, vector);
        f.rest = digest_of(SLICE("another conversation"));
        struct cache_ask *a = ask_meaning(&f, &cache_harness_by_meaning);
        assert_int_equal(a->verdict, CACHE_MISS);
        assert_int_equal(a->why.entry, 0);
        cache_ask_free(a);
        f = wish("acme", n, &r, vector);
        f.scope = SLICE("evil");
        a = ask_meaning(&f, &cache_harness_by_meaning);
        assert_int_equal(a->verdict, CACHE_MISS);
        cache_ask_free(a);
        teach("acme", &r, 20000 + 10 * n, 3, &wrong); /* evil's question must not have removed it */
        f = wish("acme", n, &r, vector);
        snprintf(text, sizeof text, "%.*s 17 times", SLICE_ARG(f.text));
        f.text = slice_str(text);
        a = ask_meaning(&f, &cache_harness_by_meaning);
        assert_int_equal(a->verdict, CACHE_MISS);
        cache_ask_free(a);
    }
    /* What changes from hour to hour is not answered with what is older than that. */
    struct cache_rules brief = cache_harness_by_meaning;
    brief.timely_ttl_ms = 0;
    for (int n = 6500; n < 6530; n++) {
        char text[128];
        f = wish("acme", n, &r, vector);
        snprintf(text, sizeof text, "%.*s right now today", SLICE_ARG(f.text));
        f.text = slice_str(text);
        struct cache_ask *a = ask_meaning(&f, &brief);
        assert_int_equal(a->verdict, CACHE_MISS);
        assert_int_equal(a->why.entry, 0);
        cache_ask_free(a);
    }
    cache_harness_flush(&h, "acme");
    for (int n = 7000; n < 7050; n++) {
        f = wish("acme", n, &r, vector);
        struct cache_ask *a = ask_meaning(&f, &cache_harness_by_meaning);
        assert_int_equal(a->verdict, CACHE_MISS);
        cache_ask_free(a);
    }
}

/* The index is filled from the store at a start, or comes out of a snapshot; what was learned stays
 * as well. */
static void meaning_survives_a_restart(void **state)
{
    struct cache_facts facts, after;
    struct rng r;
    int wrong;

    (void)state;
    rng_seed(&r, 6);
    memset(answers, 0, sizeof answers);
    teach("acme", &r, 0, 900, &wrong);
    do {
        usleep(20000);
        cache_facts(h.cache, &facts);
    } while (facts.scanning || facts.risk.labels < 300);
    cache_close(h.cache);
    for (int round = 0; round < 3; round++) { /* the first from the store, then from snapshots */
        char name[128];
        snprintf(name, sizeof name, "%s/index", folder);
        snapshot = name;
        open_cache(0);
        snapshot = NULL;
        do {
            usleep(20000);
            cache_facts(h.cache, &after);
        } while (after.scanning || after.risk.labels < 300);
        assert_true(after.indexed + 5 >= facts.indexed && after.indexed > 0);
        assert_true(teach("acme", &r, 100000 * (round + 1), 600, &wrong) > 200);
        assert_true(wrong <= 15);
        do {
            usleep(20000);
            cache_facts(h.cache, &facts);
        } while (facts.indexed < after.indexed);
        if (round < 2)
            cache_close(h.cache);
    }
}

static void reopen(void)
{
    struct cache_facts facts;

    cache_close(h.cache);
    open_cache(0);
    do {
        usleep(20000);
        cache_facts(h.cache, &facts);
    } while (facts.scanning);
}

/* Asks, and tells nobody how it went: hits can only come from what was learned before. */
static bool hits_untaught(const char *scope, struct rng *r, int asks)
{
    bool hit = false;

    for (int n = 0; n < asks && !hit; n++) {
        uint16_t vector[SAMPLE_DIM];
        struct cache_fields f = wish(scope, 500000 + n, r, vector);
        struct cache_ask *a = ask_meaning(&f, &cache_harness_by_meaning);
        hit = a->verdict == CACHE_HIT_SEMANTIC;
        assert_true(!hit || right_body(a->entry, n + 500000));
        cache_ask_free(a);
        usleep(2000); /* what was learned is read between two ticks */
    }
    return hit;
}

/* Each scope's own standing (that it is past its probation, its cut, its audits) outlives the
 * process; a scope that has none does not get another's. */
static void scopes_remember_their_budgets(void **state)
{
    struct rng r;
    int wrong;

    (void)state;
    rng_seed(&r, 7);
    memset(answers, 0, sizeof answers);
    teach("acme", &r, 0, 1200, &wrong);
    memset(answers, 0, sizeof answers);
    teach("other", &r, 300000, 5, &wrong);
    for (int round = 0; round < 2; round++) {
        reopen();
        assert_true(hits_untaught("acme", &r, 1000));
        assert_false(hits_untaught("other", &r, 150));
    }
}

/* Another encoder: its vectors are compared with none of the old ones, and what was learned of
 * those is not believed. Exact answers stay; the old encoder finds everything as it was. */
static void another_encoder_starts_anew(void **state)
{
    struct cache_facts facts;
    struct cache_fields f = sample_fields("acme", 1);
    struct rng r;
    char name[128];
    int wrong;

    (void)state;
    snprintf(name, sizeof name, "%s/index", folder);
    snapshot = name;
    rng_seed(&r, 8);
    memset(answers, 0, sizeof answers);
    teach("acme", &r, 0, 1200, &wrong);
    put(f);
    reopen();
    assert_true(hits_untaught("acme", &r, 1000));
    for (uint8_t other = 1; other <= 2; other++) {
        encoder = other;
        reopen();
        cache_facts(h.cache, &facts);
        assert_int_equal(facts.indexed, 0);
        assert_int_equal(facts.risk.labels, 0);
        assert_false(hits_untaught("acme", &r, 100));
        struct cache_entry *e = look_up(&f, &rules);
        assert_non_null(e);
        cache_entry_unref(e);
    }
    encoder = 0;
    reopen();
    assert_true(hits_untaught("acme", &r, 1000));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_found),
        TEST(callers_tighten),
        TEST(scopes_are_apart),
        TEST(the_expired_are_not_served),
        TEST(followers_get_the_leaders_answer),
        TEST(a_leader_gives_up),
        TEST(a_leader_that_never_comes_back),
        TEST(a_flush_reaches_what_workers_hold),
        TEST(what_operators_remove),
        TEST(large_and_empty_answers),
        TEST(closing_answers_everybody),
        TEST(memory_stays_bounded),
        TEST(answers_by_meaning),
        TEST(meaning_survives_a_restart),
        TEST(scopes_remember_their_budgets),
        TEST(another_encoder_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
