/* What a request has to do with the cache: is there an answer already, is somebody waiting for one,
 * and is the answer that came worth keeping?
 *
 *   exact repeat in the worker's hot set       served at once, no message
 *   else one message to the cache's thread     AWAIT_CACHE: hit, miss (this request leads, others
 *                                              that ask the same wait for it), or wait for a leader
 *
 * What the route allows, callers may tighten by headers and never widen: Cache-Control: no-cache
 * (ask a model), no-store (keep nothing), max-age=N (nothing older), x-weir-cache: off (neither).
 * Never asked of the cache: requests that hang on what a server keeps, and those whose last word is
 * a tool's. Without a cache none of this costs more than a look at a flag.
 *
 * threads: the worker's. */
#ifndef ROUTER_CACHE_USE_H
#define ROUTER_CACHE_USE_H

#include "backends/wire/answer_record.h"
#include "base/idtable.h"
#include "cache/cache.h"
#include "router/flow.h"

struct request;

enum cache_said {
    CACHE_SAID_NOTHING, /* the route has no cache */
    CACHE_SAID_BYPASS,  /* not asked: the caller, or the kind of request, forbids it */
    CACHE_SAID_MISS,
    CACHE_SAID_HIT,
    CACHE_SAID_COALESCED, /* answered by an equal request that was on its way */
    CACHE_SAIDS
};
/* "", "bypass", "miss", "hit", "coalesced": header x-weir-cache, ledger, metrics, access log */
const char *cache_said_name(enum cache_said s);

/* Of a request. */
struct cache_use {
    enum cache_said said;
    struct cache_rules rules;
    struct digest exact, rest;
    struct slice scope, text;  /* in the request's arena; text: what the user said last */
    objid waiting;             /* names the request to the cache's answer; 0: none is to come */
    bool waited;               /* for a leader */
    bool leading;              /* others may wait for this answer: put it, or give up */
    struct cache_entry *entry; /* a reference: what is given again */
    int64_t age_ms;            /* of entry */
};

/* The route is chosen. START: no answer is to be had from here; HIT: it is ready to go out, in
 * r->whole or r->out; LOOKING: request_step gets HIT or MISS, or cache_use_late is to be called
 * when r->wait_us has passed. */
struct flow_event cache_use_begin(struct request *r);
void cache_use_late(struct request *r);
/* The answer of the last attempt is whole: it is kept if it is worth it. */
void cache_use_keep(struct request *r);
/* The request is over. */
void cache_use_end(struct request *r);

#endif
