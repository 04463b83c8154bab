/* What a request would be to the cache, for those who have only its body: operators who want to
 * know what would become of a question, and answers that are brought along. The request goes by no
 * header, so that clients who send anthropic-* or openai-* headers ask other questions. Pure. */
#ifndef ROUTER_CACHE_IDENTITY_H
#define ROUTER_CACHE_IDENTITY_H

#include "backends/wire/wire.h"
#include "base/arena.h"
#include "cache/cache.h"
#include "policies/policy.h"

struct cache_identity_ask {
    const struct policy *policy;
    enum wire_api api;
    struct slice body;
    const struct policy_tenant *tenant; /* NULL: none */
    struct slice class_name;            /* that it would be found to be; "" none */
    bool encoder;                       /* somebody can say what a text means */
};

struct cache_identity {
    const struct policy_route *route; /* the policy's */
    struct cache_rules rules;         /* as the route has them */
    struct slice scope, text;         /* in the arena, or the policy's */
    struct digest exact, rest;
    bool keeps;          /* the route has a cache, and such a request is a matter for it */
    const char *why_not; /* why no neighbours are looked for (static); NULL: they are */
};

/* ERR_BAD_JSON, ERR_BAD_REQUEST, ERR_MODEL_NOT_FOUND (no route takes it); with why. */
enum err cache_identity_of(const struct cache_identity_ask *ask, struct arena *a,
                           struct cache_identity *out, struct err_text *why) MUST_CHECK;

#endif
