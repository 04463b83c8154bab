/* cache/cache_removals: what was removed while a read was on its way is known to be gone, what was
 * removed before it is not; when too much happened meanwhile all of it is. */
#include <cmocka.h>
#include <string.h>
#include "cache/cache_removals.h"

static struct cache_removals r;

static int set_up(void **state)
{
    (void)state;
    memset(&r, 0, sizeof r);
    return 0;
}

static void only_what_comes_after(void **state)
{
    (void)state;
    cache_removals_note(&r, 5);
    uint64_t since = cache_removals_now(&r);
    assert_false(cache_removals_since(&r, since, 5, 0)); /* the read saw that itself */
    assert_true(cache_removals_since(&r, since - 1, 5, 0));
    cache_removals_note(&r, 6);
    assert_true(cache_removals_since(&r, since, 6, 0));
    assert_false(cache_removals_since(&r, since, 5, 0));
    assert_false(cache_removals_since(&r, since, 7, 0));
}

static void a_loss_is_of_one_bucket(void **state)
{
    (void)state;
    uint64_t since = cache_removals_now(&r);
    cache_removals_lost(&r, 9);
    assert_true(cache_removals_since(&r, since, 5, 9));
    assert_false(cache_removals_since(&r, since, 5, 8));
    assert_false(cache_removals_since(&r, cache_removals_now(&r), 5, 9));
}

static void too_much_is_everything(void **state)
{
    (void)state;
    for (uint64_t id = 1; id < 3000; id++) { /* also over the ring's end */
        uint64_t since = cache_removals_now(&r);
        cache_removals_note(&r, id);
        assert_true(cache_removals_since(&r, since, id, 0));
        assert_false(cache_removals_since(&r, since, id + 1, 0));
    }
    uint64_t since = cache_removals_now(&r);
    for (uint64_t id = 0; id < CACHE_REMOVALS; id++)
        cache_removals_note(&r, 10000 + id);
    assert_true(cache_removals_since(&r, since, 10000, 0)); /* the first of them is still known */
    assert_false(cache_removals_since(&r, since, 1, 0));
    cache_removals_note(&r, 20000);
    assert_true(cache_removals_since(&r, since, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(only_what_comes_after, set_up),
        cmocka_unit_test_setup(a_loss_is_of_one_bucket, set_up),
        cmocka_unit_test_setup(too_much_is_everything, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
