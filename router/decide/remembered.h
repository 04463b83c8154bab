/* An answer that was given, as the neighbours of later queries are to see it (exante.h): what came
 * of it, and what was to be expected of it without them. All are to be compared with first answers
 * of any query of the class: one that came after others, which were not good enough, had the harder
 * ones, and counts for so much more. Pure. */
#ifndef ROUTER_DECIDE_REMEMBERED_H
#define ROUTER_DECIDE_REMEMBERED_H

#include <stdbool.h>
#include <stdint.h>
#include "router/decide/beliefs.h"
#include "router/decide/exante.h"

struct remembered {
    int stage; /* 0..TALLY_STAGES - 1 */
    int bin;   /* of its score, by the scorer that is in force now; -1: it cannot be scored */
    /* 1..999: the chance of a first answer by its class, and by its query (foresight.h); 0: nothing
     * was foreseen */
    int believed_milli, foreseen_milli;
    double value,
        weight;         /* what was said of it, and how far that is believed; value below 0: nothing
                         */
    int64_t decided_us; /* when it was asked for; Unix microseconds */
};

/* Of an arm in the query's class. What was said of an answer that the model gave before it changed
 * (beliefs_arm.changed_us) says nothing of what it would answer now: like one that nobody spoke of
 * such an answer is taken for what its score says. false: nothing is known of it. */
bool remembered_outcome(const struct beliefs_arm *a, const struct remembered *r,
                        struct exante_outcome *out);

#endif
