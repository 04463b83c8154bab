/* Keywords of JSON Schema that speak of any value, of numbers and of strings. */
#include "base/json_schema_int.h"

#include <math.h>
#include "base/json_same.h"
#include "base/pattern.h"
#include "base/utf8.h"

/* ---- any value ---- */

static bool is_integer(struct json_value v)
{
    int64_t exact;
    double d;

    return json_int(v, &exact) || (json_number(v, &d) && isfinite(d) && d == trunc(d));
}

/* -1: no type of that name. */
static int has_type(struct json_value v, struct slice name)
{
    static const struct {
        struct slice name;
        enum json_type type;
    } types[] = {
        {{"null", 4}, JSON_NULL},   {{"number", 6}, JSON_NUMBER}, {{"string", 6}, JSON_STRING},
        {{"array", 5}, JSON_ARRAY}, {{"object", 6}, JSON_OBJECT},
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (slice_eq(types[i].name, name))
            return v.type == types[i].type;
    if (slice_eq(name, SLICE("boolean")))
        return v.type == JSON_TRUE || v.type == JSON_FALSE;
    return slice_eq(name, SLICE("integer")) ? v.type == JSON_NUMBER && is_integer(v) : -1;
}

JSON_SCHEMA_KEYWORD(type)
{
    struct json_iter it;
    struct json_member m = {.value = keyword};
    bool list = keyword.type == JSON_ARRAY;

    (void)schema;
    if (list)
        json_iter_init(&it, keyword);
    while (!list || json_iter_next(&it, &m)) {
        int has = m.value.type == JSON_STRING
                      ? has_type(value, json_string_text(m.value.text, &run->scratch))
                      : -1;

        if (has < 0)
            return json_schema_odd(run, "type");
        if (has)
            return JSON_SCHEMA_PASS;
        if (!list)
            break;
    }
    return json_schema_fail(run, "is not of type %.*s", SLICE_ARG(keyword.text));
}

JSON_SCHEMA_KEYWORD(const)
{
    (void)schema;
    if (!json_schema_step(run, keyword.text.n + value.text.n))
        return json_schema_unknown(run, "checking it takes too many steps");
    return json_same(keyword, value, &run->scratch)
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "is not %.*s",
                                  (int)(keyword.text.n < 100 ? keyword.text.n : 100),
                                  keyword.text.p);
}

JSON_SCHEMA_KEYWORD(enum)
{
    struct json_iter it;
    struct json_member m;

    (void)schema;
    if (keyword.type != JSON_ARRAY)
        return json_schema_odd(run, "enum");
    json_iter_init(&it, keyword);
    while (json_iter_next(&it, &m)) {
        if (!json_schema_step(run, m.value.text.n + value.text.n))
            return json_schema_unknown(run, "checking it takes too many steps");
        if (json_same(m.value, value, &run->scratch))
            return JSON_SCHEMA_PASS;
    }
    return json_schema_fail(run, "is none of the values of 'enum'");
}

/* ---- numbers ---- */

/* false: the value is no number, and passes; or *result says what is wrong. */
static bool both_numbers(struct json_schema_run *run, struct json_value keyword,
                         struct json_value value, const char *name, double *bound, double *n,
                         enum json_schema_result *result)
{
    *result = JSON_SCHEMA_PASS;
    if (value.type != JSON_NUMBER)
        return false;
    if (keyword.type != JSON_NUMBER || !json_number(keyword, bound))
        *result = json_schema_odd(run, name);
    else if (json_number(value, n))
        return true;
    else
        *result = json_schema_unknown(run, "is too large a number");
    return false;
}

#define COMPARISON(function, name, operator, words)                                                \
    JSON_SCHEMA_KEYWORD(function)                                                                  \
    {                                                                                              \
        enum json_schema_result result;                                                            \
        double bound, n;                                                                           \
                                                                                                   \
        (void)schema;                                                                              \
        if (!both_numbers(run, keyword, value, name, &bound, &n, &result))                         \
            return result;                                                                         \
        return n operator bound ? JSON_SCHEMA_PASS                                                 \
                                : json_schema_fail(run, "is not " words " %g", bound);             \
    }
COMPARISON(minimum, "minimum", >=, "at least")
COMPARISON(maximum, "maximum", <=, "at most")
COMPARISON(exclusive_minimum, "exclusiveMinimum", >, "more than")
COMPARISON(exclusive_maximum, "exclusiveMaximum", <, "less than")

