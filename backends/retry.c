/* When and whether to try again. Owns nothing; called by the router with the clock's value. */
#include "backends/retry.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/ascii.h"
#include "base/http1.h"

#define WINDOW_SECONDS 10
/* A server that says more than this says "never"; it also keeps the arithmetic far from overflow.
 */
#define MAX_RETRY_AFTER_MS (INT64_C(366) * 24 * 3600 * 1000)

/* ---- budget ---- */

void retry_budget_init(struct retry_budget *b)
{
    memset(b, 0, sizeof *b);
    for (int i = 0; i < WINDOW_SECONDS; i++)
        b->bucket_second[i] = -1;
}

/* The bucket of this second, emptied if it held an older one. */
static int bucket(struct retry_budget *b, int64_t now_us)
{
    int64_t second = now_us / 1000000;
    int i = (int)(second % WINDOW_SECONDS);

    if (b->bucket_second[i] != second) {
        b->bucket_second[i] = second;
        b->requests[i] = 0;
        b->retries[i] = 0;
    }
    return i;
}

void retry_budget_request(struct retry_budget *b, int64_t now_us)
{
    b->requests[bucket(b, now_us)]++;
}

bool retry_budget_take(struct retry_budget *b, int64_t percent, int64_t min_per_second,
                       int64_t now_us)
{
    int now = bucket(b, now_us);
    int64_t second = b->bucket_second[now], requests = 0, retries = 0;

    for (int i = 0; i < WINDOW_SECONDS; i++) {
        if (b->bucket_second[i] < 0 || b->bucket_second[i] <= second - WINDOW_SECONDS)
            continue;
        requests += b->requests[i];
        retries += b->retries[i];
    }
    if (b->retries[now] >= min_per_second && (retries + 1) * 100 > requests * percent)
        return false;
    b->retries[now]++;
    return true;
}

int64_t retry_backoff_ms(int64_t base_ms, int64_t max_ms, int attempt, struct rng *rng)
{
    int64_t ceiling = base_ms < 0 ? 0 : base_ms;

    for (int i = 1; i < attempt && ceiling < max_ms; i++)
        ceiling = ceiling > max_ms / 2 ? max_ms : ceiling * 2;
    if (ceiling > max_ms)
        ceiling = max_ms;
    return ceiling <= 0 ? 0 : (int64_t)rng_below(rng, (uint64_t)ceiling + 1);
}

/* ---- Retry-After ---- */

/* Digits with an optional fraction, times `scale`, rounded up; -1 when it is anything else.
 * retry-after-ms and some servers' Retry-After carry a fraction although RFC 9110 has whole seconds
 * only. */
static int64_t parse_decimal_ms(struct slice s, int64_t scale)
{
    int64_t whole = 0, part = 0, weight = 1;
    size_t i = 0;

    while (i < s.n && ascii_is_digit(s.p[i])) {
        if (whole < MAX_RETRY_AFTER_MS)
            whole = whole * 10 + (s.p[i] - '0');
        i++;
    }
    if (i == 0)
        return -1;
    if (i < s.n && s.p[i] == '.') {
        size_t first = ++i;

        for (; i < s.n && ascii_is_digit(s.p[i]); i++) {
            if (weight < 1000000)
                part = part * 10 + (s.p[i] - '0'), weight *= 10;
        }
        if (i == first)
            return -1;
    }
    if (i != s.n)
        return -1;
    if (whole >= MAX_RETRY_AFTER_MS / scale)
        return MAX_RETRY_AFTER_MS;
    return whole * scale + (part * scale + weight - 1) / weight;
}

static int month_of(const char *name)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    for (int m = 0; m < 12; m++) {
        if (memcmp(months + m * 3, name, 3) == 0)
            return m;
    }
    return -1;
}

/* A two-digit year that seems more than 50 years ahead lies in the past (RFC 9110 5.6.7). */
static int full_year(int two_digits, int64_t now_wall_us)
{
    time_t now_s = (time_t)(now_wall_us / 1000000);
    struct tm now;
    int year;

    gmtime_r(&now_s, &now);
    year = (now.tm_year + 1900) / 100 * 100 + two_digits;
    return year > now.tm_year + 1900 + 50 ? year - 100 : year;
}

static bool in_range(const struct tm *t)
{
    return t->tm_mon >= 0 && t->tm_mday >= 1 && t->tm_mday <= 31 && t->tm_hour >= 0 &&
           t->tm_hour <= 23 && t->tm_min >= 0 && t->tm_min <= 59 && t->tm_sec >= 0 &&
           t->tm_sec <= 60 && t->tm_year >= 0;
}

/* The three forms of RFC 9110 5.6.7: IMF-fixdate, the obsolete RFC 850 form, and asctime. The day's
 * name is not checked. */
static bool parse_http_date(struct slice s, int64_t now_wall_us, int64_t *wall_us)
{
    char text[40], month[4] = "", zone[4] = "";
    struct tm t = {0};
    int year = 0, end = -1;

    if (s.n >= sizeof text || memchr(s.p, '\0', s.n))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (sscanf(text, "%*3[A-Za-z], %2d %3s %4d %2d:%2d:%2d %3s%n", &t.tm_mday, month, &year,
               &t.tm_hour, &t.tm_min, &t.tm_sec, zone, &end) == 7 &&
        end == (int)s.n) {
        if (strcmp(zone, "GMT") != 0)
            return false;
    } else if (sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d %3s%n", &t.tm_mday, month,
                      &year, &t.tm_hour, &t.tm_min, &t.tm_sec, zone, &end) == 7 &&
               end == (int)s.n) {
        if (strcmp(zone, "GMT") != 0 || year < 0)
            return false;
        year = full_year(year, now_wall_us);
    } else if (sscanf(text, "%*3[A-Za-z] %3s %2d %2d:%2d:%2d %4d%n", month, &t.tm_mday, &t.tm_hour,
                      &t.tm_min, &t.tm_sec, &year, &end) != 6 ||
               end != (int)s.n) {
        return false;
    }
    t.tm_mon = month_of(month);
    t.tm_year = year - 1900;
    if (!in_range(&t))
        return false;
    *wall_us = (int64_t)timegm(&t) * 1000000;
    return true;
}

int64_t retry_after_ms(const struct http1_head *head, int64_t now_wall_us)
{
    const struct http1_header *h = http1_find(head, SLICE("retry-after-ms"));
    int64_t ms, at_us;

    if (h) {
        ms = parse_decimal_ms(h->value, 1);
        if (ms >= 0)
            return ms;
    }
    h = http1_find(head, SLICE("retry-after"));
    if (!h)
        return -1;
    ms = parse_decimal_ms(h->value, 1000);
    if (ms >= 0)
        return ms;
    if (!parse_http_date(h->value, now_wall_us, &at_us))
        return -1;
    ms = (at_us - now_wall_us + 999) / 1000;
    if (ms < 0)
        return 0;
    return ms < MAX_RETRY_AFTER_MS ? ms : MAX_RETRY_AFTER_MS;
}
