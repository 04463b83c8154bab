/* Owns nothing. Called by gateway/api_cache_explain.c and gateway/api_cache_warm.c. */
#include "router/cache_identity.h"

#include "backends/wire/ask_identity.h"
#include "router/cache_allow.h"

static enum err find_route(const struct cache_identity_ask *q, const struct ask *ask,
                           const struct policy_route **out, struct err_text *why)
{
    const struct policy_query query = {
        .model = ask->model_name,
        .api = q->api,
        .tenant = q->tenant,
        .prompt_tokens = ask->prompt_tokens,
        .class_name = q->class_name,
        .class_confidence = q->class_name.n > 0,
    };
    bool known;

    *out = policy_match(q->policy, &query, &known);
    if (*out)
        return ERR_OK;
    err_say(why,
            known ? "No route of the policy takes model '%.*s' with this request."
                  : "The policy has no model '%.*s'.",
            SLICE_ARG(ask->model_name));
    return ERR_MODEL_NOT_FOUND;
}

enum err cache_identity_of(const struct cache_identity_ask *q, struct arena *a,
                           struct cache_identity *out, struct err_text *why)
{
    const char *param = NULL;
    struct ask_identity id;
    struct ask ask;
    enum err err = ask_scan(q->api, q->body, a, &ask, &param, why);

    *out = (struct cache_identity){.keeps = false};
    if (err == ERR_OK)
        err = find_route(q, &ask, &out->route, why);
    if (err != ERR_OK)
        return err;
    const struct policy_cache_use *use = &out->route->cache;
    out->rules = cache_allow_rules(use);
    out->scope =
        use->scope == POLICY_SCOPE_TENANT && q->tenant ? slice_str(q->tenant->name) : SLICE("");
    ask_identity(&ask, out->scope, cache_allow_group(q->policy, out->route, NULL, SLICE(""), a), a,
                 &id);
    out->exact = id.exact;
    out->rest = id.rest;
    out->text = id.text;
    out->keeps = use->on && !id.stateful && id.turn.speaker != ASK_BY_TOOL;
    out->why_not = !use->on ? "the route has no cache"
                   : !out->keeps
                       ? "such a request hangs on what a server keeps, or on a tool's result"
                       : cache_allow_obstacle(out->route, q->encoder, out->scope, &id);
    return ERR_OK;
}
