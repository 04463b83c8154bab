/* Which rows are held out, and which fold of a cross-validation a row is in: by its text and a
 * seed, within each class, so that the same text never stands on both sides. Pure; any thread. */
#ifndef ROUTER_ENCODER_TRAIN_SPLIT_H
#define ROUTER_ENCODER_TRAIN_SPLIT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

struct split_row {
    struct slice text;
    int label; /* any number: rows of one label are divided alike */
};

/* held[count]: about `share` of each label's rows, none of a label that has a single text. */
void split_held_out(const struct split_row *rows, size_t count, double share, uint64_t seed,
                    bool *held);
/* fold[count]: 0..folds-1, as even as equal texts allow. */
void split_folds(const struct split_row *rows, size_t count, int folds, uint64_t seed, int *fold);

#endif
