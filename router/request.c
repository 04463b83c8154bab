/* The driver of a request: performs what flow_next decides. Owns the request records of a worker
 * (they are reused, never freed before the worker ends, so that a late callback finds memory that
 * is still a request record). Everything here runs on the worker.
 *
 * Callers: gateway/api_client (start, client_gone, writable), attempt.c (request_step), the timer
 * below. */
#include "router/request_int.h"

#include <assert.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/line.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/cache_hot.h"
#include "router/background.h"
#include "router/cascade_audit.h"
#include "router/classify.h"
#include "router/headers.h"
#include "router/hold.h"
#include "router/ledger.h"
#include "router/meters.h"
#include "router/needs.h"
#include "router/prefix_memory.h"
#include "router/recording.h"
#include "router/respond.h"
#include "router/server_use.h"
#include "router/tenant_limit.h"

#define ARENA_FIRST_BYTES   4096
#define OUT_MAX_BYTES       (32 * 1024 * 1024)
#define KEEP_RECORDS        1024
#define MAX_TAGS            16
#define BUSY_RETRY_AFTER_MS 1000

/* policies cannot include backends: the two enums agree by this. */
_Static_assert((int)POLICY_API_CHAT == (int)WIRE_CHAT &&
                   (int)POLICY_API_COMPLETIONS == (int)WIRE_COMPLETIONS &&
                   (int)POLICY_API_EMBEDDINGS == (int)WIRE_EMBEDDINGS &&
                   (int)POLICY_API_MESSAGES == (int)WIRE_MESSAGES &&
                   (int)POLICY_API_RESPONSES == (int)WIRE_RESPONSES,
               "policy_api and wire_api");
_Static_assert(POLICY_MAX_STEPS <= FLOW_MAX_STEPS, "every step of a route fits into a flow");

/* ---- records ---- */

void router_env_init(struct router_env *env, struct event_base *base, struct upstream *up,
                     struct ledger *ledger, struct stats *stats)
{
    *env = (struct router_env){.base = base, .upstream = up, .ledger = ledger, .stats = stats};
    rng_seed_os(&env->rng);
    retry_budget_init(&env->budget);
    env->meters = meters_new(stats);
    validate_runner_init(&env->validators, base, up);
    list_init(&env->in_flight);
    list_init(&env->idle);
    idtable_init(&env->waiting, UINT32_MAX / 2);
}

void router_env_clear(struct router_env *env)
{
    assert(list_empty(&env->in_flight));
    LIST_FOREACH_SAFE (it, &env->idle)
        free(CONTAINER_OF(it, struct request, link));
    idtable_clear(&env->waiting);
    validate_runner_clear(&env->validators);
    cache_hot_free(env->hot);
    prefix_memory_free(env->prefixes);
    meters_free(env->meters);
}

static struct request *record_take(struct router_env *env)
{
    struct request *r;

    if (list_empty(&env->idle)) {
        r = mem_zalloc(1, sizeof *r);
    } else {
        r = CONTAINER_OF(env->idle.next, struct request, link);
        list_remove(&r->link);
        env->idle_count--;
        memset(r, 0, sizeof *r);
    }
    r->env = env;
    arena_init(&r->arena, ARENA_FIRST_BYTES);
    r->armed_us = r->deadline_us = r->wait_us = r->keepalive_us = -1;
    r->ttft_us = -1;
    r->hand = -1;
    r->class.took_us = -1;
    list_push_back(&env->in_flight, &r->link);
    meters_in_flight(env->meters, (int64_t)++env->in_flight_count);
    return r;
}

/* The record may still be on the stack of one of its own callbacks: its memory stays, only what it
 * owns goes. */
