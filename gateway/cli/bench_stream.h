/* weir bench --split prequential: streams of requests over several seeds, weir's beside class
 * routing's, which learns from the same labels of its own answers and aims at the same floor.
 *
 * That straw man is no weaker than it must be: it is weir's own learner, posterior draws,
 * exploration, forgetting and way to the floor (bench_run.h, by_class) without what class routing
 * does not have: a second try, and anything read from an answer. For one seed both get the same
 * rows, chances of a label and turned labels.
 *
 * The same floor leaves both at different successes, so that their costs cannot be compared as they
 * are. The router is therefore run without a floor, too, at several prices of a failure; the
 * concave frontier of (cost, success) over all its runs, and the best model alone, which no draw
 * ever takes it to, is what it costs at weir's success. That is more than fair: weir has to find
 * its price, and which model is the best. Intervals come from resampling seeds, each with all of
 * its runs. Single-threaded. */
#ifndef GATEWAY_CLI_BENCH_STREAM_H
#define GATEWAY_CLI_BENCH_STREAM_H

#include "gateway/cli/bench_figures.h"
#include "gateway/cli/bench_hindsight.h"
#include "gateway/cli/bench_told.h"

#define BENCH_SEEDS  64 /* at most */
#define BENCH_PRICED 8  /* prices of a failure at which the router is run */

struct bench_streams {
    const struct bench_set *set;
    struct bench_stream how; /* but for the seed and the way */
    double floor;            /* of the truth; PRICE_NONE: none */
    int seeds;
    struct bench_told weir[BENCH_SEEDS], router[BENCH_SEEDS];
    /* the router's second half by price of a failure; the last is that under the floor */
    struct evaluate_point priced[BENCH_PRICED + 1][BENCH_SEEDS];
    struct bench_hindsight classes; /* of class routing that knows the record, second half */
    struct evaluate_point best;     /* the model of most success, by the record, second half */
    /* Second half, weir's over the router's: cost at weir's success (NAN: the router is never as
     * good; low 0: not in some resamples), and cost of a success, each at its own. */
    struct bench_figure cost_ratio, per_success_ratio;
    /* Weir's less the router's, at the same floor. */
    struct bench_figure success_over, below_over, below_late_over;
};

/* o: the objective, whose floor is replaced. floor: a share of true successes, PRICE_NONE: none;
 * where labels lie the learners are told what is left of it among labels. seeds: 1..BENCH_SEEDS. */
void bench_streams(const struct bench_set *s, const struct beliefs_objective *o,
                   const struct bench_stream *how, int seeds, double floor,
                   struct bench_streams *out);
/* To standard output. */
void bench_streams_print(const struct bench_streams *f);

#endif
