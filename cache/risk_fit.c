/* The regression: Newton's method on the ridge-penalised likelihood, started from where it was. The
 * objective is convex, but a whole step may overshoot where labels are rare or separable, and from
 * there the next one even further: a step is halved until it gains. 15,000 labels of 14 features
 * take some 3 ms a step. */
#include <math.h>
#include <string.h>
#include "cache/risk_int.h"

#define F            RISK_FEATURES
#define RIDGE        1.0  /* on every weight but the constant */
#define RIDGE_FREE   1e-3 /* on the constant: the system stays solvable with labels of one kind */
#define NEWTON_STEPS 8    /* at most, per fit: it starts close */
#define HALVINGS     12   /* of a step, at most */
#define GAIN         0.01 /* of log likelihood: with less it is there */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double risk_fit_logit(const struct risk_fit *fit, const float f[static RISK_FEATURES])
{
    double z = 0;

    for (int i = 0; i < F; i++)
        z += fit->w[i] * (double)f[i];
    return z;
}

/* f' H^-1 f, by forward substitution. */
double risk_fit_variance(const struct risk_fit *fit, const float f[static RISK_FEATURES])
{
    double x[F], sum = 0;

    for (int i = 0; i < F; i++) {
        x[i] = (double)f[i];
        for (int k = 0; k < i; k++)
            x[i] -= fit->factor[i][k] * x[k];
        x[i] /= fit->factor[i][i];
        sum += x[i] * x[i];
    }
    return sum;
}

/* Solves h x = g in place of g; h, symmetric and positive definite, becomes its factor. */
static bool solve(double h[F][F], double g[F])
{
    for (int j = 0; j < F; j++) {
        for (int k = 0; k < j; k++)
            h[j][j] -= h[j][k] * h[j][k];
        if (!(h[j][j] > 1e-12))
            return false;
        h[j][j] = sqrt(h[j][j]);
        for (int i = j + 1; i < F; i++) {
            for (int k = 0; k < j; k++)
                h[i][j] -= h[i][k] * h[j][k];
            h[i][j] /= h[j][j];
        }
    }
    for (int i = 0; i < F; i++) {
        for (int k = 0; k < i; k++)
            g[i] -= h[i][k] * g[k];
        g[i] /= h[i][i];
    }
    for (int i = F - 1; i >= 0; i--) {
        for (int k = i + 1; k < F; k++)
            g[i] -= h[k][i] * g[k];
        g[i] /= h[i][i];
    }
    return true;
}

/* Gradient and (lower half of the) negative Hessian of the penalised log likelihood. */
static void derive(const struct risk_fit *fit, double h[F][F], double g[F])
{
    size_t n = fit->count < RISK_KEPT_LABELS ? (size_t)fit->count : RISK_KEPT_LABELS;

    for (size_t s = 0; s < n; s++) {
        const struct risk_sample *x = &fit->samples[s];
        double p = sigmoid(risk_fit_logit(fit, x->f)), weight = (double)x->weight;
        double slope = weight * ((x->right ? 1 : 0) - p), bend = weight * p * (1 - p);
        for (int i = 0; i < F; i++) {
            double fi = (double)x->f[i];
            g[i] += slope * fi;
            for (int j = 0; j <= i; j++)
                h[i][j] += bend * fi * (double)x->f[j];
        }
    }
    for (int i = 0; i < F; i++) {
        double ridge = i ? RIDGE : RIDGE_FREE;
        g[i] -= ridge * fit->w[i];
        h[i][i] += ridge;
    }
}

/* log(1 + exp(z)) for any z. */
static double softplus(double z)
{
    return z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

/* The negative of the penalised log likelihood. */
static double loss_of(const struct risk_fit *fit)
{
    size_t n = fit->count < RISK_KEPT_LABELS ? (size_t)fit->count : RISK_KEPT_LABELS;
    double loss = 0;

    for (size_t s = 0; s < n; s++) {
        const struct risk_sample *x = &fit->samples[s];
        double z = risk_fit_logit(fit, x->f);
        loss += (double)x->weight * softplus(x->right ? -z : z);
    }
    for (int i = 0; i < F; i++)
        loss += 0.5 * (i ? RIDGE : RIDGE_FREE) * fit->w[i] * fit->w[i];
    return loss;
}

/* Goes along step as far as it gains; by how much it did. */
static double walk(struct risk_fit *fit, const double step[F])
{
    double from[F], before = loss_of(fit), length = 1;

    memcpy(from, fit->w, sizeof from);
    for (int halved = 0; halved < HALVINGS; halved++, length /= 2) {
        for (int i = 0; i < F; i++)
            fit->w[i] = from[i] + length * step[i];
        double after = loss_of(fit);
        if (after < before)
            return before - after;
    }
    memcpy(fit->w, from, sizeof from);
    return 0;
}

static void refit(struct risk_fit *fit)
{
    for (int n = 0; n < NEWTON_STEPS; n++) {
        double h[F][F] = {{0}}, step[F] = {0};
        derive(fit, h, step);
        if (!solve(h, step))
            return;
        for (int i = 0; i < F; i++)
            for (int j = 0; j <= i; j++)
                fit->factor[i][j] = h[i][j];
        if (walk(fit, step) < GAIN)
            return;
    }
}

void risk_fit_add(struct risk_fit *fit, const struct risk_label *l)
{
    struct risk_sample *s = &fit->samples[fit->count++ % RISK_KEPT_LABELS];

    for (int i = 0; i < F; i++)
        s->f[i] = l->features[i];
    s->right = l->right;
    s->weight = (float)l->weight;
    if (++fit->since < RISK_REFIT_EVERY && fit->count != RISK_WARM_LABELS)
        return;
    refit(fit);
    fit->since = 0;
}

void risk_answer_fit(struct risk_answer *a)
{
    unsigned n = a->count < RISK_ANSWER_LABELS ? a->count : RISK_ANSWER_LABELS;
    double u = (double)a->offset, curvature = 1;

    for (int step = 0; step < 8; step++) {
        double gradient = -u / RISK_OFFSET_VARIANCE;
        curvature = 1 / RISK_OFFSET_VARIANCE;
        for (unsigned i = 0; i < n; i++) {
            double p = sigmoid((double)a->z[i] + u);
            gradient += (a->right[i] ? 1 : 0) - p;
            curvature += p * (1 - p);
        }
        u += gradient / curvature;
    }
    a->offset = (float)u;
    a->variance = (float)(1 / curvature);
}
