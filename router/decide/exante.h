/* How easy a query is for each arm before anybody answered it, from queries that mean something
 * like it and whose outcomes are known: the nearest ones' successes, weighted by likeness and drawn
 * to what is believed without them (nearest neighbours match or beat learned routers: arXiv
 * 2505.12601). How near they are is the caller's to say: cosines.
 *
 * What neighbours say counts as far as it has been true of the queries in the memory themselves:
 * each is estimated from all others, and held against what came of it by a logistic regression on
 * these estimates alone, beside what was believed without them. They are followed wholly from a
 * slope of a half on (what a class is believed to be is too sure as well: tests/bench/decide), in
 * proportion below it, and not at all up to a slope of one standard error, so far from two on:
 * where questions have no families nothing moves, where neighbours say too much they are followed
 * in part.
 *
 * Immutable once made; any thread may ask. Pure. */
#ifndef ROUTER_DECIDE_EXANTE_H
#define ROUTER_DECIDE_EXANTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXANTE_ROWS       2048 /* at most */
#define EXANTE_NEIGHBOURS 100
#define EXANTE_WIDTH      0.2 /* a neighbour weighs exp((cosine - nearest) / width) */
#define EXANTE_PSEUDO     8.0 /* how many of the nearest kind what is believed counts for */
/* A query whose nearest neighbour is farther than this is like nothing that was seen. */
#define EXANTE_STRANGER 0.3
#define EXANTE_MAX_LIFT 3.0 /* log-odds, either way */
#define EXANTE_LABELS   100 /* told ones: before these nothing is trusted */
#define EXANTE_NONE     SIZE_MAX
#define EXANTE_SLOPE    0.5
#define EXANTE_STRENGTH 10 /* with which the slope is drawn to 0: an inverse variance */

/* What is known of one arm's answer to one query. */
struct exante_outcome {
    float value;  /* success as of a first answer: 0..1, beyond it for later ones (remembered.h) */
    float weight; /* 0..1; 0: nothing is known */
    float base;   /* 0..1: what was to be expected of it without neighbours */
    bool told;    /* somebody said so; else it is what its score lets expect: good enough to
                     estimate with, and not to judge by */
};

/* A mean over that many outcomes, without one of them. An expectation that has seen the outcome
 * would be held against neighbours that have not: they would look worse than they are. */
double exante_without(double mean, double count, double value, double weight);

/* Cosines of that row with all rows. */
typedef void exante_cosines_fn(void *ctx, size_t row, float *cosine);

struct exante_in { /* borrowed for the call */
    int arms;
    size_t rows;                          /* 0..EXANTE_ROWS */
    const struct exante_outcome *outcome; /* [rows][arms] */
    exante_cosines_fn *cosines;
    void *ctx;
};

struct exante;
struct exante *exante_new(const struct exante_in *in);
void exante_free(struct exante *e); /* NULL is fine */

/* cosine[rows]: of the query; believed[arms]: 0..1, success without its neighbours; self: a row
 * that is the query itself and is left out, EXANTE_NONE: there is none. lift[arms]: log-odds by
 * which the query is easier than that; 0 where nothing like it is known. Trust is not in it. */
void exante_lift(const struct exante *e, const float *cosine, const double *believed, size_t self,
                 double *lift);
double exante_trust(const struct exante *e); /* 0..1: what lifts are to be multiplied with */

#endif
