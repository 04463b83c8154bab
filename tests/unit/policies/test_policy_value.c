/* Scalars, URLs, patterns and names: the pure parts below the loader. */
#include <cmocka.h>

#include <string.h>
#include "policies/policy_glob.h"
#include "policies/policy_names.h"
#include "policies/policy_url.h"
#include "policies/policy_value.h"

typedef const char *(*parse_fn)(struct slice, int64_t *, const char **);

static void reads(parse_fn parse, const char *text, int64_t want)
{
    int64_t v = -99;
    const char *hint = NULL, *why = parse(slice_str(text), &v, &hint);
    if (why)
        fail_msg("'%s' %s", text, why);
    if (v != want)
        fail_msg("'%s' is %lld, not %lld", text, (long long)v, (long long)want);
}

static void refuses(parse_fn parse, const char *text)
{
    int64_t v;
    const char *hint = NULL;
    if (!parse(slice_str(text), &v, &hint))
        fail_msg("'%s' was read as %lld", text, (long long)v);
}

static void test_int(void **state)
{
    (void)state;
    reads(value_int, "0", 0);
    reads(value_int, "-7", -7);
    reads(value_int, "9223372036854775807", INT64_MAX);
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      "01",
                                      "00",
                                      "0x10",
                                      "0o7",
                                      "1_000",
                                      "1,000",
                                      "1e3",
                                      "1.0",
                                      " 1",
                                      "1 ",
                                      "9223372036854775808",
                                      "99999999999999999999999",
                                      "--1",
                                      "one"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses(value_int, bad[i]);
}

static void test_duration(void **state)
{
    (void)state;
    reads(value_duration, "250ms", 250);
    reads(value_duration, "30s", 30000);
    reads(value_duration, "1.5s", 1500);
    reads(value_duration, "0.001s", 1);
    reads(value_duration, "15m", 900000);
    reads(value_duration, "24h", 86400000);
    reads(value_duration, "7d", 604800000);
    reads(value_duration, "0s", 0);
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "5 s",
                                      "5S",
                                      "5sec",
                                      "1h30m",
                                      ".5s",
                                      "5.s",
                                      "-5s",
                                      "0.5ms",
                                      "0.0001s",
                                      "9223372036854775807s",
                                      "1.0000000000s",
                                      "99999999999999999999ms",
                                      "1e3ms"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses(value_duration, bad[i]);
}

static void test_size(void **state)
{
    (void)state;
    reads(value_size, "100B", 100);
    reads(value_size, "64KiB", 65536);
    reads(value_size, "1.5MiB", 1572864);
    reads(value_size, "2GiB", INT64_C(2147483648));
    reads(value_size, "10MB", 10000000);
    reads(value_size, "0.5KiB", 512);
    static const char *const bad[] = {
        "", "64", "64K", "64kb", "64 MiB", "0.5B", "0.0001KiB", "9999999999999GiB", "-1B"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses(value_size, bad[i]);
}

static void test_fraction(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0}, {"1", 1}, {"0.95", 0.95}, {"1.0", 1}, {"0.000000001", 1e-9}};
    static const char *const bad[] = {"",
                                      ".5",
                                      "1.",
                                      "-0.1",
                                      "1.0001",
                                      "2",
                                      "0.5x",
                                      "1e-1",
                                      "95%",
                                      "0,95",
                                      "nan",
                                      "inf",
                                      "+0.5",
                                      "0x1p-1",
                                      " 0.5",
                                      "0.0000000001",
                                      "99999999999999999999"};
    const char *hint = NULL;
    double v = -1;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_null(value_fraction(slice_str(good[i].text), &v, &hint));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (!value_fraction(slice_str(bad[i]), &v, &hint))
            fail_msg("'%s' was read", bad[i]);
}

static void test_time(void **state)
{
    (void)state;
    reads(value_time, "1970-01-01", 0);
    reads(value_time, "2026-01-01", INT64_C(1767225600000000));
    reads(value_time, "2024-02-29", INT64_C(1709164800000000));
    reads(value_time, "2000-03-01T00:00:00Z", INT64_C(951868800000000));
    reads(value_time, "2026-01-01T02:00:00.25+02:00", INT64_C(1767225600250000));
    reads(value_time, "2025-12-31T19:00:00-05:00", INT64_C(1767225600000000));
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-1-1",
                                      "2026-13-01",
                                      "2026-00-10",
                                      "2025-02-29",
                                      "2100-02-29",
                                      "2026-04-31",
                                      "1969-12-31",
                                      "2026-01-01T00:00:00",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00.1234567Z",
                                      "2026-01-01Z",
                                      "2026-01-01T00:00:00+2:00",
                                      "2026-01-01T00:00:00Zz",
                                      "2026-01-01 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses(value_time, bad[i]);
}