void request_release(struct request *r)
{
    struct router_env *env = r->env;

    server_use_end(r);
    encoder_ask_end(r, &r->class.ask);
    cache_use_end(r);
    recording_forget(r);
    cascade_audit_begin(r);
    cascade_end(r);
    if (r->timer_made)
        event_del(&r->timer);
    answer_clear(&r->answer);
    buf_clear(&r->body);
    buf_clear(&r->out);
    arena_clear(&r->arena);
    snapshot_unref(r->snap);
    r->snap = NULL;
    r->reply = NULL;
    list_remove(&r->link);
    list_push_back(&env->idle, &r->link);
    env->idle_count++;
    meters_in_flight(env->meters, (int64_t)--env->in_flight_count);
    /* The oldest idle record has been idle longest: no callback of its can be running. */
    if (env->idle_count > KEEP_RECORDS) {
        struct request *old = CONTAINER_OF(env->idle.next, struct request, link);

        list_remove(&old->link);
        env->idle_count--;
        free(old);
    }
}

/* ---- moving ---- */

static void set_wait(struct request *r, const struct flow_action *a)
{
    const struct policy_retry *retry = &r->route->retry;
    int64_t ms =
        retry_backoff_ms(retry->backoff_base_ms, retry->backoff_max_ms, a->retry, &r->env->rng);

    r->wait_us = clock_mono_us() + 1000 * (ms > a->floor_ms ? ms : a->floor_ms);
    request_arm(r);
}

static bool budget_allows(struct request *r)
{
    const struct policy_retry *retry = &r->route->retry;
    bool ok = retry_budget_take(&r->env->budget, retry->budget_percent,
                                retry->budget_min_per_second, clock_mono_us());

    if (!ok)
        meters_budget_exhausted(r->env->meters);
    return ok;
}

static void note_retry(struct request *r)
{
    if (r->flow.attempts > 1 && r->attempts[r->attempt_count - 2].err != ERR_OK)
        meters_retry(r->env->meters, r->snap, r->attempt->model,
                     r->attempts[r->attempt_count - 2].err);
    else if (r->flow.attempts == 1)
        retry_budget_request(&r->env->budget, clock_mono_us());
}

static void give_up(struct request *r, const struct flow_action *a)
{
    bool explained = a->err == r->why_err;

    respond_failure(r, a->err, explained && r->why.s[0] ? r->why.s : NULL,
                    explained ? r->why_param : NULL,
                    a->err == ERR_UPSTREAM_BUSY   ? BUSY_RETRY_AFTER_MS
                    : a->err == ERR_TENANT_BUDGET ? r->retry_after_ms
                                                  : a->retry_after_ms);
}

/* Starts the attempt, or says in *ev why there is none. */
static bool place_call(struct request *r, const struct flow_action *a, struct flow_event *ev)
{
    const struct policy *p = r->snap->policy;
    const struct policy_model *m = &p->models[r->route->steps[r->steps[a->step]].model];
    enum err err;

    if (!server_use_take(r, &p->backends[m->backend])) {
        *ev = (struct flow_event){.kind = FLOW_EV_STARTING};
        return false;
    }
    err = attempt_start(r, a->step, a->exclude_mask);
    if (err == ERR_OK) {
        note_retry(r);
        hold_watch(r);
        return true;
    }
    server_use_end(r);
    if (err != ERR_UPSTREAM_BUSY)
        r->why_err = err;
    *ev =
        (struct flow_event){.kind = err == ERR_UPSTREAM_BUSY ? FLOW_EV_NO_ENDPOINT : FLOW_EV_FAILED,
                            .err = err,
                            .retry_after_ms = -1};
    return false;
}

static struct flow_event take_route(struct request *r);

static void keep_answer(struct request *r)
{
    bool refuted = r->hand >= 0 && r->attempts[r->hand].refuted;

    if (r->background)
        background_take(r);
    else if (!refuted)
        cache_use_keep(r);
}

