/* Time from clock_gettime(2) and its one text form. Owns nothing; any thread. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t now_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
    return now_us(CLOCK_REALTIME);
}

void clock_rfc3339(int64_t wall_us, char *out, size_t out_bytes)
{
    int64_t s = wall_us / 1000000, us = wall_us % 1000000;
    if (us < 0) { /* before 1970: the fraction still counts upwards */
        us += 1000000;
        s--;
    }
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    char day[24];
    size_t n = strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    day[n] = '\0';
    snprintf(out, out_bytes, "%s.%03dZ", day, (int)(us / 1000));
}