static void test_format(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(value_format_duration(90000, out, sizeof out), "90s");
    assert_string_equal(value_format_duration(900000, out, sizeof out), "15m");
    assert_string_equal(value_format_duration(86400000, out, sizeof out), "24h");
    assert_string_equal(value_format_duration(1500, out, sizeof out), "1500ms");
    assert_string_equal(value_format_duration(0, out, sizeof out), "0s");
    assert_string_equal(value_format_duration(-1, out, sizeof out), "none");
    assert_string_equal(value_format_size(65536, out, sizeof out), "64KiB");
    assert_string_equal(value_format_size(1000, out, sizeof out), "1000B");
    assert_string_equal(value_format_size(0, out, sizeof out), "0");
}

static void test_endpoint(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *authority, *path, *label;
        unsigned port;
        bool tls;
    } good[] = {
        {"https://api.openai.com/v1", "api.openai.com", "api.openai.com", "/v1",
         "api.openai.com:443", 443, true},
        {"https://api.openai.com:443/v1/", "api.openai.com", "api.openai.com", "/v1",
         "api.openai.com:443", 443, true},
        {"http://10.0.0.5:8000/v1", "10.0.0.5", "10.0.0.5:8000", "/v1", "10.0.0.5:8000", 8000,
         false},
        {"HTTP://localhost", "localhost", "localhost", "", "localhost:80", 80, false},
        {"http://[::1]:9100/a/b//", "::1", "[::1]:9100", "/a/b", "[::1]:9100", 9100, false},
        {"http://a_b.internal:1/v1", "a_b.internal", "a_b.internal:1", "/v1", "a_b.internal:1", 1,
         false},
    };
    struct arena a;
    arena_init(&a, 512);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct policy_endpoint e;
        const char *hint = NULL;
        assert_null(url_endpoint(slice_str(good[i].url), &a, &e, &hint));
        assert_string_equal(e.host, good[i].host);
        assert_string_equal(e.authority, good[i].authority);
        assert_string_equal(e.path, good[i].path);
        assert_string_equal(e.label, good[i].label);
        assert_int_equal(e.port, good[i].port);
        assert_int_equal(e.tls, good[i].tls);
    }
    static const char *const bad[] = {"",
                                      "/",
                                      "http://",
                                      "https:///",
                                      "http:/x/v1",
                                      "://x/v1",
                                      "ftp://x/v1",
                                      "http://u@x/v1",
                                      "http://u:p@x/v1",
                                      "http://x/v1?a=b",
                                      "http://x/v1#f",
                                      "http://x?a",
                                      "http://x:0/v1",
                                      "http://x:65536/v1",
                                      "http://x:/v1",
                                      "http://x:8a/v1",
                                      "http://x y/v1",
                                      "http://x/\tv1",
                                      "http://x/v\x7f",
                                      "http://\xc3\xbc.example/v1",
                                      "http://[::1/v1",
                                      "http://[zz]/v1",
                                      "http://[::1]x/v1",
                                      "http://[::1]:/v1",
                                      "http://::1/v1",
                                      "http://-x/v1",
                                      "http://.x/v1",
                                      "http://x/{a}",
                                      "http://x\\v1",
                                      "http://x/v1/chat/completions",
                                      "http://x/v1/completions",
                                      "http://x/v1/embeddings/"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct policy_endpoint e;
        const char *hint = NULL;
        if (!url_endpoint(slice_str(bad[i]), &a, &e, &hint))
            fail_msg("'%s' was accepted", bad[i]);
    }
    arena_clear(&a);
}

