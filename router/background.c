/* Owns the copy of what is asked, the end of a reply that nobody reads, and the answer until it is
 * told. Called by those who want something asked (router/cache_audit.c), and by request.c and
 * account.c for the request that it becomes. */
#include "router/background.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "router/confidence.h"
#include "router/recording.h"
#include "router/request_int.h"

#define ARENA_FIRST_BYTES 4096
#define DEADLINE_MS       120000 /* where the route has none */
#define MAX_ATTEMPTS      2      /* this and the next: of a model without a route */
#define BACKOFF_MIN_MS    250
#define BACKOFF_MAX_MS    4000
#define BUDGET_PERCENT    10

struct background {
    struct reply reply; /* the request's end of it */
    struct message msg; /* to the own mailbox: it is over */
    struct router_env *env;
    struct snapshot *snap; /* owned reference */
    struct background_spec spec;
    struct arena arena;
    struct http1_head *head;
    struct policy_route route;
    struct policy_step step;
    struct request *request;
    struct background_answer answer;
    struct buf body;
    bool starting;
};

/* ---- the end ---- */

static void tell(struct message *m, void *ctx)
{
    struct background *b = CONTAINER_OF(m, struct background, msg);

    (void)ctx;
    b->env->owed--;
    b->answer.body = buf_slice(&b->body);
    b->spec.done(b->spec.ctx, &b->answer);
    background_free(b);
}

/* An answer that is no use as such is none: cut off, refused, empty. */
static void finish(struct reply *reply, enum err err)
{
    struct background *b = CONTAINER_OF(reply, struct background, reply);

    b->request = NULL;
    b->answer.err = err == ERR_OK && buf_len(&b->body) == 0 ? ERR_UPSTREAM_PROTOCOL : err;
    b->answer.model = reply->summary.model;
    b->answer.usage = reply->summary.usage;
    b->answer.cost = reply->summary.cost;
    if (b->starting)
        return;
    b->env->owed++;
    mailbox_post(b->env->mailbox, &b->msg);
}

static void on_whole(struct reply *r, const struct reply_head *head, const struct slice *pieces,
                     size_t piece_count)
{
    (void)head, (void)pieces, (void)piece_count;
    finish(r, r->summary.err);
}

static void on_begin(struct reply *r, const struct reply_head *head)
{
    (void)r, (void)head;
}

static bool on_write(struct reply *r, struct slice bytes)
{
    (void)r, (void)bytes;
    return true;
}

static void on_end(struct reply *r)
{
    finish(r, r->summary.err);
}

static void on_abort(struct reply *r, const char *reason)
{
    (void)reason;
    finish(r, r->summary.err);
}

static void on_error(struct reply *r, enum err e, const char *message, const char *param,
                     int64_t retry_after_ms, const struct reply_head *head)
{
    (void)message, (void)param, (void)retry_after_ms, (void)head;
    finish(r, e);
}

static const struct reply_ops ops = {on_whole, on_begin, on_write, on_end, on_abort, on_error};

/* ---- the request ---- */

/* One model as a route of its own. */
static struct policy_route route_to(struct background *b, size_t model)
{
    b->step = (struct policy_step){.model = model};
    return (struct policy_route){
        .name = b->spec.purpose,
        .steps = &b->step,
        .step_count = 1,
        .cascade_count = 1,
        .retry = {.max_attempts = MAX_ATTEMPTS,
                  .per_model = MAX_ATTEMPTS,
                  .backoff_base_ms = BACKOFF_MIN_MS,
                  .backoff_max_ms = BACKOFF_MAX_MS,
                  .max_retry_after_ms = BACKOFF_MAX_MS,
                  .budget_percent = BUDGET_PERCENT},
        .deadline_ms = DEADLINE_MS,
    };
}

static void copy_head(struct background *b)
{
    const struct background_spec *s = &b->spec;
    size_t bytes = offsetof(struct http1_head, headers) + s->header_count * sizeof *s->headers;

    b->head = arena_zalloc(&b->arena, bytes);
    for (size_t i = 0; i < s->header_count; i++)
        b->head->headers[b->head->header_count++] = (struct http1_header){
            arena_dup(&b->arena, s->headers[i].name), arena_dup(&b->arena, s->headers[i].value)};
}

struct background *background_new(struct router_env *env, const struct background_spec *spec)
{
    struct background *b;

    if (env->background_closed || env->background_count >= BACKGROUND_AT_ONCE)
        return NULL;
    env->background_count++;
    b = mem_zalloc(1, sizeof *b);
    b->reply.ops = &ops;
    b->env = env;
    b->spec = *spec;
    b->snap = snapshot_ref(spec->snapshot);
    arena_init(&b->arena, ARENA_FIRST_BYTES);
    b->spec.cause = arena_strdup(&b->arena, slice_str(spec->cause));
    b->spec.body = arena_dup(&b->arena, spec->body);
    b->spec.query = arena_dup(&b->arena, spec->query);
    copy_head(b);
    b->route = spec->route ? *spec->route : route_to(b, spec->model);
    if (b->route.deadline_ms == POLICY_NONE)
        b->route.deadline_ms = DEADLINE_MS;
    buf_init(&b->body, RECORDING_MAX_BYTES);
    return b;
}

/* The mailbox is closed: nobody is there to be told. */
static void drop(struct message *m)
{
    background_free(CONTAINER_OF(m, struct background, msg));
}

bool background_start(struct background *b)
{
    struct request_spec spec = {.api = b->spec.api,
                                .id = b->spec.cause,
                                .snapshot = b->snap,
                                .tenant = b->spec.tenant,
                                .head = b->head,
                                .body = b->spec.body,
                                .query = b->spec.query,
                                .received_us = clock_mono_us(),
                                .background = b};

    b->msg = (struct message){.deliver = tell, .discard = drop};
    b->starting = true;
    b->request = request_start(b->env, &spec, &b->reply);
    b->starting = false;
    if (b->request)
        return true;
    background_free(b);
    return false;
}

void background_free(struct background *b)
{
    if (!b)
        return;
    b->env->background_count--;
    buf_clear(&b->body);
    arena_clear(&b->arena);
    snapshot_unref(b->snap);
    free(b);
}

void background_stop(struct router_env *env)
{
    env->background_closed = true;
    request_abort_background(env, ERR_DRAINING);
}

/* ---- for the request ---- */

const struct policy_route *background_route(const struct background *b)
{
    return &b->route;
}

const char *background_purpose(const struct background *b)
{
    return b->spec.purpose;
}

struct spend *background_cap(const struct background *b)
{
    return b->spec.cap;
}

void background_take(struct request *r)
{
    struct background *b = r->background;

    const struct attempt *at = &r->attempts[r->hand];

    b->answer.api = r->api;
    b->answer.dialect = attempt_dialect(r, at);
    b->answer.duration_us = at->duration_us;
    b->answer.verdict_milli = at->verdict_milli;
    if (at->features) {
        float *copy = ARENA_ARRAY(&b->arena, float, CONFIDENCE_FEATURES);

        b->answer.features = memcpy(copy, at->features, CONFIDENCE_FEATURES * sizeof *copy);
        b->answer.score = at->score;
        b->answer.scorer = at->scorer;
    }
    if (recording_end(r, &b->body) != ANSWER_GOOD)
        buf_reset(&b->body);
}
