/* Sums over log-probabilities: against plain arithmetic on the same numbers, in both shapes that
 * servers write, with values that no probability has, and with what is no log-probability at all.
 */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/token_logprobs.h"
#include "base/rng.h"

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("got %.9g, want %.9g within %g", got, want, tolerance);
}

static struct token_logprobs read_json(const char *text)
{
    struct token_logprobs t = {0};
    struct slice s = slice_str(text);

    assert_true(json_validate(s, NULL));
    token_logprobs_read(&t, (struct json_value){text[0] == '{' ? JSON_OBJECT : JSON_NULL, s});
    return t;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* A thousand tokens: everything beside the same thing computed from the array. */
static void sums(void **state)
{
    enum { N = 1000 };
    struct token_logprobs t = {0};
    double l[N], least_window = 0, sum = 0;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 7);
    for (int i = 0; i < N; i++) {
        l[i] = log(1 - 0.95 * rng_unit(&rng));
        token_logprobs_add(&t, l[i], NULL, 0);
        sum += l[i];
    }
    for (int i = 0; i + TOKEN_LOGPROBS_WINDOW <= N; i++) {
        double window = 0;

        for (int k = 0; k < TOKEN_LOGPROBS_WINDOW; k++)
            window += l[i + k];
        least_window = fmin(least_window, window / TOKEN_LOGPROBS_WINDOW);
    }
    assert_int_equal(t.count, N);
    near(token_logprobs_mean(&t), sum / N, 1e-12);
    near(token_logprobs_window_min(&t), least_window, 1e-5);
    assert_int_equal(t.with_alternatives, 0);
    qsort(l, N, sizeof l[0], ascending);
    near(t.min, l[0], 0);
    for (int percent = 5; percent < 100; percent += 5) {
        double want = l[N * percent / 100];

        near(token_logprobs_quantile(&t, percent / 100.0), want, 0.03 - want / 4);
    }
    near(token_logprobs_quantile(&t, 0), l[0], 1e-9);
}

static void short_answers(void **state)
{
    struct token_logprobs t = {0};

    (void)state;
    token_logprobs_add(&t, -0.5, NULL, 0);
    token_logprobs_add(&t, -1.5, NULL, 0);
    near(token_logprobs_window_min(&t), -1, 1e-9);
    near(token_logprobs_quantile(&t, 0.1), -1.5, 0.13);
    for (int i = 2; i < TOKEN_LOGPROBS_WINDOW; i++)
        token_logprobs_add(&t, 0, NULL, 0);
    near(token_logprobs_window_min(&t), -2.0 / TOKEN_LOGPROBS_WINDOW, 1e-7);
    token_logprobs_add(&t, -9, NULL, 0); /* -0.5 leaves the window */
    near(token_logprobs_window_min(&t), -10.5 / TOKEN_LOGPROBS_WINDOW, 1e-6);
}

static void alternatives(void **state)
{
    struct token_logprobs t = {0};
    double two[] = {log(0.25), log(0.125)}, better[] = {log(0.75)};

    (void)state;
    token_logprobs_add(&t, log(0.5), two, 2);
    near(token_logprobs_margin(&t), log(2), 1e-9);
    near(token_logprobs_entropy(&t), 0.5 * log(2) + 0.25 * log(4) + 0.125 * log(8) + 0.125 * log(8),
         1e-9);
    token_logprobs_add(&t, log(0.25), better, 1); /* another was likelier: nothing is missing */
    near(t.margin_min, -log(3), 1e-9);
    near(token_logprobs_margin(&t), (log(2) - log(3)) / 2, 1e-9);
    near(t.entropy_sum,
         0.5 * log(2) + 0.25 * log(4) + 0.25 * log(8) + 0.75 * log(4.0 / 3) + 0.25 * log(4), 1e-6);
}

