/* Recorded results of many models as weir bench replays them: for each query and arm, whether the
 * answer was a success, what it cost, how sure the model was, and what it said. Built once from
 * rows (router/encoder/train/rows.h); immutable afterwards. */
#ifndef GATEWAY_CLI_BENCH_SET_H
#define GATEWAY_CLI_BENCH_SET_H

#include "policies/policy.h"
#include "router/decide/pandora.h"
#include "router/encoder/train/rows.h"

struct bench_cell {
    double success; /* 0..1 */
    double cost_nanousd;
    double confidence;    /* probability; NAN: none was recorded */
    double tokens_out;    /* NAN: not known */
    int answer;           /* equal numbers are equal answers of one row; -1: not known */
    int samples, repeats; /* further answers of the arm, and how many say the same */
};

struct bench_set {
    size_t rows;
    int arms, classes;
    const char *arm[PANDORA_BOXES]; /* names, in the order asked for */
    const char **label;             /* [classes]; the last one is "", of rows without a class */
    int *class_of;                  /* [rows] */
    struct slice *text;             /* [rows], borrowed from the rows */
    struct bench_cell *cell;        /* [rows][arms] */
    size_t dropped;                 /* rows that lack a score or a cost of some arm */
    double mean_cost[PANDORA_BOXES], mean_success[PANDORA_BOXES];
    bool confident; /* some row has a confidence, or votes */
    /* private */
    struct arena arena;
};

/* Which models take part. */
struct bench_arms {
    const char *model[PANDORA_BOXES]; /* names in the rows */
    /* NULL: costs as recorded; else where none is recorded, the policy's price of tokens */
    const struct policy_model *priced[PANDORA_BOXES];
    /* Answers of one model in all, drawn from the votes; 0: as many as were recorded */
    int samples[PANDORA_BOXES];
    int count; /* 0: every model of the rows, if they are no more than PANDORA_BOXES */
};

/* ERR_BAD_REQUEST + t: an arm that the rows do not have, or no row that has all arms. */
enum err bench_set_init(struct bench_set *s, const struct rows *r, const struct bench_arms *arms,
                        struct err_text *t) MUST_CHECK;
/* Makes a call of an arm cost the same for every query, its mean: shares of cost between two arms
 * are then shares of calls, as RouteLLM counts them. */
void bench_set_level_costs(struct bench_set *s);
void bench_set_clear(struct bench_set *s);

static inline const struct bench_cell *bench_cell(const struct bench_set *s, size_t row, int arm)
{
    return &s->cell[row * (size_t)s->arms + (size_t)arm];
}

#endif
