/* The optimiser under every trained head. The functions it sees are sums over rows: one evaluation
 * costs far more than anything done here, so the step search is careful and the rest is plain. */
#include "router/encoder/train/lbfgs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define HISTORY   10 /* pairs kept; 5 to 20 differ little */
#define ARMIJO    1e-4
#define CURVATURE 0.9
#define MAX_STEPS 30

struct search {
    lbfgs_fn f;
    void *ctx;
    size_t n;
    double *x, *gradient;           /* the current point */
    double *trial, *trial_gradient; /* x + t * direction */
    double *direction;
    double value, noise;
    int evaluations;
};

/* The pairs of the last HISTORY steps, as a ring. */
struct history {
    double *s[HISTORY], *y[HISTORY], rho[HISTORY];
    int count, next;
};

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(const double *a, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]))
            return INFINITY;
        max = fmax(max, fabs(a[i]));
    }
    return max;
}

/* f and its slope along the direction at step t. */
static double at_step(struct search *s, double t, double *slope)
{
    for (size_t i = 0; i < s->n; i++)
        s->trial[i] = s->x[i] + t * s->direction[i];
    s->evaluations++;
    double value = s->f(s->trial, s->trial_gradient, s->ctx);
    *slope = dot(s->trial_gradient, s->direction, s->n);
    return isfinite(value) && isfinite(*slope) ? value : INFINITY;
}

/* ---- step length ---- */

struct step {
    double t, value, slope;
};

/* The minimum of the cubic through two points with their slopes, kept well inside of them (3.59).
 */
static double between(const struct step *a, const struct step *b)
{
    double low = fmin(a->t, b->t), high = fmax(a->t, b->t), margin = 0.1 * (high - low);
    double t = 0.5 * (low + high);
    double d1 = a->slope + b->slope - 3 * (a->value - b->value) / (a->t - b->t);
    double under = d1 * d1 - a->slope * b->slope;
    if (isfinite(under) && under > 0) {
        double d2 = copysign(sqrt(under), b->t - a->t);
        double cubic = b->t - (b->t - a->t) * (b->slope + d2 - d1) / (b->slope - a->slope + 2 * d2);
        if (isfinite(cubic))
            t = cubic;
    }
    return fmin(fmax(t, low + margin), high - margin);
}

/* Leaves the accepted point in trial. false: no step helps. */
static bool find_step(struct search *s, double first, struct step *out)
{
    const struct step zero = {0, s->value, dot(s->gradient, s->direction, s->n)};
    /* Near the minimum f changes less than its rounding: then the slope alone decides. */
    const double noise = s->noise * fmax(1, fabs(zero.value));
    struct step low = zero, high = {0, 0, 0}, last = zero;
    bool bracketed = false;
    double t = first;
    for (int i = 0; i < MAX_STEPS; i++) {
        struct step now = {.t = t};
        now.value = at_step(s, t, &now.slope);
        bool rises = now.value > zero.value + ARMIJO * t * zero.slope + noise ||
                     (now.value >= low.value + noise && (bracketed || i > 0));
        if (!rises && fabs(now.slope) <= -CURVATURE * zero.slope) {
            *out = now;
            return true;
        }
        if (bracketed) {
            if (rises) {
                high = now;
            } else {
                if (now.slope * (high.t - low.t) >= 0)
                    high = low;
                low = now;
            }
        } else if (rises || now.slope >= 0) {
            low = rises ? last : now;
            high = rises ? now : last;
            bracketed = true;
        } else {
            last = low = now;
        }
        if (bracketed && fabs(high.t - low.t) < 1e-16 * fmax(1, fabs(low.t)))
            break;
        t = !bracketed          ? 2.5 * t
            : isinf(high.value) ? 0.5 * (low.t + high.t)
                                : between(&low, &high);
    }
    /* The conditions were not met; a point that is lower than the start is still progress. */
    if (low.t > 0 && low.value < zero.value) {
        *out = low;
        out->value = at_step(s, low.t, &out->slope);
        return true;
    }
    return false;
}

/* ---- direction ---- */

