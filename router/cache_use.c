/* The cache on a request's way. Owns nothing: entries are shared, questions are the cache's while
 * they are on their way. Called by router/request.c and attempt.c on the worker; the cache's
 * answers come through the worker's mailbox. */
#include "router/cache_use.h"

#include <stdio.h>
#include "backends/wire/answer_replay.h"
#include "backends/wire/ask_identity.h"
#include "base/clock.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "cache/cache_hot.h"
#include "cache/timely.h"
#include "router/meters.h"
#include "router/recording.h"
#include "router/request_int.h"

#define HOT_SHARE     16 /* of max_memory, for each worker's hot set */
#define HOT_MAX_BYTES ((size_t)32 << 20)
/* The store keeps its budget by itself; this is for a thread that does not come round. */
#define LOOK_MAX_US (250 * 1000)

const char *cache_said_name(enum cache_said s)
{
    static const char *const names[] = {
        [CACHE_SAID_NOTHING] = "", [CACHE_SAID_BYPASS] = "bypass",       [CACHE_SAID_MISS] = "miss",
        [CACHE_SAID_HIT] = "hit",  [CACHE_SAID_COALESCED] = "coalesced",
    };

    return names[s];
}

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
    }
}

/* ---- who asks what ---- */

/* What else can change an answer: the models that the route may ask, and the versions, betas and
 * projects that headers name. */
static struct slice group_of(struct request *r)
{
    const struct policy *p = r->snap->policy;
    const char *group = r->route->name;

    for (size_t i = 0; i < r->route->step_count; i++)
        group = arena_printf(&r->arena, "%s\n%s", group, p->models[r->route->steps[i].model].name);
    for (size_t i = 0; i < r->head->header_count; i++)
        if (slice_istarts(r->head->headers[i].name, SLICE("anthropic-")) ||
            slice_istarts(r->head->headers[i].name, SLICE("openai-")))
            group = arena_printf(&r->arena, "%s\n%.*s: %.*s", group,
                                 SLICE_ARG(r->head->headers[i].name),
                                 SLICE_ARG(r->head->headers[i].value));
    return slice_str(arena_printf(&r->arena, "%s\n?%.*s", group, SLICE_ARG(r->query)));
}

/* Does the route lead to weir's own encoder? Asking it costs no more than asking here. */
static bool is_own_encoder(const struct request *r)
{
    const struct policy *p = r->snap->policy;

    return p->backends[p->models[r->route->steps[r->steps[0]].model].backend].encoder;
}

/* false: the cache has nothing to do with this request. */
static bool identify(struct request *r)
{
    struct cache_use *u = &r->cache;
    const struct policy_cache_use *allowed = &r->route->cache;
    struct ask_identity id;

    u->rules = (struct cache_rules){.exact = true,
                                    .store = true,
                                    .ttl_ms = allowed->ttl_ms,
                                    .timely_ttl_ms = allowed->timely_ttl_ms,
                                    .max_age_ms = -1};
    heed_caller(r->head, &u->rules);
    if ((!u->rules.exact && !u->rules.store) || is_own_encoder(r))
        return false;
    u->scope =
        allowed->scope == POLICY_SCOPE_TENANT && r->tenant ? slice_str(r->tenant->name) : SLICE("");
    ask_identity(&r->ask, u->scope, group_of(r), &r->arena, &id);
    u->exact = id.exact;
    u->rest = id.rest;
    u->text = id.text;
    return !id.stateful && id.turn.speaker != ASK_BY_TOOL;
}

/* ---- giving an answer again ---- */

static enum wire_dialect dialect_named(struct slice name)
{
    return slice_eq(name, SLICE("anthropic")) ? WIRE_ANTHROPIC : WIRE_OPENAI;
}

static const char *dialect_name(enum wire_dialect d)
{
    return d == WIRE_ANTHROPIC ? "anthropic" : "openai";
}

