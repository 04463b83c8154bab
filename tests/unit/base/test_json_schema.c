/* Schemas against values: each keyword, the logic between schemas with what is not known, places in
 * reasons, and schemas that were written to hurt. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json_schema.h"
#include "base/pattern.h"

static struct json_value json(const char *text)
{
    struct slice s = slice_str(text);
    static const enum json_type types[128] = {
        ['n'] = JSON_NULL,   ['f'] = JSON_FALSE, ['t'] = JSON_TRUE,
        ['"'] = JSON_STRING, ['['] = JSON_ARRAY, ['{'] = JSON_OBJECT,
    };
    char c = text[0];

    if (!json_validate(s, NULL))
        fail_msg("not JSON: %s", text);
    return (struct json_value){
        c == '-' || (c >= '0' && c <= '9') ? JSON_NUMBER : types[(unsigned char)c & 127], s};
}

#define P JSON_SCHEMA_PASS
#define F JSON_SCHEMA_FAIL
#define U JSON_SCHEMA_UNKNOWN

struct row {
    const char *schema, *value;
    enum json_schema_result want;
    const char *why; /* part of the reason; NULL: not looked at */
};

static void check(const struct row *r, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct err_text why;
        enum json_schema_result got = json_schema_check(json(r[i].schema), json(r[i].value), &why);

        if (got != r[i].want)
            fail_msg("%s on %s: %d (%s)", r[i].schema, r[i].value, (int)got, why.s);
        if (r[i].why && !strstr(why.s, r[i].why))
            fail_msg("%s on %s: %s", r[i].schema, r[i].value, why.s);
        assert_int_equal(json_schema_check(json(r[i].schema), json(r[i].value), NULL), got);
    }
}
#define CHECK(rows) check((rows), sizeof(rows) / sizeof((rows)[0]))

static void any_value(void **state)
{
    static const struct row rows[] = {
        {"true", "7", P, NULL},
        {"false", "7", F, "nothing may be there"},
        {"{}", "null", P, NULL},
        {"7", "null", U, "neither an object nor a boolean"},
        {"{\"type\":\"null\"}", "null", P, NULL},
        {"{\"type\":\"boolean\"}", "false", P, NULL},
        {"{\"type\":\"boolean\"}", "0", F, "is not of type \"boolean\""},
        {"{\"type\":\"integer\"}", "1.0", P, NULL},
        {"{\"type\":\"integer\"}", "1e2", P, NULL},
        {"{\"type\":\"integer\"}", "1.5", F, NULL},
        {"{\"type\":\"integer\"}", "123456789012345678", P, NULL},
        {"{\"type\":\"number\"}", "-1.5", P, NULL},
        {"{\"type\":[\"string\",\"null\"]}", "null", P, NULL},
        {"{\"type\":[\"string\",\"null\"]}", "[]", F, NULL},
        {"{\"type\":[]}", "1", F, NULL},
        {"{\"type\":\"float\"}", "1", U, "'type'"},
        {"{\"type\":7}", "1", U, NULL},
        {"{\"const\":{\"a\":[1,\"x\"]}}", "{ \"a\" : [1.0, \"\\u0078\"] }", P, NULL},
        {"{\"const\":1}", "true", F, NULL},
        {"{\"enum\":[1,\"a\",null]}", "\"a\"", P, NULL},
        {"{\"enum\":[1,\"a\",null]}", "\"b\"", F, "enum"},
        {"{\"enum\":{}}", "1", U, NULL},
        {"{\"description\":\"x\",\"title\":7,\"$comment\":null,\"default\":1}", "[]", P, NULL},
        {"{\"nullable\":true}", "1", U, "'nullable' is not understood"},
        {"{\"nullable\":true,\"type\":\"string\"}", "1", F, NULL}, /* a fail decides */
        {"{\"\\u0074ype\":\"string\"}", "1", F, NULL},
    };

    (void)state;
    CHECK(rows);
}

static void numbers(void **state)
{
    static const struct row rows[] = {
        {"{\"minimum\":3}", "3", P, NULL},
        {"{\"minimum\":3}", "2.9", F, "at least 3"},
        {"{\"minimum\":3}", "\"x\"", P, NULL},
        {"{\"maximum\":3}", "3.1", F, NULL},
        {"{\"exclusiveMinimum\":3}", "3", F, NULL},
        {"{\"exclusiveMaximum\":3}", "2.99", P, NULL},
        {"{\"exclusiveMaximum\":true}", "2", U, NULL}, /* draft 4 */
        {"{\"multipleOf\":0.1}", "0.3", P, NULL},
        {"{\"multipleOf\":0.1}", "0.35", F, NULL},
        {"{\"multipleOf\":3}", "9e300", P, NULL},
        {"{\"multipleOf\":0}", "9", U, NULL},
        {"{\"multipleOf\":1e-300}", "1e300", U, NULL},
        {"{\"minimum\":1e999}", "1", U, NULL},
        {"{\"minimum\":1}", "1e999", U, NULL},
    };

    (void)state;
    CHECK(rows);
}

