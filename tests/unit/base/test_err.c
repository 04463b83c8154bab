/* base/err: every row of the table is sensible, and texts are bounded. */
#include <cmocka.h>
#include <ctype.h>
#include <string.h>
#include "base/err.h"

static void test_every_row(void **state)
{
    (void)state;
    for (enum err e = ERR_OK; e < ERR_COUNT; e++) {
        const char *name = err_name(e);
        assert_true(name[0] && strlen(name) < 39); /* not cut by the table of lower-case names */
        for (const char *c = name; *c; c++)
            assert_true(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '_');
        assert_true(err_text(e)[0]);
        if (e == ERR_OK)
            continue;
        assert_true(err_http_status(e) >= 400 && err_http_status(e) < 600);
        assert_true(err_openai_type(e)[0]);
        for (enum err other = ERR_OK; other < e; other++)
            assert_string_not_equal(name, err_name(other));
    }
}

static void test_some_rows(void **state)
{
    (void)state;
    assert_string_equal(err_name(ERR_OK), "ok");
    assert_string_equal(err_name(ERR_UPSTREAM_FIRST_BYTE_TIMEOUT), "upstream_first_byte_timeout");
    assert_int_equal(err_http_status(ERR_TOO_LARGE), 413);
    assert_int_equal(err_retry(ERR_UPSTREAM_RATE_LIMITED), ERR_RETRY_SAME);
    assert_int_equal(err_retry(ERR_UPSTREAM_CONTEXT_LENGTH), ERR_RETRY_NEXT);
    assert_int_equal(err_retry(ERR_UPSTREAM_CONNECT), ERR_RETRY_OTHER);
    assert_int_equal(err_retry(ERR_BAD_JSON), ERR_RETRY_NEVER);
    assert_string_equal(err_openai_code(ERR_BAD_JSON), "");
    assert_string_equal(err_openai_code(ERR_MODEL_NOT_FOUND), "model_not_found");
}

static void test_say_is_bounded(void **state)
{
    (void)state;
    struct err_text t;
    err_say(&t, "%d of %s", 3, "x");
    assert_string_equal(t.s, "3 of x");
    err_say(&t, "%2000d", 1);
    assert_int_equal(strlen(t.s), sizeof t.s - 1);
    err_say(NULL, "nobody listens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_some_rows),
        cmocka_unit_test(test_say_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
