/* Called by the figures of a report and by replays. */
#include "router/report/interval.h"

#include <math.h>

/* Tuned to be tightest at about so many observations. */
#define TIGHTEST_N 500.0

/* ---- a rate ---- */

static double evidence_against(double s, double f, double p)
{
    double log_beta = lgamma(1 + s) + lgamma(1 + f) - lgamma(2 + s + f);

    return log_beta - (s > 0 ? s * log(p) : 0) - (f > 0 ? f * log1p(-p) : 0);
}

/* Where the evidence reaches `limit` between a rate that is inside and one that is not. */
static double edge(double s, double f, double inside, double outside, double limit)
{
    for (int i = 0; i < 60; i++) {
        double middle = (inside + outside) / 2;
        if (evidence_against(s, f, middle) <= limit)
            inside = middle;
        else
            outside = middle;
    }
    return inside;
}

struct interval interval_rate(double s, double f, double alpha)
{
    double n = s + f, limit = -log(alpha);
    struct interval out = {(double)NAN, 0, 1};

    if (!(n > 0))
        return out;
    out.value = s / n;
    if (s > 0)
        out.low = edge(s, f, out.value, 0, limit);
    if (f > 0)
        out.high = edge(s, f, out.value, 1, limit);
    return out;
}

/* ---- means ---- */

/* How many standard errors wide, where a fixed look would have 1.96. */
static double errors_wide(double n, double alpha)
{
    double l = -2 * log(alpha), r2 = (l + log(l) + 1) / TIGHTEST_N;

    return sqrt((n * r2 + 1) / (n * r2) * log((n * r2 + 1) / (alpha * alpha)));
}

void interval_add(struct interval_sums *s, double x)
{
    s->n++;
    s->x += x;
    s->xx += x * x;
}

static double variance(const struct interval_sums *s)
{
    double mean = s->x / s->n;

    return fmax(0, s->xx / s->n - mean * mean) * s->n / (s->n - 1);
}

struct interval interval_mean(const struct interval_sums *s, double alpha)
{
    double mean = s->n > 0 ? s->x / s->n : (double)NAN, half;

    if (s->n < 2)
        return (struct interval){mean, -(double)INFINITY, (double)INFINITY};
    half = sqrt(variance(s) / s->n) * errors_wide(s->n, alpha);
    return (struct interval){mean, mean - half, mean + half};
}

void interval_pairs_add(struct interval_pairs *s, double x, double y)
{
    s->n++;
    s->x += x;
    s->y += y;
    s->xx += x * x;
    s->yy += y * y;
    s->xy += x * y;
}

/* Sum of squares of x - ratio y, whose sum is 0. */
static double residuals(const struct interval_pairs *p, double ratio)
{
    return p->xx - 2 * ratio * p->xy + ratio * ratio * p->yy;
}

/* Of z = x - ratio y, whose mean is 0 at the ratio. */
struct interval interval_ratio(const struct interval_pairs *s, double alpha)
{
    double ratio = s->y > 0 ? s->x / s->y : (double)NAN, half;
    struct interval_sums z = {s->n, 0, residuals(s, ratio)};

    if (!(s->y > 0) || s->n < 2)
        return (struct interval){ratio, 0, (double)INFINITY};
    half = sqrt(variance(&z) / s->n) * errors_wide(s->n, alpha) * s->n / s->y;
    return (struct interval){ratio, fmax(0, ratio - half), ratio + half};
}

/* ---- clusters ---- */

static void close_cluster(struct interval_clusters *c)
{
    if (c->parts > 0)
        interval_pairs_add(&c->merged, c->x, c->y);
    c->x = c->y = c->parts = 0;
}

void interval_clusters_add(struct interval_clusters *c, uint64_t cluster, double x, double y)
{
    interval_pairs_add(&c->each, x, y);
    if (cluster != c->open)
        close_cluster(c);
    c->open = cluster;
    c->x += x;
    c->y += y;
    c->parts++;
}

const struct interval_pairs *interval_clusters_end(struct interval_clusters *c)
{
    close_cluster(c);
    return c->merged.n < INTERVAL_MIN_CLUSTERS ? &c->each : &c->merged;
}

double interval_clusters_effect(const struct interval_clusters *c)
{
    double ratio = c->each.x / c->each.y, alone = residuals(&c->each, ratio);

    if (c->merged.n < INTERVAL_MIN_CLUSTERS || !(c->each.y > 0) || !(alone > 0))
        return 1;
    return fmax(1, residuals(&c->merged, ratio) / alone);
}

/* ---- two arms ---- */

static void add_unit(struct interval_moments *m, const double unit[2 * INTERVAL_ARMS])
{
    m->units++;
    for (int i = 0; i < 2 * INTERVAL_ARMS; i++) {
        m->sum[i] += unit[i];
        for (int j = 0; j < 2 * INTERVAL_ARMS; j++)
            m->product[i][j] += unit[i] * unit[j];
    }
    for (int arm = 0; arm < INTERVAL_ARMS; arm++)
        m->in_arm[arm] += unit[2 * arm + 1] > 0;
}

static void close_unit(struct interval_arms *a)
{
    if (a->open[1] > 0 || a->open[3] > 0)
        add_unit(&a->merged, a->open);
    for (int i = 0; i < 2 * INTERVAL_ARMS; i++)
        a->open[i] = 0;
}

void interval_arms_add(struct interval_arms *a, uint64_t cluster, enum interval_arm arm, double x,
                       double weight)
{
    double unit[2 * INTERVAL_ARMS] = {0};

    unit[2 * arm] = weight * x;
    unit[2 * arm + 1] = weight;
    add_unit(&a->each, unit);
    if (cluster != a->cluster)
        close_unit(a);
    a->cluster = cluster;
    a->open[2 * arm] += weight * x;
    a->open[2 * arm + 1] += weight;
}

/* The residual of log(mean now / mean then) is linear in a unit's sums: x / X - n / N of one arm
 * less that of the other. */
static double variance_of_log(const struct interval_moments *m)
{
    const double by[2 * INTERVAL_ARMS] = {1 / m->sum[0], -1 / m->sum[1], -1 / m->sum[2],
                                          1 / m->sum[3]};
    double v = 0;

    for (int i = 0; i < 2 * INTERVAL_ARMS; i++)
        for (int j = 0; j < 2 * INTERVAL_ARMS; j++)
            v += by[i] * by[j] * m->product[i][j];
    return fmax(0, v) * m->units / (m->units - 1);
}

struct interval interval_saving(struct interval_arms *a, double alpha)
{
    const struct interval_moments *m = &a->merged;
    double ratio, half;

    close_unit(a);
    if (fmin(m->in_arm[ARM_NOW], m->in_arm[ARM_THEN]) < INTERVAL_MIN_CLUSTERS)
        m = &a->each;
    if (m->in_arm[ARM_NOW] < 2 || m->in_arm[ARM_THEN] < 2 || !(m->sum[2] > 0))
        return (struct interval){(double)NAN, -(double)INFINITY, 1};
    ratio = m->sum[0] / m->sum[1] / (m->sum[2] / m->sum[3]);
    if (!(ratio > 0))
        return (struct interval){1 - ratio, -(double)INFINITY, 1};
    half = sqrt(variance_of_log(m)) *
           errors_wide(fmin(m->in_arm[ARM_NOW], m->in_arm[ARM_THEN]), alpha);
    return (struct interval){1 - ratio, 1 - ratio * exp(half), 1 - ratio * exp(-half)};
}
