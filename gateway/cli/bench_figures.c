/* Figures of weir bench. */
#include "gateway/cli/bench_figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/rng.h"

#define RESAMPLES 200

const double bench_targets[BENCH_TARGETS] = {0.95, 0.97, 0.99};

#define NEVER 2.0 /* as a share of the best single's cost */

const char *bench_peer_name(enum bench_peer p)
{
    return p == BENCH_MIX ? "random mix" : bench_family_name(BENCH_CLASS_MEAN);
}

/* What one row came to on average over seeds: [BENCH_FAMILIES][prices][rows]. */
struct means {
    struct evaluate_point *at;
    int prices;
    size_t rows;
};

static struct evaluate_point *means_of(const struct means *m, int family, int price)
{
    return m->at + ((size_t)family * (size_t)m->prices + (size_t)price) * m->rows;
}

static void take_means(const struct bench_results *r, struct means *m)
{
    *m = (struct means){.prices = r->prices, .rows = r->rows};
    m->at = mem_zalloc((size_t)BENCH_FAMILIES * (size_t)r->prices * r->rows, sizeof *m->at);
    for (int f = 0; f < BENCH_FAMILIES; f++)
        for (int k = 0; k < r->prices; k++) {
            struct evaluate_point *to = means_of(m, f, k);
            for (int seed = 0; seed < r->seeds; seed++) {
                const struct bench_result *from =
                    bench_results_of(r, (enum bench_family)f, k, seed);
                for (size_t i = 0; i < r->rows; i++) {
                    to[i].cost += from[i].cost_nanousd / r->seeds;
                    to[i].success += from[i].success / r->seeds;
                }
            }
        }
}

/* All figures of one sample of rows, by plain numbers. */
struct sampled {
    double success[PANDORA_BOXES];
    struct evaluate_point single[PANDORA_BOXES];
    double mix[BENCH_TARGETS], over[BENCH_PEERS][BENCH_TARGETS],
        share[BENCH_FAMILIES][BENCH_TARGETS];
    double apgr[BENCH_FAMILIES], cpt50[BENCH_FAMILIES], cpt80[BENCH_FAMILIES], aiq[BENCH_FAMILIES];
    double per_success[BENCH_FAMILIES], regret[BENCH_FAMILIES];
    double mix_aiq, mix_per_success, mix_regret;
    struct evaluate_point oracle, point[BENCH_FAMILIES][BENCH_PRICES];
};

static int compare_cost(const void *a, const void *b)
{
    const struct evaluate_point *x = a, *y = b;

    return (x->cost > y->cost) - (x->cost < y->cost);
}

static void sample_singles(const struct bench_set *s, const size_t *rows, struct sampled *out)
{
    double n = (double)s->rows;

    for (size_t i = 0; i < s->rows; i++) {
        const struct bench_cell *c = bench_cell(s, rows[i], 0);
        int cheapest = 0, right = -1;
        for (int j = 0; j < s->arms; j++) {
            out->single[j].cost += c[j].cost_nanousd / n;
            out->single[j].success += c[j].success / n;
            if (c[j].cost_nanousd < c[cheapest].cost_nanousd)
                cheapest = j;
            if (c[j].success >= 0.5 && (right < 0 || c[j].cost_nanousd < c[right].cost_nanousd))
                right = j;
        }
        right = right < 0 ? cheapest : right;
        out->oracle.cost += c[right].cost_nanousd / n;
        out->oracle.success += c[right].success / n;
    }
    for (int j = 0; j < s->arms; j++)
        out->success[j] = out->single[j].success;
}

/* Nano-dollars a success are micro-dollars per 1,000; of a share of the best single's cost that
 * reaches BENCH_TARGET of its success. */
static double per_success(double share, const struct evaluate_point *best)
{
    return share * best->cost / (bench_targets[BENCH_TARGET] * best->success) / 1e6;
}

static void sample_family(const struct means *m, int f, const size_t *rows,
                          const struct evaluate_point *best, const struct evaluate_gap *gap,
                          struct sampled *out)
{
    struct evaluate_point sorted[BENCH_PRICES];

    for (int k = 0; k < m->prices; k++) {
        const struct evaluate_point *at = means_of(m, f, k);
        for (size_t i = 0; i < m->rows; i++) {
            out->point[f][k].cost += at[rows[i]].cost / (double)m->rows;
            out->point[f][k].success += at[rows[i]].success / (double)m->rows;
        }
    }
    memcpy(sorted, out->point[f], sizeof sorted);
    size_t n = (size_t)m->prices;
    qsort(sorted, n, sizeof sorted[0], compare_cost);
    for (int t = 0; t < BENCH_TARGETS; t++)
        out->share[f][t] =
            evaluate_cost_at(sorted, n, bench_targets[t] * best->success) / best->cost;
    out->apgr[f] = evaluate_apgr(sorted, n, gap);
    out->cpt50[f] = evaluate_cpt(sorted, n, gap, 0.5);
    out->cpt80[f] = evaluate_cpt(sorted, n, gap, 0.8);
    out->per_success[f] = per_success(out->share[f][BENCH_TARGET], best);
    n = evaluate_hull(sorted, n);
    out->regret[f] = out->oracle.success - evaluate_success_at(sorted, n, out->oracle.cost);
    out->aiq[f] = evaluate_aiq(sorted, n, gap->weak.cost, gap->strong.cost);
}

