/* The price of a success by bisection. Called when beliefs are built, once per route or class. */
#include "router/decide/price.h"

#include <math.h>

#define PRECISION   1e-3 /* of v, relative */
#define DINKELBACH  12   /* it converges faster than linearly */
#define DEAREST     1e4  /* v's bound, in costs of the dearest model: success at nearly any price */
#define UNREACHABLE 2e-3
#define BEYOND      2    /* times the least v, where a floor is out of reach ... */
#define BEYOND_STEP 1.3  /* ... and where one model takes over from another at that one */
#define STEP        0.01 /* of success, at one v: there one model takes over from another */
#define SCAN        24   /* v that are tried, evenly by ratio */
#define CHEAPEST    1e-3 /* ... and of the cheapest, below which nothing changes any more */

static double weight_of(const struct price_traffic *t, int g)
{
    double all = 0;

    for (int i = 0; i < t->classes; i++)
        all += t->traffic[i];
    return all > 0 ? t->traffic[g] / all : 1.0 / t->classes;
}

/* Per request, over all classes. */
struct expected {
    double success, cost, error;
};

/* At v, but for a share of the requests at `bold`. */
static struct expected expect_blend(const struct price_traffic *t, double v, double bold,
                                    double share)
{
    struct expected e = {0};
    double shared[PANDORA_BOXES] = {0}, variance = 0;

    for (int g = 0; g < t->classes; g++) {
        struct pandora_outlook o, other;
        double w = weight_of(t, g);
        if (w <= 0)
            continue;
        pandora_expect(t->boxes[g], t->count, v, &o);
        if (share > 0) {
            pandora_expect(t->boxes[g], t->count, bold, &other);
            pandora_blend(&o, &other, share);
        }
        e.success += w * o.success;
        e.cost += w * o.cost;
        for (int j = 0; j < t->count; j++) {
            double at_stake = w * o.at_stake[j];
            variance += at_stake * at_stake * t->doubt[g][j].own;
            shared[j] += at_stake * sqrt(t->doubt[g][j].shared);
        }
    }
    for (int j = 0; j < t->count; j++)
        variance += shared[j] * shared[j];
    e.error = sqrt(variance);
    return e;
}

static struct expected price_expect(const struct price_traffic *t, double v)
{
    return expect_blend(t, v, v, 0);
}

/* Success of the best single model over all classes. */
static double price_best_single(const struct price_traffic *t)
{
    double best = 0;

    for (int j = 0; j < t->count; j++) {
        double success = 0;
        for (int g = 0; g < t->classes; g++)
            for (int b = 0; b < PANDORA_BINS; b++)
                success += weight_of(t, g) * t->boxes[g][j].share[b] * t->boxes[g][j].p[b];
        best = fmax(best, success);
    }
    return best;
}

/* ---- searching v ---- */

static void bounds(const struct price_traffic *t, double *low, double *high)
{
    *low = INFINITY, *high = 0;
    for (int g = 0; g < t->classes; g++)
        for (int j = 0; j < t->count; j++) {
            *low = fmin(*low, t->boxes[g][j].cost * CHEAPEST);
            *high = fmax(*high, t->boxes[g][j].cost * DEAREST);
        }
}

/* By how much more than the floor is to be expected: `margin`, and 1.645 standard errors of the
 * share of successes in a window. */
static double aim_above(const struct price_objective *o, double floor, double error)
{
    double window = 0;

    if (o->window > 0)
        window = 1.645 * sqrt(floor * (1 - floor) / o->window + error * error);
    return o->margin + window;
}

/* Is what is expected enough? Doubt counts only where it says so. */
static bool keeps(const struct price_traffic *t, const struct price_objective *o, double floor,
                  const struct expected *e, bool doubt)
{
    return e->success - t->bias >= fmin(floor + aim_above(o, floor, doubt ? e->error : 0), 1);
}

/* What is looked for: the least v that serves. */
struct search {
    const struct price_traffic *t;
    const struct price_objective *o;
    double floor;
    bool doubt;     /* it counts */
    double success; /* that is asked for instead of the floor; PRICE_NONE */
};

static bool serves(const struct search *s, double v)
{
    struct expected e = price_expect(s->t, v);

    return s->success >= 0 ? e.success >= s->success : keeps(s->t, s->o, s->floor, &e, s->doubt);
}

