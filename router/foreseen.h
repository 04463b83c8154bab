/* What trained heads foresee of a request: the chance of success that its query has with each model
 * of its route, before any was asked (classifier_success), and by how much that moves the plan:
 * the log-odds against what is believed of its class, times the trust that the heads have earned
 * with that model on that route (router/decide/foresight.h).
 *
 * Heads are those of the tier that classified the query, and speak of models by their name in the
 * policy or at their server. Only for routes with `objective`; no query is encoded for it.
 * threads: the worker's. All lies in the request's arena. */
#ifndef ROUTER_FORESEEN_H
#define ROUTER_FORESEEN_H

#include "router/decide/beliefs.h"

struct request;

/* [arms of the cascade] */
struct foreseen {
    double shift[PANDORA_BOXES]; /* for the plan; trust is in it */
    /* 1..999: of the arm's first answer, as its class has it and as it would be with full trust; 0:
     * nothing is foreseen */
    int believed_milli[PANDORA_BOXES], foreseen_milli[PANDORA_BOXES];
};

/* The encoder has answered: what its heads say is kept until the route is chosen. features as in
 * classifier_full. */
void foreseen_keep(struct request *r, const float *features);
/* The route is chosen. NULL: nobody foresees anything of its models. */
const struct foreseen *foreseen_find(struct request *r, const struct beliefs_context *b);

#endif
