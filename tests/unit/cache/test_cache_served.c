/* cache/cache_served: what is said of a hit finds its decision, once for each verdict; strangers,
 * repeats and what is too long ago find nothing. */
#include <cmocka.h>
#include <stdio.h>
#include "cache/cache_served.h"

static struct cache_served served;

static int set_up(void **state)
{
    (void)state;
    cache_served_init(&served);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cache_served_clear(&served);
    return 0;
}

static struct digest name(int n)
{
    char text[32];

    snprintf(text, sizeof text, "reply %d", n);
    return digest_of(slice_str(text));
}

static void remember(int n, uint64_t answer)
{
    struct cache_label l = {.answer = answer, .budget = 2, .word = true, .features = {1, 0.5F}};
    struct digest d = name(n);

    cache_served_add(&served, &d, &l);
}

static bool word(int n, bool right, struct cache_label *out)
{
    struct digest d = name(n);

    return cache_served_word(&served, &d, right, 0.25, out);
}

static void each_verdict_counts_once(void **state)
{
    struct cache_label l;

    (void)state;
    assert_false(word(1, true, &l));
    remember(1, 77);
    assert_true(word(1, false, &l));
    assert_int_equal(l.answer, 77);
    assert_int_equal(l.budget, 2);
    assert_true(l.word && !l.right && l.weight == 0.25 && l.features[1] == 0.5F);
    assert_true(word(1, true, &l));
    assert_true(l.right);
    for (int i = 0; i < 4; i++)
        assert_false(word(1, i % 2, &l));
    assert_false(word(2, false, &l));
}

static void of_equal_names_the_newest_is_meant(void **state)
{
    struct cache_label l;

    (void)state;
    remember(1, 77);
    assert_true(word(1, false, &l));
    remember(1, 78);
    assert_int_equal(served.by_reply.count, 1);
    assert_true(word(1, false, &l));
    assert_int_equal(l.answer, 78);
}

static void the_oldest_go(void **state)
{
    struct cache_label l;

    (void)state;
    for (int n = 0; n < CACHE_SERVED_MAX + 10; n++)
        remember(n, (uint64_t)n + 1);
    assert_int_equal(served.by_reply.count, CACHE_SERVED_MAX);
    assert_false(word(9, false, &l));
    assert_true(word(10, false, &l));
    assert_true(word(CACHE_SERVED_MAX + 9, false, &l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_verdict_counts_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_equal_names_the_newest_is_meant, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_oldest_go, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
