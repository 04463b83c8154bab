/* The cache as a worker sees it, over a real file: hits, coalescing, generations, closing. */
#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/rng.h"
#include "cache/cache.h"
#include "cache/cache_hot.h"
#include "tests/unit/cache/samples.h"

static struct cache *cache;
static struct mailbox mail;
static char folder[64], path[96];
static struct list arrived; /* of struct cache_ask, in order */
static struct cache_order *order_back;

static const struct cache_rules rules = {
    .exact = true, .store = true, .ttl_ms = 3600000, .timely_ttl_ms = 60000, .max_age_ms = -1};

static void on_ask(struct message *m, void *ctx)
{
    (void)ctx;
    list_push_back(&arrived, &m->link);
}

static void drop_ask(struct message *m)
{
    cache_ask_free(CONTAINER_OF(m, struct cache_ask, msg));
}

static void on_order(struct message *m, void *ctx)
{
    (void)ctx;
    order_back = CONTAINER_OF(m, struct cache_order, msg);
}

static void drop_order(struct message *m)
{
    cache_order_free(CONTAINER_OF(m, struct cache_order, msg));
}

static void open_cache(int64_t lead_max_us)
{
    struct cache_options opt = {.path = path,
                                .redis_budget_us = 5000,
                                .max_entries = 1000,
                                .max_bytes = 8 << 20,
                                .dim = SAMPLE_DIM,
                                .seed = 1,
                                .lead_max_us = lead_max_us};
    struct err_text t;
    if (cache_open(&opt, &cache, &t))
        fail_msg("%s", t.s);
}

static int set_up(void **state)
{
    (void)state;
    list_init(&arrived);
    snprintf(folder, sizeof folder, "/tmp/weir-cache-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/cache.db", folder);
    assert_int_equal(mailbox_init(&mail), 0);
    open_cache(0);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"cache.db", "cache.db-wal", "cache.db-shm"};
    char name[128];

    (void)state;
    cache_close(cache);
    mailbox_drain(&mail, NULL);
    LIST_FOREACH_SAFE (it, &arrived)
        cache_ask_free(CONTAINER_OF(it, struct cache_ask, msg.link));
    mailbox_clear(&mail);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        unlink(name);
    }
    rmdir(folder);
    return 0;
}

