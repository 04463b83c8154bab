/* The cache on a request's way. Owns nothing: entries are shared, questions are the cache's while
 * they are on their way. Called by router/request.c and attempt.c on the worker; the cache's
 * answers come through the worker's mailbox. */
#include "router/cache_use.h"

#include "backends/wire/ask_turn.h"
#include "base/clock.h"
#include "base/json_scan.h"
#include "cache/cache_hot.h"
#include "cache/timely.h"
#include "router/cache_allow.h"
#include "router/cache_audit.h"
#include "router/cache_replay.h"
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
        [CACHE_SAID_NOTHING] = "",          [CACHE_SAID_BYPASS] = "bypass",
        [CACHE_SAID_MISS] = "miss",         [CACHE_SAID_HIT] = "hit",
        [CACHE_SAID_SEMANTIC] = "semantic", [CACHE_SAID_COALESCED] = "coalesced",
    };

    return names[s];
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
    if (!e || !slice_eq(e->f.scope, u->scope) || !is_fresh(u, e, now_ms) ||
        !cache_replay(r, e, now_ms))
        return false;
    atomic_fetch_add_explicit(&e->hits, 1, memory_order_relaxed);
    u->said = CACHE_SAID_HIT;
    return true;
}

/* ---- asking ---- */

static void stop_waiting(struct request *r)
{
    if (r->cache.waiting)
        idtable_remove(&r->env->waiting, r->cache.waiting);
    r->cache.waiting = 0;
}

static void deliver(struct message *m, void *ctx);

static void discard(struct message *m)
{
    cache_ask_free(CONTAINER_OF(m, struct cache_ask, msg));
}

/* A first look for a repeat, where a vector would have to be computed; a last one with all that is
 * at hand, after which this request leads. */
static bool wants_vector(const struct request *r)
{
    return r->cache.rules.semantic && !r->cache.vector.computed;
}

static struct cache_ask *make_ask(struct request *r, bool first)
{
    struct cache_use *u = &r->cache;
    struct cache_question q = {.exact = u->exact,
                               .rest = u->rest,
                               .scope = u->scope,
                               .text = u->rules.semantic ? u->text : SLICE(""),
                               .asker = slice_str(r->tenant ? r->tenant->name : ""),
                               .rules = u->rules};
    bool by_meaning = u->rules.semantic && cache_vector_fits(r);
    struct cache_ask *a =
        cache_ask_new(&q, by_meaning ? u->vector.halves : NULL, by_meaning ? u->vector.dim : 0);

    memcpy(a->fingerprint, u->vector.fingerprint, sizeof a->fingerprint);
    a->msg.deliver = deliver;
    a->msg.discard = discard;
    a->reply_to = r->env->mailbox;
    a->owner = r->env;
    a->join = u->rules.store && first;
    a->lead = u->rules.store && !first && !u->leading;
    return a;
}

/* false: too many wait already. */
static bool look(struct request *r)
{
    struct cache_use *u = &r->cache;
    struct router_env *env = r->env;
    bool first = wants_vector(r);
    struct cache_ask *a;

    u->waiting = idtable_add(&env->waiting, r);
    if (!u->waiting)
        return false;
    u->stage = first ? CACHE_STAGE_EXACT : CACHE_STAGE_LAST;
    a = make_ask(r, first);
    a->id = u->waiting;
    env->owed++;
    env->cache = r->snap->cache;
    cache_lookup(r->snap->cache, a);
    r->wait_us = clock_mono_us() + LOOK_MAX_US;
    request_arm(r);
    return true;
}

struct flow_event cache_use_begin(struct request *r)
{
    struct cache_use *u = &r->cache;
    struct flow_event start = {.kind = FLOW_EV_START};

    if (!r->snap->cache || !r->route->cache.on || r->background)
        return start;
    u->said = CACHE_SAID_BYPASS;
    if (!cache_allow(r)) {
        u->rules.exact = u->rules.semantic = u->rules.store = false;
        return start;
    }
    if (!u->rules.exact)
        return start;
    u->said = CACHE_SAID_MISS;
    if (serve_hot(r))
        return (struct flow_event){.kind = FLOW_EV_HIT};
    if (look(r))
        return (struct flow_event){.kind = FLOW_EV_LOOKING};
    return start;
}

/* ---- what was found ---- */

static void miss(struct request *r)
{
    r->cache.stage = CACHE_STAGE_NONE;
    request_step(r, (struct flow_event){.kind = FLOW_EV_MISS});
}

