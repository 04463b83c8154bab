/* The cache of answers, in the admin API: /admin/cache..., as gateway/ADMIN_CACHE.md describes it.
 *
 * POST wants Content-Type: application/json, which a browser does not send across origins without
 * asking first. Every change is recorded before it is answered; when it cannot be, it is not made.
 * 404 where the policy has no cache. threads: control; the work is the cache thread's. */
#ifndef GATEWAY_API_CACHE_H
#define GATEWAY_API_CACHE_H

#include "gateway/admin_route.h"

struct control;
struct api_cache;

struct api_cache *api_cache_new(struct control *c);
void api_cache_free(struct api_cache *a); /* NULL is fine */
extern const struct admin_route api_cache_routes[];

#endif