static void chat_shape(void **state)
{
    struct token_logprobs t = read_json(
        "{\"content\": [{\"token\": \"Hi\", \"logprob\": -0.25, \"bytes\": [72, 105], "
        "\"top_logprobs\": [{\"token\": \"Hi\", \"logprob\": -0.25, \"bytes\": [72, 105]}, "
        "{\"token\": \"He\", \"logprob\": -2.25, \"bytes\": null}]}, "
        "{\"token\": \"\\\"logprob\\\": -7\", \"logprob\": -1.5160632133483887, "
        "\"top_logprobs\": []}], \"refusal\": null}");

    (void)state;
    assert_int_equal(t.count, 2);
    near(t.sum, -1.7660632133483887, 1e-14);
    assert_int_equal(t.with_alternatives, 1);
    near(token_logprobs_margin(&t), 2, 1e-12);
    t = read_json("{\"content\":null,\"refusal\":[{\"token\":\"I\",\"logprob\":-1e-1}]}");
    assert_int_equal(t.count, 1);
    near(t.sum, -0.1, 1e-15);
}

static void completion_shape(void **state)
{
    struct token_logprobs t =
        read_json("{\"tokens\":[\"a\",\"b\",\"c\"],\"token_logprobs\":[null,-0.5,-0.75],"
                  "\"top_logprobs\":[null,{\"b\":-0.5,\"x\":-1.0},{\"y\":-0.25}],"
                  "\"text_offset\":[0,1,2]}");

    (void)state;
    assert_int_equal(t.count, 2);
    near(t.sum, -1.25, 1e-15);
    assert_int_equal(t.with_alternatives, 2);
    near(t.margin_sum, 0.5 - 0.5, 1e-12);
    t = read_json("{\"token_logprobs\":[-0.5]}");
    assert_int_equal(t.count, 1);
    assert_int_equal(t.with_alternatives, 0);
}

/* Numbers in every spelling, beside strtod. */
static void numbers(void **state)
{
    static const char *const spelt[] = {"-0",
                                        "-0.0",
                                        "-1",
                                        "-0.000000000000001",
                                        "-0.00000000000000000001",
                                        "-1.5e1",
                                        "-29",
                                        "-3E-2",
                                        "-0.693147180559945309417232121458",
                                        "-12.25",
                                        "-0.5"};

    (void)state;
    for (size_t i = 0; i < sizeof spelt / sizeof spelt[0]; i++) {
        char json[160];
        struct token_logprobs t;

        snprintf(json, sizeof json, "{\"content\":[{\"token\":\"x\",\"logprob\":%s}]}", spelt[i]);
        t = read_json(json);
        assert_int_equal(t.count, 1);
        near(t.sum, fmin(0, strtod(spelt[i], NULL)), 3e-14);
    }
}

