/* The vector of what the user said last, for the cache: the one that the class pass computed, or
 * one that the encoder is asked for, while the request waits in AWAIT_CACHE. One pass for a
 * request, never two. A text that the model cannot read whole has none: its beginning is not its
 * meaning. threads: the worker's; the encoder's answers come through its mailbox. */
#ifndef ROUTER_CACHE_VECTOR_H
#define ROUTER_CACHE_VECTOR_H

#include "cache/cache_entry.h"
#include "router/encoder_ask.h"

struct request;

struct cache_vector {
    const uint16_t *halves; /* [dim], in the request's arena; NULL: there is none */
    int dim;
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES];
    struct slice text; /* that it is of */
    bool computed;     /* a pass was made or asked for: there will be no other */
    struct encoder_ask ask;
};

/* The class pass is through; q: its answer, text: what it was asked. */
void cache_vector_take(struct request *r, const struct encoder_query *q, struct slice text);
/* Is the vector of r->cache.text at hand? */
bool cache_vector_fits(const struct request *r);
/* true: the encoder was asked; cache_use_encoded is called, or cache_use_late when r->wait_us has
 * passed. */
bool cache_vector_ask(struct request *r);

#endif
