/* A finished request as evidence for the learner: which arms were asked, what their answers scored,
 * what they cost, which one was served. Once per request, before its reply's last byte, so that
 * feedback to it is never too early. threads: the worker's. */
#ifndef ROUTER_LEARNING_H
#define ROUTER_LEARNING_H

struct request;

/* Harmless without a learner, for requests of no route, and for those of weir's own. */
void learning_post(struct request *r);

#endif