static double or_never(double share)
{
    return isnan(share) ? NEVER : share;
}

static void compare(struct sampled *out)
{
    for (int t = 0; t < BENCH_TARGETS; t++) {
        double weir = or_never(out->share[BENCH_WEIR][t]);
        out->over[BENCH_BY_CLASS][t] = weir - or_never(out->share[BENCH_CLASS_MEAN][t]);
        out->over[BENCH_MIX][t] = weir - or_never(out->mix[t]);
    }
}

/* best: which arm counts as the best single, the same for all samples. */
static void sample(const struct bench_set *s, const struct means *m, const size_t *rows, int best,
                   int weak, struct sampled *out)
{
    struct evaluate_point hull[PANDORA_BOXES];

    memset(out, 0, sizeof *out);
    sample_singles(s, rows, out);
    memcpy(hull, out->single, sizeof hull);
    size_t n = evaluate_hull(hull, (size_t)s->arms);
    const struct evaluate_point *top = &out->single[best];
    const struct evaluate_gap gap = {out->single[weak], *top};
    for (int t = 0; t < BENCH_TARGETS; t++)
        out->mix[t] = evaluate_cost_at(hull, n, bench_targets[t] * top->success) / top->cost;
    out->mix_per_success = per_success(out->mix[BENCH_TARGET], top);
    out->mix_regret = out->oracle.success - evaluate_success_at(hull, n, out->oracle.cost);
    out->mix_aiq = evaluate_aiq(hull, n, gap.weak.cost, gap.strong.cost);
    for (int f = 0; f < BENCH_FAMILIES; f++)
        sample_family(m, f, rows, top, &gap, out);
    compare(out);
}

/* ---- intervals ---- */

static struct bench_figure figure(const struct sampled *all, const double *first)
{
    double drawn[RESAMPLES];
    size_t offset = (size_t)((const char *)first - (const char *)&all[0]);

    for (int i = 0; i < RESAMPLES; i++)
        memcpy(&drawn[i], (const char *)&all[i + 1] + offset, sizeof drawn[i]);
    return (struct bench_figure){*first, evaluate_quantile(drawn, RESAMPLES, 0.025),
                                 evaluate_quantile(drawn, RESAMPLES, 0.975)};
}

static void collect(const struct bench_set *s, const struct sampled *all, struct bench_figures *out)
{
    const struct sampled *own = &all[0];

    memcpy(out->single, own->single, sizeof out->single);
    for (int j = 0; j < s->arms; j++)
        out->success[j] = figure(all, &own->success[j]);
    for (int t = 0; t < BENCH_TARGETS; t++) {
        out->mix_share[t] = figure(all, &own->mix[t]);
        for (int p = 0; p < BENCH_PEERS; p++)
            out->over[p][t] = figure(all, &own->over[p][t]);
    }
    for (int f = 0; f < BENCH_FAMILIES; f++) {
        struct bench_family_figures *to = &out->family[f];
        memcpy(to->point, own->point[f], sizeof to->point);
        for (int t = 0; t < BENCH_TARGETS; t++)
            to->cost_share[t] = figure(all, &own->share[f][t]);
        to->per_success = figure(all, &own->per_success[f]);
        to->regret = figure(all, &own->regret[f]);
        to->apgr = figure(all, &own->apgr[f]);
        to->cpt50 = figure(all, &own->cpt50[f]);
        to->cpt80 = figure(all, &own->cpt80[f]);
        to->aiq = figure(all, &own->aiq[f]);
    }
    out->mix_aiq = own->mix_aiq;
    out->oracle = own->oracle;
    out->mix_per_success = figure(all, &own->mix_per_success);
    out->mix_regret = figure(all, &own->mix_regret);
}

static void name_arms(const struct bench_set *s, struct bench_figures *out)
{
    for (int j = 0; j < s->arms; j++) {
        if (s->mean_success[j] > s->mean_success[out->best])
            out->best = j;
        if (s->mean_cost[j] < s->mean_cost[out->cheapest])
            out->cheapest = j;
        if (s->mean_cost[j] > s->mean_cost[out->dearest])
            out->dearest = j;
    }
}

void bench_figures(const struct bench_set *s, const struct bench_results *r,
                   struct bench_figures *out)
{
    struct sampled *all = mem_zalloc(RESAMPLES + 1, sizeof *all);
    size_t *rows = mem_zalloc(s->rows, sizeof *rows);
    struct means m;
    struct rng rng;

    *out = (struct bench_figures){.prices = r->prices};
    name_arms(s, out);
    take_means(r, &m);
    rng_seed(&rng, 1);
    for (int i = 0; i <= RESAMPLES; i++) {
        for (size_t k = 0; k < s->rows; k++)
            rows[k] = i == 0 ? k : (size_t)rng_below(&rng, s->rows);
        sample(s, &m, rows, out->best, out->cheapest, &all[i]);
    }
    collect(s, all, out);
    free(m.at);
    free(rows);
    free(all);
}