/* Carries an action out. true: *ev holds the event that followed at once. */
static bool perform(struct request *r, const struct flow_action *a, struct flow_event *ev)
{
    switch (a->kind) {
    case FLOW_ROUTE:
        *ev = take_route(r);
        return true;
    case FLOW_CALL:
    case FLOW_BACKOFF:
        if (a->takes_budget && !budget_allows(r)) {
            *ev = (struct flow_event){.kind = FLOW_EV_BUDGET_REFUSED};
            return true;
        }
        if (a->kind == FLOW_CALL)
            return !place_call(r, a, ev);
        set_wait(r, a);
        return false;
    case FLOW_JUDGE:
        return cascade_judge(r, ev);
    case FLOW_CHOOSE:
        *ev = cascade_choose(r);
        return true;
    case FLOW_COMMIT:
        respond_begin(r);
        return false;
    case FLOW_RECALL:
        cascade_recall(r);
        keep_answer(r);
        respond_answer(r);
        return false;
    case FLOW_REPLY:
        keep_answer(r);
        respond_answer(r);
        return false;
    case FLOW_REPLAY:
        respond_answer(r);
        return false;
    case FLOW_END:
        cascade_whole(r);
        keep_answer(r);
        respond_end(r);
        return false;
    case FLOW_CUT:
        if (answer_is_open(&r->answer) &&
            answer_complete(&r->answer)) { /* only its end had not come */
            attempt_end(r, ERR_OK, NULL);
            respond_end(r);
            return false;
        }
        attempt_end(r, a->err, NULL);
        respond_cut(r, a->err);
        return false;
    case FLOW_FAIL:
        attempt_end(r, a->err, NULL);
        give_up(r, a);
        return false;
    case FLOW_DROP:
        /* Whoever has [DONE] has the whole answer: SDKs close then, not at the framing's end. */
        r->outcome = r->done_written && !r->paused ? ERR_OK : ERR_CLIENT_GONE;
        attempt_end(r, r->outcome, NULL);
        if (r->outcome == ERR_OK)
            cache_use_keep(r);
        r->status = err_http_status(r->outcome);
        return false;
    case FLOW_WAIT:
        return false;
    }
    return false;
}

void request_step(struct request *r, struct flow_event ev)
{
    struct flow_action a;

    do {
        enum flow_state before = r->flow.state;

        a = flow_next(&r->flow, &ev);
        if (r->flow.state != before) {
            r->state_since_us = clock_mono_us();
            cascade_stop_sampling(r);
        }
        if (log_enabled(LOG_DEBUG))
            log_line(LOG_DEBUG, "request", "step", "id=%s from=%s event=%d to=%s action=%d", r->id,
                     flow_state_name(before), (int)ev.kind, flow_state_name(r->flow.state),
                     (int)a.kind);
    } while (perform(r, &a, &ev));
}

/* ---- time ---- */

