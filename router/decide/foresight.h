/* What is foreseen of an answer before the query was sent, held against what came of it: trained
 * heads say a query's chance of success with a model, beliefs say its class's. Where both were
 * known and the answer was labelled, the log-loss of each is counted in the model's tallies; what
 * is foreseen moves decisions only as far as it has done better than the class alone. Pure. */
#ifndef ROUTER_DECIDE_FORESIGHT_H
#define ROUTER_DECIDE_FORESIGHT_H

#include "router/decide/tally.h"

#define FORESIGHT_MAX_SHIFT 3.0 /* log-odds, either way */
#define FORESIGHT_LABELS    100 /* before these nothing is trusted */
/* Of the last hours: from so many labels on, having done worse takes trust away. */
#define FORESIGHT_FAST_LABELS 30

/* Log-odds by which the query is easier than its class, bounded; 0 where `foreseen` is no
 * probability. believed: 0..1. */
double foresight_shift(double foreseen, double believed);

/* The increments of one label, 0..1000: of an answer whose chance was believed_milli by its class
 * and foreseen_milli by the query, both 1..999. sign -1 takes it back: integers in, so that the
 * sums are exact. */
void foresight_count(struct tally *t, int believed_milli, int foreseen_milli, int value_milli,
                     int sign);

/* How the two compare so far, after decay. */
struct foresight {
    double labels;
    double lead;  /* nats by which the class alone lost more, over all labels; below 0: less */
    double error; /* of lead: the root of the sum of its squares, nats */
    double trust; /* 0..1: what shifts are multiplied with; foresight_trust */
};
void foresight_add(struct foresight *f, const struct tally_view *v);
/* 0 up to a lead of one standard error, 1 from two on, in between in proportion; likewise back to 0
 * when the last hours are behind by as much. */
double foresight_trust(const struct foresight *slow, const struct foresight *fast);

#endif
