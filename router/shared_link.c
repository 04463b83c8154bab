/* Owns nothing. Called by spends_share.c and learn_store_redis.c, each for its own thread. */
#include "router/shared_link.h"

#define STALL_US 5000000

enum err shared_link_new(struct event_base *base, const char *url,
                         const struct shared_link_owner *owner, struct redis_link **out,
                         struct err_text *t)
{
    return redis_link_new(&(struct redis_link_options){.base = base,
                                                       .url = url,
                                                       .stall_us = STALL_US,
                                                       .max_queued_bytes = owner->max_queued_bytes,
                                                       .up = owner->up,
                                                       .down = owner->down,
                                                       .ctx = owner->ctx},
                          out, t);
}
