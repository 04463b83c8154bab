/* POST /v1/feedback: what became of an answer, said by whoever got it, by the x-request-id of its
 * reply. Said twice it counts once; a later word replaces an earlier one of the same source; null
 * takes it back; it may come days later, and to another replica than the one that served.
 *
 *   {"request_id": "req_...",            of this API key's tenant; of equal ids the newest
 *    "success": true | false | null,     one of these two; null: withdrawn
 *    "score": 0..1 | null,
 *    "correction": "...",                what the answer should have been; alone it means that the
 *                                        answer was not good enough. Its text is not kept.
 *    "source": "explicit" | "validator" | "judge" | "correction" | "implicit",
 *    "reason": "...",                    for the ledger, at most 500 bytes of it are kept
 *    "time": 1795000000.5}               when it was said, Unix seconds; now, if it is not there
 *
 * 400 for anything else, naming the member; 404 for ids that nobody knows; 409 when the request got
 * no answer; 503 while the store of what is learned is away: nothing was counted, say it again.
 * threads: the worker's. */
#ifndef GATEWAY_API_FEEDBACK_H
#define GATEWAY_API_FEEDBACK_H

#include "base/arena.h"
#include "base/idtable.h"
#include "gateway/http_server.h"
#include "policies/policy.h"
#include "router/decide/tally.h"

struct cache;
struct router_env;

/* ---- the body; pure ---- */

struct feedback {
    const char *request_id;
    enum tally_source source;
    int value_milli; /* 0..1000; -1: withdrawn */
    int64_t said_us;
    const char *reason;
};
/* Strings in the arena. ERR_BAD_JSON, ERR_BAD_REQUEST with why and, where one is at fault, the
 * member in *param. */
enum err feedback_read(struct slice body, int64_t now_us, struct arena *a, struct feedback *out,
                       const char **param, struct err_text *why) MUST_CHECK;

/* ---- the endpoint ---- */

struct api_feedback { /* embedded in the worker's api_client */
    struct router_env *env;
    struct idtable waiting; /* of struct http_exchange */
};

void api_feedback_init(struct api_feedback *f, struct router_env *env);
void api_feedback_clear(struct api_feedback *f);
/* Answers x, now or later; returns what api_feedback_gone wants to know of it, 0: it is answered.
 * tenant NULL: the policy has none. cache: where answers by meaning come from; NULL: none. */
objid api_feedback_take(struct api_feedback *f, struct http_exchange *x,
                        const struct policy_tenant *tenant, struct cache *cache);
/* x may not be touched any more. What was said counts nevertheless. */
void api_feedback_gone(struct api_feedback *f, objid id);

#endif
