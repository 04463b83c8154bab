/* What is foreseen of a request before any model was asked, and by how much that moves the plan:
 * log-odds against what is believed of its class.
 *
 *   heads       trained ones say the chance of success that its query has with each model
 *               (classifier_success), times the trust that they have earned with that model on that
 *               route (router/decide/foresight.h)
 *   neighbours  outcomes of queries that mean something similar say how much easier or harder it is
 *               than that, times their own trust (router/neighbours.h). The static table says what
 *               a query means, whatever the encoder
 *
 * Heads are those of the tier that classified the query, and speak of models by their name in the
 * policy or at their server. Only for routes with `objective`; no transformer is asked for it.
 * threads: the worker's. All lies in the request's arena. */
#ifndef ROUTER_FORESEEN_H
#define ROUTER_FORESEEN_H

#include "router/decide/beliefs.h"

struct neighbours;
struct request;

/* [arms of the cascade] */
struct foreseen {
    double shift[PANDORA_BOXES]; /* for the plan; trust is in it */
    double near[PANDORA_BOXES];  /* what of it neighbours have added */
    /* 1..999: of the arm's first answer, as its class has it and as heads have it with full trust;
     * 0: they say nothing */
    int believed_milli[PANDORA_BOXES], foreseen_milli[PANDORA_BOXES];
};

/* The encoder has answered: what its heads say is kept until the route is chosen. features as in
 * classifier_full. */
void foreseen_keep(struct request *r, const float *features);
/* The route is chosen. Where its `learn` says so, what the query means is kept with the request
 * (r->class.query). n: NULL, there are no neighbours. NULL: nobody foresees anything of its models.
 */
const struct foreseen *foreseen_find(struct request *r, const struct beliefs_context *b,
                                     const struct neighbours *n);

#endif
