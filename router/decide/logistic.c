/* Newton's method for logistic regression. Called by scorer (features of answers) and curve
 * (Platt's scaling of bins). */
#include "router/decide/logistic.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define N LOGISTIC_MAX_FEATURES

double logistic(double z)
{
    return z >= 0 ? 1 / (1 + exp(-z)) : exp(z) / (1 + exp(z));
}

double logit(double p)
{
    p = fmin(fmax(p, 1e-6), 1 - 1e-6);
    return log(p / (1 - p));
}

/* log(1 + exp(z)) without overflow. */
static double softplus(double z)
{
    return z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

static double score_of(const struct logistic_problem *p, size_t row, const double *coef)
{
    const float *x = p->x + row * (size_t)p->features;
    double z = 0;

    for (int i = 0; i < p->features; i++)
        z += coef[i] * (double)x[i];
    return z;
}

static double weight_of(const struct logistic_problem *p, size_t row)
{
    return p->weight ? (double)p->weight[row] : 1;
}

static double center_of(const struct logistic_problem *p, int i)
{
    return p->center ? p->center[i] : 0;
}

static double loss_at(const struct logistic_problem *p, const double *coef)
{
    double loss = 0;

    for (int i = 0; i < p->features; i++) {
        double d = coef[i] - center_of(p, i);
        loss += 0.5 * p->strength[i] * d * d;
    }
    for (size_t r = 0; r < p->rows; r++) {
        double z = score_of(p, r, coef);
        loss += weight_of(p, r) * (softplus(z) - (double)p->y[r] * z);
    }
    return loss;
}

/* Gradient and (lower triangle, then mirrored) Hessian of the loss. */
static void derive(const struct logistic_problem *p, const double *coef, double *gradient,
                   double *hessian)
{
    int n = p->features;

    memset(hessian, 0, (size_t)(n * n) * sizeof *hessian);
    for (int i = 0; i < n; i++) {
        gradient[i] = p->strength[i] * (coef[i] - center_of(p, i));
        hessian[i * n + i] = p->strength[i];
    }
    for (size_t r = 0; r < p->rows; r++) {
        const float *x = p->x + r * (size_t)n;
        double q = logistic(score_of(p, r, coef)), w = weight_of(p, r);
        double residual = w * (q - (double)p->y[r]), curvature = w * q * (1 - q);
        for (int i = 0; i < n; i++) {
            double xi = (double)x[i];
            gradient[i] += residual * xi;
            for (int j = 0; j <= i; j++)
                hessian[i * n + j] += curvature * xi * (double)x[j];
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            hessian[j * n + i] = hessian[i * n + j];
}

/* Solves H step = gradient by Cholesky's factor; the prior makes H positive definite. */
static void solve(const double *hessian, const double *gradient, int n, double *step)
{
    double factor[N * N];

    memset(factor, 0, (size_t)(n * n) * sizeof *factor);
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double sum = hessian[i * n + j];
            for (int k = 0; k < j; k++)
                sum -= factor[i * n + k] * factor[j * n + k];
            factor[i * n + j] = i == j ? sqrt(fmax(sum, 1e-12)) : sum / factor[j * n + j];
        }
    for (int i = 0; i < n; i++) {
        double sum = gradient[i];
        for (int k = 0; k < i; k++)
            sum -= factor[i * n + k] * step[k];
        step[i] = sum / factor[i * n + i];
    }
    for (int i = n - 1; i >= 0; i--) {
        double sum = step[i];
        for (int k = i + 1; k < n; k++)
            sum -= factor[k * n + i] * step[k];
        step[i] = sum / factor[i * n + i];
    }
}

/* The step, halved until it does not make things worse. False: no way down any more. */
static bool move(const struct logistic_problem *p, double *coef, const double *step, double *loss)
{
    double tried[N];

    for (double scale = 1; scale > 1e-4; scale /= 2) {
        for (int i = 0; i < p->features; i++)
            tried[i] = coef[i] - scale * step[i];
        double now = loss_at(p, tried);
        if (now <= *loss) {
            bool moved = *loss - now > 1e-9 * (1 + fabs(now));
            memcpy(coef, tried, (size_t)p->features * sizeof *coef);
            *loss = now;
            return moved;
        }
    }
    return false;
}

void logistic_fit(const struct logistic_problem *p, double *coef, double *hessian)
{
    double gradient[N], step[N], own[N * N], *h = hessian ? hessian : own, loss;
    int steps = 0;

    assert(p->features >= 1 && p->features <= N);
    for (int i = 0; i < p->features; i++)
        coef[i] = center_of(p, i);
    loss = loss_at(p, coef);
    do {
        derive(p, coef, gradient, h);
        solve(h, gradient, p->features, step);
    } while (move(p, coef, step, &loss) && ++steps < LOGISTIC_MAX_STEPS);
    if (hessian)
        derive(p, coef, gradient, hessian);
}