static bool take_hit(struct request *r, struct cache_ask *a)
{
    struct cache_use *u = &r->cache;
    bool semantic = a->verdict == CACHE_HIT_SEMANTIC;
    int64_t now_ms;

    (void)cache_current(r->snap->cache, &now_ms);
    if (!a->entry || !cache_replay(r, a->entry, now_ms))
        return false;
    u->said = semantic ? CACHE_SAID_SEMANTIC : u->waited ? CACHE_SAID_COALESCED : CACHE_SAID_HIT;
    if (!semantic)
        cache_hot_put(hot_of(r), a->entry, now_ms);
    else if (a->why.audit)
        cache_audit_plan(r);
    return true;
}

static void take_answer(struct request *r, struct cache_ask *a)
{
    struct cache_use *u = &r->cache;

    stop_waiting(r);
    r->wait_us = -1;
    u->leading = u->leading || a->leading;
    u->why = a->why;
    if (take_hit(r, a)) {
        request_step(r, (struct flow_event){.kind = FLOW_EV_HIT});
        return;
    }
    u->neighbour = a->neighbour;
    a->neighbour = NULL;
    if (u->stage != CACHE_STAGE_EXACT) {
        miss(r);
        return;
    }
    u->stage = CACHE_STAGE_ENCODING;
    if (!cache_vector_ask(r))
        cache_use_encoded(r);
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

void cache_use_encoded(struct request *r)
{
    struct cache_use *u = &r->cache;
    bool useful = (u->rules.store && !u->leading) || cache_vector_fits(r);

    if (u->stage != CACHE_STAGE_ENCODING)
        return; /* too late to look with it; what is kept gets it */
    r->wait_us = -1;
    if (!useful || !look(r))
        miss(r);
}

void cache_use_late(struct request *r)
{
    if (r->cache.stage == CACHE_STAGE_ENCODING) {
        meters_encoder_shed(r->env->meters, "late");
        cache_use_encoded(r);
        return;
    }
    stop_waiting(r);
    miss(r);
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

static void name_vector(const struct request *r, struct cache_fields *f)
{
    const struct cache_vector *v = &r->cache.vector;

    if (!r->cache.rules.semantic || !cache_vector_fits(r))
        return;
    f->vector = v->halves;
    f->dim = v->dim;
    memcpy(f->fingerprint, v->fingerprint, sizeof f->fingerprint);
}

void cache_use_question(struct request *r, struct cache_fields *f)
{
    const struct cache_use *u = &r->cache;
    int64_t now_ms = clock_wall_us() / 1000, ttl_ms = u->rules.ttl_ms;

    *f = (struct cache_fields){
        .exact = u->exact,
        .rest = u->rest,
        .scope = u->scope,
        .text = u->text,
        .api = slice_str(wire_api_name(r->api)),
        .route = slice_str(r->route->name),
        .class_label = r->class.is.label,
        .owner = slice_str(r->tenant ? r->tenant->name : ""),
        .created_ms = now_ms,
        .source = CACHE_FROM_TRAFFIC,
    };
    if (timely_of(text_of(r)) != TIMELESS && u->rules.timely_ttl_ms < ttl_ms)
        ttl_ms = u->rules.timely_ttl_ms;
    f->expires_ms = now_ms + ttl_ms;
    for (size_t i = 0; i < r->route->cache.tag_count && i < CACHE_MAX_TAGS; i++)
        f->tags[f->tag_count++] = slice_str(r->route->cache.tags[i]);
    name_vector(r, f);
}

static void put(struct request *r, const struct attempt *at, struct slice body)
{
    struct cache_use *u = &r->cache;
    struct cache_entry *e;
    struct cache_fields f;

    cache_use_question(r, &f);
    f.body = body;
    f.dialect = slice_str(cache_replay_dialect_name(attempt_dialect(r, at)));
    f.model = slice_str(r->snap->policy->models[at->model].name);
    f.usage = at->usage;
    f.cost = at->cost;
    e = cache_entry_new(&f);
    if (u->neighbour)
        u->kept = cache_entry_ref(e);
    cache_put(r->snap->cache, e, &u->rules);
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
    encoder_ask_end(r, &r->cache.vector.ask);
    if (u->leading)
        cache_abandon(r->snap->cache, u->exact);
    u->leading = false;
    cache_audit_begin(r);
    cache_entry_unref(u->entry);
    cache_entry_unref(u->neighbour);
    cache_entry_unref(u->kept);
    u->entry = u->neighbour = u->kept = NULL;
}
