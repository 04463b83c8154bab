/* Beliefs as they are read: look-up, boxes, propensities. Any thread; building is in
 * beliefs_build.c. */
#include "router/decide/beliefs.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "router/decide/beliefs_int.h"

/* Of the first choices, to arms of which little is known, under a floor that has no room for more.
 * Measured on recorded results (tests/bench/decide). */
#define TRIED_SHARE 0.2

const struct beliefs_objective beliefs_objective_default = {
    .price = {.floor = PRICE_NONE,
              .floor_of_best = PRICE_NONE,
              .failure_price_nanousd = 0,
              .budget_nanousd = PRICE_NONE,
              .margin = 0.003,
              .window = 1000},
    .class_floor = PRICE_NONE,
    .explore = 0.01,
    .explore_spend = 0.02,
    .cold_share = 0.02,
    .cold_labels = 50,
    .flip = 0.005,
};

struct beliefs *beliefs_ref(struct beliefs *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void beliefs_unref(struct beliefs *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_clear(&b->names);
    free(b->context);
    free(b);
}

uint64_t beliefs_version(const struct beliefs *b)
{
    return b->version;
}

size_t beliefs_count(const struct beliefs *b)
{
    return b->count;
}

const struct beliefs_context *beliefs_at(const struct beliefs *b, size_t i)
{
    assert(i < b->count);
    return &b->context[i];
}

/* A few dozen contexts: looking through them costs less than a table would. */
const struct beliefs_context *beliefs_find(const struct beliefs *b, struct slice route,
                                           struct slice label)
{
    const struct beliefs_context *any = NULL;

    for (size_t i = 0; i < b->count; i++) {
        const struct beliefs_context *c = &b->context[i];
        if (!slice_eq(route, slice_str(c->route)))
            continue;
        if (slice_eq(label, slice_str(c->label)))
            return c;
        if (c->label[0] == '\0')
            any = c;
    }
    return any;
}

void beliefs_box(const struct beliefs_arm *a, int stage, double cost_nanousd, double v,
                 struct pandora_box *out)
{
    assert(stage >= 0 && stage < TALLY_STAGES);
    out->cost = cost_nanousd + (stage > 0 ? v * BELIEFS_LEAST_GAIN : 0);
    memcpy(out->share, a->share[stage], sizeof out->share);
    memcpy(out->p, a->tempered[stage > 0], sizeof out->p);
}

/* ---- propensities ---- */

static int best_of(const double *index, int arms, unsigned allowed)
{
    int best = -1;

    for (int j = 0; j < arms; j++)
        if (allowed & 1u << j && (best < 0 || index[j] > index[best]))
            best = j;
    return best;
}

/* From an arm's draw to this request's: by a sum, or where the query differs from its class by
 * odds, of the chance in index = v chance - what asking costs for each answer worth it. The latter
 * is exact where scores tell nothing; costs are taken as known. */
struct move {
    float by;
    float odds, v, per_v, cost_before, cost; /* odds 0: by the sum */
};

static double odds_of(double p)
{
    return p / (1 - p);
}

static struct move move_of(const struct beliefs_arm *a, double v, double index, double chance)
{
    if (!(chance > 0 && chance < 1 && a->chance > 0 && a->chance < 1 && v > 0))
        return (struct move){.by = (float)(index - a->index)};
    return (struct move){.odds = (float)(odds_of(chance) / odds_of(a->chance)),
                         .v = (float)v,
                         .per_v = (float)(1 / v),
                         .cost_before = (float)(v * a->chance - a->index),
                         .cost = (float)(v * chance - index)};
}

static float moved(const struct move *m, float draw)
{
    float p;

    if (m->odds == 0)
        return draw + m->by;
    p = (draw + m->cost_before) * m->per_v;
    p = p < 0 ? 0 : p > 1 ? 1 : p;
    return m->v * p * m->odds / (1 - p + p * m->odds) - m->cost;
}

/* Share of draws in which each allowed arm has the highest index. */
static void count_wins(const struct beliefs_context *c, const double *index, const double *chance,
                       unsigned allowed, double share[PANDORA_BOXES])
{
    struct move move[PANDORA_BOXES];

    for (int j = 0; j < c->arms; j++)
        move[j] = allowed & 1u << j
                      ? move_of(&c->arm[j], c->price.v, index[j], chance ? chance[j] : -1)
                      : (struct move){.by = -INFINITY};
    for (int d = 0; d < BELIEFS_DRAWS; d++) {
        int best = 0;
        float most = -INFINITY;
        for (int j = 0; j < c->arms; j++) {
            float here = moved(&move[j], c->draw[d][j]);
            if (here > most) {
                most = here;
                best = j;
            }
        }
        share[best] += 1.0 / BELIEFS_DRAWS;
    }
}

/* Is it one that may only be tried? */
static bool is_little_known(const struct beliefs_context *c, int arm, int best)
{
    return arm != best && c->arm[arm].labels < BELIEFS_LITTLE_KNOWN;
}

/* A draw from the posterior of an arm without labels is the best one more often than not, and stays
 * so for as long as labels take to come. Under a floor, arms of which little is known therefore get
 * TRIED_SHARE together; whatever is expected of them, none gets more than its draws. What is above
 * it goes to the best of the others; when there is none, to the best. */
static void limit_tries(const struct beliefs_context *c, const double *index, unsigned allowed,
                        double *share)
{
    unsigned known = 0;
    double tried = 0;
    int best;

    for (int j = 0; j < c->arms; j++)
        if (allowed & 1u << j && c->arm[j].labels >= BELIEFS_LITTLE_KNOWN && c->arm[j].cap >= 1)
            known |= 1u << j;
    best = best_of(index, c->arms, known ? known : allowed);
    for (int j = 0; j < c->arms; j++)
        if (is_little_known(c, j, best))
            tried += share[j];
    if (c->price.floor < 0 || tried <= TRIED_SHARE)
        return;
    for (int j = 0; j < c->arms; j++)
        if (is_little_known(c, j, best)) {
            share[best] += share[j] * (1 - TRIED_SHARE / tried);
            share[j] *= TRIED_SHARE / tried;
        }
}

static void raise_to_floors(const struct beliefs_context *c, unsigned allowed, double *share)
{
    double floors = 0;

    for (int j = 0; j < c->arms; j++)
        if (allowed & 1u << j)
            floors += (double)c->floor_share[j];
    for (int j = 0; j < c->arms; j++)
        if (allowed & 1u << j)
            share[j] = share[j] * (1 - floors) + (double)c->floor_share[j];
}

/* What is above an arm's cap goes to those without one, as they are, or to `fallback`. */
static void hold_to_caps(const struct beliefs_context *c, unsigned allowed, int fallback,
                         double *share)
{
    double excess = 0, room = 0;

    for (int j = 0; j < c->arms; j++) {
        if (!(allowed & 1u << j))
            continue;
        if (share[j] > c->arm[j].cap) {
            excess += share[j] - c->arm[j].cap;
            share[j] = c->arm[j].cap;
        } else if (c->arm[j].cap >= 1) {
            room += share[j];
        }
    }
    if (excess <= 0)
        return;
    for (int j = 0; j < c->arms; j++)
        if (allowed & 1u << j && room > 0 && c->arm[j].cap >= 1)
            share[j] += excess * share[j] / room;
    if (room <= 0)
        share[fallback] += excess;
}

/* The uncapped arm of the best index; where all are capped, the best. */
static int uncapped(const struct beliefs_context *c, const double *index, unsigned allowed)
{
    unsigned free_arms = 0;

    for (int j = 0; j < c->arms; j++)
        if (allowed & 1u << j && c->arm[j].cap >= 1)
            free_arms |= 1u << j;
    return best_of(index, c->arms, free_arms ? free_arms : allowed);
}

void beliefs_propensities(const struct beliefs_context *c, const double *index,
                          const double *chance, unsigned allowed, bool explore,
                          uint32_t out[PANDORA_BOXES])
{
    double share[PANDORA_BOXES] = {0};
    int best = best_of(index, c->arms, allowed);
    uint32_t left = BELIEFS_UNIT;

    memset(out, 0, PANDORA_BOXES * sizeof *out);
    if (best < 0)
        return;
    if (explore) {
        count_wins(c, index, chance, allowed, share);
        limit_tries(c, index, allowed, share);
        raise_to_floors(c, allowed, share);
        hold_to_caps(c, allowed, uncapped(c, index, allowed), share);
    } else {
        share[uncapped(c, index, allowed)] = 1;
    }
    for (int j = 0; j < c->arms; j++) {
        out[j] = (uint32_t)(share[j] * BELIEFS_UNIT);
        left -= out[j];
    }
    out[uncapped(c, index, allowed)] += left; /* what rounding down left over */
}
