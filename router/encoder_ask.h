/* One pass of the encoder that a request waits for, at most encoder.max_wait_ms long. The encoder
 * holds no request: it holds the text and an id. An answer that comes after the wait was over is
 * booked if the request still wants it, and forgotten else. threads: the worker's; the encoder's
 * answers come through its mailbox. */
#ifndef ROUTER_ENCODER_ASK_H
#define ROUTER_ENCODER_ASK_H

#include <stdbool.h>
#include "base/idtable.h"
#include "router/encoder_bill.h"

struct request;

/* Of a request. */
struct encoder_ask {
    objid waiting; /* names the request to the encoder's answer; 0: none is to come */
    struct encoder_bill bill;
};

/* q: a new query with its text and msg.deliver; it goes to the encoder, or is freed. since_us: when
 * the wait began, monotonic. true: deliver is to come, and r->wait_us is the end of the wait.
 * false: it cannot be asked now, which the meters say. */
bool encoder_ask_start(struct request *r, struct encoder_ask *a, struct encoder_query *q,
                       int64_t since_us);
/* First in deliver: whose answer it is; NULL: nobody's any more. */
struct request *encoder_ask_whose(const struct encoder_query *q);
/* Then, of that request: ends the ask, books what the pass cost. false: it gave no vector. */
bool encoder_ask_take(struct request *r, struct encoder_ask *a, const struct encoder_query *q);
/* The request goes on without that answer, which the meters say. */
void encoder_ask_missed(const struct request *r, const struct encoder_query *q);
void encoder_ask_end(struct request *r, struct encoder_ask *a); /* no answer is of use any more */

#endif