/* Everything is written before the first byte goes out: what cannot be given again is a miss. */
static bool prepare(struct request *r, struct cache_entry *e, int64_t now_ms)
{
    struct answer_options opt =
        attempt_answer_options(r, dialect_named(e->f.dialect), e->f.body.n + RECORDING_MAX_BYTES);
    enum err err;

    if (!slice_eq(e->f.api, slice_str(wire_api_name(r->api))))
        return false;
    err = r->ask.stream ? answer_replay_stream(&opt, e->f.body, &r->out)
                        : answer_replay_whole(&opt, e->f.body, &r->arena, &r->whole);
    if (err != ERR_OK) {
        log_line(LOG_WARN, "cache", "an entry cannot be given again", "id=%s entry=%llu", r->id,
                 (unsigned long long)e->f.id);
        return false;
    }
    r->cache.entry = cache_entry_ref(e); /* r->whole points into it */
    r->cache.age_ms = now_ms > e->f.created_ms ? now_ms - e->f.created_ms : 0;
    r->cache.said = r->cache.waited ? CACHE_SAID_COALESCED : CACHE_SAID_HIT;
    return true;
}

/* ---- the hot set ---- */

static struct cache_hot *hot_of(struct request *r)
{
    struct router_env *env = r->env;
    size_t bytes = (size_t)r->snap->policy->cache.max_memory_bytes / HOT_SHARE;

    if (!env->hot)
        env->hot = cache_hot_new(bytes < HOT_MAX_BYTES ? bytes : HOT_MAX_BYTES);
    return env->hot;
}

static bool is_fresh(const struct cache_use *u, const struct cache_entry *e, int64_t now_ms)
{
    int64_t age_ms = now_ms - e->f.created_ms;

    return age_ms < u->rules.ttl_ms && (u->rules.max_age_ms < 0 || age_ms <= u->rules.max_age_ms);
}

static bool serve_hot(struct request *r)
{
    struct cache_use *u = &r->cache;
    struct cache_entry *e;
    int64_t now_ms;

    if (!cache_current(r->snap->cache, &now_ms))
        return false;
    e = cache_hot_get(hot_of(r), u->exact, now_ms);
    if (!e || !slice_eq(e->f.scope, u->scope) || !is_fresh(u, e, now_ms) || !prepare(r, e, now_ms))
        return false;
    atomic_fetch_add_explicit(&e->hits, 1, memory_order_relaxed);
    return true;
}

/* ---- asking ---- */

static void stop_waiting(struct request *r)
{
    if (r->cache.waiting)
        idtable_remove(&r->env->waiting, r->cache.waiting);
    r->cache.waiting = 0;
}

static void take_answer(struct request *r, const struct cache_ask *a)
{
    enum flow_event_kind kind = FLOW_EV_MISS;
    int64_t now_ms;

    stop_waiting(r);
    r->wait_us = -1;
    r->cache.leading = a->leading;
    if (a->entry) {
        (void)cache_current(r->snap->cache, &now_ms);
        if (prepare(r, a->entry, now_ms)) {
            cache_hot_put(hot_of(r), a->entry, now_ms);
            kind = FLOW_EV_HIT;
        }
    }
    request_step(r, (struct flow_event){.kind = kind});
}

static void deliver(struct message *m, void *ctx)
{
    struct cache_ask *a = CONTAINER_OF(m, struct cache_ask, msg);
    struct router_env *env = a->owner;
    struct request *r = idtable_get(&env->waiting, a->id);

    (void)ctx;
    if (a->verdict == CACHE_WAIT_LEADER) {
        if (r) {
            r->cache.waited = true;
            r->wait_us = -1; /* as long as the leader takes; the request's deadline holds */
        }
        cache_ask_free(a);
        return;
    }
    env->owed--;
    if (r)
        take_answer(r, a);
    else if (a->leading)
        cache_abandon(env->cache, a->q.exact);
    cache_ask_free(a);
}

static void discard(struct message *m)
{
    cache_ask_free(CONTAINER_OF(m, struct cache_ask, msg));
}

static struct flow_event look(struct request *r)
{
    struct cache_use *u = &r->cache;
    struct router_env *env = r->env;
    struct cache_question q = {.exact = u->exact,
                               .rest = u->rest,
                               .scope = u->scope,
                               .text = SLICE(""),
                               .rules = u->rules};
    struct cache_ask *a;

