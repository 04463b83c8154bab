/* The validators of a route on one answer. Those that are functions decide at once; programs
 * (`command`) and judges (`http`) are started together, few at a time, each with its time, and tell
 * later. A fail ends the others: one is enough.
 *
 * Both get the same JSON: {"request": <the client's body>, "answer": {"text": "...", "finish":
 * "stop", "refused": false, "calls": [{"name": "...", "arguments": "<JSON text>"}]}, "model":
 * "..."}, a program on its standard input, a judge by POST. A program passes with exit status 0 and
 * fails with 1 to 125; what it writes is the reason. A judge answers {"score": 0..1, "reason":
 * "..."}: from 0.5 on it is a pass. Everything else (a signal, no such program, no connection,
 * another status than 200, too late, too many at once) is unknown, and logged.
 *
 * threads: the worker's. Never calls back before validate_start returns; nor after
 * validate_cancel. */
#ifndef ROUTER_VALIDATE_RUN_H
#define ROUTER_VALIDATE_RUN_H

#include "base/list.h"
#include "router/validate.h"
#include "router/validate_set.h"

struct event_base;
struct upstream;
struct validate_run;

#define VALIDATE_AT_ONCE 32 /* programs and judges of one worker */

/* One per worker, embedded. */
struct validate_runner {
    struct event_base *base;
    struct upstream *upstream;
    struct list jobs; /* that run, or were killed and are not yet reaped */
    size_t job_count;
    int64_t warned_us; /* when it was last logged that one says nothing */
};

void validate_runner_init(struct validate_runner *r, struct event_base *base, struct upstream *up);
/* Kills what still runs, and waits for its end. Before upstream and base are freed; every run has
 * been cancelled or is done. */
void validate_runner_clear(struct validate_runner *r);

/* What is looked at; borrowed during validate_start. */
struct validate_subject {
    const struct answer_signals *signals;
    const struct chat *request; /* NULL: not known */
    struct slice body;          /* of the request: JSON */
    const char *model;          /* of the policy */
};

typedef void (*validate_done_fn)(void *ctx, const struct validate_result *result);

/* NULL: *out has the result already. Else fn gets it, once. */
struct validate_run *validate_start(struct validate_runner *r, const struct validate_set *set,
                                    const struct validate_subject *what,
                                    struct validate_result *out, validate_done_fn fn, void *ctx);
/* Kills what runs. NULL is fine. */
void validate_cancel(struct validate_run *run);

#endif
