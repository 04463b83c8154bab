/* What models have read of a conversation, for as long as they keep it. */
#include <cmocka.h>
#include "router/prefix_memory.h"

static void test_memory(void **state)
{
    struct prefix_memory *m = prefix_memory_new();

    (void)state;
    assert_int_equal(prefix_memory_tokens(m, 1, 2, 0), 0);
    assert_int_equal(prefix_memory_tokens(m, 0, 0, 0), 0);
    prefix_memory_note(m, 1, 2, 100, 1000);
    assert_int_equal(prefix_memory_tokens(m, 1, 2, 1000), 100);
    assert_int_equal(prefix_memory_tokens(m, 1, 3, 1000), 0); /* another model */
    assert_int_equal(prefix_memory_tokens(m, 2, 1, 1000), 0); /* another conversation */
    assert_int_equal(prefix_memory_tokens(m, 1, 2, 1000 + PREFIX_MEMORY_US), 100);
    assert_int_equal(prefix_memory_tokens(m, 1, 2, 1001 + PREFIX_MEMORY_US), 0);
    prefix_memory_note(m, 1, 2, 250, 2000); /* the next turn */
    assert_int_equal(prefix_memory_tokens(m, 1, 2, 2000), 250);
    prefix_memory_free(m);
    prefix_memory_free(NULL);
}

/* Many conversations: the newest are known, none is taken for another. */
static void test_many(void **state)
{
    struct prefix_memory *m = prefix_memory_new();
    int known = 0;

    (void)state;
    for (uint64_t c = 0; c < 100000; c++)
        prefix_memory_note(m, c, 7, (int64_t)c + 1, 0);
    for (uint64_t c = 0; c < 100000; c++) {
        int64_t tokens = prefix_memory_tokens(m, c, 7, 0);

        assert_true(tokens == 0 || tokens == (int64_t)c + 1);
        known += tokens != 0;
    }
    assert_true(known > 4000 && known <= 4096);
    prefix_memory_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_many)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
