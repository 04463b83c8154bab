/* Rate-limit headers between the dialects. */
#include <cmocka.h>
#include "router/rate_limits.h"

#define NOW_US INT64_C(1795254000000000) /* 2026-11-21T09:40:00Z */

static void check(enum wire_dialect to, const char *name, const char *value, const char *want_name,
                  const char *want_value)
{
    struct http1_header h = {slice_str(name), slice_str(value)};
    struct arena a;

    arena_init(&a, 256);
    rate_limits_translate(&h, 1, to, NOW_US, &a);
    if (!slice_eq(h.name, slice_str(want_name)) || !slice_eq(h.value, slice_str(want_value)))
        fail_msg("%s: %s -> %.*s: %.*s", name, value, SLICE_ARG(h.name), SLICE_ARG(h.value));
    arena_clear(&a);
}

static void test_to_anthropic(void **state)
{
    (void)state;
    check(WIRE_ANTHROPIC, "X-RateLimit-Limit-Requests", "10000",
          "anthropic-ratelimit-requests-limit", "10000");
    check(WIRE_ANTHROPIC, "x-ratelimit-remaining-tokens", "0",
          "anthropic-ratelimit-tokens-remaining", "0");
    check(WIRE_ANTHROPIC, "x-ratelimit-reset-requests", "6m0s",
          "anthropic-ratelimit-requests-reset", "2026-11-21T09:46:00.000Z");
    check(WIRE_ANTHROPIC, "x-ratelimit-reset-tokens", "1.5s", "anthropic-ratelimit-tokens-reset",
          "2026-11-21T09:40:01.500Z");
    check(WIRE_ANTHROPIC, "x-ratelimit-reset-tokens", "20ms", "anthropic-ratelimit-tokens-reset",
          "2026-11-21T09:40:00.020Z");
    check(WIRE_ANTHROPIC, "retry-after", "3", "retry-after", "3");
}

static void test_to_openai(void **state)
{
    (void)state;
    check(WIRE_OPENAI, "anthropic-ratelimit-requests-limit", "50", "x-ratelimit-limit-requests",
          "50");
    check(WIRE_OPENAI, "anthropic-ratelimit-tokens-reset", "2026-11-21T09:40:07Z",
          "x-ratelimit-reset-tokens", "7000ms");
    check(WIRE_OPENAI, "anthropic-ratelimit-tokens-reset", "2026-11-21T09:39:00.5Z",
          "x-ratelimit-reset-tokens", "0ms");
}

static void test_what_cannot_be_read_stays(void **state)
{
    static const char *const bad[] = {"", "soon", "5", "5x", "s", "99999999999h", "1m2", "-1s"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check(WIRE_ANTHROPIC, "x-ratelimit-reset-tokens", bad[i], "x-ratelimit-reset-tokens",
              bad[i]);
    check(WIRE_OPENAI, "anthropic-ratelimit-tokens-reset", "tomorrow",
          "anthropic-ratelimit-tokens-reset", "tomorrow");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_anthropic),
        cmocka_unit_test(test_to_openai),
        cmocka_unit_test(test_what_cannot_be_read_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
