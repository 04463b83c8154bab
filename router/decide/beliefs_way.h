/* Which way requests of a class go by what is believed of it: for people, before one is sent. At
 * the class's mean costs and with all models able to serve; a request's own costs, what heads
 * foresee of it, pins, holdouts and budgets are its plan's. Pure. */
#ifndef ROUTER_DECIDE_BELIEFS_WAY_H
#define ROUTER_DECIDE_BELIEFS_WAY_H

#include "router/decide/beliefs.h"

struct beliefs_way_step {
    int arm;
    double first; /* chance that it is asked first, exploration included */
    double asked; /* that it is asked at all where the first one is the best by its index */
    double
        enough; /* least chance in hand, in hundredths, from which the next is not asked; 0: last */
};

/* By reservation index before anything was asked, the best first: the order in which they are
 * asked, as long as what is known of later answers does not change it. Returns c->arms. */
int beliefs_way(const struct beliefs_context *c, struct beliefs_way_step out[PANDORA_BOXES]);

#endif
