/* Which way requests of a class go by what is believed of it: for people, before one is sent. At
 * the class's mean costs and with all models able to serve; a request's own costs, what heads
 * foresee of it, pins, holdouts and budgets are its plan's. Requests that are decided as if nothing
 * were in doubt (price.h) are among them. Pure; computed when somebody looks: beliefs are built far
 * more often. */
#ifndef ROUTER_DECIDE_BELIEFS_WAY_H
#define ROUTER_DECIDE_BELIEFS_WAY_H

#include "router/decide/beliefs.h"

struct beliefs_way_step {
    int arm;
    double asked; /* chance that it is asked at all where the best by its index is the first */
    double
        enough; /* least chance in hand, in hundredths, from which the next is not asked; 0: last */
};

struct beliefs_way {
    double first[PANDORA_BOXES];  /* by arm: chance that it is asked first, exploration included */
    double success, cost_nanousd; /* expected of a request, exploration left out */
    double bold_share;            /* of requests, decided by price.bold; 0: none */
    /* [arms], by reservation index before anything was asked, the best first: the order in which
     * they are asked, as long as what is known of later answers does not change it. `asked` of all
     * requests, order and `enough` of those at price.v. */
    struct beliefs_way_step step[PANDORA_BOXES];
    struct beliefs_way_step bold[PANDORA_BOXES]; /* of those at price.bold; where there are any */
};

void beliefs_way(const struct beliefs_context *c, struct beliefs_way *out);

#endif
