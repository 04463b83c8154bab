/* Equal values have one digest, different values have different ones. */
#include <cmocka.h>
#include <stdio.h>
#include "base/json_canonical.h"

static struct digest digest_json(const char *text, const char *hole, bool *hole_found)
{
    struct arena a;
    struct json_canonical c;
    struct digest_stream *whole = digest_stream_new(), *rest = hole ? digest_stream_new() : NULL;
    struct digest d;
    struct slice t = slice_str(text);
    enum json_type type = t.p[0] == '{'   ? JSON_OBJECT
                          : t.p[0] == '[' ? JSON_ARRAY
                          : t.p[0] == '"' ? JSON_STRING
                                          : JSON_NUMBER;

    if (!json_validate(t, NULL))
        fail_msg("not JSON: %s", text);
    arena_init(&a, 1024);
    json_canonical_init(&c, &a, whole, rest, hole);
    json_canonical_value(&c, (struct json_value){type, t});
    json_canonical_flush(&c);
    if (hole_found)
        *hole_found = c.hole_found;
    arena_clear(&a);
    d = digest_stream_end(whole);
    if (!rest)
        return d;
    /* The whole is what it is without a hole, too. */
    assert_true(digest_eq(d, digest_json(text, NULL, NULL)));
    return digest_stream_end(rest);
}

static bool same(const char *a, const char *b)
{
    return digest_eq(digest_json(a, NULL, NULL), digest_json(b, NULL, NULL));
}

static void one_value_one_digest(void **state)
{
    (void)state;
    assert_true(same("{\"a\":1,\"b\":[true,null]}", "{ \"b\" : [ true , null ] , \"a\" : 1 }"));
    assert_true(same("{\"a\":1}", "{\"a\":2,\"a\":1}")); /* the last one counts */
    assert_true(same("{\"\\u0061\":1}", "{\"a\":1}"));
    assert_true(same("{\"\\u0061\":3,\"a\":1}", "{\"a\":1}"));
    assert_true(same("\"A\\u00e9\\/\"", "\"\\u0041\xc3\xa9/\""));
    assert_true(same("[1,1.0,1e0,10e-1]", "[1,1,1,1]"));
    assert_true(same("[0.1,-0.0]", "[1e-1,0]"));
    assert_true(same("[]", "[ ]"));
}

static void different_values_differ(void **state)
{
    (void)state;
    static const char *const values[] = {
        "[]",
        "{}",
        "[null]",
        "[false]",
        "[true]",
        "[0]",
        "[\"0\"]",
        "[\"\"]",
        "[\"\",\"\"]",
        "[[]]",
        "[[],[]]",
        "[[[]]]",
        "[1]",
        "[-1]",
        "[1.5]",
        "[1,5]",
        "[15]",
        "[\"1\"]",
        "{\"a\":1}",
        "{\"a\":[]}",
        "{\"b\":1}",
        "{\"a\":\"1\"}",
        "{\"\":1}",
        "[\"a\",1]",
        "[\"ab\"]",
        "[\"a b\"]",
        "[\"A\"]",
        "[\"ab\",\"\"]",
        "[\"a\",\"b\"]",
        "{\"a\":{\"b\":1}}",
        "{\"a\":{},\"b\":1}",
        "[{\"a\":1},{\"b\":2}]",
        "[{\"a\":1,\"b\":2}]",
        "[9007199254740993]",
        "[9007199254740992]",
        "[123456789012345678901234567890]",
        "[123456789012345678901234567891]",
        "[1e400]",
        "[\"s1:a\"]",
        "[\"?\"]",
        "\"\"",
        "\"[]\"",
    };
    size_t n = sizeof values / sizeof values[0];

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (same(values[i], values[j]))
                fail_msg("%s and %s have one digest", values[i], values[j]);
}

static void a_hole_hides_one_value(void **state)
{
    (void)state;
    const char *a = "{\"q\":[\"first\",\"last\"],\"t\":\"last\"}";
    const char *b = "{\"t\":\"last\",\"q\":[\"first\",\"other\"]}";
    bool found = false;
    struct digest da = digest_json(a, strstr(a, "\"last\""), &found);
    assert_true(found);
    assert_true(digest_eq(da, digest_json(b, strstr(b, "\"other\""), &found)));
    assert_true(found);
    assert_false(digest_eq(da, digest_json(b, strstr(b, "\"first\""), &found)));
    assert_false(digest_eq(da, digest_json(a, NULL, &found)));
    assert_false(found);
    /* Text cannot pass for a hole. */
    assert_false(
        digest_eq(da, digest_json("{\"q\":[\"first\",\"?\"],\"t\":\"last\"}", NULL, NULL)));
}

static void deep_and_wide(void **state)
{
    (void)state;
    char deep[2 * JSON_MAX_DEPTH + 1], wide[20000] = "{";
    size_t n = 1;

    memset(deep, '[', JSON_MAX_DEPTH);
    memset(deep + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    deep[2 * JSON_MAX_DEPTH] = '\0';
    assert_true(same(deep, deep));
    assert_false(same(deep, "[]"));
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(wide + n, sizeof wide - n, "%s\"k%d\":%d", i ? "," : "", i, i);
    snprintf(wide + n, sizeof wide - n, "}");
    assert_true(same(wide, wide));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_one_digest),
        cmocka_unit_test(different_values_differ),
        cmocka_unit_test(a_hole_hides_one_value),
        cmocka_unit_test(deep_and_wide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
