/* Replays recorded results through the decision code, in two ways:
 *
 *   cv           k-fold: learn from all arms' results on the other folds (as audits would give
 * them), then decide, frozen, on the rows of the fold. Every row is decided once per seed.
 *   prequential  a stream of requests drawn from the rows; each is decided on what was known
 * before, only the answer that was served may get a label, some of them, late
 *
 * beside the straw men that a router must beat. Single-threaded; the same seed gives the same. */
#ifndef GATEWAY_CLI_BENCH_RUN_H
#define GATEWAY_CLI_BENCH_RUN_H

#include "gateway/cli/bench_learner.h"
#include "gateway/cli/bench_near.h"
#include "router/decide/plan.h"

/* Ways of choosing that are swept over the price of a success. */
enum bench_family {
    BENCH_WEIR,
    BENCH_CLASS_MEAN,    /* each class to one model, by its mean success and cost there */
    BENCH_PROMPT_LENGTH, /* each prompt to one model, by a logistic on its length */
    BENCH_FAMILIES
};
const char *bench_family_name(enum bench_family f);

/* What came of one request. */
struct bench_result {
    double cost_nanousd, success;
    unsigned asked; /* arms, bits */
    int first, served;
};

#define BENCH_PRICES 40
struct bench_options {
    struct beliefs_objective
        objective;              /* its failure price is swept; floors and budgets are left out */
    double price[BENCH_PRICES]; /* of a failure, nano-dollars, ascending */
    int prices;
    int folds, seeds;
    size_t labels;                /* rows of each class that are learnt from, at most; 0: all */
    struct bench_vectors vectors; /* estimates before the answer come from neighbours; or none do */
};

/* results[BENCH_FAMILIES][prices][seeds][rows]. */
struct bench_results {
    struct bench_result *at;
    int prices, seeds;
    size_t rows;
};
void bench_results_init(struct bench_results *r, const struct bench_options *o, size_t rows);
void bench_results_clear(struct bench_results *r);
static inline struct bench_result *bench_results_of(const struct bench_results *r,
                                                    enum bench_family f, int price, int seed)
{
    return r->at +
           (((size_t)f * (size_t)r->prices + (size_t)price) * (size_t)r->seeds + (size_t)seed) *
               r->rows;
}

/* fold[rows]: 0..folds-1, each class spread evenly, by the seed. */
void bench_folds(const struct bench_set *s, int folds, uint64_t seed, int *fold);
void bench_cv(const struct bench_set *s, const struct bench_options *o, struct bench_results *out);

/* ---- as a stream ---- */

struct bench_stream {
    size_t requests;
    double feedback;      /* share of requests whose served answer gets a label */
    double noise;         /* share of the labels that say the contrary */
    size_t delay;         /* requests until a label is known */
    double request_s;     /* time between requests: what half-lives see */
    size_t believe_every; /* requests between two builds of beliefs, and trials of new scorers */
    int broken;           /* an arm that regresses silently, -1: none */
    size_t broken_from;   /* at that request */
    double broken_share;  /* of its successes that are none from then on */
    /* The straw man: each class to one model, learnt from the same labels by the same code, but
     * from success alone: one try, and nothing is read from an answer. */
    bool by_class;
    struct bench_vectors vectors; /* as above; class routing knows no neighbours */
    uint64_t seed;
};
/* out[requests]. For a seed the rows, which of them get a label, which labels say the contrary and
 * which successes of a broken arm would be none are the same for any objective and way of deciding.
 */
void bench_stream(const struct bench_set *s, const struct beliefs_objective *o,
                  const struct bench_stream *how, struct bench_result *out);

/* ---- one request ---- */

struct bench_ask {
    const struct beliefs *beliefs;
    size_t row;
    bool explore, remember; /* remember: the answers are added to the learner */
    bool once;              /* the first answer is served */
    uint64_t seed;
    int64_t now_us;
    const double *shift; /* [arms] or NULL */
};
void bench_ask(struct bench_learner *l, const struct bench_ask *q, struct bench_result *out);

#endif
