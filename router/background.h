/* Requests of weir's own: a stored answer is checked against a fresh one, a judge compares two
 * texts. They go the way of a client's request (endpoints, retries, translation, prices, ledger) as
 * far as an answer is needed, but have no client, no class and no cache: the route is given, the
 * reply is read and not sent.
 *
 * Few at a time, never instead of a client: of a backend's room (max_in_flight of each endpoint)
 * all of them together fill a quarter at most, or one place; what finds no room is refused at once,
 * and all end when the worker drains. Each has ledger rows of its own, under the x-request-id of
 * the request that caused it, with `purpose` and `role` saying what it was for, booked to that
 * request's tenant.
 *
 * threads: the worker's. Starting never calls back; `done` comes through the mailbox. */
#ifndef ROUTER_BACKGROUND_H
#define ROUTER_BACKGROUND_H

#include "backends/wire/wire.h"
#include "base/http1.h"
#include "base/money.h"
#include "policies/policy.h"

struct background;
struct request;
struct router_env;
struct snapshot;
struct spend;

#define BACKGROUND_AT_ONCE 16 /* of one worker */

/* Valid during the call. */
struct background_answer {
    enum err err; /* ERR_OK: body is a good, whole answer */
    /* As the server of that dialect would give it (backends/wire/answer_record.h), to a request of
     * the spec's API. */
    struct slice body;
    enum wire_api api;
    enum wire_dialect dialect;
    const char *model; /* of the policy; "" when none answered */
    struct token_usage usage;
    nanousd cost;          /* of all attempts, also of those that failed */
    int64_t duration_us;   /* of the attempt that answered */
    const float *features; /* CONFIDENCE_FEATURES, where the route judges answers; else NULL */
    double score;          /* of them */
    unsigned scorer;       /* whose score it is */
    int verdict_milli;     /* of the route's validators, 0..1000; -1: none knew */
};

struct background_spec {
    const char *purpose; /* "audit", "judge"; static */
    const char *cause;   /* x-request-id; copied */
    struct spend *cap;   /* where its cost is booked, whatever comes of it; borrowed for good */
    struct snapshot *snapshot;          /* a reference is taken */
    const struct policy_tenant *tenant; /* of its policy; NULL: none */
    /* Where it goes: a route of the policy, with its retries; or (NULL) one model. */
    const struct policy_route *route;
    size_t model;
    enum wire_api api;
    struct slice body;                  /* of the request; copied */
    struct slice query;                 /* of its target; copied */
    const struct http1_header *headers; /* that go upstream; copied */
    size_t header_count;
    /* Exactly once for each that was started, and never from within background_start. It may start
     * others. */
    void (*done)(void *ctx, const struct background_answer *a);
    void *ctx;
};

/* Copies; the request is made when it is started. NULL: there is no room, or the worker drains. */
struct background *background_new(struct router_env *env, const struct background_spec *spec);
/* false: it was refused at once (an untranslatable body, no endpoint free); b is gone then. */
bool background_start(struct background *b);
void background_free(struct background *b); /* not started; NULL is fine */
/* The worker drains: what runs is ended, nothing new begins. */
void background_stop(struct router_env *env);

/* ---- for request.c and account.c ---- */

const struct policy_route *background_route(const struct background *b);
const char *background_purpose(const struct background *b);
struct spend *background_cap(const struct background *b);
/* The last attempt's answer is whole. */
void background_take(struct request *r);

#endif
