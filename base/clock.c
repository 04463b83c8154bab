/* Time from clock_gettime(2) and its one text form. Owns a second's text per thread; any thread. */
#include "base/clock.h"

#include <time.h>
#include "base/line.h"

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

/* v >= 0 with leading zeros, and what follows it. */
static void put_padded(struct line *l, int v, int width, const char *then)
{
    for (int bound = 10, i = 1; i < width; i++, bound *= 10)
        if (v < bound)
            line_put(l, SLICE("0"));
    line_put_int(l, v);
    line_put(l, slice_str(then));
}

/* "2026-11-21T08:04:45." of a second since 1970. Lines of a log come many to a second: each thread
 * keeps the last one it was asked for. */
static struct slice second_text(int64_t s)
{
    static _Thread_local char text[64];
    static _Thread_local int64_t text_s = INT64_MIN;
    static _Thread_local size_t n;

    if (s != text_s) {
        time_t t = (time_t)s;
        struct tm tm;
        gmtime_r(&t, &tm);
        struct line l = line_in(text, sizeof text);
        put_padded(&l, tm.tm_year + 1900, 4, "-");
        put_padded(&l, tm.tm_mon + 1, 2, "-");
        put_padded(&l, tm.tm_mday, 2, "T");
        put_padded(&l, tm.tm_hour, 2, ":");
        put_padded(&l, tm.tm_min, 2, ":");
        put_padded(&l, tm.tm_sec, 2, ".");
        text_s = s;
        n = l.n;
    }
    return slice_make(text, n);
}

void clock_rfc3339(int64_t wall_us, char *out, size_t out_bytes)
{
    int64_t s = wall_us / 1000000, us = wall_us % 1000000;
    if (us < 0) { /* before 1970: the fraction still counts upwards */
        us += 1000000;
        s--;
    }
    struct line l = line_in(out, out_bytes - 1);
    line_put(&l, second_text(s));
    put_padded(&l, (int)(us / 1000), 3, "Z");
    out[l.n] = '\0';
}
