/* Figures of weir bench as JSON. Owns nothing. Called by cmd_bench.c. */
#include "gateway/cli/bench_json.h"

#include <math.h>
#include <stdio.h>
#include "gateway/json_put.h"
#include "router/decide/beliefs_way.h"

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *figure(const struct bench_figure *f)
{
    json_t *o = json_object();

    json_put(o, "value", number(f->value));
    json_put(o, "low", number(f->low));
    json_put(o, "high", number(f->high));
    return o;
}

/* Nano-dollars a request are micro-dollars per 1,000. */
static void put_point(json_t *o, const struct evaluate_point *p)
{
    json_put(o, "usd_per_1000", number(p->cost / 1e6));
    json_put(o, "success", number(p->success));
}

/* By target: {"0.95": {...}, ...}. */
static json_t *shares(const struct bench_figure share[BENCH_TARGETS])
{
    json_t *o = json_object();
    char name[8];

    for (int t = 0; t < BENCH_TARGETS; t++) {
        snprintf(name, sizeof name, "%.2f", bench_targets[t]);
        json_put(o, name, figure(&share[t]));
    }
    return o;
}

static json_t *family(const struct bench_family_figures *f, int prices)
{
    json_t *o = json_object(), *points = json_array();

    for (int k = 0; k < prices; k++) {
        json_t *p = json_object();
        put_point(p, &f->point[k]);
        json_array_append_new(points, p);
    }
    json_put(o, "cost_share_at", shares(f->cost_share));
    json_put(o, "usd_per_1000_successes", figure(&f->per_success));
    json_put(o, "regret", figure(&f->regret));
    json_put(o, "apgr", figure(&f->apgr));
    json_put(o, "cpt50", figure(&f->cpt50));
    json_put(o, "cpt80", figure(&f->cpt80));
    json_put(o, "aiq", figure(&f->aiq));
    json_put(o, "points", points);
    return o;
}

static json_t *single(const struct bench_set *s, const struct bench_figures *f, int j)
{
    json_t *o = json_object();

    json_put_text(o, "model", s->arm[j]);
    json_put(o, "usd_per_1000", number(f->single[j].cost / 1e6));
    json_put(o, "success", figure(&f->success[j]));
    return o;
}

static json_t *mix(const struct bench_figures *f)
{
    json_t *o = json_object();

    json_put(o, "cost_share_at", shares(f->mix_share));
    json_put(o, "usd_per_1000_successes", figure(&f->mix_per_success));
    json_put(o, "regret", figure(&f->mix_regret));
    json_put(o, "aiq", number(f->mix_aiq));
    return o;
}

static json_t *class_of(const struct beliefs_context *c)
{
    json_t *o = json_object();
    struct beliefs_way way;

    beliefs_way(c, &way);
    json_put_text(o, "class", c->label);
    json_put_text(o, "one_model_is_best", c->single < 0 ? NULL : c->arm[c->single].model);
    json_put(o, "usd_per_1000", number(way.cost_nanousd / 1e6));
    json_put(o, "success", number(way.success));
    return o;
}

json_t *bench_json(const struct bench_set *s, const struct bench_figures *f,
                   const struct beliefs *b)
{
    json_t *o = json_object(), *singles = json_array(), *families = json_object(),
           *classes = json_array(), *oracle = json_object(), *over = json_object();

    for (int j = 0; j < s->arms; j++)
        json_array_append_new(singles, single(s, f, j));
    for (int i = 0; i < BENCH_FAMILIES; i++)
        json_put(families, bench_family_name((enum bench_family)i),
                 family(&f->family[i], f->prices));
    for (size_t i = 0; i < beliefs_count(b); i++)
        if (beliefs_at(b, i)->traffic > 0)
            json_array_append_new(classes, class_of(beliefs_at(b, i)));
    put_point(oracle, &f->oracle);
    json_put_int(o, "rows", (int64_t)s->rows);
    json_put_int(o, "rows_left_out", (int64_t)s->dropped);
    json_put_text(o, "best", s->arm[f->best]);
    json_put_text(o, "cheapest", s->arm[f->cheapest]);
    json_put_text(o, "dearest", s->arm[f->dearest]);
    json_put(o, "models", singles);
    json_put(o, "oracle", oracle);
    json_put(o, "ways", families);
    json_put(o, "random_mix", mix(f));
    for (int p = 0; p < BENCH_PEERS; p++)
        json_put(over, bench_peer_name((enum bench_peer)p), shares(f->over[p]));
    json_put(o, "weir_cost_share_over", over);
    json_put(o, "classes", classes);
    return o;
}

/* ---- streams ---- */

/* One figure of all seeds. */
static json_t *spread(const struct bench_told *t, int seeds, const double *first)
{
    struct bench_spread s = bench_told_spread(t, seeds, first);
    json_t *o = json_object();

    json_put(o, "mean", number(s.mean));
    json_put(o, "least", number(s.least));
    json_put(o, "most", number(s.most));
    return o;
}

static json_t *way(const struct bench_streams *f, const struct bench_told *t)
{
    json_t *o = json_object();

    json_put(o, "success", spread(t, f->seeds, &t->success));
    json_put(o, "nanousd", spread(t, f->seeds, &t->cost));
    json_put(o, "late_success", spread(t, f->seeds, &t->late_success));
    json_put(o, "late_nanousd", spread(t, f->seeds, &t->late_cost));
    if (f->floor >= 0) {
        json_put(o, "windows_below", spread(t, f->seeds, &t->below));
        json_put(o, "late_windows_below", spread(t, f->seeds, &t->below_late));
    }
    if (f->how.broken >= 0) {
        json_put(o, "asked_until_left", spread(t, f->seeds, &t->pulls));
        if (f->floor >= 0)
            json_put(o, "requests_to_recovery", spread(t, f->seeds, &t->recovered));
    }
    return o;
}

/* The router's second half at each price of a failure, then under the floor, means of the seeds;
 * and the best model alone. */
static json_t *priced(const struct bench_streams *f)
{
    json_t *points = json_array();

    for (int k = 0; k <= BENCH_PRICED; k++) {
        struct evaluate_point mean = {0, 0};
        json_t *p = json_object();
        for (int i = 0; i < f->seeds; i++) {
            mean.cost += f->priced[k][i].cost / f->seeds;
            mean.success += f->priced[k][i].success / f->seeds;
        }
        put_point(p, &mean);
        json_array_append_new(points, p);
    }
    json_t *best = json_object();
    put_point(best, &f->best);
    json_array_append_new(points, best);
    return points;
}

json_t *bench_json_streams(const struct bench_streams *f)
{
    json_t *o = json_object(), *over = json_object();

    json_put_int(o, "rows", (int64_t)f->set->rows);
    json_put_int(o, "rows_left_out", (int64_t)f->set->dropped);
    json_put_int(o, "requests", (int64_t)f->how.requests);
    json_put_int(o, "seeds", f->seeds);
    json_put_share(o, "floor", f->floor);
    json_put(o, "weir", way(f, f->weir));
    json_put(o, "class_routing", way(f, f->router));
    json_put(o, "class_routing_points", priced(f));
    json_put(over, "late_cost_at_weirs_success", figure(&f->cost_ratio));
    json_put(over, "late_cost_of_a_success", figure(&f->per_success_ratio));
    json_put(over, "late_success_difference", figure(&f->success_over));
    if (f->floor >= 0) {
        json_put(over, "windows_below_difference", figure(&f->below_over));
        json_put(over, "late_windows_below_difference", figure(&f->below_late_over));
    }
    json_put(o, "weir_over_class_routing", over);
    return o;
}
