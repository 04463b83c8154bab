/* The client's side of a request, as the flow orders it. Every function but respond_begin,
 * respond_emit and respond_keepalive makes the last call on the reply: the request is over then.
 * threads: the worker's. */
#ifndef ROUTER_RESPOND_H
#define ROUTER_RESPOND_H

#include <stdint.h>
#include "base/err.h"

struct request;

/* The answer at hand, of which nothing has gone out: in r->whole or, a stream, in r->out. */
void respond_answer(struct request *r);
/* An error, in the upstream's words where these may pass. retry_after_ms -1: none. */
void respond_failure(struct request *r, enum err e, const char *message, const char *param,
                     int64_t retry_after_ms);

/* A stream begins, with what lies in r->out. */
void respond_begin(struct request *r);
/* Sends r->out; may pause the upstream. */
void respond_emit(struct request *r);
/* The stream has been silent for long: begins it, if need be. */
void respond_keepalive(struct request *r, int64_t now_us);
void respond_end(struct request *r);
/* It broke off with e: says so in the stream. */
void respond_cut(struct request *r, enum err e);

#endif