static void strings(void **state)
{
    static const struct row rows[] = {
        {"{\"minLength\":2}", "\"\xC3\xA9\xE2\x82\xAC\"", P, NULL},
        {"{\"maxLength\":2}", "\"\\u00e9\\u20ac\"", P, NULL},
        {"{\"maxLength\":1}", "\"\\ud83d\\ude00\"", P, NULL},
        {"{\"minLength\":3}", "\"ab\"", F, NULL},
        {"{\"minLength\":-1}", "\"ab\"", U, NULL},
        {"{\"minLength\":3}", "[]", P, NULL},
        {"{\"pattern\":\"^a+$\"}", "\"aaa\"", P, NULL},
        {"{\"pattern\":\"b\"}", "\"abc\"", P, NULL},
        {"{\"pattern\":\"^a+$\"}", "\"aab\"", F, "^a+$"},
        {"{\"pattern\":\"^\\\\d{3}$\"}", "\"123\"", P, NULL},
        {"{\"pattern\":\"^\\\\d$\"}", "\"\xD9\xA1\"", F, NULL}, /* ASCII digits only */
        {"{\"pattern\":\"^.$\"}", "\"\xF0\x9F\x98\x80\"", P, NULL},
        {"{\"pattern\":\"^a$\"}", "\"a\\n\"", F, NULL},
        {"{\"pattern\":\"(\"}", "\"a\"", U, "at byte 1"},
        {"{\"pattern\":\"^(a+)+$\"}", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"", U, NULL},
        {"{\"format\":\"date\"}", "\"2026-11-21\"", P, NULL},
        {"{\"format\":\"date\"}", "\"2026-13-21\"", F, "date"},
        {"{\"format\":\"date-time\"}", "\"2026-11-21T15:00:00.5+01:00\"", P, NULL},
        {"{\"format\":\"date-time\"}", "\"2026-11-21 15:00\"", F, NULL},
        {"{\"format\":\"uuid\"}", "\"01234567-89ab-CDEF-0123-456789abcdef\"", P, NULL},
        {"{\"format\":\"ipv4\"}", "\"256.1.1.1\"", F, NULL},
        {"{\"format\":\"email\"}", "\"a@b\"", P, NULL},
        {"{\"format\":\"iri\"}", "\"a\"", U, "'iri'"},
        {"{\"format\":\"iri\"}", "7", P, NULL},
    };

    (void)state;
    CHECK(rows);
}

static void objects(void **state)
{
    static const struct row rows[] = {
        {"{\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"a\":1,\"b\":2}", P, NULL},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"\\u0061\":\"x\"}", F, "/a: is not"},
        {"{\"properties\":{\"a\":{\"properties\":{\"b\":false}}}}", "{\"a\":{\"b\":1}}", F,
         "/a/b: nothing"},
        {"{\"required\":[\"a\",\"b\"]}", "{\"a\":1}", F, "'b' is missing"},
        {"{\"required\":[\"a\"]}", "[]", P, NULL},
        {"{\"required\":true}", "{}", U, NULL},
        {"{\"required\":[7]}", "{}", U, NULL},
        {"{\"properties\":{\"a\":true},\"additionalProperties\":false}", "{\"a\":1}", P, NULL},
        {"{\"properties\":{\"a\":true},\"additionalProperties\":false}", "{\"a\":1,\"c\":2}", F,
         "'c' is not a property"},
        {"{\"additionalProperties\":{\"type\":\"string\"}}", "{\"c\":2}", F, "/c"},
        {"{\"additionalProperties\":false,\"patternProperties\":{\"^x\":{\"type\":\"string\"}}}",
         "{\"x1\":\"a\"}", P, NULL},
        {"{\"additionalProperties\":false,\"patternProperties\":{\"^x\":{\"type\":\"string\"}}}",
         "{\"x1\":1}", F, "/x1"},
        {"{\"additionalProperties\":false,\"patternProperties\":{\"^x\":true}}", "{\"y\":1}", F,
         NULL},
        {"{\"patternProperties\":{\"(\":true}}", "{\"y\":1}", U, NULL},
        {"{\"propertyNames\":{\"maxLength\":2}}", "{\"abc\":1}", F, NULL},
        {"{\"minProperties\":1}", "{}", F, NULL},
        {"{\"maxProperties\":1}", "{\"a\":1,\"b\":2}", F, NULL},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}", F, "'b' is missing beside a"},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"c\":1}", P, NULL},
        {"{\"dependentSchemas\":{\"a\":{\"required\":[\"b\"]}}}", "{\"a\":1}", F, NULL},
        {"{\"properties\":[]}", "{}", U, NULL},
    };

    (void)state;
    CHECK(rows);
}

