/* What a request has to do with the cache: is there an answer already, is somebody waiting for one,
 * and is the answer that came worth keeping?
 *
 *   exact repeat in the worker's hot set       served at once, no message
 *   else one message to the cache's thread     AWAIT_CACHE: hit, miss, or wait for one who asks the
 *                                              same
 *   a miss that may be answered by meaning     the encoder (not when the class pass has computed
 *                                              the vector), and the cache once more with the vector
 *
 * Only then, at the latest, this request leads: others that ask the same wait for its answer. An
 * encoder that is late or full costs the hit by meaning, no more. What came of the look-up by
 * meaning is compared and learned from after the reply (router/cache_audit.h).
 *
 * What the route allows, callers may tighten by headers and never widen (router/cache_allow.h).
 * Never asked of the cache: requests that hang on what a server keeps, and those whose last word is
 * a tool's. Without a cache none of this costs more than a look at a flag.
 *
 * threads: the worker's. */
#ifndef ROUTER_CACHE_USE_H
#define ROUTER_CACHE_USE_H

#include "backends/wire/answer_record.h"
#include "base/idtable.h"
#include "cache/cache.h"
#include "policies/policy.h"
#include "router/cache_vector.h"
#include "router/flow.h"

struct cache_audit;
struct request;

enum cache_said {
    CACHE_SAID_NOTHING, /* the route has no cache */
    CACHE_SAID_BYPASS,  /* not asked: the caller, or the kind of request, forbids it */
    CACHE_SAID_MISS,
    CACHE_SAID_HIT,
    CACHE_SAID_SEMANTIC,  /* a question that means the same was answered before */
    CACHE_SAID_COALESCED, /* answered by an equal request that was on its way */
    CACHE_SAIDS
};
/* "", "bypass", "miss", "hit", "semantic", "coalesced": header x-weir-cache, ledger, metrics,
 * access log */
const char *cache_said_name(enum cache_said s);

enum cache_stage {
    CACHE_STAGE_NONE,
    CACHE_STAGE_EXACT,    /* the cache looks for a repeat */
    CACHE_STAGE_ENCODING, /* the encoder computes the vector */
    CACHE_STAGE_LAST,     /* the cache looks for all that may be had */
};

/* Of a request. */
struct cache_use {
    enum cache_said said;
    enum cache_stage stage;
    struct cache_rules rules;
    struct digest exact, rest;
    struct slice scope, text; /* in the request's arena; text: what the user said last */
    struct cache_vector vector;
    objid waiting;             /* names the request to the cache's answer; 0: none is to come */
    bool waited;               /* for a leader */
    bool leading;              /* others may wait for this answer: put it, or give up */
    struct cache_entry *entry; /* a reference: what is given again */
    int64_t age_ms;            /* of entry */
    /* Of the look-up by meaning; why.entry 0: there was no neighbour, or nobody looked. */
    struct cache_why why;
    struct cache_entry *neighbour; /* a reference: what was not served, to be compared */
    struct cache_entry *kept;      /* a reference: this request's answer */
    struct cache_audit *audit;     /* owned: begins when the reply is out */
};

/* The route is chosen. START: no answer is to be had from here; HIT: it is ready to go out, in
 * r->whole or r->out; LOOKING: request_step gets HIT or MISS, or cache_use_late is to be called
 * when r->wait_us has passed. */
struct flow_event cache_use_begin(struct request *r);
void cache_use_late(struct request *r);
void cache_use_encoded(struct request *r); /* the encoder has answered, with a vector or without */
/* All of an entry that the question gives; slices live as long as the request. */
void cache_use_question(struct request *r, struct cache_fields *f);
/* The answer of the last attempt is whole: it is kept if it is worth it. */
void cache_use_keep(struct request *r);
/* The request is over. */
void cache_use_end(struct request *r);

#endif