static void wait_mail(void)
{
    struct pollfd p = {.fd = mail.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    mailbox_drain(&mail, NULL);
}

static struct cache_ask *next_ask(void)
{
    while (list_empty(&arrived))
        wait_mail();
    struct cache_ask *a = CONTAINER_OF(arrived.next, struct cache_ask, msg.link);
    list_remove(&a->msg.link);
    return a;
}

static void ask(uint64_t id, const struct cache_fields *f, const struct cache_rules *r, bool lead)
{
    struct cache_question q = {
        .exact = f->exact, .rest = f->rest, .scope = f->scope, .text = f->text, .rules = *r};
    struct cache_ask *a = cache_ask_new(&q, f->vector, f->dim);

    a->msg = (struct message){.deliver = on_ask, .discard = drop_ask};
    list_init(&a->msg.link);
    a->reply_to = &mail;
    a->id = id;
    a->lead = lead;
    cache_lookup(cache, a);
}

/* Asks and waits: the entry, a reference; NULL: a miss. */
static struct cache_entry *look_up(const struct cache_fields *f, const struct cache_rules *r)
{
    ask(1, f, r, false);
    struct cache_ask *a = next_ask();
    assert_int_equal(a->id, 1);
    assert_int_equal(a->verdict, a->entry ? CACHE_HIT_EXACT : CACHE_MISS);
    struct cache_entry *e = a->entry;
    a->entry = NULL;
    cache_ask_free(a);
    return e;
}

static void now_in(struct cache_fields *f, int64_t life_ms)
{
    f->created_ms = clock_wall_us() / 1000;
    f->expires_ms = f->created_ms + life_ms;
}

static void put(struct cache_fields f)
{
    now_in(&f, 3600000);
    cache_put(cache, cache_entry_new(&f), &rules);
}

static uint64_t order(enum cache_order_kind kind, const char *scope, const char *name, uint64_t id)
{
    struct cache_order *o = cache_order_new(kind, slice_str(scope), slice_str(name));

    o->msg = (struct message){.deliver = on_order, .discard = drop_order};
    list_init(&o->msg.link);
    o->reply_to = &mail;
    o->id = id;
    order_back = NULL;
    cache_give_order(cache, o);
    while (!order_back)
        wait_mail();
    assert_int_equal(order_back->err, ERR_OK);
    uint64_t value = order_back->value;
    cache_order_free(order_back);
    return value;
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
        cache_close(cache);
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
    cache_put(cache, cache_entry_new(&old), &rules);
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
    cache_put(cache, cache_entry_new(&g), &keep_not);
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

    (void)state;
    now_in(&f, 300);
    cache_put(cache, cache_entry_new(&f), &rules);
    struct cache_entry *e = look_up(&f, &rules);
    assert_non_null(e);
    assert_true(e->f.expires_ms <= f.expires_ms); /* jitter shortens only */
    int64_t expires_ms = e->f.expires_ms;
    cache_entry_unref(e);
    while ((e = look_up(&f, &rules))) {
        assert_true(clock_wall_us() / 1000 <= expires_ms + 5000);
        cache_entry_unref(e);
        usleep(1000);
    }
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
    cache_abandon(cache, f.exact);
    expect(2, CACHE_MISS, true); /* the next one leads */
    cache_abandon(cache, f.exact);
    expect(3, CACHE_MISS, false); /* and then all go */
    expect(4, CACHE_MISS, false);
    cache_abandon(cache, f.exact); /* of nothing */
    ask(5, &f, &rules, true);
    expect(5, CACHE_MISS, true);
}

static void a_leader_that_never_comes_back(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    cache_close(cache);
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
    assert_true(cache_current(cache, &now_ms));
    cache_hot_put(hot, e, now_ms);
    assert_ptr_equal(cache_hot_get(hot, f.exact, now_ms), e);
    /* The answer of one who began before the flush comes after it. */
    struct cache_fields late = sample_fields("acme", 2);
    ask(7, &late, &rules, true);
    expect(7, CACHE_MISS, true);
    order(CACHE_FLUSH, "acme", "", 0);
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

static void orders(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    for (int i = 0; i < 200; i++)
        put(sample_fields("acme", i));
    struct cache_entry *e = look_up(&f, &rules);
    assert_int_equal(order(CACHE_REMOVE, "acme", "", e->f.id), 1);
    assert_true(atomic_load(&e->dead));
    assert_int_equal(order(CACHE_REMOVE, "acme", "", e->f.id), 0);
    cache_entry_unref(e);
    assert_null(look_up(&f, &rules));
    assert_int_equal(order(CACHE_REMOVE_TAG, "acme", "nothing", 0), 0);
    assert_int_equal(order(CACHE_REMOVE_TAG, "acme", "maths", 0), 199);
    for (int i = 0; i < 200; i++) {
        struct cache_fields g = sample_fields("acme", i);
        assert_null(look_up(&g, &rules));
    }
}

static void large_and_empty_answers(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);
    static char large[2 << 20];

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
    cache_close(cache);
    cache = NULL;
    mailbox_drain(&mail, NULL);
    while (!list_empty(&arrived)) {
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
        cache_facts(cache, &facts);
    } while (facts.puts < 3000 || facts.resident > 1000);
    assert_true(facts.resident_bytes <= 8 << 20);
    assert_true(facts.store_entries <= 1000);
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
        TEST(orders),
        TEST(large_and_empty_answers),
        TEST(closing_answers_everybody),
        TEST(memory_stays_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
