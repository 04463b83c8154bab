/* gateway/http_target: the forms of a request target. */
#include <cmocka.h>
#include "gateway/http_target.h"

static void forms(void **state)
{
    static const struct {
        const char *method, *target, *path, *query; /* path NULL: refused */
    } cases[] = {
        {"GET", "/", "/", ""},
        {"GET", "/v1/models?limit=2&x=%3F?", "/v1/models", "limit=2&x=%3F?"},
        {"GET", "/?", "/", ""},
        {"GET", "//evil.example/x", "//evil.example/x", ""},
        {"POST", "http://host/v1/chat", "/v1/chat", ""},
        {"POST", "HTTPS://user@[::1]:80/a?b", "/a", "b"},
        {"GET", "http://host", "/", ""},
        {"GET", "http://host?q", "/", "q"},
        {"OPTIONS", "http://host/a", "/a", ""},
        {"OPTIONS", "*", "*", ""},
        {"GET", "*", NULL, NULL},
        {"options", "*", NULL, NULL}, /* methods are case-sensitive */
        {"GET", "", NULL, NULL},
        {"GET", "v1/models", NULL, NULL},
        {"GET", "?a", NULL, NULL},
        {"GET", "ftp://host/x", NULL, NULL},
        {"GET", "http:///x", NULL, NULL},
        {"GET", "http://", NULL, NULL},
        {"GET", "http:/x", NULL, NULL},
        {"CONNECT", "host:443", NULL, NULL},
        {"GET", "/a#b", NULL, NULL},
        {"GET", "http://host/#", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice path, query;
        const char *why = NULL;
        bool ok = http_target_split(slice_str(cases[i].method), slice_str(cases[i].target), &path,
                                    &query, &why);
        if (ok != (cases[i].path != NULL))
            fail_msg("%s: %s", cases[i].target, ok ? "accepted" : why);
        if (!ok) {
            assert_non_null(why);
            continue;
        }
        assert_true(slice_eq(path, slice_str(cases[i].path)));
        assert_true(slice_eq(query, slice_str(cases[i].query)));
    }
}

static void length(void **state)
{
    static char target[HTTP_TARGET_MAX_BYTES + 1];
    struct slice path, query;
    const char *why;
    (void)state;
    memset(target, 'a', sizeof target);
    target[0] = '/';
    assert_true(http_target_split(SLICE("GET"), slice_make(target, HTTP_TARGET_MAX_BYTES), &path,
                                  &query, &why));
    assert_false(
        http_target_split(SLICE("GET"), slice_make(target, sizeof target), &path, &query, &why));
}

static void queries(void **state)
{
    static const struct {
        const char *query, *seen; /* "key=value;" of each pair, '!' for a fault */
    } cases[] = {
        {"", ""},
        {"&&", ""},
        {"a=1", "a=1;"},
        {"a", "a=;"},
        {"=1", "=1;"},
        {"a=1&b=2&", "a=1;b=2;"},
        {"a=x+y%20z%2B", "a=x y z+;"},
        {"a=b=c", "a=b=c;"},
        {"%61=%7e", "a=~;"},
        {"a=%", "!"},
        {"a=%4", "!"},
        {"a=%4g", "!"},
        {"ok=1&a=%zz", "ok=1;!"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice rest = slice_str(cases[i].query), key, value;
        const char *wrong, *seen = "";
        struct arena a;
        arena_init(&a, 256);
        while (http_target_next(&rest, &a, &key, &value, &wrong))
            seen = arena_printf(&a, "%s%.*s=%.*s;", seen, SLICE_ARG(key), SLICE_ARG(value));
        seen = arena_printf(&a, "%s%s", seen, wrong ? "!" : "");
        assert_string_equal(seen, cases[i].seen);
        arena_clear(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(length),
                                       cmocka_unit_test(queries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
