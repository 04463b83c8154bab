/* Streams' figures. Called by bench_stream, bench_stream_print and bench_json; owns nothing. */
#include "gateway/cli/bench_told.h"

#include <math.h>

#define WINDOW 1000 /* requests */
#define STEP   100  /* between two windows' beginnings */
/* Traffic has left an arm when fewer than this share of LAST first choices are its. */
#define LEFT_SHARE 0.05
#define LAST       100

static double window_success(const struct bench_result *r, size_t from)
{
    double sum = 0;

    for (size_t i = from; i < from + WINDOW; i++)
        sum += r[i].success / WINDOW;
    return sum;
}

static void hold_against_floor(const struct bench_result *r, const struct bench_stream *how,
                               double floor, struct bench_told *t)
{
    double windows = 0, late = 0;

    t->recovered = (double)NAN;
    for (size_t from = 0; from + WINDOW <= how->requests; from += STEP) {
        bool below = window_success(r, from) < floor;
        windows++;
        t->below += below;
        if (from >= how->requests / 2) {
            late++;
            t->below_late += below;
        }
        if (how->broken >= 0 && from >= how->broken_from && !below && isnan(t->recovered))
            t->recovered = (double)(from + WINDOW - how->broken_from);
    }
    t->below /= fmax(windows, 1);
    t->below_late /= fmax(late, 1);
}

static void watch_broken(const struct bench_result *r, const struct bench_stream *how,
                         struct bench_told *t)
{
    for (size_t i = how->broken_from; i < how->requests; i++) {
        double share = 0;
        t->pulls += r[i].asked >> how->broken & 1;
        if (i + 1 < how->broken_from + LAST)
            continue;
        for (size_t k = i + 1 - LAST; k <= i; k++)
            share += r[k].first == how->broken;
        if (share < LEFT_SHARE * LAST)
            return;
    }
    t->pulls = (double)NAN;
}

void bench_tell(const struct bench_result *r, const struct bench_stream *how, double floor,
                struct bench_told *t)
{
    double n = (double)how->requests;
    size_t half = how->requests / 2;

    *t = (struct bench_told){0};
    for (size_t i = 0; i < how->requests; i++) {
        t->cost += r[i].cost_nanousd / n;
        t->success += r[i].success / n;
        t->first[i * BENCH_QUARTERS / how->requests][r[i].first] += BENCH_QUARTERS / n;
        if (i >= half) {
            t->late_cost += r[i].cost_nanousd / (n - (double)half);
            t->late_success += r[i].success / (n - (double)half);
        }
    }
    hold_against_floor(r, how, floor, t);
    if (how->broken >= 0)
        watch_broken(r, how, t);
}

struct bench_spread bench_told_spread(const struct bench_told *t, int seeds, const double *first)
{
    size_t offset = (size_t)((const char *)first - (const char *)t);
    struct bench_spread out = {.mean = 0, .least = (double)NAN, .most = -INFINITY};

    for (int i = 0; i < seeds; i++) {
        double v = *(const double *)(const void *)((const char *)&t[i] + offset);
        out.mean += v / seeds;
        out.least = fmin(out.least, v); /* of a number and NAN: the number */
        out.most = isnan(v) || isnan(out.most) ? (double)NAN : fmax(out.most, v);
    }
    return out;
}