/* Decimal fractions are not exact in binary: 0.3 is a multiple of 0.1. */
JSON_SCHEMA_KEYWORD(multiple_of)
{
    enum json_schema_result result;
    double step, n, quotient;

    (void)schema;
    if (!both_numbers(run, keyword, value, "multipleOf", &step, &n, &result))
        return result;
    if (!(step > 0))
        return json_schema_odd(run, "multipleOf");
    quotient = n / step;
    if (!isfinite(quotient))
        return json_schema_unknown(run, "is too large a number for 'multipleOf'");
    return fabs(quotient - round(quotient)) <= 1e-9 * fmax(1, fabs(quotient))
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "is not a multiple of %g", step);
}

/* ---- strings ---- */

static size_t count_characters(struct slice s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += !utf8_is_tail((unsigned char)s.p[i]);
    return n;
}

JSON_SCHEMA_KEYWORD(min_length)
{
    double least;

    (void)schema;
    if (value.type != JSON_STRING)
        return JSON_SCHEMA_PASS;
    if (!json_schema_count(keyword, &least))
        return json_schema_odd(run, "minLength");
    return (double)count_characters(json_string_text(value.text, &run->scratch)) >= least
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "is shorter than %g characters", least);
}

JSON_SCHEMA_KEYWORD(max_length)
{
    double most;

    (void)schema;
    if (value.type != JSON_STRING)
        return JSON_SCHEMA_PASS;
    if (!json_schema_count(keyword, &most))
        return json_schema_odd(run, "maxLength");
    return (double)count_characters(json_string_text(value.text, &run->scratch)) <= most
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "is longer than %g characters", most);
}

enum json_schema_result json_schema_search(struct json_schema_run *run, struct slice pattern,
                                           struct slice text)
{
    struct err_text why;
    struct pattern *p;
    enum pattern_found found;

    /* Compiling is worth hundreds of steps, a search at its limits thousands. */
    if (!json_schema_step(run, 50000 + 8 * text.n))
        return json_schema_unknown(run, "checking it takes too many steps");
    p = pattern_new(pattern, &why);
    if (!p)
        return json_schema_unknown(run, "the schema's pattern is not understood: %s", why.s);
    found = pattern_search(p, text);
    pattern_free(p);
    if (found != PATTERN_UNDECIDED)
        return found == PATTERN_FOUND ? JSON_SCHEMA_PASS : JSON_SCHEMA_FAIL;
    run->steps += JSON_SCHEMA_MAX_STEPS / 8;
    return json_schema_unknown(run, "the schema's pattern takes too long");
}

JSON_SCHEMA_KEYWORD(pattern)
{
    enum json_schema_result result;

    (void)schema;
    if (value.type != JSON_STRING)
        return JSON_SCHEMA_PASS;
    if (keyword.type != JSON_STRING)
        return json_schema_odd(run, "pattern");
    result = json_schema_search(run, json_string_text(keyword.text, &run->scratch),
                                json_string_text(value.text, &run->scratch));
    return result == JSON_SCHEMA_FAIL
               ? json_schema_fail(run, "does not match %.*s",
                                  (int)(keyword.text.n < 100 ? keyword.text.n : 100),
                                  keyword.text.p)
               : result;
}

/* RFC 3339 (days of each month aside), RFC 4122, RFC 2673, and what mail addresses look like. */
#define DATE  "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])"
#define TIME  "([01]\\d|2[0-3]):[0-5]\\d:([0-5]\\d|60)(\\.\\d+)?([zZ]|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define OCTET "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"

JSON_SCHEMA_KEYWORD(format)
{
    static const struct {
        struct slice name, pattern;
    } formats[] = {
#define FORMAT(name, pattern)                                                                      \
    {                                                                                              \
        {name, sizeof(name) - 1},                                                                  \
        {                                                                                          \
            "^" pattern "$", sizeof("^" pattern "$") - 1                                           \
        }                                                                                          \
    }
        FORMAT("date", DATE),
        FORMAT("time", TIME),
        FORMAT("date-time", DATE "[tT]" TIME),
        FORMAT("uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        FORMAT("ipv4", OCTET "(\\." OCTET "){3}"),
        FORMAT("email", "[^@\\s]+@[^@\\s]+"),
#undef FORMAT
    };
    struct slice name;

    (void)schema;
    if (value.type != JSON_STRING)
        return JSON_SCHEMA_PASS;
    if (keyword.type != JSON_STRING)
        return json_schema_odd(run, "format");
    name = json_string_text(keyword.text, &run->scratch);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        enum json_schema_result result;

        if (!slice_eq(name, formats[i].name))
            continue;
        result = json_schema_search(run, formats[i].pattern,
                                    json_string_text(value.text, &run->scratch));
        return result == JSON_SCHEMA_FAIL
                   ? json_schema_fail(run, "is not of format %.*s", SLICE_ARG(name))
                   : result;
    }
    return json_schema_unknown(run, "the schema's format '%.*s' is not understood",
                               SLICE_ARG(name));
}
