/* Calibration maps. Called by trainer.c on scores from rows that were left out of the fit. */
#include "router/encoder/train/calibrate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"

/* ---- temperature ---- */

/* First and second derivative of the mean negative log-likelihood by s = 1 / T:
 * E_p[z] - z[label], and Var_p[z]. */
static void temperature_slopes(const float *z, const int *label, size_t rows, size_t classes,
                               double s, double *first, double *second)
{
    *first = *second = 0;
    for (size_t i = 0; i < rows; i++, z += classes) {
        double max = (double)z[0], sum = 0, mean = 0, square = 0;
        for (size_t c = 1; c < classes; c++)
            max = fmax(max, (double)z[c]);
        for (size_t c = 0; c < classes; c++) {
            double at = (double)z[c] - max, p = exp(s * at);
            sum += p;
            mean += p * at;
            square += p * at * at;
        }
        mean /= sum;
        *first += (mean - ((double)z[label[i]] - max)) / (double)rows;
        *second += (square / sum - mean * mean) / (double)rows;
    }
}

double calibrate_temperature(const float *z, const int *label, size_t rows, size_t classes)
{
    double low = 1.0 / 20, high = 20, s = 1, first, second;
    if (rows == 0)
        return 1;
    /* Rows that are all right pull s up for ever, in ever smaller steps: ask the ends first. */
    temperature_slopes(z, label, rows, classes, high, &first, &second);
    if (first <= 0)
        return 1 / high;
    temperature_slopes(z, label, rows, classes, low, &first, &second);
    if (first >= 0)
        return 1 / low;
    for (int i = 0; i < 60 && high - low > 1e-7 * s; i++) {
        temperature_slopes(z, label, rows, classes, s, &first, &second);
        if (first > 0) /* the loss rises: s is too large */
            high = s;
        else
            low = s;
        double next = second > 0 ? s - first / second : -1;
        if (fabs(next - s) < 1e-7 * s)
            break;
        /* A step that leaves the bracket is replaced by halving it (in logarithms). */
        s = next > low && next < high ? next : sqrt(low * high);
    }
    return 1 / s;
}

/* ---- Platt ---- */

struct platt_sums {
    double value, ga, gb, haa, hab, hbb;
};

/* Loss, gradient and Hessian of sum(softplus(u) - t u), u = a z + b, with t drawn in from 0 and 1
 * as Platt does. */
static struct platt_sums platt_at(const float *z, const float *success, size_t rows, double low,
                                  double high, struct platt m)
{
    struct platt_sums s = {0, 0, 0, 1e-12, 0, 1e-12};
    for (size_t i = 0; i < rows; i++) {
        double x = (double)z[i], u = m.a * x + m.b;
        double t = low + (high - low) * (double)success[i];
        double p = 1 / (1 + exp(-u)), d = p - t, h = p * (1 - p);
        s.value += fmax(u, 0) + log1p(exp(-fabs(u))) - t * u;
        s.ga += d * x;
        s.gb += d;
        s.haa += h * x * x;
        s.hab += h * x;
        s.hbb += h;
    }
    return s;
}

struct platt calibrate_platt(const float *z, const float *success, size_t rows)
{
    double good = 0;
    for (size_t i = 0; i < rows; i++)
        good += (double)success[i];
    double bad = (double)rows - good, low = 1 / (bad + 2), high = (good + 1) / (good + 2);
    struct platt m = {0, log((good + 1) / (bad + 1))};
    for (int i = 0; i < 100; i++) {
        struct platt_sums s = platt_at(z, success, rows, low, high, m);
        if (fmax(fabs(s.ga), fabs(s.gb)) < 1e-7 * (double)(rows + 1))
            break;
        double det = s.haa * s.hbb - s.hab * s.hab, step = 1;
        if (!(det > 0))
            break; /* all scores are equal: the share of successes is all there is to know */
        struct platt d = {-(s.hbb * s.ga - s.hab * s.gb) / det,
                          -(s.haa * s.gb - s.hab * s.ga) / det};
        double slope = s.ga * d.a + s.gb * d.b;
        for (; step > 1e-10; step /= 2) {
            struct platt trial = {m.a + step * d.a, m.b + step * d.b};
            if (platt_at(z, success, rows, low, high, trial).value <
                s.value + 1e-4 * step * slope) {
                m = trial;
                break;
            }
        }
        if (step <= 1e-10)
            break;
    }
    if (m.a < 0)
        m = (struct platt){0, log((good + 1) / (bad + 1))};
    return m;
}

/* ---- isotonic ---- */

struct point {
    float score, success;
};

/* Rows of one level: scores from..to, their sum of successes and their number. */
struct block {
    double from, to, sum, count;
};

static int by_score(const void *a, const void *b)
{
    const struct point *p = a, *q = b;
    return (p->score > q->score) - (p->score < q->score);
}

static double level(const struct block *b)
{
    return b->sum / b->count;
}

static void join(struct block *into, const struct block *next)
{
    into->to = next->to;
    into->sum += next->sum;
    into->count += next->count;
}

/* Blocks with ascending levels out of points in ascending order; equal scores are one block. */
static size_t pool(const struct point *p, size_t rows, struct block *b)
{
    size_t n = 0;
    for (size_t i = 0; i < rows;) {
        struct block now = {(double)p[i].score, (double)p[i].score, 0, 0};
        for (; i < rows && (double)p[i].score == now.from; i++) {
            now.sum += (double)p[i].success;
            now.count++;
        }
        b[n++] = now;
        while (n > 1 && level(&b[n - 2]) >= level(&b[n - 1])) {
            join(&b[n - 2], &b[n - 1]);
            n--;
        }
    }
    return n;
}

/* The two neighbours whose levels differ least become one, until there are at most max. */
static size_t thin(struct block *b, size_t n, size_t max)
{
    while (n > max) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (level(&b[i + 1]) - level(&b[i]) < level(&b[best + 1]) - level(&b[best]))
                best = i;
        join(&b[best], &b[best + 1]);
        for (size_t i = best + 1; i + 1 < n; i++)
            b[i] = b[i + 1];
        n--;
    }
    return n;
}

static size_t put(struct knot *knots, size_t n, double x, double y)
{
    /* Two ends of one block may be the same score. */
    if (n > 0 && knots[n - 1].x >= (float)x)
        return n;
    knots[n] = (struct knot){(float)x, (float)y};
    return n + 1;
}

size_t calibrate_isotonic(const float *score, const float *success, size_t rows, struct knot *knots,
                          size_t max_knots)
{
    assert(max_knots >= 2);
    struct point *points = mem_alloc((rows + 1) * sizeof *points);
    struct block *blocks = mem_alloc((rows + 1) * sizeof *blocks);
    for (size_t i = 0; i < rows; i++)
        points[i] = (struct point){score[i], success[i]};
    qsort(points, rows, sizeof *points, by_score);
    size_t count = thin(blocks, pool(points, rows, blocks), max_knots / 2), n = 0;
    for (size_t i = 0; i < count; i++) {
        n = put(knots, n, blocks[i].from, level(&blocks[i]));
        n = put(knots, n, blocks[i].to, level(&blocks[i]));
    }
    free(blocks);
    free(points);
    return n;
}
