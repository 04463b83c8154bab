/* Results of replays as figures with intervals: 200 resamples of the rows (every figure of a
 * resample from the same rows, so that shares are paired), the 2.5 % and 97.5 % points. */
#ifndef GATEWAY_CLI_BENCH_FIGURES_H
#define GATEWAY_CLI_BENCH_FIGURES_H

#include "gateway/cli/bench_run.h"
#include "router/decide/evaluate.h"

#define BENCH_TARGETS 3
extern const double bench_targets[BENCH_TARGETS]; /* shares of the best single's success */
#define BENCH_TARGET 1                            /* the one that prices a success */

struct bench_figure {
    double value, low, high; /* NAN: it cannot be had */
};

struct bench_family_figures {
    struct evaluate_point point[BENCH_PRICES];     /* by price */
    struct bench_figure cost_share[BENCH_TARGETS]; /* of the best single's cost */
    struct bench_figure per_success; /* dollars per 1,000 successes, at BENCH_TARGET */
    struct bench_figure regret;      /* successes that the oracle has more, for its own cost */
    struct bench_figure apgr, cpt50, cpt80, aiq;
};

/* What weir's share of cost is compared with. */
enum bench_peer { BENCH_BY_CLASS, BENCH_MIX, BENCH_PEERS };
const char *bench_peer_name(enum bench_peer p);

struct bench_figures {
    int best, cheapest, dearest; /* arms: most success; least and most cost */
    struct evaluate_point single[PANDORA_BOXES];
    struct bench_figure success[PANDORA_BOXES];
    struct bench_figure mix_share[BENCH_TARGETS]; /* random mix of single models */
    struct bench_figure mix_per_success, mix_regret;
    double mix_aiq;
    /* weir's share of cost less the peer's, from the same resamples; a success that one of them
     * never reaches counts as twice the best single's cost */
    struct bench_figure over[BENCH_PEERS][BENCH_TARGETS];
    struct bench_family_figures family[BENCH_FAMILIES];
    struct evaluate_point oracle; /* the cheapest arm that succeeds; else the cheapest */
    int prices;
};
void bench_figures(const struct bench_set *s, const struct bench_results *r,
                   struct bench_figures *out);

#endif