static void test_address(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        unsigned port;
        bool loopback;
    } good[] = {{"8080", "127.0.0.1", 8080, true},
                {"0", "127.0.0.1", 0, true},
                {"127.9.9.9:1", "127.9.9.9", 1, true},
                {"[::1]:8080", "::1", 8080, true},
                {"localhost:1", "localhost", 1, true},
                {"0.0.0.0:80", "0.0.0.0", 80, false},
                {"[::]:80", "::", 80, false},
                {"10.1.2.3:80", "10.1.2.3", 80, false},
                {"weir.example:80", "weir.example", 80, false},
                {"127.example:80", "127.example", 80, false}};
    struct arena a;
    arena_init(&a, 512);
    struct policy_address out;
    const char *hint = NULL;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_null(url_address(slice_str(good[i].text), &a, &out, &hint));
        assert_string_equal(out.host, good[i].host);
        assert_int_equal(out.port, good[i].port);
        assert_int_equal(out.loopback, good[i].loopback);
    }
    static const char *const bad[] = {
        "",        ":80",   "*:80",   "x",  "x:",     "x:99999", "::1:80",     "[::1]",
        "[::1]80", "99999", "123456", "-1", "a b:80", "x:8o",    "http://x:80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (!url_address(slice_str(bad[i]), &a, &out, &hint))
            fail_msg("'%s' was accepted", bad[i]);
    arena_clear(&a);
}

static void test_glob(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {{"", "", true},
                 {"", "a", false},
                 {"*", "", true},
                 {"*", "abc", true},
                 {"a*", "a", true},
                 {"a*", "ba", false},
                 {"*a", "ba", true},
                 {"*a", "ab", false},
                 {"a*c", "abbc", true},
                 {"a*c", "abcb", false},
                 {"a*b*c", "aXbYbc", true},
                 {"**", "x", true},
                 {"gpt-4*", "gpt-4.1", true},
                 {"gpt-4*", "gpt-3", false},
                 {"a", "*", false},
                 {"*b*", "a*b", true},
                 {"gpt-*", "gpt-4*", true},
                 {"gpt-4*", "gpt-*", false},
                 {"*-4*", "*-4", true},
                 {"a*a", "a", false},
                 {"*aab", "aaaab", true},
                 {"ab*ab", "ab", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (glob_match(slice_str(cases[i].pattern), slice_str(cases[i].text)) != cases[i].match)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
    assert_true(glob_is(SLICE("a*")));
    assert_false(glob_is(SLICE("a")));
    assert_false(glob_is((struct slice){0}));
}

static void test_names(void **state)
{
    (void)state;
    struct arena a;
    struct names t;
    arena_init(&a, 1024);
    names_init(&t, &a, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(names_add(&t, slice_str(arena_printf(&a, "name-%zu", i)), i), i);
    assert_int_equal(names_add(&t, SLICE("name-7"), 5000), 7);
    assert_int_equal(t.count, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(names_get(&t, slice_str(arena_printf(&a, "name-%zu", i))), i);
    assert_true(names_get(&t, SLICE("name-1000")) == NAMES_ABSENT);
    assert_true(names_get(&t, (struct slice){0}) == NAMES_ABSENT);
    struct names empty = {0};
    assert_true(names_get(&empty, SLICE("x")) == NAMES_ABSENT);
    arena_clear(&a);
}

static const char *nearest(const char *wanted, const char *const *candidates)
{
    struct names_nearest n;
    names_nearest_init(&n, slice_str(wanted));
    for (; *candidates; candidates++)
        names_nearest_offer(&n, *candidates);
    return n.best ? n.best : "";
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const keys[] = {"dialect", "url",     "balance", "timeouts",
                                       "limits",  "gpt-4.1", NULL};
    assert_string_equal(nearest("dialekt", keys), "dialect");
    assert_string_equal(nearest("tiemouts", keys), "timeouts"); /* swapped */
    assert_string_equal(nearest("Limits", keys), "limits");
    assert_string_equal(nearest("gpt-4", keys), "gpt-4.1"); /* cut short */
    assert_string_equal(nearest("urls", keys), "url");
    assert_string_equal(nearest("wobble", keys), "");
    assert_string_equal(nearest("", keys), "");
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_string_equal(nearest(longer, keys), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_int),      cmocka_unit_test(test_duration),
        cmocka_unit_test(test_size),     cmocka_unit_test(test_time),
        cmocka_unit_test(test_fraction), cmocka_unit_test(test_format),
        cmocka_unit_test(test_endpoint), cmocka_unit_test(test_address),
        cmocka_unit_test(test_glob),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
