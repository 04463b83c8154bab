/* Figures over quality and cost. Called by weir bench and by tests. */
#include "router/decide/evaluate.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include "base/mem.h"

static int by_cost(const void *a, const void *b)
{
    const struct evaluate_point *x = a, *y = b;

    if (x->cost != y->cost)
        return (x->cost > y->cost) - (x->cost < y->cost);
    return (x->success > y->success) - (x->success < y->success);
}

/* Does b lie on or below the line from a to c? */
static int below(struct evaluate_point a, struct evaluate_point b, struct evaluate_point c)
{
    return (b.success - a.success) * (c.cost - a.cost) <=
           (c.success - a.success) * (b.cost - a.cost);
}

size_t evaluate_hull(struct evaluate_point *p, size_t n)
{
    size_t kept = 0;

    qsort(p, n, sizeof *p, by_cost);
    for (size_t i = 0; i < n; i++) {
        if (kept && p[i].success <= p[kept - 1].success)
            continue;
        while (kept && p[i].cost <= p[kept - 1].cost)
            kept--;
        while (kept > 1 && below(p[kept - 2], p[kept - 1], p[i]))
            kept--;
        p[kept++] = p[i];
    }
    return kept;
}

double evaluate_cost_at(const struct evaluate_point *p, size_t n, double success)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i].success < success)
            continue;
        if (i == 0 || p[i].success <= p[i - 1].success)
            return p[i].cost;
        double t = (success - p[i - 1].success) / (p[i].success - p[i - 1].success);
        return p[i - 1].cost + t * (p[i].cost - p[i - 1].cost);
    }
    return (double)NAN;
}

double evaluate_success_at(const struct evaluate_point *p, size_t n, double cost)
{
    if (n == 0 || cost < p[0].cost)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (cost < p[i].cost) {
            double t = (cost - p[i - 1].cost) / (p[i].cost - p[i - 1].cost);
            return p[i - 1].success + t * (p[i].success - p[i - 1].success);
        }
    return p[n - 1].success;
}

double evaluate_aiq(const struct evaluate_point *hull, size_t n, double from, double to)
{
    enum { STEPS = 1000 };
    double sum = 0;

    if (!(to > from))
        return (double)NAN;
    for (int i = 0; i < STEPS; i++)
        sum += evaluate_success_at(hull, n, from + (to - from) * (i + 0.5) / STEPS);
    return sum / STEPS;
}

/* ---- two models ---- */

static bool is_gap(const struct evaluate_gap *g)
{
    return g->strong.cost > g->weak.cost && g->strong.success > g->weak.success;
}

/* The points as (share of the cost between weak and strong, gap recovered), from (0, 0) to (1, 1),
 * what lies outside left out. */
static size_t as_shares(const struct evaluate_point *p, size_t n, const struct evaluate_gap *g,
                        struct evaluate_point *out)
{
    size_t kept = 0;

    out[kept++] = (struct evaluate_point){0, 0};
    for (size_t i = 0; i < n; i++) {
        struct evaluate_point s = {(p[i].cost - g->weak.cost) / (g->strong.cost - g->weak.cost),
                                   (p[i].success - g->weak.success) /
                                       (g->strong.success - g->weak.success)};
        if (s.cost > 0 && s.cost < 1)
            out[kept++] = s;
    }
    out[kept++] = (struct evaluate_point){1, 1};
    qsort(out, kept, sizeof *out, by_cost);
    return kept;
}

double evaluate_apgr(const struct evaluate_point *p, size_t n, const struct evaluate_gap *g)
{
    double area = 0;

    if (!is_gap(g))
        return (double)NAN;
    struct evaluate_point *s = mem_zalloc(n + 2, sizeof *s);
    size_t kept = as_shares(p, n, g, s);
    for (size_t i = 1; i < kept; i++)
        area += (s[i].cost - s[i - 1].cost) * (s[i].success + s[i - 1].success) / 2;
    free(s);
    return area;
}

double evaluate_cpt(const struct evaluate_point *p, size_t n, const struct evaluate_gap *g,
                    double recovered)
{
    if (!is_gap(g))
        return (double)NAN;
    struct evaluate_point *s = mem_zalloc(n + 2, sizeof *s);
    double share = evaluate_cost_at(s, as_shares(p, n, g, s), recovered);
    free(s);
    return share;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    return (x > y) - (x < y);
}

double evaluate_quantile(double *values, size_t n, double q)
{
    if (n == 0)
        return (double)NAN;
    qsort(values, n, sizeof *values, ascending);
    double at = q * (double)(n - 1);
    size_t low = (size_t)at;
    double part = at - (double)low;
    /* what has no part in it does not spoil it: the next value may be NAN */
    return part > 0 ? values[low] + part * (values[low + 1] - values[low]) : values[low];
}
