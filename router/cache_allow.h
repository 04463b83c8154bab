/* What a request may ask of the cache, and what it is to it: the route's rules, tightened by the
 * caller's headers (Cache-Control: no-cache, no-store, max-age=N; x-weir-cache: off, exact), and
 * its identity. Pure but for the request that it fills in. threads: the worker's. */
#ifndef ROUTER_CACHE_ALLOW_H
#define ROUTER_CACHE_ALLOW_H

#include <stdbool.h>

struct request;

/* Fills in r->cache: rules, scope, digests, text. false: the cache has nothing to do with it. */
bool cache_allow(struct request *r);

#endif
