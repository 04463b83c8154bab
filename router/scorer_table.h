/* The scorers in force, by model's name, as the store has them. What a read of the store brings is
 * put by (stage), and counts when the whole read is there (commit): a scorer without the counters
 * of its version would know nothing. One thread. */
#ifndef ROUTER_SCORER_TABLE_H
#define ROUTER_SCORER_TABLE_H

#include "base/list.h"
#include "router/decide/scorer_trial.h"

struct scorer_table { /* embedded */
    struct list entries;
};

void scorer_table_init(struct scorer_table *t);
void scorer_table_clear(struct scorer_table *t); /* usable again: no model has any */
void scorer_table_stage(struct scorer_table *t, struct slice model, struct slice text);
/* Is any scorer another one now? A line that is no scorer's, or is made for other features, is
 * logged once and leaves what there is. */
bool scorer_table_commit(struct scorer_table *t);
/* NULL: nobody fitted one; the default is in force. Valid until the next commit or clear. */
const struct scorer_record *scorer_table_find(const struct scorer_table *t, struct slice model);
/* Score of a model's answer: features[CONFIDENCE_FEATURES]; by NULL: the default's. */
double scorer_table_score(const struct scorer_record *by, const float *features);

#endif
