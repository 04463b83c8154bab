/* Streams in a table, on standard output. Called by cmd_bench. */
#include <math.h>
#include <stdio.h>
#include "gateway/cli/bench_stream.h"

#define FIGURE_BYTES 24

/* What never comes about has no finite figure. */
static const char *shown(double v, int digits, char out[FIGURE_BYTES])
{
    if (!isfinite(v))
        return "never";
    snprintf(out, FIGURE_BYTES, "%.*g", digits, v);
    return out;
}

/* Mean over seeds and its range. */
static void put(const char *what, const struct bench_told *t, int seeds, const double *first,
                double scale)
{
    struct bench_spread s = bench_told_spread(t, seeds, first);
    char text[3][FIGURE_BYTES];

    printf("  %-58s %9s  [%s, %s]\n", what, shown(scale * s.mean, 4, text[0]),
           shown(scale * s.least, 4, text[1]), shown(scale * s.most, 4, text[2]));
}

static void put_per_success(const struct bench_told *t, int seeds)
{
    double v[BENCH_SEEDS];
    char text[FIGURE_BYTES];

    for (int i = 0; i < seeds; i++)
        v[i] = t[i].late_cost / t[i].late_success / 1e6;
    printf("  %-58s %9s\n", "second half: USD per 1,000 successes (median)",
           shown(evaluate_quantile(v, (size_t)seeds, 0.5), 4, text));
}

/* Shares of what class routing costs that knows the record, by the seeds' means and of those seeds
 * where it is ever as good. */
static void put_hindsight(const struct bench_streams *f)
{
    double share[BENCH_SEEDS], cost = 0, success = 0;
    size_t as_good = 0;
    char text[3][FIGURE_BYTES];

    for (int i = 0; i < f->seeds; i++) {
        const struct bench_told *t = &f->weir[i];
        share[as_good] = t->late_cost / bench_hindsight_cost(&f->classes, t->late_success);
        as_good += !isnan(share[as_good]);
        cost += t->late_cost / f->seeds;
        success += t->late_success / f->seeds;
    }
    printf("  %-58s %9s  [%s, %s]; never as good: %d of %d\n",
           "second half: cost over hindsight's at that success",
           shown(cost / bench_hindsight_cost(&f->classes, success), 3, text[0]),
           shown(evaluate_quantile(share, as_good, 0), 3, text[1]),
           shown(evaluate_quantile(share, as_good, 1), 3, text[2]), f->seeds - (int)as_good,
           f->seeds);
}

static void put_singles(const struct bench_set *s)
{
    char text[FIGURE_BYTES];

    printf("single models over all rows\n");
    for (int j = 0; j < s->arms; j++)
        printf("  %-32.32s success %.4f  USD/1,000 %.4g  USD/1,000 successes %s\n", s->arm[j],
               s->mean_success[j], s->mean_cost[j] / 1e6,
               shown(s->mean_cost[j] / s->mean_success[j] / 1e6, 4, text));
}

/* The lines that both ways have. */
static void put_way(const struct bench_streams *f, const struct bench_told *t)
{
    put("successes, %", t, f->seeds, &t[0].success, 100);
    put("USD per 1,000 requests", t, f->seeds, &t[0].cost, 1e-6);
    put("second half: successes, %", t, f->seeds, &t[0].late_success, 100);
    put("second half: USD per 1,000 requests", t, f->seeds, &t[0].late_cost, 1e-6);
    put_per_success(t, f->seeds);
    if (f->floor >= 0) {
        put("windows of 1,000 requests below the floor, %", t, f->seeds, &t[0].below, 100);
        put("... of the second half, %", t, f->seeds, &t[0].below_late, 100);
    }
    if (f->how.broken < 0)
        return;
    put("times the worse model was asked until traffic had left it", t, f->seeds, &t[0].pulls, 1);
    if (f->floor >= 0)
        put("requests until a window is at the floor again", t, f->seeds, &t[0].recovered, 1);
}

/* never: what is printed where there is no such figure. */
static void put_figure(const char *what, const struct bench_figure *v, double scale,
                       const char *never)
{
    char text[3][FIGURE_BYTES];

    printf("  %-58s %9s  [%s, %s]\n", what,
           isfinite(v->value) ? shown(scale * v->value, 3, text[0]) : never,
           shown(scale * v->low, 3, text[1]), shown(scale * v->high, 3, text[2]));
}

static void put_comparison(const struct bench_streams *f)
{
    puts("\nweir beside it; 95 % interval over seeds, resampled in pairs");
    put_figure("second half: weir's cost over its at weir's success", &f->cost_ratio, 1,
               "never as good");
    put_figure("second half: cost of a success over its, same floor", &f->per_success_ratio, 1,
               "none");
    put_figure("second half: successes less its, points", &f->success_over, 100, "none");
    if (f->floor < 0)
        return;
    put_figure("windows below the floor less its, points", &f->below_over, 100, "none");
    put_figure("... of the second half, points", &f->below_late_over, 100, "none");
}

static void put_first(const struct bench_streams *f)
{
    printf("\n  weir's first choices, %%, by quarter of the stream\n");
    for (int j = 0; j < f->set->arms; j++) {
        printf("    %-32.32s", f->set->arm[j]);
        for (int q = 0; q < BENCH_QUARTERS; q++) {
            double mean = 0;
            for (int i = 0; i < f->seeds; i++)
                mean += 100 * f->weir[i].first[q][j] / f->seeds;
            printf(" %6.1f", mean);
        }
        putchar('\n');
    }
}

void bench_streams_print(const struct bench_streams *f)
{
    const struct bench_stream *how = &f->how;

    put_singles(f->set);
    printf(
        "\nweir, %zu requests, labels for %.0f %% of them, %zu requests late; mean [range] of %d "
        "seeds\n",
        how->requests, 100 * how->feedback, how->delay, f->seeds);
    if (f->floor >= 0)
        printf("  floor %.4f\n", f->floor);
    if (how->broken >= 0)
        printf("  %s loses %.0f %% of its successes at request %zu\n", f->set->arm[how->broken],
               100 * how->broken_share, how->broken_from);
    put_way(f, f->weir);
    put_hindsight(f);
    puts("\nclass routing that learns from the same labels: one model for each class, no second "
         "try");
    put_way(f, f->router);
    put_comparison(f);
    put_first(f);
}