static int64_t earliest(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

/* The wait is over: for the encoder, for the cache, of a back-off, or of a stream that was complete
 * but did not say so. */
static void wait_over(struct request *r)
{
    r->wait_us = -1;
    if (r->flow.state == FLOW_AWAIT_EMBEDDING) {
        meters_encoder_shed(r->env->meters, "late");
        classify_static(r);
        request_step(r, (struct flow_event){.kind = FLOW_EV_ENCODED});
    } else if (r->flow.state == FLOW_AWAIT_CACHE) {
        cache_use_late(r);
    } else if (r->flow.state == FLOW_AWAIT_BACKOFF) {
        request_step(r, (struct flow_event){.kind = FLOW_EV_WAIT_OVER});
    } else if (r->attempt && answer_is_open(&r->answer) && answer_complete(&r->answer)) {
        attempt_end(r, ERR_OK, NULL);
        request_step(r, (struct flow_event){.kind = FLOW_EV_ANSWER});
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct request *r = arg;
    int64_t now_us = clock_mono_us();

    (void)fd, (void)what;
    r->armed_us = -1;
    if (r->deadline_us >= 0 && now_us >= r->deadline_us) {
        r->deadline_us = -1;
        request_step(r,
                     (struct flow_event){.kind = FLOW_EV_STOP, .err = ERR_UPSTREAM_TOTAL_TIMEOUT});
        return;
    }
    if (r->keepalive_us >= 0 && now_us >= r->keepalive_us)
        respond_keepalive(r, now_us);
    if (r->wait_us >= 0 && now_us >= r->wait_us) {
        wait_over(r);
        if (r->reply == NULL)
            return; /* finished */
    }
    request_arm(r);
}

void request_arm(struct request *r)
{
    int64_t due = earliest(earliest(r->deadline_us, r->wait_us), r->keepalive_us);
    int64_t now_us, left_us;
    struct timeval tv;

    if (due < 0 || (r->armed_us >= 0 && r->armed_us <= due))
        return; /* an earlier alarm is set already: it will look again */
    now_us = clock_mono_us();
    left_us = due > now_us ? due - now_us : 0;
    tv = (struct timeval){left_us / 1000000, left_us % 1000000};
    if (!r->timer_made) {
        evtimer_assign(&r->timer, r->env->base, on_timer, r);
        r->timer_made = true;
    }
    evtimer_add(&r->timer, &tv);
    r->armed_us = due;
}

/* ---- starting ---- */

static size_t parse_tags(const struct http1_head *head, struct slice *tags)
{
    const struct http1_header *h = http1_find(head, SLICE("x-weir-tags"));
    struct slice rest = h ? h->value : (struct slice){NULL, 0};
    size_t n = 0;

    while (rest.n && n < MAX_TAGS) {
        const char *comma = memchr(rest.p, ',', rest.n);
        size_t len = comma ? (size_t)(comma - rest.p) : rest.n;
        struct slice tag = slice_trim(slice_make(rest.p, len));

        if (tag.n)
            tags[n++] = tag;
        rest = slice_from(rest, comma ? len + 1 : len);
    }
    return n;
}

/* What the routes are matched on, with the arrays that it points into. */
struct route_query {
    struct slice tags[MAX_TAGS];
    struct policy_query_header headers[HTTP1_MAX_HEADERS];
    struct policy_query q;
};

static void fill_query(const struct request *r, struct route_query *out)
{
    const struct http1_head *head = r->head;

    out->q = (struct policy_query){
        .model = r->ask.model_name,
        .api = r->api,
        .tenant = r->tenant,
        .tags = out->tags,
        .tag_count = parse_tags(head, out->tags),
        .headers = out->headers,
        .header_count = head->header_count,
        .prompt_tokens = r->ask.prompt_tokens,
        .class_name = r->class.is.label,
        .class_confidence = (double)r->class.is.confidence,
    };
    for (size_t i = 0; i < head->header_count; i++)
        out->headers[i] =
            (struct policy_query_header){head->headers[i].name, head->headers[i].value};
}

static enum err choose_route(struct request *r)
{
    struct route_query rq;
    bool known;

    fill_query(r, &rq);
    r->route = policy_match(r->snap->policy, &rq.q, &known);
    if (r->route)
        return ERR_OK;
    r->why_param = "model";
    if (known)
        err_say(&r->why,
                "No route of this gateway's policy takes model '%.*s' with this request (%s).",
                SLICE_ARG(r->ask.model_name), wire_api_name(r->api));
    else
        err_say(&r->why, "The model '%.*s' does not exist or you do not have access to it.",
                SLICE_ARG(r->ask.model_name));
    return ERR_MODEL_NOT_FOUND;
}

/* The steps of the route whose models can serve this request at all. */
static enum err choose_steps(struct request *r)
{
    const struct policy *p = r->snap->policy;
    unsigned needs = needs_of(&r->ask);
    char missing[160];

    r->step_count = needs_filter(p, r->route, needs, r->steps, FLOW_MAX_STEPS);
    if (r->step_count > 0 && r->cheapest_only) {
        r->steps[0] = tenant_limit_cheapest(p, r->route, r->steps, r->step_count, r->api,
                                            r->ask.prompt_tokens, r->received_wall_us);
        r->step_count = 1;
    }
    if (r->step_count > 0)
        return ERR_OK;
    err_say(&r->why, "No model of route '%s' supports %s.", r->route->name,
            needs_missing(p, r->route, needs, missing, sizeof missing));
    return ERR_BAD_REQUEST;
}

static int64_t largest_answer(const struct request *r)
{
    const struct policy *p = r->snap->policy;
    int64_t max = 0;

    for (size_t i = 0; i < r->route->step_count; i++) {
        int64_t b = p->backends[p->models[r->route->steps[i].model].backend].max_response_bytes;

        if (b > max)
            max = b;
    }
    return max;
}

static void prepare_route(struct request *r)
{
    const struct policy *p = r->snap->policy;
    struct flow_limits limits = {
        .steps = r->step_count,
        .max_attempts = (int)r->route->retry.max_attempts,
        .per_model = (int)r->route->retry.per_model,
        .max_retry_after_ms = r->route->retry.max_retry_after_ms,
    };
    size_t spare = 0;

    for (int i = 0; i < limits.steps; i++) {
        const struct policy_step *step = &r->route->steps[r->steps[i]];
        const struct snapshot_backend *sb = &r->snap->backends[p->models[step->model].backend];

        limits.endpoints[i] = sb->count;
        if (sb->header_count > spare)
            spare = sb->header_count;
    }
    cascade_begin(r, &limits);
    flow_plan(&r->flow, &limits);
    /* Each attempt may leave a second row: a copy that was lost with a stale connection. Each
     * judged answer allows one more, and one of them may be asked again. */
    r->attempts = ARENA_ARRAY(&r->arena, struct attempt,
                              2 * (limits.max_attempts + (limits.judged ? limits.judged + 1 : 0)));
    r->forward_count =
        headers_to_upstream(r->head, &r->arena, spare + ROOM_FOR_OWN_REQUEST_HEADERS, &r->forward);
    buf_init(&r->body, (size_t)largest_answer(r));
    buf_init(&r->out, OUT_MAX_BYTES);
    r->calls[0].owner = r->calls[1].owner = r;
    if (r->route->deadline_ms != POLICY_NONE) {
        r->deadline_us = r->received_us + r->route->deadline_ms * 1000;
        request_arm(r);
    }
}

static struct flow_event no_route(struct request *r, enum err err)
{
    r->why_err = err;
    return (struct flow_event){.kind = FLOW_EV_FAILED, .err = err, .retry_after_ms = -1};
}

/* Money that is spent already goes to nothing new: a request of weir's own is refused in any case.
 */
static enum err check_budget(struct request *r)
{
    const struct policy_tenant *t = r->tenant;
    struct tenant_limit over;
    char usd[32];

    if (!t || !tenant_limit_reached(t, r->snap->spends.tenants[t - r->snap->policy->tenants],
                                    r->received_wall_us, &over))
        return ERR_OK;
    r->cheapest_only = t->budget.at_limit == POLICY_LIMIT_CHEAPEST && !r->background;
    meters_tenant_limited(r->env->meters, t->name, r->cheapest_only ? "cheapest" : "refused");
    if (r->cheapest_only)
        return ERR_OK;
    r->retry_after_ms = over.left_us / 1000 + 1;
    err_say(&r->why, "The budget of '%s', $%s a %s, is spent; the next %s (UTC) begins in %lld s.",
            t->name, money_format_usd(over.limit, usd, sizeof usd),
            tenant_limit_period_name(over.period), tenant_limit_period_name(over.period),
            (long long)(over.left_us / 1000000));
    return ERR_TENANT_BUDGET;
}

/* All that the route hangs on is known. */
static struct flow_event take_route(struct request *r)
{
    enum err err = ERR_OK;

    if (r->background)
        r->route = background_route(r->background);
    else
        err = choose_route(r);
    if (err == ERR_OK)
        err = choose_steps(r);
    if (err != ERR_OK)
        return no_route(r, err);
    prepare_route(r);
    return cache_use_begin(r);
}

/* The route, or the wait for what it hangs on. */
static struct flow_event begin(struct request *r)
{
    struct route_query rq;

    if (r->snap->classifier && !r->background) {
        fill_query(r, &rq);
        if (policy_needs_class(r->snap->policy, &rq.q) && !classify_start(r))
            return (struct flow_event){.kind = FLOW_EV_ENCODING};
    }
    return take_route(r);
}

struct request *request_start(struct router_env *env, const struct request_spec *spec,
                              struct reply *reply)
{
    struct request *r = record_take(env);
    enum err err;

    line_copy(r->id, sizeof r->id, slice_str(spec->id));
    r->reply = reply;
    r->snap = snapshot_ref(spec->snapshot);
    r->tenant = spec->tenant;
    r->api = spec->api;
    r->head = spec->head;
    r->query = spec->query;
    r->background = spec->background;
    r->received_us = r->state_since_us = spec->received_us;
    r->received_wall_us = clock_wall_us();
    flow_init(&r->flow, NULL);
    err = ask_scan(spec->api, spec->body, &r->arena, &r->ask, &r->why_param, &r->why);
    if (err == ERR_OK)
        err = check_budget(r);
    request_step(r, err == ERR_OK ? begin(r) : no_route(r, err));
    return r->reply ? r : NULL; /* NULL: answered at once: refused, or every endpoint was busy */
}

/* ---- from the gateway ---- */

void request_client_gone(struct request *r)
{
    struct reply *reply = r->reply;

    r->reply = NULL;
    request_step(r, (struct flow_event){.kind = FLOW_EV_GONE});
    account_request(r, reply);
    request_release(r);
}

void request_writable(struct request *r)
{
    if (!r->paused)
        return;
    r->paused = false;
    if (r->attempt)
        upstream_resume(r->call);
    attempt_watch_end(r);
}

void request_abort_all(struct router_env *env, enum err e)
{
    while (!list_empty(&env->in_flight)) {
        struct request *r = CONTAINER_OF(env->in_flight.next, struct request, link);

        request_step(r, (struct flow_event){.kind = FLOW_EV_STOP, .err = e});
    }
}

void request_abort_background(struct router_env *env, enum err e)
{
    LIST_FOREACH_SAFE (it, &env->in_flight) {
        struct request *r = CONTAINER_OF(it, struct request, link);

        if (r->background)
            request_step(r, (struct flow_event){.kind = FLOW_EV_STOP, .err = e});
    }
}

void request_describe(const struct request *r, struct request_info *out)
{
    int64_t now_us = clock_mono_us();
    const struct attempt *at = r->attempt;

    *out = (struct request_info){
        .id = r->id,
        .state = flow_state_name(r->flow.state),
        .api = wire_api_name(r->api),
        .model = r->ask.model_name,
        .tenant = r->tenant ? r->tenant->name : "",
        .route = r->route ? r->route->name : "",
        .serving_model = at ? r->snap->policy->models[at->model].name : "",
        .endpoint = at ? attempt_backend(r, at)->endpoints[at->endpoint].label : "",
        .age_us = now_us - r->received_us,
        .state_age_us = now_us - r->state_since_us,
        .attempts = r->attempt_count,
        .stream = r->ask.stream,
        .bytes_out = r->bytes_out,
    };
}

void request_each(struct router_env *env, void (*fn)(const struct request *r, void *ctx), void *ctx)
{
    LIST_FOREACH (it, &env->in_flight)
        fn(CONTAINER_OF(it, struct request, link), ctx);
}
