/* Budget, back-off and every form of Retry-After, with a fake clock. */
#include <stdio.h>
#include <cmocka.h>

#include "backends/retry.h"
#include "base/http1.h"

#define SECOND INT64_C(1000000)

static void test_budget_percent(void **state)
{
    struct retry_budget b;
    int taken = 0;

    (void)state;
    retry_budget_init(&b);
    for (int i = 0; i < 1000; i++)
        retry_budget_request(&b, 100 * SECOND + i * 5000); /* within five seconds */
    for (int i = 0; i < 1000; i++)
        taken += retry_budget_take(&b, 20, 0, 106 * SECOND);
    assert_int_equal(taken, 200);
    assert_false(retry_budget_take(&b, 20, 0, 109 * SECOND));
}

static void test_budget_window_slides(void **state)
{
    struct retry_budget b;

    (void)state;
    retry_budget_init(&b);
    for (int i = 0; i < 100; i++)
        retry_budget_request(&b, 5 * SECOND);
    assert_true(retry_budget_take(&b, 10, 0, 14 * SECOND));
    assert_false(retry_budget_take(
        &b, 10, 0, 15 * SECOND)); /* the second with the requests has left the window */
    assert_false(retry_budget_take(&b, 10, 0, 1000 * SECOND));
}

static void test_budget_minimum(void **state)
{
    struct retry_budget b;

    (void)state;
    retry_budget_init(&b);
    assert_false(retry_budget_take(&b, 100, 0, 0)); /* no requests, no retries */
    for (int second = 1; second < 30; second++) {
        int taken = 0;

        for (int i = 0; i < 10; i++)
            taken += retry_budget_take(&b, 0, 3, second * SECOND);
        assert_int_equal(taken, 3);
    }
}

static void test_backoff(void **state)
{
    struct rng rng;
    int64_t highest[12] = {0};

    (void)state;
    rng_seed(&rng, 7);
    for (int i = 0; i < 20000; i++) {
        int attempt = i % 12;
        int64_t ms = retry_backoff_ms(100, 5000, attempt, &rng);
        int64_t ceiling = attempt <= 1 ? 100 : attempt >= 7 ? 5000 : INT64_C(100) << (attempt - 1);

        assert_in_range(ms, 0, ceiling);
        if (ms > highest[attempt])
            highest[attempt] = ms;
    }
    for (int attempt = 1; attempt < 12; attempt++) { /* full jitter reaches up to its ceiling */
        int64_t ceiling = attempt >= 7 ? 5000 : INT64_C(100) << (attempt - 1);

        assert_true(highest[attempt] > ceiling * 9 / 10);
    }
    assert_int_equal(retry_backoff_ms(0, 5000, 3, &rng), 0);
    assert_int_equal(retry_backoff_ms(100, 0, 3, &rng), 0);
    assert_in_range(retry_backoff_ms(INT64_MAX / 2, INT64_MAX - 1, 60, &rng), 0, INT64_MAX - 1);
}

static int64_t after(const char *headers, int64_t now_wall_us)
{
    char text[512];
    static struct http1_head head;
    size_t scanned = 0;
    const char *why = "";

    snprintf(text, sizeof text, "HTTP/1.1 429 Slow\r\n%sContent-Length: 0\r\n\r\n", headers);
    assert_int_equal(http1_parse_response(slice_str(text), &scanned, false, &head, &why),
                     HTTP1_DONE);
    return retry_after_ms(&head, now_wall_us);
}

static void test_retry_after(void **state)
{
    const int64_t now_us =
        INT64_C(784111777) * SECOND; /* Sun, 06 Nov 1994 08:49:37 GMT, the RFC's example */
    static const struct {
        const char *headers;
        int64_t ms;
    } cases[] = {
        {"", -1},
        {"Retry-After: 0\r\n", 0},
        {"Retry-After: 120\r\n", 120000},
        {"retry-after:  7 \r\n", 7000},
        {"Retry-After: 1.5\r\n", 1500},
        {"Retry-After: 0.0001\r\n", 1},
        {"Retry-After: -1\r\n", -1},
        {"Retry-After: +1\r\n", -1},
        {"Retry-After: 1.\r\n", -1},
        {"Retry-After: .5\r\n", -1},
        {"Retry-After: 1e3\r\n", -1},
        {"Retry-After: 10 s\r\n", -1},
        {"Retry-After: \r\n", -1},
        {"Retry-After: 99999999999999999999999999\r\n", INT64_C(366) * 24 * 3600 * 1000},
        {"Retry-After-Ms: 250\r\n", 250},
        {"Retry-After-Ms: 250.4\r\n", 251},
        {"Retry-After-Ms: 250\r\nRetry-After: 9\r\n", 250},
        {"Retry-After-Ms: soon\r\nRetry-After: 9\r\n", 9000},
        {"Retry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\n", 10000},
        {"Retry-After: Sunday, 06-Nov-94 08:49:47 GMT\r\n", 10000},
        {"Retry-After: Sun Nov  6 08:49:47 1994\r\n", 10000},
        {"Retry-After: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 0},
        {"Retry-After: Mon, 07 Nov 1994 08:49:37 GMT\r\n", 86400000},
        {"Retry-After: Sun, 06 Nov 1994 08:49:47 CET\r\n", -1},
        {"Retry-After: Sun, 06 Nox 1994 08:49:47 GMT\r\n", -1},
        {"Retry-After: Sun, 06 Nov 1994 28:49:47 GMT\r\n", -1},
        {"Retry-After: Sun, 06 Nov 1994 08:49:47 GMT and more\r\n", -1},
        {"Retry-After: Wed, 01 Jan 9999 00:00:00 GMT\r\n", INT64_C(366) * 24 * 3600 * 1000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t got = after(cases[i].headers, now_us);

        if (got != cases[i].ms)
            fail_msg("%s: got %lld, not %lld", cases[i].headers, (long long)got,
                     (long long)cases[i].ms);
    }
    assert_int_equal(after("Retry-After: Sun, 06 Nov 1994 08:49:38 GMT\r\n", now_us + 999500),
                     1); /* rounded up */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_percent), cmocka_unit_test(test_budget_window_slides),
        cmocka_unit_test(test_budget_minimum), cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_retry_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
