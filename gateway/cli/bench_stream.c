/* Streams in a table. Called by cmd_bench. */
#include "gateway/cli/bench_stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/cli/bench_hindsight.h"

#define WINDOW  1000 /* requests */
#define STEP    100  /* between two windows' beginnings */
#define QUARTER 4
/* Traffic has left an arm when fewer than this share of LAST first choices are its. */
#define LEFT_SHARE 0.05
#define LAST       100

/* What one stream came to. */
struct told {
    double cost, success;           /* per request, of all */
    double late_cost, late_success; /* of the second half */
    double class_share; /* late_cost over class routing's at late_success; NAN: it is never there */
    double below;       /* share of windows below the floor, from the first full one on */
    double below_late;  /* ... of the second half */
    double
        recovered; /* requests from the break to the end of the first window at the floor again */
    double pulls;  /* times the broken arm was asked from the break until traffic had left it */
    double first[QUARTER][PANDORA_BOXES]; /* shares of first choices */
};

static double window_success(const struct bench_result *r, size_t from)
{
    double sum = 0;

    for (size_t i = from; i < from + WINDOW; i++)
        sum += r[i].success / WINDOW;
    return sum;
}

static void hold_against_floor(const struct bench_result *r, const struct bench_stream *how,
                               double floor, struct told *t)
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
                         struct told *t)
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

static void tell(const struct bench_result *r, const struct bench_stream *how, double floor,
                 struct told *t)
{
    double n = (double)how->requests;
    size_t half = how->requests / 2;

    *t = (struct told){0};
    for (size_t i = 0; i < how->requests; i++) {
        t->cost += r[i].cost_nanousd / n;
        t->success += r[i].success / n;
        t->first[i * QUARTER / how->requests][r[i].first] += QUARTER / n;
        if (i >= half) {
            t->late_cost += r[i].cost_nanousd / (n - (double)half);
            t->late_success += r[i].success / (n - (double)half);
        }
    }
    hold_against_floor(r, how, floor, t);
    if (how->broken >= 0)
        watch_broken(r, how, t);
}

/* Class routing that knows the record, over the requests of the second half. */
static void know_classes(const struct bench_set *s, const struct bench_stream *how,
                         struct bench_hindsight *out)
{
    double kept[PANDORA_BOXES], half = (double)(how->requests / 2),
                                left = (double)how->requests - fmax(half, (double)how->broken_from);

    for (int j = 0; j < s->arms; j++)
        kept[j] = j == how->broken ? 1 - how->broken_share * fmax(left, 0) / half : 1;
    bench_hindsight_classes(s, kept, out);
}

/* ---- printing ---- */

/* Mean over seeds and its range. */
static void put(const char *what, const struct told *t, int seeds, const double *first,
                double scale)
{
    double v[64], mean = 0;
    size_t offset = (size_t)((const char *)first - (const char *)t);

    for (int i = 0; i < seeds; i++) {
        v[i] = scale * *(const double *)(const void *)((const char *)&t[i] + offset);
        mean += v[i] / seeds;
    }
    printf("  %-58s %9.4g  [%.4g, %.4g]\n", what, mean, evaluate_quantile(v, (size_t)seeds, 0),
           evaluate_quantile(v, (size_t)seeds, 1));
}

/* Shares of what class routing costs, by the seeds' means and of those seeds where it is ever as
 * good. */
static void put_class_shares(const struct told *t, int seeds, const struct bench_hindsight *classes)
{
    double share[64], cost = 0, success = 0;
    int never = 0;

    for (int i = 0; i < seeds; i++) {
        share[i] = t[i].class_share;
        never += isnan(share[i]) != 0;
        cost += t[i].late_cost / seeds;
        success += t[i].late_success / seeds;
    }
    printf("  %-58s %9.3g  [%.3g, %.3g]; never as good: %d of %d\n",
           "second half: cost over class routing's at that success",
           cost / bench_hindsight_cost(classes, success),
           evaluate_quantile(share, (size_t)(seeds - never), 0),
           evaluate_quantile(share, (size_t)(seeds - never), 1), never, seeds);
}

static void put_first(const struct bench_set *s, const struct told *t, int seeds)
{
    printf("\n  first choices, %%, by quarter of the stream\n");
    for (int j = 0; j < s->arms; j++) {
        printf("    %-32.32s", s->arm[j]);
        for (int q = 0; q < QUARTER; q++) {
            double mean = 0;
            for (int i = 0; i < seeds; i++)
                mean += 100 * t[i].first[q][j] / seeds;
            printf(" %6.1f", mean);
        }
        putchar('\n');
    }
}

static void put_singles(const struct bench_set *s)
{
    printf("single models over all rows\n");
    for (int j = 0; j < s->arms; j++)
        printf("  %-32.32s success %.4f  USD/1,000 %.4g  USD/1,000 successes %.4g\n", s->arm[j],
               s->mean_success[j], s->mean_cost[j] / 1e6,
               s->mean_cost[j] / s->mean_success[j] / 1e6);
}

void bench_stream_report(const struct bench_set *s, const struct beliefs_objective *o,
                         const struct bench_stream *how, int seeds, double floor)
{
    struct bench_result *r = mem_zalloc(how->requests, sizeof *r);
    struct told t[64];
    struct bench_stream one = *how;
    struct bench_hindsight classes;
    double per_success[64];

    know_classes(s, how, &classes);
    for (int i = 0; i < seeds; i++) {
        one.seed = (uint64_t)i;
        bench_stream(s, o, &one, r);
        tell(r, &one, floor, &t[i]);
        t[i].class_share = t[i].late_cost / bench_hindsight_cost(&classes, t[i].late_success);
        per_success[i] = t[i].late_cost / fmax(t[i].late_success, 1e-9) / 1e6;
    }
    put_singles(s);
    printf(
        "\nweir, %zu requests, labels for %.0f %% of them, %zu requests late; mean [range] of %d "
        "seeds\n",
        how->requests, 100 * how->feedback, how->delay, seeds);
    put("successes, %", t, seeds, &t[0].success, 100);
    put("USD per 1,000 requests", t, seeds, &t[0].cost, 1e-6);
    put("second half: successes, %", t, seeds, &t[0].late_success, 100);
    put("second half: USD per 1,000 requests", t, seeds, &t[0].late_cost, 1e-6);
    printf("  %-58s %9.4g\n", "second half: USD per 1,000 successes (median)",
           evaluate_quantile(per_success, (size_t)seeds, 0.5));
    put_class_shares(t, seeds, &classes);
    if (floor >= 0) {
        printf("  floor %.4f\n", floor);
        put("windows of 1,000 requests below the floor, %", t, seeds, &t[0].below, 100);
        put("... of the second half, %", t, seeds, &t[0].below_late, 100);
    }
    if (how->broken >= 0) {
        printf("  %s loses %.0f %% of its successes at request %zu\n", s->arm[how->broken],
               100 * how->broken_share, how->broken_from);
        put("times it was asked until traffic had left it", t, seeds, &t[0].pulls, 1);
        if (floor >= 0)
            put("requests until a window is at the floor again", t, seeds, &t[0].recovered, 1);
    }
    put_first(s, t, seeds);
    free(r);
}
