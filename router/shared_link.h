/* The link to a Redis by which replicas share what no request waits for: what tenants have spent,
 * what was learned. So it may be slow: only 5 s without an answer, beside a call's own budget, end
 * the connection. Calls, the end (redis_link_free) and the thread are as cache/redis_link.h says.
 */
#ifndef ROUTER_SHARED_LINK_H
#define ROUTER_SHARED_LINK_H

#include "cache/redis_link.h"

/* Members as in struct redis_link_options. */
struct shared_link_owner {
    size_t max_queued_bytes;
    void (*up)(void *ctx);
    void (*down)(void *ctx, const char *why);
    void *ctx;
};

/* Connects in the background. ERR_BAD_REQUEST with t: the URL's fault, and where. */
enum err shared_link_new(struct event_base *base, const char *url,
                         const struct shared_link_owner *owner, struct redis_link **out,
                         struct err_text *t) MUST_CHECK;

#endif
