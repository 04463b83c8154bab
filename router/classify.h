/* A request's class, where the choice of its route hangs on one: found by the static tier on the
 * worker, or by the encoder, for which the request waits a while in AWAIT_EMBEDDING. threads: the
 * worker's. */
#ifndef ROUTER_CLASSIFY_H
#define ROUTER_CLASSIFY_H

#include <stdbool.h>
#include "router/classifier.h"
#include "router/encoder_ask.h"

struct request;

/* Of a request. */
struct query_class {
    struct classification is;
    int64_t asked_us, took_us; /* monotonic; the wait included. took -1: nobody asked, or not yet */
    struct slice text;         /* decoded, in the request's arena */
    float *success; /* of models, by the heads of is.tier, likewise; NULL: router/foreseen.h */
    struct encoder_ask ask;
    const int8_t *query; /* the text by the static table, for what is remembered; likewise, NULL */
};

/* true: the class is known, be it that there is none. false: the encoder was asked;
 * request_step gets ENCODED, or classify_static is to be called when r->wait_us has passed. */
bool classify_start(struct request *r);
void classify_static(struct request *r); /* the encoder took too long */
/* What the user said last, decoded; "": nothing. Read once. */
struct slice classify_text(struct request *r);

#endif
