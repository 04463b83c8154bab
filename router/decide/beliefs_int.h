/* Inside of beliefs; shared by reading and building only. */
#ifndef ROUTER_DECIDE_BELIEFS_INT_H
#define ROUTER_DECIDE_BELIEFS_INT_H

#include <stdatomic.h>
#include "base/arena.h"
#include "router/decide/beliefs.h"

struct beliefs {
    atomic_int refs;
    struct arena names;
    struct beliefs_context *context; /* owned: [count] */
    size_t count;
    uint64_t version;
};

/* Fills c->draw and c->floor_share from c's arms and their curves (beliefs_draw.c). */
void beliefs_draw(struct beliefs_context *c, const struct curve *curve, const double *cost_error,
                  const struct beliefs_objective *o, uint64_t seed);

#endif