/* direction = -H gradient by the two loops of algorithm 7.4. */
static void find_direction(struct search *s, const struct history *h)
{
    double alpha[HISTORY];
    for (size_t i = 0; i < s->n; i++)
        s->direction[i] = -s->gradient[i];
    for (int k = 1; k <= h->count; k++) {
        int j = (h->next - k + HISTORY) % HISTORY;
        alpha[j] = h->rho[j] * dot(h->s[j], s->direction, s->n);
        for (size_t i = 0; i < s->n; i++)
            s->direction[i] -= alpha[j] * h->y[j][i];
    }
    if (h->count == 0)
        return;
    int newest = (h->next - 1 + HISTORY) % HISTORY;
    double scale = 1 / (h->rho[newest] * dot(h->y[newest], h->y[newest], s->n));
    for (size_t i = 0; i < s->n; i++)
        s->direction[i] *= scale;
    for (int k = h->count; k >= 1; k--) {
        int j = (h->next - k + HISTORY) % HISTORY;
        double beta = h->rho[j] * dot(h->y[j], s->direction, s->n);
        for (size_t i = 0; i < s->n; i++)
            s->direction[i] += (alpha[j] - beta) * h->s[j][i];
    }
}

/* Takes the step from x to trial into the history, then moves there. */
static void move(struct search *s, struct history *h, double value)
{
    double *ds = h->s[h->next], *dy = h->y[h->next];
    for (size_t i = 0; i < s->n; i++) {
        ds[i] = s->trial[i] - s->x[i];
        dy[i] = s->trial_gradient[i] - s->gradient[i];
    }
    double sy = dot(ds, dy, s->n);
    if (sy > 1e-10 * dot(dy, dy, s->n)) { /* else the curvature seen is noise */
        h->rho[h->next] = 1 / sy;
        h->next = (h->next + 1) % HISTORY;
        if (h->count < HISTORY)
            h->count++;
    }
    memcpy(s->x, s->trial, s->n * sizeof *s->x);
    memcpy(s->gradient, s->trial_gradient, s->n * sizeof *s->gradient);
    s->value = value;
}

static enum lbfgs_end iterate(struct search *s, const struct lbfgs_options *opt, struct history *h,
                              struct lbfgs_result *r)
{
    for (;;) {
        r->gradient = largest(s->gradient, s->n);
        if (!isfinite(s->value) || !isfinite(r->gradient))
            return LBFGS_NOT_FINITE;
        if (r->gradient <= opt->tolerance)
            return LBFGS_CONVERGED;
        if (r->iterations == opt->max_iterations)
            return LBFGS_ITERATIONS;
        find_direction(s, h);
        if (dot(s->direction, s->gradient, s->n) >= 0) {
            if (h->count == 0)
                return LBFGS_STUCK;
            h->count = 0; /* the history misleads: begin again along the gradient */
            continue;
        }
        double first = h->count ? 1 : fmin(1, 1 / sqrt(dot(s->gradient, s->gradient, s->n)));
        struct step step;
        if (find_step(s, first, &step)) {
            move(s, h, step.value);
            r->iterations++;
        } else if (h->count) {
            h->count = 0;
        } else {
            return LBFGS_STUCK;
        }
    }
}

struct lbfgs_result lbfgs_minimize(lbfgs_fn f, void *ctx, double *x, size_t n,
                                   const struct lbfgs_options *opt)
{
    double *memory = mem_zalloc((4 + 2 * HISTORY) * n + 1, sizeof *memory);
    struct search s = {.f = f, .ctx = ctx, .n = n, .x = x, .noise = opt->noise};
    struct history h = {.count = 0};
    double *at = memory;
    s.gradient = at, at += n;
    s.trial = at, at += n;
    s.trial_gradient = at, at += n;
    s.direction = at, at += n;
    for (int j = 0; j < HISTORY; j++) {
        h.s[j] = at, at += n;
        h.y[j] = at, at += n;
    }
    struct lbfgs_result r = {.iterations = 0};
    s.value = f(x, s.gradient, ctx);
    s.evaluations = 1;
    r.end = iterate(&s, opt, &h, &r);
    r.value = s.value;
    r.evaluations = s.evaluations;
    free(memory);
    return r;
}
