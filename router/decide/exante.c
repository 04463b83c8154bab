/* Estimates before the answer. Called by router/neighbours.c. */
#include "router/decide/exante.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/decide/logistic.h"
#include "router/decide/significance.h"

#define SHELLS 256 /* of cosines, from -1 to 1 */

struct exante {
    int arms;
    size_t rows;
    struct exante_outcome *outcome; /* owned: [rows][arms] */
    double trust;
};

void exante_free(struct exante *e)
{
    if (!e)
        return;
    free(e->outcome);
    free(e);
}

double exante_without(double mean, double count, double value, double weight)
{
    double left = count - weight;

    return left > 1 ? fmin(fmax((mean * count - weight * value) / left, 0), 1) : mean;
}

/* ---- who is near ---- */

struct neighbour {
    double weight;
    size_t row;
};

static uint8_t shell_of(float cosine)
{
    float at = (cosine + 1) / 2 * SHELLS;

    return at >= SHELLS ? SHELLS - 1 : at > 0 ? (uint8_t)at : 0; /* not a number: the farthest */
}

/* The farthest shell that is needed for that many neighbours, and how many of its rows are. */
static int last_shell(const unsigned count[SHELLS], unsigned *room)
{
    unsigned beyond = 0;
    int shell = SHELLS - 1;

    while (shell > 0 && beyond + count[shell] < EXANTE_NEIGHBOURS)
        beyond += count[shell--];
    *room = EXANTE_NEIGHBOURS - beyond;
    return shell;
}

/* The nearest rows but for `self`, in the order of rows: of the farthest shell the first ones,
 * which are the newest. Returns how many. */
static size_t find(const struct exante *e, const float *cosine, size_t self, struct neighbour *near)
{
    unsigned count[SHELLS] = {0}, room;
    uint8_t at[EXANTE_ROWS];
    float nearest = -1;
    size_t n = 0;

    for (size_t i = 0; i < e->rows; i++)
        count[at[i] = shell_of(cosine[i])]++;
    if (self < e->rows)
        count[at[self]]--;
    int shell = last_shell(count, &room);
    for (size_t i = 0; i < e->rows; i++) {
        if (at[i] < shell || i == self || (at[i] == shell && room == 0))
            continue;
        room -= at[i] == shell;
        nearest = fmaxf(nearest, cosine[i]);
        near[n++].row = i;
    }
    if ((double)nearest < EXANTE_STRANGER)
        return 0;
    /* as much as the nearest: how far the others are beyond it is what counts */
    for (size_t i = 0; i < n; i++)
        near[i].weight = exp((double)(cosine[near[i].row] - nearest) / EXANTE_WIDTH);
    return n;
}

static double lift_of(const struct exante *e, const struct neighbour *near, size_t n, int arm,
                      double believed)
{
    double good = EXANTE_PSEUDO * believed, all = EXANTE_PSEUDO, lift;

    for (size_t i = 0; i < n; i++) {
        const struct exante_outcome *o = &e->outcome[near[i].row * (size_t)e->arms + (size_t)arm];
        double w = near[i].weight * (double)o->weight;

        good += w * (double)o->value;
        all += w;
    }
    lift = logit(good / all) - logit(believed);
    return fmin(fmax(lift, -EXANTE_MAX_LIFT), EXANTE_MAX_LIFT);
}

void exante_lift(const struct exante *e, const float *cosine, const double *believed, size_t self,
                 double *lift)
{
    struct neighbour near[EXANTE_NEIGHBOURS];
    size_t n = find(e, cosine, self, near);

    for (int j = 0; j < e->arms; j++)
        lift[j] = n ? lift_of(e, near, n, j, believed[j]) : 0;
}

double exante_trust(const struct exante *e)
{
    return e->trust;
}

/* ---- how true it is of the rows ---- */

/* One told outcome: what was to be expected (log-odds), what its neighbours add, what came. */
struct trial {
    double base, lift, value, weight;
};

/* The slope of lifts, as far as it is no chance: Newton's method on a concave log-likelihood with a
 * Gaussian about 0. */
static double trust_of(const struct trial *t, size_t n)
{
    double beta = 0, curvature = EXANTE_STRENGTH;

    for (int step = 0; step < LOGISTIC_MAX_STEPS; step++) {
        double gradient = -EXANTE_STRENGTH * beta, move;
        curvature = EXANTE_STRENGTH;
        for (size_t i = 0; i < n; i++) {
            double p = logistic(t[i].base + beta * t[i].lift);
            gradient += t[i].weight * t[i].lift * (t[i].value - p);
            curvature += t[i].weight * t[i].lift * t[i].lift * p * (1 - p);
        }
        move = fmin(fmax(gradient / curvature, -0.5), 0.5);
        beta += move;
        if (fabs(move) < 1e-6)
            break;
    }
    return fmin(fmax(beta / EXANTE_SLOPE, 0), 1) * significance(beta, 1 / sqrt(curvature));
}

/* Estimates each row from the others. Returns how many outcomes of it were told. */
static size_t try_row(const struct exante_in *in, const struct exante *e, size_t row, float *cosine,
                      struct trial *out)
{
    struct neighbour near[EXANTE_NEIGHBOURS];
    size_t n = 0, found;

    in->cosines(in->ctx, row, cosine);
    found = find(e, cosine, row, near);
    for (int j = 0; j < e->arms; j++) {
        const struct exante_outcome *o = &e->outcome[row * (size_t)e->arms + (size_t)j];
        double base = (double)o->base;

        if (!o->told || !(o->weight > 0))
            continue;
        out[n++] = (struct trial){.base = logit(base),
                                  .lift = found ? lift_of(e, near, found, j, base) : 0,
                                  .value = (double)o->value,
                                  .weight = (double)o->weight};
    }
    return n;
}

static void judge(const struct exante_in *in, struct exante *e)
{
    struct trial *trial = mem_zalloc(in->rows * (size_t)in->arms + 1, sizeof *trial);
    float *cosine = mem_zalloc(in->rows + 1, sizeof *cosine);
    size_t n = 0;

    for (size_t i = 0; i < in->rows; i++)
        n += try_row(in, e, i, cosine, trial + n);
    if (n >= EXANTE_LABELS)
        e->trust = trust_of(trial, n);
    free(cosine);
    free(trial);
}

struct exante *exante_new(const struct exante_in *in)
{
    struct exante *e = mem_zalloc(1, sizeof *e);
    size_t outcomes = in->rows * (size_t)in->arms;

    assert(in->rows <= EXANTE_ROWS && in->arms >= 1);
    *e = (struct exante){.arms = in->arms, .rows = in->rows};
    e->outcome = mem_zalloc(outcomes + 1, sizeof *e->outcome);
    if (outcomes)
        memcpy(e->outcome, in->outcome, outcomes * sizeof *e->outcome);
    judge(in, e);
    return e;
}