/* One that serves at `high` and none at `low`: the least between them. */
static double narrow(const struct search *s, double low, double high)
{
    while (high > low * (1 + PRECISION)) {
        double middle = sqrt(low * high);
        if (serves(s, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* The least v at which the floor is kept; PRICE_NONE: at none. Where models of which little is
 * known would be asked, a higher v may mean more success and more doubt of it: if the highest does
 * not serve, it is looked for from below. */
static double find_kept(const struct search *s, double low, double high)
{
    double step = pow(high / low, 1.0 / SCAN), v = low;

    if (serves(s, high))
        return narrow(s, low, high);
    for (int i = 1; s->doubt && i < SCAN; i++, low = v) {
        v *= step;
        if (serves(s, v))
            return narrow(s, low, v);
    }
    return PRICE_NONE;
}

/* Does success rise at v as by a step? Where no score tells good answers from bad ones, one model
 * takes over from another there, for all queries at once. */
static bool is_step(const struct price_traffic *t, double v)
{
    return price_expect(t, v).success - price_expect(t, v * (1 - 2 * PRECISION)).success >= STEP;
}

/* The least v at which the floor is kept. When it is not at any, for want of success or for doubt,
 * the least that comes within UNREACHABLE of all the success that is expected. (Not of what is
 * certain: what is hardly known would then stay so.) Somewhat more than that, where two models are
 * worth the same at it: by draws, and by what a request's own cost differs from the mean, half of
 * the requests would go to the one that does not do. *kept: whether the floor is. */
static double for_floor(const struct price_traffic *t, const struct price_objective *o,
                        double floor, bool doubt, bool *kept)
{
    struct search s = {t, o, floor, doubt, PRICE_NONE};
    double low, high, v;

    bounds(t, &low, &high);
    v = find_kept(&s, low, high);
    *kept = v >= 0;
    if (*kept)
        return is_step(t, v) ? v * BEYOND_STEP : v;
    s.success = price_expect(t, high).success - UNREACHABLE;
    return narrow(&s, low, high) * BEYOND;
}

/* Who is always careful never learns that less would do. The share of requests that can be decided
 * as if nothing were in doubt, so that the floor is still kept on average should it be as bad as is
 * feared: what is expected beyond the floor at v, against what may be missing at `bold`. */
static double bold_share(const struct price_traffic *t, const struct price_objective *o,
                         double floor, const struct price *p)
{
    struct expected careful = price_expect(t, p->v), bold = price_expect(t, p->bold);
    double aim = floor + aim_above(o, floor, 0), spare = careful.success - t->bias - aim,
           missing = aim_above(o, floor, bold.error) - aim_above(o, floor, 0);

    return spare > 0 && missing > 0 ? spare / (spare + missing) : 0;
}

static void price_floor(const struct price_traffic *t, const struct price_objective *o,
                        double floor, struct price *out)
{
    bool kept;
    double least = for_floor(t, o, floor, true, &kept),
           bold = for_floor(t, o, floor, false, &out->floor_reachable);

    out->mu = fmax(0, least - out->v);
    out->bold = fmax(out->v, fmin(bold, least));
    out->v = fmax(out->v, least);
    if (out->bold < out->v)
        out->bold_share = bold_share(t, o, floor, out);
}

/* The most v at which cost <= budget; the lower bound when not even that does. */
static double for_budget(const struct price_traffic *t, double budget)
{
    double low, high;

    bounds(t, &low, &high);
    if (price_expect(t, high).cost <= budget)
        return high;
    while (high > low * (1 + PRECISION)) {
        double middle = sqrt(low * high);
        if (price_expect(t, middle).cost <= budget)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* theta: the least (C + L (1 - S)) / S. */
static double for_ratio(const struct price_traffic *t, double failure_price)
{
    double theta = 0, low, high;

    bounds(t, &low, &high);
    struct expected e = price_expect(t, high);
    for (int i = 0; i < DINKELBACH && e.success > 0; i++) {
        double next = (e.cost + failure_price * (1 - e.success)) / e.success;
        if (fabs(next - theta) <= PRECISION * next)
            return next;
        theta = next;
        e = price_expect(t, failure_price + theta);
    }
    return theta;
}

void price_solve(const struct price_traffic *t, const struct price_objective *o, struct price *out)
{
    double floor = o->floor;

    *out = (struct price){.failure_price = o->failure_price_nanousd, .floor_reachable = true};
    if (o->floor_of_best >= 0)
        floor = fmax(floor, o->floor_of_best * price_best_single(t));
    out->floor = floor >= 0 ? floor : PRICE_NONE;
    out->theta = for_ratio(t, o->failure_price_nanousd);
    out->v = o->failure_price_nanousd + out->theta;
    out->bold = out->v;
    if (floor >= 0)
        price_floor(t, o, floor, out);
    if (o->budget_nanousd >= 0) {
        double most = for_budget(t, o->budget_nanousd);
        out->beta = fmax(0, out->v / most - 1);
        out->v = fmin(out->v, most);
        out->bold = fmin(out->bold, most);
        out->bold_share = out->bold < out->v ? out->bold_share : 0;
    }
    struct expected e = price_expect(t, out->v);
    out->success = e.success;
    out->cost = e.cost;
    out->error = e.error;
    out->blend_error =
        out->bold_share > 0 ? expect_blend(t, out->v, out->bold, out->bold_share).error : e.error;
}