static void arrays(void **state)
{
    static const struct row rows[] = {
        {"{\"items\":{\"type\":\"integer\"}}", "[1,2]", P, NULL},
        {"{\"items\":{\"type\":\"integer\"}}", "[1,\"x\"]", F, "/1: is not"},
        {"{\"items\":false}", "[]", P, NULL},
        {"{\"prefixItems\":[{\"type\":\"string\"}],\"items\":{\"type\":\"integer\"}}", "[\"a\",1]",
         P, NULL},
        {"{\"prefixItems\":[{\"type\":\"string\"}],\"items\":false}", "[\"a\",1]", F, "/1"},
        {"{\"items\":[{\"type\":\"string\"}]}", "[1]", F, "/0"},
        {"{\"prefixItems\":[true,true,false]}", "[1]", P, NULL},
        {"{\"minItems\":2}", "[1]", F, NULL},
        {"{\"maxItems\":1.0}", "[1,2]", F, NULL},
        {"{\"uniqueItems\":true}", "[1,\"1\",[1],{\"a\":1}]", P, NULL},
        {"{\"uniqueItems\":true}", "[{\"a\":1,\"b\":2},3,{\"b\":2,\"a\":1.0}]", F, "equal"},
        {"{\"contains\":{\"const\":1}}", "[0,1]", P, NULL},
        {"{\"contains\":{\"const\":1}}", "[]", F, NULL},
        {"{\"contains\":{\"const\":1},\"minContains\":0}", "[]", P, NULL},
        {"{\"contains\":{\"const\":1},\"maxContains\":1}", "[1,1]", F, NULL},
        {"{\"contains\":{\"x\":1}}", "[1]", U, NULL},
        {"{\"contains\":{\"x\":1},\"minContains\":3}", "[1]", F, NULL},
    };

    (void)state;
    CHECK(rows);
}

#define ODD "{\"x-odd\":1}"

static void logic(void **state)
{
    static const struct row rows[] = {
        {"{\"allOf\":[true,{\"type\":\"string\"}]}", "1", F, NULL},
        {"{\"allOf\":[" ODD ",false]}", "1", F, NULL},
        {"{\"allOf\":[" ODD ",true]}", "1", U, NULL},
        {"{\"anyOf\":[false,{\"type\":\"integer\"}]}", "1", P, NULL},
        {"{\"anyOf\":[" ODD ",true]}", "1", P, NULL},
        {"{\"anyOf\":[" ODD ",false]}", "1", U, "is known to fit"},
        {"{\"anyOf\":[false,{\"minimum\":2}]}", "1", F, "fits no schema of 'anyOf'"},
        {"{\"oneOf\":[true,true]}", "1", F, "2 schemas"},
        {"{\"oneOf\":[true,false]}", "1", P, NULL},
        {"{\"oneOf\":[true," ODD "]}", "1", U, NULL},
        {"{\"oneOf\":[true,true," ODD "]}", "1", F, NULL},
        {"{\"oneOf\":[]}", "1", F, NULL},
        {"{\"not\":{\"type\":\"string\"}}", "1", P, NULL},
        {"{\"not\":true}", "1", F, NULL},
        {"{\"not\":" ODD "}", "1", U, NULL},
        {"{\"not\":{\"not\":{\"type\":\"integer\"}}}", "1", P, NULL},
        {"{\"if\":{\"minimum\":5},\"then\":{\"maximum\":9},\"else\":{\"maximum\":2}}", "7", P,
         NULL},
        {"{\"if\":{\"minimum\":5},\"then\":{\"maximum\":9},\"else\":{\"maximum\":2}}", "4", F,
         NULL},
        {"{\"if\":{\"minimum\":5},\"then\":false}", "4", P, NULL},
        {"{\"if\":" ODD ",\"then\":false}", "4", U, NULL},
        {"{\"then\":false,\"else\":false}", "4", P, NULL},
        {"{\"anyOf\":true}", "4", U, NULL},
    };

    (void)state;
    CHECK(rows);
}

