/* Calibration of scores by bins. Called when beliefs are built. */
#include "router/decide/curve.h"

#include <math.h>
#include "router/decide/logistic.h"
#include "router/decide/significance.h"

#define TILT_STRENGTH 4.0 /* the tilt is 1 +- 0.5 before anything was seen */
#define MAX_SHIFT     3.0

static const double edges[TALLY_BINS - 1] = {0.1,  0.25, 0.4,  0.55, 0.67, 0.76,
                                             0.84, 0.9,  0.94, 0.97, 0.985};
static const double middles[TALLY_BINS] = {0.05, 0.18, 0.33, 0.48,  0.61,  0.72,
                                           0.8,  0.87, 0.92, 0.955, 0.978, 0.993};

int curve_bin(double score)
{
    int bin = 0;

    while (bin < TALLY_BINS - 1 && score >= edges[bin])
        bin++;
    return bin;
}

double curve_middle(int bin)
{
    return middles[bin];
}

void curve_identity(struct curve *c)
{
    *c = (struct curve){.level_var = 1, .tilt_var = 1 / TILT_STRENGTH};
    for (int b = 0; b < TALLY_BINS; b++)
        c->p[b] = middles[b];
}

/* ---- fitting ---- */

/* Step 1, in place: p becomes Platt's scaling of the prior. */
static void fit_platt(struct curve *c, const struct curve *prior, const double *good,
                      const double *bad, double level_strength)
{
    float x[2 * TALLY_BINS][2], y[2 * TALLY_BINS], weight[2 * TALLY_BINS];
    double center[2] = {0, 1}, strength[2] = {level_strength, TILT_STRENGTH}, coef[2], h[4];
    double n = 0, sum = 0;
    size_t rows = 0;

    for (int b = 0; b < TALLY_BINS; b++) {
        n += good[b] + bad[b];
        sum += (good[b] + bad[b]) * logit(prior->p[b]);
    }
    c->center = n > 0 ? sum / n : prior->center;
    /* level counts from the center, so that level and tilt hardly depend on each other */
    center[0] = c->center;
    for (int b = 0; b < TALLY_BINS; b++) {
        double all = good[b] + bad[b];
        if (all <= 0)
            continue;
        x[rows][0] = 1;
        x[rows][1] = (float)(logit(prior->p[b]) - c->center);
        y[rows] = (float)(good[b] / all);
        weight[rows++] = (float)all;
    }
    struct logistic_problem p = {&x[0][0], y, weight, rows, 2, center, strength};
    logistic_fit(&p, coef, h);
    double determinant = h[0] * h[3] - h[1] * h[2];
    c->level_var = h[3] / determinant;
    c->tilt_var = h[0] / determinant;
    c->level_tilt = -h[1] / determinant;
    for (int b = 0; b < TALLY_BINS; b++)
        c->p[b] = logistic(coef[0] + fmax(0, coef[1]) * (logit(prior->p[b]) - c->center));
    c->center = coef[0];
    c->labels = n;
}

/* Step 3: blocks of bins whose means do not fall. */
static void make_ascending(double p[TALLY_BINS], const double weight[TALLY_BINS])
{
    double mean[TALLY_BINS], mass[TALLY_BINS];
    int width[TALLY_BINS], blocks = 0;

    for (int b = 0; b < TALLY_BINS; b++) {
        mean[blocks] = p[b];
        mass[blocks] = weight[b];
        width[blocks++] = 1;
        for (; blocks > 1 && mean[blocks - 2] > mean[blocks - 1]; blocks--) {
            double all = mass[blocks - 2] + mass[blocks - 1];
            mean[blocks - 2] =
                (mean[blocks - 2] * mass[blocks - 2] + mean[blocks - 1] * mass[blocks - 1]) / all;
            mass[blocks - 2] = all;
            width[blocks - 2] += width[blocks - 1];
        }
    }
    for (int i = 0, b = 0; i < blocks; i++)
        for (int k = 0; k < width[i]; k++)
            p[b++] = mean[i];
}

void curve_fit(struct curve *out, const struct curve *prior, const double good[TALLY_BINS],
               const double bad[TALLY_BINS], double level_strength)
{
    struct curve c;
    double weight[TALLY_BINS];

    fit_platt(&c, prior, good, bad, level_strength);
    for (int b = 0; b < TALLY_BINS; b++) {
        weight[b] = good[b] + bad[b] + CURVE_PSEUDO;
        c.p[b] = fmin(fmax((good[b] + CURVE_PSEUDO * c.p[b]) / weight[b], 1e-6), 1 - 1e-6);
    }
    make_ascending(c.p, weight);
    *out = c;
}

/* ---- drift ---- */

void curve_residual_add(struct curve_residual *r, const struct curve *c,
                        const double good[TALLY_BINS], const double bad[TALLY_BINS])
{
    for (int b = 0; b < TALLY_BINS; b++) {
        double all = good[b] + bad[b];
        r->surplus += good[b] - all * c->p[b];
        r->information += all * c->p[b] * (1 - c->p[b]);
    }
}

double curve_shift_of(const struct curve_residual *r, double prior)
{
    double shift = fmin(fmax(r->surplus / (r->information + prior), -MAX_SHIFT), MAX_SHIFT);

    return shift * significance(fabs(r->surplus), sqrt(r->information));
}

void curve_shift(struct curve *c, double log_odds)
{
    double factor = exp(log_odds);

    for (int b = 0; b < TALLY_BINS; b++)
        c->p[b] = c->p[b] * factor / (1 - c->p[b] + c->p[b] * factor);
    c->center += log_odds;
}

void curve_temper(const struct curve *c, double factor, const double share[TALLY_BINS],
                  double p[TALLY_BINS])
{
    double shift = 0;

    for (int step = 0; step < 4; step++) { /* Newton's method on the mean */
        double missing = 0, slope = 1e-9;
        for (int b = 0; b < TALLY_BINS; b++) {
            p[b] = logistic(c->center + shift + factor * (logit(c->p[b]) - c->center));
            missing += share[b] * (c->p[b] - p[b]);
            slope += share[b] * p[b] * (1 - p[b]);
        }
        shift += fmin(fmax(missing / slope, -2), 2);
    }
    for (int b = 0; b < TALLY_BINS; b++)
        p[b] = logistic(c->center + shift + factor * (logit(c->p[b]) - c->center));
}

/* ---- what it tells ---- */

double curve_auroc(const struct curve *c, const double share[TALLY_BINS])
{
    double good = 0, bad = 0, below = 0, area = 0;

    for (int b = 0; b < TALLY_BINS; b++) {
        double g = share[b] * c->p[b], f = share[b] * (1 - c->p[b]);
        area += g * (below + f / 2); /* a success beats the failures of lower bins, ties by half */
        below += f;
        good += g;
        bad += f;
    }
    return good > 0 && bad > 0 ? area / (good * bad) : 0.5;
}

void curve_flatten(struct curve *c, const double share[TALLY_BINS])
{
    double mean = 0, all = 0;

    for (int b = 0; b < TALLY_BINS; b++) {
        mean += share[b] * c->p[b];
        all += share[b];
    }
    for (int b = 0; all > 0 && b < TALLY_BINS; b++)
        c->p[b] = mean / all;
}