static void hostile(void **state)
{
    static const struct {
        const char *json;
        int64_t count;
        double sum;
    } cases[] = {
        {"null", 0, 0},
        {"{}", 0, 0},
        {"{\"content\":null}", 0, 0},
        {"{\"content\":\"text\"}", 0, 0},
        {"{\"content\":{\"logprob\":-1}}", 0, 0},
        {"{\"content\":[1,null,\"x\",[],{}]}", 0, 0},
        {"{\"content\":[{\"logprob\":\"-1\"},{\"logprob\":null}]}", 0, 0},
        {"{\"content\":[{\"logprob\":-9999.0}]}", 1, -30},
        {"{\"content\":[{\"logprob\":-1e400}]}", 0, 0},
        {"{\"content\":[{\"logprob\":3.5}]}", 1, 0},
        {"{\"content\":[{\"logprob\":-1e300}]}", 1, -30},
        {"{\"content\":[{\"logprob\":-123456789012345678901234567890}]}", 1, -30},
        {"{\"content\":[{\"logprob\":-1,\"top_logprobs\":{\"a\":1}}]}", 1, -1},
        {"{\"content\":[{\"logprob\":-1,\"top_logprobs\":[[],{\"logprob\":[]},7]}]}", 1, -1},
        {"{\"token_logprobs\":{},\"top_logprobs\":[{}]}", 0, 0},
        {"{\"token_logprobs\":[-1,-2],\"top_logprobs\":[7],\"tokens\":\"x\"}", 2, -3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token_logprobs t = read_json(cases[i].json);

        if (t.count != cases[i].count)
            fail_msg("%s: %lld tokens", cases[i].json, (long long)t.count);
        near(t.sum, cases[i].sum, 1e-12);
        if (t.count)
            assert_true(isfinite(token_logprobs_quantile(&t, 0.1)));
    }
}

/* The same records in the shape that every server writes, and in shapes that take the long way
 * round: escaped names, members of other types, white space. */
static void both_ways(void **state)
{
    static const char *const shapes[] = {
        "{\"token\":\"%s\",\"logprob\":%.17g,\"bytes\":[1,2],\"top_logprobs\":[{\"token\":"
        "\"%s\",\"logprob\":%.17g,\"bytes\":null},{\"token\":\"z\",\"logprob\":%.17g}]}",
        " { \"token\" : \"%s\" , \"logprob\" : %.17g , \"bytes\" : [ 1 , 2 ] , \"top_logprobs\" : "
        "[ "
        "{ \"token\" : \"%s\" , \"logprob\" : %.17g } , { \"token\" : \"z\" , \"logprob\" : %.17g "
        "} ] } ",
        "{\"x\":{\"logprob\":-9,\"y\":[{\"token\":1}]},\"token\":\"%s\",\"logpro\\u0062\":%.17g,"
        "\"top_logprobs\":[{\"token\":\"%s\",\"logprob\":%.17g,\"bytes\":[[1]]},{\"token\":\"z\","
        "\"bytes\":[\"]\"],\"logprob\":%.17g}]}",
        "{\"token\":\"%s\",\"bytes\":[\"}\"],\"logprob\":%.17g,\"top_logprobs\":[{\"token\":\"%s\","
        "\"logprob\":%.17g},{\"token\":\"z\",\"logprob\":%.17g}],\"o\":{}}",
    };
    static const char *const tokens[] = {"a", " \\\"]}", "\\\\", "\xE2\x82\xAC", "{[\\u0022"};
    struct token_logprobs first = {0};

    (void)state;
    for (size_t shape = 0; shape < sizeof shapes / sizeof shapes[0]; shape++) {
        char json[8192];
        size_t n = (size_t)snprintf(json, sizeof json, "{\"content\":[");
        struct token_logprobs t;

        for (int i = 0; i < 15; i++) {
            const char *token = tokens[i % 5];
            double l = -0.1 * (i + 1);

            json[n] = ',';
            n += i > 0;
            /* shapes are the table above */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            n += (size_t)snprintf(json + n, sizeof json - n, shapes[shape], token, l, token, l,
                                  l - 2);
#pragma GCC diagnostic pop
        }
        snprintf(json + n, sizeof json - n, "]}");
        t = read_json(json);
        if (shape == 0)
            first = t;
        assert_int_equal(t.count, 15);
        assert_int_equal(t.with_alternatives, 15);
        near(t.margin_min, 2, 1e-9);
        assert_memory_equal(&t, &first, sizeof t);
    }
}

/* More alternatives than any API gives are not read; the rest of the token is. */
static void many_alternatives(void **state)
{
    char json[8192];
    size_t n =
        (size_t)snprintf(json, sizeof json, "{\"content\":[{\"logprob\":-1,\"top_logprobs\":[");
    struct token_logprobs t;

    (void)state;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(json + n, sizeof json - n, "%s{\"token\":\"%d\",\"logprob\":-%d}",
                              i ? "," : "", i, 5 + i);
    snprintf(json + n, sizeof json - n, "]},{\"logprob\":-2}]}");
    t = read_json(json);
    assert_int_equal(t.count, 2);
    near(t.margin_min, 4, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),
        cmocka_unit_test(short_answers),
        cmocka_unit_test(alternatives),
        cmocka_unit_test(chat_shape),
        cmocka_unit_test(completion_shape),
        cmocka_unit_test(numbers),
        cmocka_unit_test(hostile),
        cmocka_unit_test(both_ways),
        cmocka_unit_test(many_alternatives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
