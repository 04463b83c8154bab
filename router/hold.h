/* A stream that is kept back from its client until it is judged: so many tokens of it, or all. The
 * bytes wait in r->out, filtered and translated, ready to go. Keeps the connection alive meanwhile.
 *
 * threads: the worker's; called by attempt.c as bytes come, and by request.c's timer. */
#ifndef ROUTER_HOLD_H
#define ROUTER_HOLD_H

#include <stdbool.h>

struct request;

/* Bytes have come into r->out, and none has gone out: may it be judged? */
bool hold_is_enough(const struct request *r);
/* The stream goes out: says in the metrics how long it was held. */
void hold_count(struct request *r);
/* The client's connection may fall silent for long. */
void hold_watch(struct request *r);

#endif
