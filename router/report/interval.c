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

/* Of z = x - ratio y, whose mean is 0 at the ratio. */
struct interval interval_ratio(const struct interval_pairs *s, double alpha)
{
    double ratio = s->y > 0 ? s->x / s->y : (double)NAN, half;
    struct interval_sums z = {s->n, 0, s->xx - 2 * ratio * s->xy + ratio * ratio * s->yy};

    if (!(s->y > 0) || s->n < 2)
        return (struct interval){ratio, 0, (double)INFINITY};
    half = sqrt(variance(&z) / s->n) * errors_wide(s->n, alpha) * s->n / s->y;
    return (struct interval){ratio, fmax(0, ratio - half), ratio + half};
}

struct interval interval_saving(const struct interval_sums *now, const struct interval_sums *then,
                                double alpha)
{
    double ratio, variance_of_log, half;

    if (now->n < 2 || then->n < 2 || !(then->x > 0))
        return (struct interval){(double)NAN, -(double)INFINITY, 1};
    ratio = now->x / now->n / (then->x / then->n);
    if (!(ratio > 0))
        return (struct interval){1 - ratio, -(double)INFINITY, 1};
    variance_of_log =
        variance(now) * now->n / (now->x * now->x) + variance(then) * then->n / (then->x * then->x);
    half = sqrt(variance_of_log) * errors_wide(fmin(now->n, then->n), alpha);
    return (struct interval){1 - ratio, 1 - ratio * exp(half), 1 - ratio * exp(-half)};
}
