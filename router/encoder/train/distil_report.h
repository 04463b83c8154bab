/* How well a table imitates its teacher on texts that were kept out of its making. Pure. */
#ifndef ROUTER_ENCODER_TRAIN_DISTIL_REPORT_H
#define ROUTER_ENCODER_TRAIN_DISTIL_REPORT_H

#include <stdbool.h>
#include "router/encoder/train/token_bags.h"

struct distil_quality {
    const struct token_bags *bags;
    const float *texts;  /* [bags->count][dim]: the teacher's, centred and projected */
    const float *tokens; /* [tokens][dim] */
    const bool *held_out;
    size_t dim;
};
/* rank: Spearman's correlation between the table's cosines and the teacher's, over random pairs of
 * held-out texts. neighbours: the share of a held-out text's ten nearest (among at most 2,000) that
 * table and teacher have in common. NaN when there are too few texts. */
void distil_measure(const struct distil_quality *q, int threads, double *rank, double *neighbours);

#endif
