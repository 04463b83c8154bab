/* What weir bench learns while it replays: labelled and unlabelled answers become scorers, counters
 * and beliefs, by the same code that the gateway runs. Answers are kept as features, so that new
 * scorers count them afresh. Single-threaded. */
#ifndef GATEWAY_CLI_BENCH_LEARNER_H
#define GATEWAY_CLI_BENCH_LEARNER_H

#include "gateway/cli/bench_set.h"
#include "router/confidence.h"
#include "router/decide/beliefs.h"
#include "router/decide/scorer.h"

/* One answer that was given. */
struct bench_answer {
    size_t row;
    int arm, stage;
    bool first, served;
    float feature[CONFIDENCE_FEATURES];
    double score;    /* by a scorer that had not seen its label; NAN: the arm's scorer says */
    double label;    /* 0..1; NAN: none (yet) */
    double expected; /* success that the decision expected of the request; NAN: not noted */
    double weight;   /* of the answer among those that stand for one; 1 when it was really given */
    int64_t when_us, known_us; /* given; label known from then on */
};

struct answer_signals;

struct bench_learner {
    const struct bench_set *set;
    struct scorer scorer[PANDORA_BOXES];
    int64_t tried_us[PANDORA_BOXES]; /* when a new scorer was last tried */
    struct bench_answer *answer;     /* owned: in order of time */
    size_t answers, cap;
    int64_t half_life_ms, fast_half_life_ms;
    bool blind;                     /* nothing is read from an answer: all score alike */
    struct answer_signals *signals; /* owned: scratch of bench_features */
};

void bench_learner_init(struct bench_learner *l, const struct bench_set *set);
void bench_learner_clear(struct bench_learner *l);

/* What the gateway would see of a row's answer by an arm, after `earlier` (an arm, or -1) answered
 * with that score. */
void bench_features(struct bench_learner *l, size_t row, int arm, int earlier, double earlier_score,
                    float out[CONFIDENCE_FEATURES]);

struct bench_answer *bench_learner_add(struct bench_learner *l); /* zeroed, label NAN, weight 1 */

/* As if every arm had been asked about the row and judged (an audit), first and after each cheaper
 * arm. Scores of earlier answers come from the scorers as they are: fit between arms, cheapest
 * first (bench_learner_study). */
void bench_learner_study(struct bench_learner *l, const size_t *rows, size_t count);

/* As the gateway does: an arm with enough new labels gets a new scorer, if that is better than the
 * one in force on answers that it has not seen. */
void bench_learner_try(struct bench_learner *l, int64_t now_us);

/* Is the answer's label known by then? */
bool bench_learner_knows(const struct bench_answer *a, int64_t now_us);

/* What stores would hold of all answers at that time, [classes][arms], and since when each arm
 * succeeds as it does now (change.h). Owned by the caller. */
struct bench_counts {
    struct tally_view *slow, *fast;
    int64_t changed_us[PANDORA_BOXES];
};
void bench_learner_count(const struct bench_learner *l, int64_t now_us, struct bench_counts *out);
void bench_counts_clear(struct bench_counts *c);

/* Beliefs of one route with the set's classes, one reference. */
struct beliefs *bench_believe(const struct bench_set *s, const struct bench_counts *c,
                              const struct beliefs_objective *o, uint64_t seed);
/* The same from what is known by then. */
struct beliefs *bench_learner_believe(const struct bench_learner *l,
                                      const struct beliefs_objective *o, int64_t now_us,
                                      uint64_t seed);
#define BENCH_ROUTE "bench"
/* Those of a row's class. */
const struct beliefs_context *bench_context(const struct bench_set *s, const struct beliefs *b,
                                            size_t row);

#endif
