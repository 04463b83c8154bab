/* Streams, weir's and class routing's, and their comparison. Called by cmd_bench. */
#include "gateway/cli/bench_stream.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/rng.h"

#define RESAMPLES 1000

/* What a failure costs the router where it has no floor, in calls of the dearest model: from where
 * cheap successes are all that counts to where cost hardly does. */
static const double failure_price[BENCH_PRICED] = {0, 1, 3, 6, 12, 25, 60, 300};

/* ---- playing ---- */

static double dearest_cost(const struct bench_set *s)
{
    double most = 0;

    for (int j = 0; j < s->arms; j++)
        most = fmax(most, s->mean_cost[j]);
    return most;
}

/* Only labels are heard: the floor among them, of which a share says the contrary. */
static double floor_told(double floor, double noise)
{
    return floor >= 0 ? floor * (1 - 2 * noise) + noise : PRICE_NONE;
}

struct player {
    struct bench_streams *f;
    struct bench_stream how;
    struct bench_result *r; /* [requests] */
};

static void play(struct player *p, const struct beliefs_objective *o, bool by_class,
                 struct bench_told *out)
{
    p->how.by_class = by_class;
    bench_stream(p->f->set, o, &p->how, p->r);
    bench_tell(p->r, &p->how, p->f->floor, out);
}

static void play_seed(struct player *p, const struct beliefs_objective *asked, int seed)
{
    struct bench_streams *f = p->f;
    struct beliefs_objective o = *asked;
    struct bench_told t;

    p->how.seed = (uint64_t)seed;
    o.price.floor = floor_told(f->floor, p->how.noise);
    play(p, &o, false, &f->weir[seed]);
    play(p, &o, true, &t);
    f->router[seed] = t;
    f->priced[BENCH_PRICED][seed] = (struct evaluate_point){t.late_cost, t.late_success};
    o.price.floor = o.price.floor_of_best = o.class_floor = PRICE_NONE;
    for (int k = 0; k < BENCH_PRICED; k++) {
        o.price.failure_price_nanousd = failure_price[k] * dearest_cost(f->set);
        play(p, &o, true, &t);
        f->priced[k][seed] = (struct evaluate_point){t.late_cost, t.late_success};
    }
}

/* What the record says of the requests of the second half. */
static void know_record(struct bench_streams *f)
{
    const struct bench_stream *how = &f->how;
    double kept[PANDORA_BOXES], half = (double)(how->requests / 2),
                                left = (double)how->requests - fmax(half, (double)how->broken_from);

    f->best = (struct evaluate_point){0, -1};
    for (int j = 0; j < f->set->arms; j++) {
        kept[j] = j == how->broken ? 1 - how->broken_share * fmax(left, 0) / half : 1;
        if (kept[j] * f->set->mean_success[j] > f->best.success)
            f->best =
                (struct evaluate_point){f->set->mean_cost[j], kept[j] * f->set->mean_success[j]};
    }
    bench_hindsight_classes(f->set, kept, &f->classes);
}

/* ---- comparing ---- */

/* Figures of one choice of seeds. */
struct compared {
    double cost_ratio, per_success_ratio, success_over, below_over, below_late_over;
};

/* What the router costs at that success: on the frontier of its mean points and of the best model
 * alone. NAN: never. */
static double router_cost_at(const struct bench_streams *f, const int *seed, double success)
{
    struct evaluate_point mean[BENCH_PRICED + 2];

    for (int k = 0; k <= BENCH_PRICED; k++) {
        mean[k] = (struct evaluate_point){0, 0};
        for (int i = 0; i < f->seeds; i++) {
            mean[k].cost += f->priced[k][seed[i]].cost / f->seeds;
            mean[k].success += f->priced[k][seed[i]].success / f->seeds;
        }
    }
    mean[BENCH_PRICED + 1] = f->best;
    return evaluate_cost_at(mean, evaluate_hull(mean, BENCH_PRICED + 2), success);
}

static void compare(const struct bench_streams *f, const int *seed, struct compared *out)
{
    double cost = 0, success = 0, its_cost = 0, its_success = 0;

    *out = (struct compared){0};
    for (int i = 0; i < f->seeds; i++) {
        const struct bench_told *a = &f->weir[seed[i]], *b = &f->router[seed[i]];
        cost += a->late_cost / f->seeds;
        success += a->late_success / f->seeds;
        its_cost += b->late_cost / f->seeds;
        its_success += b->late_success / f->seeds;
        out->below_over += (a->below - b->below) / f->seeds;
        out->below_late_over += (a->below_late - b->below_late) / f->seeds;
    }
    out->success_over = success - its_success;
    out->cost_ratio = cost / router_cost_at(f, seed, success);
    out->per_success_ratio = cost / success / (its_cost / its_success);
}

static struct bench_figure figure(const struct compared *all, const double *first)
{
    double drawn[RESAMPLES];
    size_t offset = (size_t)((const char *)first - (const char *)&all[0]);

    for (int i = 0; i < RESAMPLES; i++) {
        memcpy(&drawn[i], (const char *)&all[i + 1] + offset, sizeof drawn[i]);
        drawn[i] = isnan(drawn[i]) ? 0 : drawn[i]; /* the router is never as good, at any cost */
    }
    return (struct bench_figure){*first, evaluate_quantile(drawn, RESAMPLES, 0.025),
                                 evaluate_quantile(drawn, RESAMPLES, 0.975)};
}

static void compare_all(struct bench_streams *f)
{
    struct compared *all = mem_zalloc(RESAMPLES + 1, sizeof *all);
    struct rng rng;
    int seed[BENCH_SEEDS];

    rng_seed(&rng, 1);
    for (int i = 0; i <= RESAMPLES; i++) {
        for (int k = 0; k < f->seeds; k++)
            seed[k] = i == 0 ? k : (int)rng_below(&rng, (uint64_t)f->seeds);
        compare(f, seed, &all[i]);
    }
    f->cost_ratio = figure(all, &all->cost_ratio);
    f->per_success_ratio = figure(all, &all->per_success_ratio);
    f->success_over = figure(all, &all->success_over);
    f->below_over = figure(all, &all->below_over);
    f->below_late_over = figure(all, &all->below_late_over);
    free(all);
}

void bench_streams(const struct bench_set *s, const struct beliefs_objective *o,
                   const struct bench_stream *how, int seeds, double floor,
                   struct bench_streams *out)
{
    struct player p = {out, *how, mem_zalloc(how->requests, sizeof *p.r)};

    assert(seeds >= 1 && seeds <= BENCH_SEEDS);
    *out = (struct bench_streams){.set = s, .how = *how, .floor = floor, .seeds = seeds};
    know_record(out);
    for (int i = 0; i < seeds; i++)
        play_seed(&p, o, i);
    compare_all(out);
    free(p.r);
}
