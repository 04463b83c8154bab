/* Rate limits in the client's words. Called once per translated answer, on a worker; pure. */
#include "router/rate_limits.h"

#include <time.h>
#include "base/ascii.h"
#include "base/clock.h"

static const struct {
    struct slice openai, anthropic;
    bool reset;
} pairs[] = {
#define PAIR(o, n, is_reset)                                                                       \
    {                                                                                              \
        {o, sizeof(o) - 1}, {n, sizeof(n) - 1}, is_reset                                           \
    }
    PAIR("x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit", false),
    PAIR("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining", false),
    PAIR("x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset", true),
    PAIR("x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit", false),
    PAIR("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining", false),
    PAIR("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset", true),
#undef PAIR
};

/* "1h2m3.5s", "20ms"; at most a day. */
static bool read_duration_us(struct slice s, int64_t *us)
{
    int64_t total = 0;
    size_t i = 0;

    while (i < s.n) {
        int64_t value = 0, scale = 1, unit;
        size_t start = i;

        for (; i < s.n && ascii_is_digit(s.p[i]) && value < 1000000; i++)
            value = value * 10 + s.p[i] - '0';
        if (i < s.n && s.p[i] == '.')
            for (i++; i < s.n && ascii_is_digit(s.p[i]) && scale < 1000000; i++) {
                value = value * 10 + s.p[i] - '0';
                scale *= 10;
            }
        if (i == start || i >= s.n)
            return false;
        if (s.p[i] == 'm' && i + 1 < s.n && s.p[i + 1] == 's') {
            unit = 1000;
            i++;
        } else {
            unit = s.p[i] == 'h'   ? INT64_C(3600000000)
                   : s.p[i] == 'm' ? INT64_C(60000000)
                   : s.p[i] == 's' ? INT64_C(1000000)
                                   : 0;
        }
        if (unit == 0)
            return false;
        i++;
        total += value * unit / scale;
        if (total > INT64_C(86400000000))
            return false;
    }
    *us = total;
    return s.n > 0;
}

static bool read_time_us(const char *s, int64_t *wall_us)
{
    struct tm tm = {.tm_isdst = 0};
    const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);

    if (!rest)
        return false;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0)
        return false;
    *wall_us = (int64_t)timegm(&tm) * 1000000;
    return true;
}

/* The reset's value in the other dialect's unit; {NULL, 0} when it cannot be read. */
static struct slice convert_reset(struct slice value, enum wire_dialect to, int64_t now_wall_us,
                                  struct arena *a)
{
    int64_t us;

    if (to == WIRE_ANTHROPIC) {
        char *text = arena_alloc(a, 32);

        if (!read_duration_us(value, &us))
            return (struct slice){NULL, 0};
        clock_rfc3339(now_wall_us + us, text, 32);
        return slice_str(text);
    }
    if (!read_time_us(arena_strdup(a, value), &us))
        return (struct slice){NULL, 0};
    us = us > now_wall_us ? us - now_wall_us : 0;
    return slice_str(arena_printf(a, "%lldms", (long long)(us / 1000)));
}

void rate_limits_translate(struct http1_header *h, size_t n, enum wire_dialect to,
                           int64_t now_wall_us, struct arena *a)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++) {
            struct slice from = to == WIRE_ANTHROPIC ? pairs[k].openai : pairs[k].anthropic;
            struct slice value = h[i].value;

            if (!slice_ieq(h[i].name, from))
                continue;
            if (pairs[k].reset)
                value = convert_reset(value, to, now_wall_us, a);
            if (value.p) {
                h[i].name = to == WIRE_ANTHROPIC ? pairs[k].anthropic : pairs[k].openai;
                h[i].value = value;
            }
            break;
        }
    }
}
