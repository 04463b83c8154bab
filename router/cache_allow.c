/* Owns nothing. Called by cache_use.c when the route is chosen. */
#include "router/cache_allow.h"

#include "backends/wire/ask_identity.h"
#include "base/json_scan.h"
#include "cache/suspect.h"
#include "router/request_int.h"

/* The gates of the policy's language are those of the cache. */
_Static_assert(POLICY_GUARD_NUMBERS == 1 << GUARD_NUMBERS &&
                   POLICY_GUARD_UNITS == 1 << GUARD_UNITS &&
                   POLICY_GUARD_DATES == 1 << GUARD_DATES &&
                   POLICY_GUARD_NEGATION == 1 << GUARD_NEGATION &&
                   POLICY_GUARD_ORDER == 1 << GUARD_ORDER &&
                   POLICY_GUARD_NAMES == 1 << GUARD_NAMES &&
                   POLICY_GUARD_OVERLAP == 1 << GUARD_OVERLAP,
               "policy_guard and guard");

/* ---- what is allowed ---- */

/* One directive of Cache-Control (RFC 9111 section 5.2.1); others do not concern a cache like this
 * one. A max-age that is no number is the strictest. */
static void heed_directive(struct slice d, struct cache_rules *rules)
{
    int64_t seconds;

    if (slice_ieq(d, SLICE("no-cache"))) {
        rules->exact = false;
    } else if (slice_ieq(d, SLICE("no-store"))) {
        rules->store = false;
    } else if (slice_istarts(d, SLICE("max-age="))) {
        struct json_value v = {JSON_NUMBER, slice_from(d, 8)};
        bool given = json_validate(v.text, NULL) && json_int(v, &seconds) && seconds >= 0;
        int64_t ms = given && seconds < INT64_MAX / 1000 ? seconds * 1000 : given ? INT64_MAX : 0;

        if (rules->max_age_ms < 0 || ms < rules->max_age_ms)
            rules->max_age_ms = ms;
    }
}

static void heed_cache_control(struct slice value, struct cache_rules *rules)
{
    while (value.n) {
        const char *comma = memchr(value.p, ',', value.n);
        size_t n = comma ? (size_t)(comma - value.p) : value.n;

        heed_directive(slice_trim(slice_make(value.p, n)), rules);
        value = slice_from(value, comma ? n + 1 : n);
    }
}

/* The caller may only tighten. */
static void heed_caller(const struct http1_head *head, struct cache_rules *rules)
{
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http1_header *h = &head->headers[i];

        if (slice_ieq(h->name, SLICE("cache-control")))
            heed_cache_control(h->value, rules);
        else if (slice_ieq(h->name, SLICE("x-weir-cache")) &&
                 slice_ieq(slice_trim(h->value), SLICE("off")))
            rules->exact = rules->store = false;
        else if (slice_ieq(h->name, SLICE("x-weir-cache")) &&
                 slice_ieq(slice_trim(h->value), SLICE("exact")))
            rules->semantic = false;
    }
}

/* ---- who asks what ---- */

struct slice cache_allow_group(const struct policy *p, const struct policy_route *route,
                               const struct http1_head *head, struct slice query, struct arena *a)
{
    size_t header_count = head ? head->header_count : 0, n = 0;
    struct slice *parts =
        ARENA_ARRAY(a, struct slice, 2 * route->step_count + 4 * header_count + 3);

    parts[n++] = slice_str(route->name);
    for (size_t i = 0; i < route->step_count; i++) {
        parts[n++] = SLICE("\n");
        parts[n++] = slice_str(p->models[route->steps[i].model].name);
    }
    for (size_t i = 0; i < header_count; i++) {
        const struct http1_header *h = &head->headers[i];

        if (!slice_istarts(h->name, SLICE("anthropic-")) &&
            !slice_istarts(h->name, SLICE("openai-")))
            continue;
        parts[n++] = SLICE("\n");
        parts[n++] = h->name;
        parts[n++] = SLICE(": ");
        parts[n++] = h->value;
    }
    parts[n++] = SLICE("\n?");
    parts[n++] = query;
    return slice_str(arena_join(a, parts, n));
}

/* Does the route lead to weir's own encoder? Asking it costs no more than asking here. */
static bool is_own_encoder(const struct request *r)
{
    const struct policy *p = r->snap->policy;

    return p->backends[p->models[r->route->steps[r->steps[0]].model].backend].encoder;
}

const char *cache_allow_obstacle(const struct policy_route *route, bool encoder, struct slice scope,
                                 const struct ask_identity *id)
{
    const struct policy_semantic *s = &route->cache.semantic;

    if (!s->on)
        return "the route looks for repeats only (cache.semantic is off)";
    if (!encoder)
        return "there is no encoder";
    if (!id->comparable || id->text.n == 0)
        return "the user's last text does not stand for the whole question";
    if (s->context != POLICY_CONTEXT_SAME && id->turn.user_turns > 1)
        return "it is not the first turn of its conversation";
    if (scope.n == 0 && route->cache.scope != POLICY_SCOPE_TENANT && suspect_text(id->text))
        return "the text means to steer a model, and the scope is shared";
    return NULL;
}

struct cache_rules cache_allow_rules(const struct policy_cache_use *allowed)
{
    const struct policy_semantic *s = &allowed->semantic;

    return (struct cache_rules){.exact = true,
                                .semantic = s->on,
                                .store = true,
                                .shadow = s->shadow,
                                .max_error = s->max_error,
                                .audit_min = s->audit_min,
                                .guards = s->guards & GUARD_ALL,
                                .ttl_ms = allowed->ttl_ms,
                                .timely_ttl_ms = allowed->timely_ttl_ms,
                                .max_age_ms = -1};
}

bool cache_allow(struct request *r)
{
    struct cache_use *u = &r->cache;
    const struct policy_cache_use *allowed = &r->route->cache;
    struct ask_identity id;

    u->rules = cache_allow_rules(allowed);
    heed_caller(r->head, &u->rules);
    if ((!u->rules.exact && !u->rules.store) || is_own_encoder(r))
        return false;
    u->scope =
        allowed->scope == POLICY_SCOPE_TENANT && r->tenant ? slice_str(r->tenant->name) : SLICE("");
    ask_identity(&r->ask, u->scope,
                 cache_allow_group(r->snap->policy, r->route, r->head, r->query, &r->arena),
                 &r->arena, &id);
    u->exact = id.exact;
    u->rest = id.rest;
    u->text = id.text;
    u->rules.semantic =
        u->rules.semantic && !cache_allow_obstacle(r->route, r->snap->embedder, u->scope, &id);
    return !id.stateful && id.turn.speaker != ASK_BY_TOOL;
}