static void references(void **state)
{
    static const struct row rows[] = {
        {"{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"integer\"}}}", "1", P, NULL},
        {"{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"integer\"}}}", "\"\"", F, NULL},
        {"{\"$ref\":\"#/$defs/a~1b~0c%20d\",\"$defs\":{\"a/b~c d\":false}}", "1", F, NULL},
        {"{\"$ref\":\"#/$defs/~01\",\"$defs\":{\"~1\":false}}", "1", F, NULL},
        {"{\"$ref\":\"#/anyOf/1\",\"anyOf\":[false,{\"type\":\"integer\"}]}", "1", P, NULL},
        {"{\"$ref\":\"#/$defs/none\"}", "1", U, "not in it"},
        {"{\"$ref\":\"other.json\"}", "1", U, NULL},
        {"{\"$ref\":\"#anchor\"}", "1", U, NULL},
        {"{\"$ref\":7}", "1", U, NULL},
        /* a tree */
        {"{\"properties\":{\"v\":{\"type\":\"integer\"},\"kids\":{\"items\":{\"$ref\":\"#\"}}}}",
         "{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[{\"v\":\"x\"}]}]}", F, "/kids/0/kids/0/v"},
        {"{\"$ref\":\"#\"}", "1", U, "too deeply"},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}", "1", U, NULL},
    };

    (void)state;
    CHECK(rows);
}

/* Work is bounded: two to the hundredth branches, tens of thousands of names, deep values. */
static void hostile(void **state)
{
    char *schema = malloc(1 << 20), *value = malloc(1 << 20);
    size_t n = 0, k = 0;
    struct err_text why;

    (void)state;
    assert_non_null(schema);
    assert_non_null(value);
    n = (size_t)snprintf(schema, 1 << 20, "{\"$defs\":{");
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(schema + n, 128,
                              "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":"
                              "\"#/$defs/d%d\"}]},",
                              i, i + 1, i + 1);
    snprintf(schema + n, 64, "\"d100\":{\"x-odd\":1}},\"$ref\":\"#/$defs/d0\"}");
    assert_int_equal(json_schema_check(json(schema), json("1"), &why), JSON_SCHEMA_UNKNOWN);

    n = (size_t)snprintf(schema, 1 << 20, "{\"required\":[\"a\"");
    k = (size_t)snprintf(value, 1 << 20, "{\"a\":1");
    for (int i = 0; i < 20000; i++) {
        n += (size_t)snprintf(schema + n, 64, ",\"n%d\"", i);
        k += (size_t)snprintf(value + k, 64, ",\"n%d\":%d", i, i);
    }
    snprintf(schema + n, 64, "]}");
    snprintf(value + k, 64, "}");
    assert_int_equal(json_schema_check(json(schema), json(value), &why), JSON_SCHEMA_UNKNOWN);
    assert_non_null(strstr(why.s, "too many steps"));

    memset(value, '[', 500);
    memset(value + 500, ']', 500);
    value[1000] = 0;
    assert_int_equal(json_schema_check(json("{\"items\":{\"$ref\":\"#\"}}"), json(value), &why),
                     JSON_SCHEMA_UNKNOWN);
    free(schema);
    free(value);
}

static void patterns(void **state)
{
    struct err_text why;
    struct pattern *p = pattern_new(SLICE("^[a-c]+\\u0064$"), &why);
    char *longest = malloc(PATTERN_MAX_BYTES + 1);

    (void)state;
    assert_non_null(p);
    assert_int_equal(pattern_search(p, SLICE("abcd")), PATTERN_FOUND);
    assert_int_equal(pattern_search(p, SLICE("abce")), PATTERN_ABSENT);
    assert_int_equal(pattern_search(p, SLICE("\xFF")), PATTERN_UNDECIDED);
    assert_int_equal(pattern_search(p, slice_make(NULL, 0)), PATTERN_ABSENT);
    pattern_free(p);
    p = pattern_new(SLICE(""), &why);
    assert_int_equal(pattern_search(p, slice_make(NULL, 0)), PATTERN_FOUND);
    pattern_free(p);
    assert_null(pattern_new(SLICE("a\\C"), &why));
    assert_null(pattern_new(SLICE("(?"), &why));
    assert_non_null(strstr(why.s, "at byte"));
    assert_non_null(longest);
    memset(longest, 'a', PATTERN_MAX_BYTES + 1);
    assert_null(pattern_new(slice_make(longest, PATTERN_MAX_BYTES + 1), &why));
    free(longest);
    pattern_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_value),  cmocka_unit_test(numbers), cmocka_unit_test(strings),
        cmocka_unit_test(objects),    cmocka_unit_test(arrays),  cmocka_unit_test(logic),
        cmocka_unit_test(references), cmocka_unit_test(hostile), cmocka_unit_test(patterns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
