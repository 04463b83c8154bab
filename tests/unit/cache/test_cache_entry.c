/* Entries come back from their bytes as they were, and from nothing else. */
#include <cmocka.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"
#include "tests/unit/cache/samples.h"

static char *pack(const struct cache_fields *f, size_t *n)
{
    *n = cache_entry_pack_bytes(f);
    char *p = mem_alloc(*n);
    cache_entry_pack(f, p);
    return p;
}

static void same(const struct cache_fields *a, const struct cache_fields *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->answer, b->answer);
    assert_true(digest_eq(a->exact, b->exact) && digest_eq(a->rest, b->rest));
    assert_true(slice_eq(a->scope, b->scope) && slice_eq(a->text, b->text));
    assert_true(slice_eq(a->body, b->body) && slice_eq(a->dialect, b->dialect));
    assert_true(slice_eq(a->api, b->api) && slice_eq(a->model, b->model));
    assert_true(slice_eq(a->route, b->route) && slice_eq(a->class_label, b->class_label) &&
                slice_eq(a->owner, b->owner));
    assert_int_equal(a->tag_count, b->tag_count);
    for (size_t i = 0; i < a->tag_count; i++)
        assert_true(slice_eq(a->tags[i], b->tags[i]));
    assert_int_equal(a->dim, b->dim);
    if (a->dim)
        assert_memory_equal(a->vector, b->vector, (size_t)a->dim * sizeof *a->vector);
    assert_memory_equal(a->fingerprint, b->fingerprint, CACHE_FINGERPRINT_BYTES);
    assert_int_equal(a->created_ms, b->created_ms);
    assert_int_equal(a->expires_ms, b->expires_ms);
    assert_int_equal(a->generation, b->generation);
    assert_memory_equal(&a->usage, &b->usage, sizeof a->usage);
    assert_int_equal(a->cost, b->cost);
    assert_int_equal(a->source, b->source);
    assert_int_equal(a->pinned, b->pinned);
    assert_int_equal(a->quarantined, b->quarantined);
}

static void there_and_back(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct cache_entry *e = cache_entry_new(&f), *back;
    size_t n;

    (void)state;
    assert_int_not_equal(e->f.id, 0);
    assert_int_equal(e->f.answer, e->f.id);
    char *packed = pack(&e->f, &n);
    assert_int_equal(cache_entry_unpack(slice_make(packed, n), &back), ERR_OK);
    same(&e->f, &back->f);
    uint8_t sum[CACHE_SUM_BYTES];
    cache_entry_sum(&back->f, sum);
    assert_memory_equal(sum, packed + n - CACHE_SUM_BYTES, CACHE_SUM_BYTES);
    cache_entry_unref(back);
    /* As it stands in a list: all but its body. */
    assert_int_equal(cache_entry_unpack_head(slice_make(packed, n), &back), ERR_OK);
    assert_int_equal(back->f.body.n, 0);
    assert_int_equal(back->f.body_bytes, e->f.body.n);
    assert_true(back->bytes == e->bytes - e->f.body.n);
    back->f.body = e->f.body;
    same(&e->f, &back->f);
    cache_entry_unref(back);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(cache_entry_unpack_head(slice_make(packed, cut), &back),
                         ERR_BAD_CACHE_ENTRY);
    cache_entry_unref(e);
    free(packed);
}

static void the_least_and_the_most(void **state)
{
    struct cache_fields least = {.id = 3, .answer = 9, .expires_ms = INT64_MIN}, most;
    struct cache_entry *e;
    size_t n;

    (void)state;
    char *packed = pack(&least, &n);
    assert_int_equal(cache_entry_unpack(slice_make(packed, n), &e), ERR_OK);
    same(&least, &e->f);
    assert_null(e->f.vector);
    cache_entry_unref(e);
    free(packed);

    most = sample_fields("x", 2);
    most.id = UINT64_MAX;
    most.answer = 1;
    most.cost = INT64_MIN;
    most.pinned = most.quarantined = true;
    most.source = CACHE_FROM_IMPORT;
    most.tag_count = CACHE_MAX_TAGS;
    for (size_t i = 0; i < CACHE_MAX_TAGS; i++)
        most.tags[i] = slice_make("0123456789abcdef", i);
    most.body = slice_make("a\0b", 3);
    packed = pack(&most, &n);
    assert_int_equal(cache_entry_unpack(slice_make(packed, n), &e), ERR_OK);
    same(&most, &e->f);
    cache_entry_unref(e);
    free(packed);
}

/* Every cut and every flipped bit is noticed. */
static void damage(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct cache_entry *e;
    size_t n;

    (void)state;
    f.id = 5;
    f.answer = 5;
    char *packed = pack(&f, &n);
    for (size_t cut = 0; cut < n; cut++) {
        char *exactly = mem_alloc(cut ? cut : 1);
        memcpy(exactly, packed, cut);
        assert_int_equal(cache_entry_unpack(slice_make(exactly, cut), &e), ERR_BAD_CACHE_ENTRY);
        assert_null(e);
        free(exactly);
    }
    for (size_t bit = 0; bit < 8 * n; bit++) {
        packed[bit / 8] = (char)(packed[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(cache_entry_unpack(slice_make(packed, n), &e), ERR_BAD_CACHE_ENTRY);
        packed[bit / 8] = (char)(packed[bit / 8] ^ (1 << bit % 8));
    }
    free(packed);
}

/* A right checksum over wrong contents: what a bug, or an enemy with a shell, would write. */
static void nonsense_with_a_right_checksum(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct cache_entry *e;
    struct rng r;
    size_t n;

    (void)state;
    rng_seed(&r, 1);
    f.id = 5;
    f.answer = 5;
    char *packed = pack(&f, &n);
    for (int round = 0; round < 20000; round++) {
        char *copy = mem_alloc(n);
        memcpy(copy, packed, n);
        for (int i = 0; i < 3; i++)
            copy[12 + rng_below(&r, n - CACHE_SUM_BYTES - 12)] = (char)rng_u64(&r);
        struct digest d = digest_of(slice_make(copy, n - CACHE_SUM_BYTES));
        memcpy(copy + n - CACHE_SUM_BYTES, d.bytes, CACHE_SUM_BYTES);
        if (cache_entry_unpack(slice_make(copy, n), &e) == ERR_OK) {
            assert_int_equal(cache_entry_pack_bytes(&e->f), n);
            char *again = mem_alloc(n);
            cache_entry_pack(&e->f, again);
            assert_memory_equal(again, copy, n);
            free(again);
            cache_entry_unref(e);
        }
        free(copy);
    }
    free(packed);
}

static void who_may_be_served(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    f.expires_ms = 1000;
    struct cache_entry *e = cache_entry_new(&f);
    assert_true(cache_entry_serves(e, 999));
    assert_false(cache_entry_serves(e, 1000));
    struct cache_entry *second = cache_entry_ref(e);
    atomic_store(&e->dead, true);
    assert_false(cache_entry_serves(second, 999));
    cache_entry_unref(e);
    cache_entry_unref(second);
    cache_entry_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(the_least_and_the_most),
        cmocka_unit_test(damage),
        cmocka_unit_test(nonsense_with_a_right_checksum),
        cmocka_unit_test(who_may_be_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
