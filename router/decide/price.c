/* The price of a success by bisection. Called when beliefs are built, once per route or class. */
#include "router/decide/price.h"

#include <math.h>

#define PRECISION   1e-4 /* of v, relative */
#define DINKELBACH  12   /* it converges faster than linearly */
#define DEAREST     1e4  /* v's bound, in costs of the dearest model: success at nearly any price */
#define UNREACHABLE 2e-3
#define BEYOND      2    /* times the least v, where a floor is out of reach */
#define CHEAPEST    1e-3 /* ... and of the cheapest, below which nothing changes any more */

static double weight_of(const struct price_traffic *t, int g)
{
    double all = 0;

    for (int i = 0; i < t->classes; i++)
        all += t->traffic[i];
    return all > 0 ? t->traffic[g] / all : 1.0 / t->classes;
}

/* Success and cost per request at v over all classes. */
static void price_expect(const struct price_traffic *t, double v, double *success, double *cost)
{
    *success = *cost = 0;
    for (int g = 0; g < t->classes; g++) {
        struct pandora_outlook o;
        double w = weight_of(t, g);
        if (w <= 0)
            continue;
        pandora_expect(t->boxes[g], t->count, v, &o);
        *success += w * o.success;
        *cost += w * o.cost;
    }
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

/* The least v at which success >= floor. When none does, BEYOND the least that comes within
 * UNREACHABLE of all that can be had: at that one itself two models are worth the same, and it is
 * by what a request's own cost differs from the mean that the cheaper one would be asked. */
static double for_floor(const struct price_traffic *t, double floor, bool *reachable)
{
    double low, high, success, cost;

    bounds(t, &low, &high);
    price_expect(t, high, &success, &cost);
    *reachable = success - t->bias >= floor;
    if (!*reachable)
        floor = success - t->bias - UNREACHABLE;
    while (high > low * (1 + PRECISION)) {
        double middle = sqrt(low * high);
        price_expect(t, middle, &success, &cost);
        if (success - t->bias >= floor)
            high = middle;
        else
            low = middle;
    }
    return *reachable ? high : high * BEYOND;
}

/* The most v at which cost <= budget; the lower bound when not even that does. */
static double for_budget(const struct price_traffic *t, double budget)
{
    double low, high, success, cost;

    bounds(t, &low, &high);
    price_expect(t, high, &success, &cost);
    if (cost <= budget)
        return high;
    while (high > low * (1 + PRECISION)) {
        double middle = sqrt(low * high);
        price_expect(t, middle, &success, &cost);
        if (cost <= budget)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* theta: the least (C + L (1 - S)) / S. */
static double for_ratio(const struct price_traffic *t, double failure_price)
{
    double theta = 0, success, cost, low, high;

    bounds(t, &low, &high);
    price_expect(t, high, &success, &cost);
    for (int i = 0; i < DINKELBACH && success > 0; i++) {
        double next = (cost + failure_price * (1 - success)) / success;
        if (fabs(next - theta) <= PRECISION * next)
            return next;
        theta = next;
        price_expect(t, failure_price + theta, &success, &cost);
    }
    return theta;
}

/* 1.645 standard errors of a share of successes in a window. */
static double window_margin(const struct price_objective *o, double floor)
{
    return o->window > 0 ? 1.645 * sqrt(floor * (1 - floor) / o->window) : 0;
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
    if (floor >= 0) {
        double least = for_floor(t, fmin(floor + o->margin + window_margin(o, floor), 1),
                                 &out->floor_reachable);
        out->mu = fmax(0, least - out->v);
        out->v = fmax(out->v, least);
    }
    if (o->budget_nanousd >= 0) {
        double most = for_budget(t, o->budget_nanousd);
        out->beta = fmax(0, out->v / most - 1);
        out->v = fmin(out->v, most);
    }
    price_expect(t, out->v, &out->success, &out->cost);
}
