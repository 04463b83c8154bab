/* How sure the choice of the first arm is: indices under draws from the posterior, and
 * exploration's floors. Part of building beliefs. */
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "router/decide/beliefs_int.h"
#include "router/decide/logistic.h"

/* Costs are drawn, too, where they are hardly known. */
#define COST_ERROR 0.1

/* FNV-1a (Fowler, Noll, Vo), so that equal names on every replica draw alike. */
static uint64_t hash_name(uint64_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

/* Two independent standard normals (Marsaglia's polar method). */
static void normals(struct rng *r, double z[2])
{
    double u, w, s;

    do {
        u = 2 * rng_unit(r) - 1;
        w = 2 * rng_unit(r) - 1;
        s = u * u + w * w;
    } while (s >= 1 || s <= 0);
    s = sqrt(-2 * log(s) / s);
    z[0] = u * s;
    z[1] = w * s;
}

/* One arm's index in one draw: the curve's level and tilt moved by Laplace's covariance. */
struct drawn_arm {
    struct pandora_box box;
    double log_odds[TALLY_BINS]; /* of the curve, from its center */
    double level_sd, tilt_on_level, tilt_sd, cost_error;
};

static void prepare(struct drawn_arm *d, const struct beliefs_arm *a, const struct curve *curve,
                    double cost, double cost_error)
{
    beliefs_box(a, 0, cost, 0, &d->box);
    for (int b = 0; b < TALLY_BINS; b++)
        d->log_odds[b] = logit(a->tempered[0][b]) - curve->center;
    d->level_sd = sqrt(curve->level_var);
    d->tilt_on_level = curve->level_tilt / d->level_sd;
    d->tilt_sd = sqrt(fmax(0, curve->tilt_var - d->tilt_on_level * d->tilt_on_level));
    d->cost_error = a->informative || cost_error > COST_ERROR ? cost_error : 0;
}

static double draw_index(const struct drawn_arm *d, const struct beliefs_arm *a, double v,
                         struct rng *rng)
{
    struct pandora_box box = d->box;
    double z[2], level, tilt, factor;

    normals(rng, z);
    level = d->level_sd * z[0];
    tilt = a->informative ? d->tilt_on_level * z[0] + d->tilt_sd * z[1] : 0;
    tilt = fmax(tilt, -0.9); /* a curve that would fall is none */
    factor = exp(level);
    for (int b = 0; b < TALLY_BINS; b++) {
        double odds = factor * a->tempered[0][b] / (1 - a->tempered[0][b]);
        if (tilt != 0)
            odds *= exp(tilt * d->log_odds[b]);
        box.p[b] = odds / (1 + odds);
    }
    if (d->cost_error > COST_ERROR) {
        normals(rng, z);
        box.cost *= exp(d->cost_error * z[0]);
    }
    return pandora_index(&box, v);
}

static void draw_all(struct beliefs_context *c, const struct curve *curve, const double *cost_error,
                     uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, hash_name(hash_name(seed ^ UINT64_C(0xcbf29ce484222325), c->route), c->label));
    memset(c->draw, 0, sizeof c->draw);
    for (int j = 0; j < c->arms; j++) {
        struct drawn_arm d;
        const struct beliefs_arm *a = &c->arm[j];
        double cost = a->cost_nanousd + c->latency_nanousd_per_s * a->latency_ms / 1000;
        prepare(&d, a, &curve[j], cost, cost_error[j]);
        for (int i = 0; i < BELIEFS_DRAWS; i++)
            c->draw[i][j] = (float)draw_index(&d, a, c->price.v, &rng);
    }
}

/* Exploration's share for each explorable arm, more for one that is still cold; all scaled down
 * where it would cost more than the operator allows. */
static void set_floors(struct beliefs_context *c, const struct beliefs_objective *o)
{
    int explorable = 0;
    double extra = 0, allowed = o->explore_spend * c->outlook.cost, scale;

    for (int j = 0; j < c->arms; j++)
        explorable += c->arm[j].explorable;
    for (int j = 0; j < c->arms; j++) {
        const struct beliefs_arm *a = &c->arm[j];
        double share = a->explorable ? o->explore / explorable : 0;
        if (a->explorable && a->labels < o->cold_labels)
            share = fmax(share, o->cold_share);
        share = fmin(share, a->cap / 2);
        c->floor_share[j] = (float)share;
        extra += share * fmax(0, a->cost_nanousd - c->outlook.cost);
    }
    scale = extra > allowed && o->explore_spend < 1 ? allowed / extra : 1;
    for (int j = 0; j < c->arms; j++)
        c->floor_share[j] *= (float)scale;
}

void beliefs_draw(struct beliefs_context *c, const struct curve *curve, const double *cost_error,
                  const struct beliefs_objective *o, uint64_t seed)
{
    draw_all(c, curve, cost_error, seed);
    set_floors(c, o);
}
