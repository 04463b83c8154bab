/* What a request needs of a model (capabilities), and which models of a route have it. Pure. */
#ifndef ROUTER_NEEDS_H
#define ROUTER_NEEDS_H

#include "backends/wire/ask.h"
#include "policies/policy.h"

/* Of enum policy_capability: the API, tools, images, audio, structured output, logprobs. */
unsigned needs_of(const struct ask *ask);
/* The route's steps whose models have all of needs, in order, at most max; indices into
 * route->steps. Returns how many. */
int needs_filter(const struct policy *p, const struct policy_route *route, unsigned needs,
                 int *steps, int max);
/* "image input and tools": what no model of the route offers, for the client; returns out. */
const char *needs_missing(const struct policy *p, const struct policy_route *route, unsigned needs,
                          char *out, size_t out_bytes);

#endif
