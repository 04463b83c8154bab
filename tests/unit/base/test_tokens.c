/* base/tokens: the names that ledger and metrics are keyed by must not change or collide. */
#include <cmocka.h>
#include "base/tokens.h"

static void test_names(void **state)
{
    (void)state;
    static const char *const kinds[] = {"input", "cached_input", "cache_write", "output",
                                        "reasoning"};
    static const char *const sources[] = {"none", "reported", "partial", "estimated"};
    assert_int_equal(sizeof kinds / sizeof *kinds, TOK_KINDS);
    for (unsigned i = 0; i < TOK_KINDS; i++)
        assert_string_equal(token_kind_name((enum token_kind)i), kinds[i]);
    for (unsigned i = 0; i < 4; i++)
        assert_string_equal(usage_source_name((enum usage_source)i), sources[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
