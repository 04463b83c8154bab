/* A request's use of a server that weir starts itself: asked for before the attempt, given back
 * when the attempt has ended. Between the asking and the answer the request is in AWAIT_BACKEND.
 * threads: the request's worker; the launcher's answer comes through the worker's mailbox. */
#ifndef ROUTER_SERVER_USE_H
#define ROUTER_SERVER_USE_H

#include <stdbool.h>
#include "policies/policy.h"

struct request;

/* true: the backend has no command, or its server is ready and the use is counted. false: it is
 * being started; request_step gets READY or FAILED later. */
bool server_use_take(struct request *r, const struct policy_backend *b);
/* Gives the use back, or stops waiting for it; harmless when there is none. */
void server_use_end(struct request *r);

#endif
