/* What is believed of every arm of every route in every class, built now and then from counters and
 * published whole. Immutable and refcounted: a request keeps the beliefs that it began with. Built
 * on the learner's thread (beliefs_build), read by any. The same input gives the same bits.
 *
 * Counts become curves by a hierarchy: a rising prior -> the model over all contexts -> the model
 * in this context (curve.h); shares of bins likewise; the last hours shift them. The objective
 * becomes v (price.h). 64 draws from the posterior say how sure the choice of the first arm is:
 * Thompson sampling by probability matching (Thompson 1933; Chapelle & Li, "An Empirical Evaluation
 * of Thompson Sampling", 2011, for Laplace's approximation), its propensities explicit. */
#ifndef ROUTER_DECIDE_BELIEFS_H
#define ROUTER_DECIDE_BELIEFS_H

#include <stdint.h>
#include "base/slice.h"
#include "router/decide/change.h"
#include "router/decide/curve.h"
#include "router/decide/foresight.h"
#include "router/decide/price.h"
#include "router/decide/scorer_trial.h"
#include "router/decide/tally.h"

#define BELIEFS_DRAWS        64
#define BELIEFS_UNIT         65536 /* propensities are whole numbers of 1/65536 */
#define BELIEFS_LITTLE_KNOWN 15.0  /* labels, of an arm */

/* ---- what they are built from; all borrowed for the call ---- */

struct beliefs_arm_in {
    const char *model;   /* arms of the same name share what is learned over contexts */
    double cost_nanousd; /* expected before anything was measured, > 0: prices x usual tokens */
    double cap;          /* most of the first choices it may get (canaries), 0..1; 1: no cap */
    bool explorable;     /* may get exploration's share */
    const struct scorer_record *scored_by; /* whose bins are counted; NULL: the default's */
    int64_t changed_us; /* since when it succeeds as it does now (change.h); CHANGE_NONE */
};

struct beliefs_class_in {
    const char *label;                    /* "": queries of no class, and of unknown ones */
    const struct tally_view *const *slow; /* [arms]; NULL entries: nothing counted */
    const struct tally_view *const *fast; /* [arms]; of the last hours */
};

struct beliefs_objective {
    struct price_objective price;
    bool per_class;     /* a v for each class; else one for the route */
    double class_floor; /* least success in each class under a route's floor; PRICE_NONE */
    double latency_nanousd_per_s;
    double explore;       /* share of first choices spread over explorable arms, 0..1 */
    double explore_spend; /* most that this may add to the mean cost, share of it; 1: any */
    double cold_share;    /* of an explorable arm with less than cold_labels labels */
    double cold_labels;
    double flip; /* chance that continue/stop is decided at random instead */
};
/* explore 0.01, spend 0.02, cold 0.02 until 50, flip 0.005, margin 0.003, window 1000, no floor, L
 * 0. */
extern const struct beliefs_objective beliefs_objective_default;

struct beliefs_route_in {
    const char *name;
    struct beliefs_objective objective;
    const struct beliefs_arm_in *arm;
    int arms; /* 1..PANDORA_BOXES */
    const struct beliefs_class_in *class;
    int classes;                     /* >= 1; one of them "" */
    const struct tally_trust *trust; /* of this route's labels; NULL: as of all */
};

struct beliefs_in {
    const struct beliefs_route_in *route;
    int routes;
    struct tally_trust trust;
    uint64_t seed;    /* of the policy's version: what draws are made from, beside names */
    uint64_t version; /* what these are called: when they were built, Unix microseconds; 0: none */
};

/* ---- what they hold ---- */

struct beliefs_arm {
    const char *model;
    double share[TALLY_STAGES][TALLY_BINS]; /* of bins, by what the answer came after */
    double p[2][TALLY_BINS];                /* of first and of later answers; ascending */
    double tempered[2][TALLY_BINS];         /* the same for comparing (curve_temper) */
    double cost_nanousd;                    /* mean, without the price of latency */
    double cost_factor;                     /* charged, as a multiple of what was foretold */
    double tokens_out, latency_ms;          /* means; 0: not seen yet, in any context */
    double success, low, high;              /* when asked first, with an 80 % interval */
    double labels, asked;                   /* what stands behind it, after decay */
    struct foresight foresight;             /* of the model on the route, all classes */
    double auroc;                           /* of its score, as its curve has it */
    double shift;                           /* of the last hours, log-odds, in p already */
    int64_t changed_us;                     /* as it was given */
    bool informative;                       /* else p is flat: its score is not gated on */
    double index;                           /* reservation index when nothing was asked yet */
    double bold_index;                      /* the same at price.bold */
    double chance;                          /* of answers that are worth more than it */
    double cap;
    bool explorable;
    const struct scorer_record *scored_by; /* with these beliefs; NULL: the default scores */
};

struct beliefs_context {
    const char *route, *label;
    int arms;
    struct beliefs_arm arm[PANDORA_BOXES];
    struct price price;
    struct pandora_outlook outlook; /* of this class at v */
    double latency_nanousd_per_s, flip;
    double bias;                      /* success believed less success seen, lately */
    double traffic;                   /* requests that stand behind it, after decay */
    float floor_share[PANDORA_BOXES]; /* least propensity of an arm: exploration, cold start */
    float draw[BELIEFS_DRAWS][PANDORA_BOXES]; /* indices under draws from the posterior */
    int single; /* the one arm that is best here by itself; -1: none, or little is known of it */
};

struct beliefs;
struct beliefs *beliefs_build(const struct beliefs_in *in); /* one reference, the caller's */
struct beliefs *beliefs_ref(struct beliefs *b);             /* atomic; returns b */
void beliefs_unref(struct beliefs *b);                      /* NULL is fine */
uint64_t beliefs_version(const struct beliefs *b);

/* A route's context for a class, else its "" context; NULL: no such route. Valid while the beliefs
 * are. */
const struct beliefs_context *beliefs_find(const struct beliefs *b, struct slice route,
                                           struct slice label);
size_t beliefs_count(const struct beliefs *b);
const struct beliefs_context *beliefs_at(const struct beliefs *b, size_t i);

/* The arm as a box when it is asked in that stage (tally_stage), with this cost; its chances are
 * the tempered ones, which decisions compare. After another answer it must bring
 * BELIEFS_LEAST_GAIN of success, at v each, beyond its cost: what is expected of the better of two
 * answers is over-estimated, for both are more likely right on the same, easy questions, and a few
 * hundred labels cannot tell a smaller gain from none. Measured on recorded results
 * (tests/bench/decide). */
#define BELIEFS_LEAST_GAIN 0.01
void beliefs_box(const struct beliefs_arm *a, int stage, double cost_nanousd, double v,
                 struct pandora_box *out);

/* Propensities of the first choice: index[arms] as this request has them (its own costs and
 * estimates), against the context's own, say how each draw moves; wins are counted, raised to their
 * floors, capped, and brought to whole numbers whose sum is BELIEFS_UNIT over the allowed arms (all
 * zero when none is). explore false: floors are left out and the best index gets all.
 * chance[arms]: as in struct beliefs_arm, of arms with which this query is easier or harder than
 * its class; below 0: it is not. What is not known of a model are log-odds, so that its draws move
 * in these: the nearer to certain a query, the less they differ. NULL: all below 0. */
void beliefs_propensities(const struct beliefs_context *c, const double *index,
                          const double *chance, unsigned allowed, bool explore,
                          uint32_t out[PANDORA_BOXES]);

#endif
