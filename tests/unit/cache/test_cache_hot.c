/* A hot set stays within its bytes, keeps what is used, and never gives what may not be served. */
#include <cmocka.h>
#include "base/rng.h"
#include "cache/cache_hot.h"
#include "cache/htable.h"
#include "tests/unit/cache/samples.h"

static struct cache_entry *entry(int n)
{
    struct cache_fields f = sample_fields("acme", n);
    return cache_entry_new(&f);
}

static void put(struct cache_hot *h, int n)
{
    struct cache_entry *e = entry(n);
    cache_hot_put(h, e, 0);
    cache_entry_unref(e);
}

static bool has(struct cache_hot *h, int n)
{
    struct cache_fields f = sample_fields("acme", n);
    struct cache_entry *e = cache_hot_get(h, f.exact, 0);
    assert_true(!e || slice_eq(e->f.body, f.body));
    return e;
}

static void stays_within_its_bytes(void **state)
{
    struct cache_hot *h = cache_hot_new(20000);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        put(h, i);
        assert_true(has(h, 0)); /* used again and again: stays */
        assert_true(cache_hot_bytes(h) <= 20000);
    }
    assert_true(cache_hot_count(h) > 10 && cache_hot_count(h) < 1000);
    assert_false(has(h, 1));
    cache_hot_free(h);
}

static void dead_and_expired(void **state)
{
    struct cache_hot *h = cache_hot_new(1 << 20);
    struct cache_entry *e = entry(1);

    (void)state;
    cache_hot_put(h, e, 0);
    assert_ptr_equal(cache_hot_get(h, e->f.exact, 0), e);
    assert_int_equal(atomic_load(&e->hits), 1);
    assert_null(cache_hot_get(h, e->f.exact, e->f.expires_ms));
    assert_int_equal(cache_hot_count(h), 0);
    cache_hot_put(h, e, 0);
    atomic_store(&e->dead, true);
    assert_null(cache_hot_get(h, e->f.exact, 0));
    cache_hot_put(h, e, 0);
    assert_int_equal(cache_hot_count(h), 0);
    assert_int_equal(atomic_load(&e->refs), 1);
    cache_entry_unref(e);
    cache_hot_free(h);
}

static void replaces_and_refuses(void **state)
{
    struct cache_hot *h = cache_hot_new(1 << 16), *none = cache_hot_new(0);
    struct cache_entry *a = entry(1), *b = entry(1);
    static char large[1 << 14];
    struct cache_fields f = sample_fields("acme", 2);

    (void)state;
    cache_hot_put(h, a, 0);
    cache_hot_put(h, b, 0);
    cache_hot_put(h, b, 0);
    assert_ptr_equal(cache_hot_get(h, a->f.exact, 0), b);
    assert_int_equal(cache_hot_count(h), 1);
    assert_int_equal(atomic_load(&a->refs), 1);
    f.body = slice_make(large, sizeof large);
    struct cache_entry *c = cache_entry_new(&f);
    cache_hot_put(h, c, 0);
    cache_hot_put(none, a, 0);
    assert_null(cache_hot_get(h, c->f.exact, 0));
    assert_null(cache_hot_get(none, a->f.exact, 0));
    cache_entry_unref(a);
    cache_entry_unref(b);
    cache_entry_unref(c);
    cache_hot_free(h);
    cache_hot_free(none);
}

/* The table under it, against a plain array. */
struct item {
    struct htable_node node;
    uint64_t id;
    bool in;
};

static void count_node(struct htable_node *n, void *ctx)
{
    (void)n;
    ++*(size_t *)ctx;
}

static void a_table(void **state)
{
    static struct item items[500];
    struct htable t;
    struct rng r;
    size_t in = 0;

    (void)state;
    rng_seed(&r, 2);
    htable_init(&t);
    assert_null(htable_first(&t, 1));
    assert_null(htable_sample(&t, 1));
    for (int round = 0; round < 20000; round++) {
        struct item *it = &items[rng_below(&r, 500)];
        uint64_t hash = (uint64_t)(it - items) % 97; /* many of one hash */
        if (it->in)
            htable_remove(&t, &it->node);
        else
            htable_add(&t, &it->node, hash);
        it->in = !it->in;
        in = it->in ? in + 1 : in - 1;
        bool found = false;
        for (struct htable_node *n = htable_first(&t, hash); n; n = htable_next(n))
            found = found || n == &it->node;
        assert_int_equal(found, it->in);
        assert_int_equal(t.count, in);
        assert_int_equal(htable_sample(&t, rng_u64(&r)) != NULL, in > 0);
    }
    size_t seen = 0;
    htable_each(&t, count_node, &seen);
    assert_int_equal(seen, in);
    htable_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_within_its_bytes),
        cmocka_unit_test(dead_and_expired),
        cmocka_unit_test(replaces_and_refuses),
        cmocka_unit_test(a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