    u->waiting = idtable_add(&env->waiting, r);
    if (!u->waiting)
        return (struct flow_event){.kind = FLOW_EV_START};
    a = cache_ask_new(&q, NULL, 0);
    a->msg.deliver = deliver;
    a->msg.discard = discard;
    a->reply_to = env->mailbox;
    a->owner = env;
    a->id = u->waiting;
    a->lead = u->rules.store;
    env->owed++;
    env->cache = r->snap->cache;
    cache_lookup(r->snap->cache, a);
    r->wait_us = clock_mono_us() + LOOK_MAX_US;
    request_arm(r);
    return (struct flow_event){.kind = FLOW_EV_LOOKING};
}

struct flow_event cache_use_begin(struct request *r)
{
    struct cache_use *u = &r->cache;

    if (!r->snap->cache || !r->route->cache.on || r->background)
        return (struct flow_event){.kind = FLOW_EV_START};
    u->said = CACHE_SAID_BYPASS;
    if (!identify(r)) {
        u->rules.exact = u->rules.store = false;
        return (struct flow_event){.kind = FLOW_EV_START};
    }
    if (!u->rules.exact)
        return (struct flow_event){.kind = FLOW_EV_START};
    u->said = CACHE_SAID_MISS;
    if (serve_hot(r))
        return (struct flow_event){.kind = FLOW_EV_HIT};
    return look(r);
}

void cache_use_late(struct request *r)
{
    stop_waiting(r);
    request_step(r, (struct flow_event){.kind = FLOW_EV_MISS});
}

/* ---- keeping ---- */

/* The user's text, also where no neighbour could be compared with it. */
static struct slice text_of(struct request *r)
{
    struct ask_turn turn = ask_turn_of(r->api, r->ask.body);

    if (r->cache.text.n || turn.text.n < 2)
        return r->cache.text;
    return arena_dup(&r->arena, json_string_text(turn.text, &r->arena));
}

static void put(struct request *r, const struct attempt *at, struct slice body)
{
    const struct policy *p = r->snap->policy;
    struct cache_use *u = &r->cache;
    int64_t now_ms = clock_wall_us() / 1000, ttl_ms = u->rules.ttl_ms;
    struct cache_fields f = {
        .exact = u->exact,
        .rest = u->rest,
        .scope = u->scope,
        .text = u->text,
        .body = body,
        .dialect = slice_str(dialect_name(attempt_dialect(r, at))),
        .api = slice_str(wire_api_name(r->api)),
        .model = slice_str(p->models[at->model].name),
        .route = slice_str(r->route->name),
        .class_label = r->class.is.label,
        .created_ms = now_ms,
        .usage = at->usage,
        .cost = at->cost,
        .source = CACHE_FROM_TRAFFIC,
    };

    if (timely_of(text_of(r)) != TIMELESS && u->rules.timely_ttl_ms < ttl_ms)
        ttl_ms = u->rules.timely_ttl_ms;
    f.expires_ms = now_ms + ttl_ms;
    for (size_t i = 0; i < r->route->cache.tag_count && i < CACHE_MAX_TAGS; i++)
        f.tags[f.tag_count++] = slice_str(r->route->cache.tags[i]);
    cache_put(r->snap->cache, cache_entry_new(&f), &u->rules);
    u->leading = false;
}

void cache_use_keep(struct request *r)
{
    struct cache_use *u = &r->cache;
    const struct attempt *at = r->hand >= 0 ? &r->attempts[r->hand] : NULL;
    enum answer_worth worth;
    struct buf body;

    if (!u->rules.store || !at || at->err != ERR_OK)
        return;
    buf_init(&body, RECORDING_MAX_BYTES);
    worth = recording_end(r, &body);
    if (worth == ANSWER_GOOD)
        put(r, at, buf_slice(&body));
    meters_kept(r->env->meters, worth);
    buf_clear(&body);
}

void cache_use_end(struct request *r)
{
    struct cache_use *u = &r->cache;

    stop_waiting(r);
    if (u->leading)
        cache_abandon(r->snap->cache, u->exact);
    u->leading = false;
    cache_entry_unref(u->entry);
    u->entry = NULL;
}
