/* One upstream exchange of a request: start it, read its answer, say how it ended, price it. Runs
 * on the worker; upstream callbacks come in here and leave as flow events through request_step. */
#include "router/request_int.h"

#include "base/clock.h"
#include "router/affinity.h"
#include "router/embed_call.h"
#include "router/headers.h"
#include "router/hold.h"
#include "router/meters.h"
#include "router/rate_limits.h"
#include "router/recording.h"
#include "router/respond.h"
#include "router/server_use.h"

/* An error answer larger than this is of no use to anyone; the rest is not read. */
#define MAX_ERROR_BODY_BYTES (1024 * 1024)
/* How long a stream whose choices have all finished may go on without saying so ([DONE], end of
 * body). */
#define GRACE_EXHAUSTED_US (500 * 1000)
#define GRACE_NO_USAGE_US  (2 * 1000 * 1000)
#define RESTART_MS         300
#define MAX_EVENT_BYTES    (8 * 1024 * 1024)
/* The first version without sampling parameters. */
#define ANTHROPIC_NO_SAMPLING "2026-10-21"

const struct policy_backend *attempt_backend(const struct request *r, const struct attempt *at)
{
    const struct policy *p = r->snap->policy;

    return &p->backends[p->models[at->model].backend];
}

static const struct snapshot_backend *snapshot_backend(const struct request *r,
                                                       const struct attempt *at)
{
    return &r->snap->backends[r->snap->policy->models[at->model].backend];
}

enum wire_dialect attempt_dialect(const struct request *r, const struct attempt *at)
{
    return snapshot_backend(r, at)->dialect;
}

/* ---- starting ---- */

static void forget_answer(struct request *r)
{
    answer_clear(&r->answer);
    cascade_forget_answer(r);
    recording_forget(r);
    r->whole = (struct answer_whole){.has_usage = false};
    r->pass = NULL;
    r->pass_count = 0;
    r->retry_after_ms = -1;
    r->no_retry = false;
    r->done_written = false;
    buf_reset(&r->body);
    buf_reset(&r->out);
}

static bool is_overridden(const struct snapshot_backend *sb, struct slice name)
{
    for (size_t i = 0; i < sb->header_count; i++)
        if (slice_ieq(sb->headers[i].name, name))
            return true;
    return false;
}

/* Does the client's header go to this server? What the operator wrote for the backend (a key, say)
 * stands in its place: a server that is given both may believe either. Anthropic's versions and
 * betas mean nothing to others. */
static bool goes_to(const struct snapshot_backend *sb, struct slice name)
{
    return !is_overridden(sb, name) &&
           !(sb->dialect != WIRE_ANTHROPIC && slice_istarts(name, SLICE("anthropic-")));
}

static bool has_version(const struct http1_header *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_ieq(h[i].name, SLICE("anthropic-version")))
            return true;
    return false;
}

/* The client's headers and the backend's own. The client's were filtered once; each attempt
 * overwrites what follows them. */
static struct http1_header *join_headers(struct request *r, const struct policy_backend *b,
                                         const struct snapshot_backend *sb, size_t *count)
{
    struct http1_header *h = r->forward;
    size_t n = 0;

    while (n < r->forward_count && goes_to(sb, h[n].name))
        n++;
    if (n < r->forward_count) {
        h = ARENA_ARRAY(&r->arena, struct http1_header,
                        r->forward_count + sb->header_count + ROOM_FOR_OWN_REQUEST_HEADERS);
        memcpy(h, r->forward, n * sizeof *h);
        for (size_t i = n; i < r->forward_count; i++)
            if (goes_to(sb, r->forward[i].name))
                h[n++] = r->forward[i];
    }
    h[n++] = (struct http1_header){SLICE("Content-Type"), SLICE("application/json")};
    for (size_t i = 0; i < sb->header_count; i++)
        h[n++] = sb->headers[i];
    if (sb->dialect == WIRE_ANTHROPIC && !has_version(h, n))
        h[n++] = (struct http1_header){
            SLICE("anthropic-version"),
            slice_str(b->anthropic_version ? b->anthropic_version : SNAPSHOT_ANTHROPIC_VERSION)};
    *count = n;
    return h;
}

/* Azure names the model in the path: {url}/openai/deployments/{deployment}/chat/completions. What a
 * client of Anthropic's API writes behind its path ("?beta=true", as SDKs before 1.0 do) is that
 * API's. */
static struct slice path_of(struct request *r, const struct policy_model *m,
                            const struct policy_backend *b, const struct snapshot_backend *sb,
                            int endpoint, enum wire_api api)
{
    struct slice path = sb->paths[(size_t)endpoint * WIRE_APIS + api];

    if (sb->dialect == WIRE_ANTHROPIC && r->api == WIRE_MESSAGES && r->query.n)
        return slice_str(
            arena_printf(&r->arena, "%.*s?%.*s", SLICE_ARG(path), SLICE_ARG(r->query)));
    if (!b->api_version)
        return path;
    return slice_str(arena_printf(&r->arena, "%s/openai/deployments/%s%s?api-version=%s",
                                  b->endpoints[endpoint].path, m->upstream_name, wire_api_path(api),
                                  b->api_version));
}

void attempt_fill(struct request *r, const struct policy_model *m, int endpoint, enum wire_api api,
                  const struct slice *pieces, size_t count, struct upstream_request *out)
{
    const struct policy_backend *b = &r->snap->policy->backends[m->backend];
    const struct snapshot_backend *sb = &r->snap->backends[m->backend];
    size_t header_count;
    const struct http1_header *headers = join_headers(r, b, sb, &header_count);

    *out = (struct upstream_request){
        .target = &sb->targets[endpoint],
        .method = SLICE("POST"),
        .path = path_of(r, m, b, sb, endpoint, api),
        .headers = headers,
        .header_count = header_count,
        .body = pieces,
        .body_count = count,
        .timeouts = {b->timeouts.connect_ms, b->timeouts.first_byte_ms,
                     b->timeouts.between_bytes_ms, b->timeouts.total_ms},
        .max_response_bytes = b->max_response_bytes,
    };
}

/* Streams are asked for usage unless that is an error there. */
static bool asks_usage(const struct policy_backend *b, const struct snapshot_backend *sb)
{
    return b->stream_options && sb->dialect == WIRE_OPENAI &&
           !(sb->quirks->lacks & LACKS_STREAM_USAGE);
}

/* Whether a model's server understands the question shows only when it is asked: "logprobs are not
 * supported with reasoning models" (OpenAI, 400). Once is enough for all. */
static _Atomic bool *refuses_logprobs(const struct request *r, size_t model)
{
    return &r->snap->refuses_logprobs[model];
}

bool attempt_wants_logprobs(const struct request *r, const struct policy_model *m)
{
    const struct policy_decide *d = &r->route->decide;

    return d->mode != POLICY_DECIDE_ORDER && d->confidence.logprobs &&
           (m->capabilities & CAP_LOGPROBS) && !r->flow.without_logprobs &&
           !atomic_load_explicit(refuses_logprobs(r, (size_t)(m - r->snap->policy->models)),
                                 memory_order_relaxed);
}

struct ask_target attempt_target(const struct request *r, const struct policy_model *m)
{
    const struct policy_backend *b = &r->snap->policy->backends[m->backend];
    const struct snapshot_backend *sb = &r->snap->backends[m->backend];

    return (struct ask_target){
        .dialect = sb->dialect,
        .quirks = sb->quirks,
        .quirks_apply = b->server && sb->dialect == WIRE_OPENAI,
        .model = slice_str(m->upstream_name),
        .max_output_tokens = m->max_output_tokens,
        .adaptive_thinking = m->thinking == THINKING_ADAPTIVE,
        .no_sampling =
            b->anthropic_version && strcmp(b->anthropic_version, ANTHROPIC_NO_SAMPLING) >= 0,
        .ask_logprobs = attempt_wants_logprobs(r, m),
        .ask_usage = asks_usage(b, sb),
        .other_model = r->flow.without_thinking,
    };
}

static enum err write_body(struct request *r, const struct policy_model *m, enum wire_api *api,
                           struct ask_body *body)
{
    struct ask_target to = attempt_target(r, m);

    if (wire_upstream_api(r->api, to.dialect, api))
        return ask_write(&r->ask, &to, &r->arena, body, &r->why_param, &r->why);
    err_say(&r->why, "Model '%s' has no %s API.", m->name, wire_api_name(r->api));
    return ERR_UNTRANSLATABLE;
}

static int acquire_any(struct request *r, const struct policy_model *m,
                       const struct policy_backend *b, const struct snapshot_backend *sb,
                       uint64_t exclude_mask, int64_t now_us)
{
    if (!sb->hashes || sb->count == 1)
        return endpoint_acquire(sb->shared, sb->count, exclude_mask, b->max_in_flight, now_us,
                                &r->env->rng);
    return endpoint_acquire_affine(sb->shared, sb->hashes, sb->count, exclude_mask,
                                   b->max_in_flight, affinity_prefix(&r->ask, slice_str(m->name)),
                                   now_us, &r->env->rng);
}

/* What has no client leaves room for those that have one. */
int attempt_acquire(struct request *r, const struct policy_model *m, uint64_t exclude_mask,
                    int64_t now_us)
{
    const struct policy_backend *b = &r->snap->policy->backends[m->backend];
    const struct snapshot_backend *sb = &r->snap->backends[m->backend];
    int e;

    if (!r->background)
        return acquire_any(r, m, b, sb, exclude_mask, now_us);
    if (!endpoint_background_has_room(sb->shared, sb->count, b->max_in_flight))
        return -1;
    e = acquire_any(r, m, b, sb, exclude_mask, now_us);
    if (e < 0 || endpoint_background_enter(sb->shared, sb->count, e, b->max_in_flight))
        return e;
    endpoint_release(sb->shared[e], ERR_CLIENT_GONE, -1, now_us);
    return -1;
}

static const struct upstream_handler handler;

void attempt_init(const struct request *r, struct attempt *at, size_t model, int endpoint,
                  int64_t now_us)
{
    *at = (struct attempt){.model = model,
                           .endpoint = endpoint,
                           .started_us = now_us,
                           .started_wall_us = clock_wall_us(),
                           .first_byte_us = -1,
                           .duration_us = -1,
                           .confidence = -1,
                           .verdict_milli = -1};
    at->price = policy_price_at(&r->snap->policy->models[model], at->started_wall_us);
}

static void open_attempt(struct request *r, size_t model, int endpoint, int64_t now_us)
{
    struct attempt *at = &r->attempts[r->attempt_count++];

    forget_answer(r);
    attempt_init(r, at, model, endpoint, now_us);
    r->attempt = at;
    r->hand = r->attempt_count - 1;
    flow_called(&r->flow, endpoint);
}

/* On weir's own encoder: the same books, no server. */
static enum err start_embedding(struct request *r, size_t model, uint64_t exclude_mask)
{
    const struct policy_model *m = &r->snap->policy->models[model];
    int64_t now_us = clock_mono_us();
    enum err err = embed_call_check(r);
    int e;

    if (err == ERR_OK)
        err = embed_call_start(r);
    if (err != ERR_OK)
        return err;
    e = attempt_acquire(r, m, exclude_mask, now_us);
    if (e >= 0) {
        open_attempt(r, model, e, now_us);
        return ERR_OK;
    }
    (void)embed_call_abort(r);
    return ERR_UPSTREAM_BUSY;
}

enum err attempt_start(struct request *r, int step, uint64_t exclude_mask)
{
    const struct policy *p = r->snap->policy;
    size_t model = r->route->steps[r->steps[step]].model;
    const struct policy_model *m = &p->models[model];
    const struct policy_backend *b = &p->backends[m->backend];
    int64_t now_us = clock_mono_us();
    struct ask_body body;
    enum wire_api api;
    enum err err;
    int e;

    if (b->encoder)
        return start_embedding(r, model, exclude_mask);
    err = write_body(r, m, &api, &body);
    if (err != ERR_OK)
        return err;
    e = attempt_acquire(r, m, exclude_mask, now_us);
    if (e < 0)
        return ERR_UPSTREAM_BUSY;
    open_attempt(r, model, e, now_us);
    r->attempt->asked_logprobs = body.asked_logprobs;
    attempt_fill(r, m, e, api, body.pieces, body.count, &r->up);
    r->call = &r->calls[r->flow.attempts & 1];
    r->paused = false;
    upstream_start(r->env->upstream, r->call, &handler, &r->up);
    return ERR_OK;
}

/* ---- ending and pricing ---- */

/* What was used without a report, as far as anyone can know. `sent`: the upstream may have worked;
 * output_tokens: an estimate; any: some of the answer has come. */
static void estimate_usage(const struct request *r, struct attempt *at, bool sent,
                           int64_t output_tokens, bool any)
{
    struct token_usage *u = &at->usage;
    int64_t context = r->snap->policy->models[at->model].context_tokens;

    *u = (struct token_usage){.source = USAGE_NONE};
    /* Never reached, or answered with an error in place of an answer: providers do not bill these.
     */
    if (!sent || at->status >= 300 ||
        (at->err != ERR_OK && err_retry(at->err) == ERR_RETRY_SAME && !any))
        return;
    u->source = at->err == ERR_OK ? USAGE_ESTIMATED : USAGE_PARTIAL;
    u->n[TOK_INPUT] = r->ask.prompt_tokens;
    if (context != POLICY_NONE && u->n[TOK_INPUT] > context)
        u->n[TOK_INPUT] = context; /* more it cannot have read */
    u->n[TOK_OUTPUT] = output_tokens;
}

static void settle_usage(struct request *r, struct attempt *at, bool sent)
{
    bool open = answer_is_open(&r->answer);
    const struct token_usage *reported = open ? answer_usage(&r->answer) : NULL;
    int64_t deltas = open ? answer_deltas(&r->answer) : 0;

    if (at->usage.source == USAGE_REPORTED || at->usage.source == USAGE_PARTIAL)
        return;
    if (reported)
        at->usage = *reported;
    else
        estimate_usage(r, at, sent, open ? deltas : openai_estimate_tokens(r->whole.output_bytes),
                       deltas > 0);
}

void attempt_book_lost(struct request *r, const struct attempt *at, struct attempt *lost)
{
    *lost = (struct attempt){.model = at->model,
                             .endpoint = at->endpoint,
                             .started_us = at->started_us,
                             .started_wall_us = at->started_wall_us,
                             .first_byte_us = -1,
                             .duration_us = 0,
                             .err = ERR_UPSTREAM_RESET,
                             .lost = true,
                             .confidence = -1,
                             .verdict_milli = -1,
                             .price = at->price};
    meters_attempt(r->env->meters, r->snap, lost->model, lost->err, r->tenant, &lost->usage, 0, 0);
}

/* The transport sent the request twice: the first copy is an attempt of its own, lost with its
 * connection. */
static void book_lost_copy(struct request *r)
{
    struct attempt *at = &r->attempts[r->attempt_count++], *lost = at - 1;

    *at = *lost;
    attempt_book_lost(r, at, lost);
    r->attempt = at;
    r->hand = r->attempt_count - 1;
}

/* Its usage and how it ended are known: prices it and gives its endpoint back. res may be NULL. */
static void book_end(struct request *r, struct attempt *at, bool sent,
                     const struct upstream_result *res)
{
    const struct snapshot_backend *sb = snapshot_backend(r, at);
    int64_t now_us = clock_mono_us();

    at->duration_us = now_us - at->started_us;
    if (res)
        at->first_byte_us = res->first_byte_us;
    /* Seconds of hardware are used whatever comes of them; a request that never left used none. */
    at->cost = policy_cost(at->price, &at->usage, sent ? at->duration_us : 0);
    if (r->background)
        endpoint_background_leave(sb->shared[at->endpoint]);
    endpoint_release(sb->shared[at->endpoint], at->err, at->first_byte_us, now_us);
    meters_attempt(r->env->meters, r->snap, at->model, at->err, r->tenant, &at->usage, at->cost,
                   at->duration_us);
}

void attempt_end(struct request *r, enum err err, const struct upstream_result *res)
{
    struct attempt *at = r->attempt;
    bool sent;

    if (!at)
        return;
    sent = res ? res->sent : r->embed ? embed_call_abort(r) : upstream_abort(r->call);
    if (res && res->resent) {
        book_lost_copy(r);
        at = r->attempt;
    }
    server_use_end(r);
    r->attempt = NULL;
    at->err = err;
    settle_usage(r, at, sent);
    book_end(r, at, sent, res);
}

void attempt_book_sample(struct request *r, struct attempt *at, enum err err, bool sent,
                         const struct upstream_result *res, int64_t output_tokens)
{
    at->err = err;
    if (at->usage.source == USAGE_NONE)
        estimate_usage(r, at, sent, output_tokens, output_tokens > 0);
    book_end(r, at, sent, res);
}

/* A server of weir's own that has just died is found out and started again in a moment: another try
 * before that would find nobody there. */
static void wait_for_restart(struct request *r, enum err err)
{
    if (!attempt_backend(r, r->attempt)->command.argv || r->retry_after_ms >= RESTART_MS)
        return;
    if (err == ERR_UPSTREAM_CONNECT || err == ERR_UPSTREAM_RESET)
        r->retry_after_ms = RESTART_MS;
}

static void fail(struct request *r, enum err err, const struct upstream_result *res)
{
    wait_for_restart(r, err);
    attempt_end(r, err, res);
    request_step(r, (struct flow_event){.kind = FLOW_EV_FAILED,
                                        .err = err,
                                        .retry_after_ms = r->retry_after_ms,
                                        .no_retry = r->no_retry});
}

void attempt_done(struct request *r, enum err err)
{
    if (err != ERR_OK) {
        fail(r, err, NULL);
        return;
    }
    r->attempt->status = 200;
    attempt_end(r, ERR_OK, NULL);
    request_step(r, (struct flow_event){.kind = FLOW_EV_ANSWER});
}

/* ---- reading the answer ---- */

static struct request *request_of(struct upstream_call *c)
{
    return c->owner;
}

struct answer_options attempt_answer_options(const struct request *r, enum wire_dialect server,
                                             size_t max_bytes)
{
    return (struct answer_options){
        .api = r->api,
        .server = server,
        .n = r->ask.n,
        .include_usage = r->ask.include_usage,
        .show_requested = r->snap->policy->server.reply_model == REPLY_MODEL_REQUESTED,
        .encrypted_reasoning = r->ask.encrypted_reasoning,
        .requested_model = r->ask.model_name,
        .request_id = slice_str(r->id),
        .echo = r->ask.echo,
        .created_s = r->received_wall_us / 1000000,
        .prompt_tokens = r->ask.prompt_tokens,
        .max_event_bytes = MAX_EVENT_BYTES,
        .max_answer_bytes = max_bytes,
    };
}

static struct answer_options answer_options(const struct request *r)
{
    const struct policy_backend *b = attempt_backend(r, r->attempt);
    const struct snapshot_backend *sb = snapshot_backend(r, r->attempt);
    struct answer_options opt =
        attempt_answer_options(r, sb->dialect, (size_t)b->max_response_bytes);

    opt.asked_usage = asks_usage(b, sb);
    opt.asked_logprobs = r->attempt->asked_logprobs;
    opt.signals = cascade_signals(r);
    return opt;
}

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct request *r = request_of(c);
    struct attempt *at = r->attempt;
    const struct http1_header *type = http1_find(head, SLICE("content-type"));
    const struct http1_header *should = http1_find(head, SLICE("x-should-retry"));

    at->status = head->status;
    at->first_byte_us = clock_mono_us() - at->started_us;
    r->pass_count = headers_to_client(head, &r->arena, ROOM_FOR_OWN_HEADERS, &r->pass);
    if (wire_api_dialect(r->api) != attempt_dialect(r, at))
        rate_limits_translate(r->pass, r->pass_count, wire_api_dialect(r->api), clock_wall_us(),
                              &r->arena);
    r->retry_after_ms = retry_after_ms(head, clock_wall_us());
    r->no_retry = should && slice_ieq(should->value, SLICE("false"));
    if (head->status == 200 && r->ask.stream && type && type->value.n >= 17 &&
        strncasecmp(type->value.p, "text/event-stream", 17) == 0) {
        struct answer_options opt = answer_options(r);

        answer_open(&r->answer, &opt);
        recording_open(r);
    }
}

void attempt_watch_end(struct request *r)
{
    int64_t due_us;

    if (!r->attempt || r->paused || !answer_is_open(&r->answer) || !answer_complete(&r->answer))
        return;
    due_us =
        clock_mono_us() + (answer_exhausted(&r->answer) ? GRACE_EXHAUSTED_US : GRACE_NO_USAGE_US);
    if (r->wait_us >= 0 && r->wait_us <= due_us)
        return; /* comments that keep coming do not prolong it */
    r->wait_us = due_us;
    request_arm(r);
}

/* Nothing goes out yet. Once it has been judged (HELD), another attempt may be under way. */
static void hold_on(struct request *r)
{
    if (hold_is_enough(r))
        request_step(r, (struct flow_event){.kind = FLOW_EV_HELD});
    else
        attempt_watch_end(r);
}

static void feed_stream(struct request *r, struct slice data)
{
    enum err err = answer_feed(&r->answer, data, &r->out);

    recording_feed(r, data);
    if (err == ERR_OK && cascade_holds(r) && r->flow.state == FLOW_AWAIT_ANSWER) {
        hold_on(r);
        return;
    }
    if (buf_len(&r->out) > 0) {
        if (r->flow.state == FLOW_AWAIT_ANSWER)
            request_step(r, (struct flow_event){.kind = FLOW_EV_FIRST_BYTES});
        else
            respond_emit(r);
    }
    if (err != ERR_OK) {
        fail(r, err, NULL);
        return;
    }
    if (answer_ended(&r->answer) && !r->done_written && answer_complete(&r->answer)) {
        /* The client need not wait for the end of the upstream's framing. */
        r->done_written = true;
        if (answer_end(&r->answer, &r->out) == ERR_OK)
            respond_emit(r);
    }
    attempt_watch_end(r);
}

static void on_data(struct upstream_call *c, struct slice data)
{
    struct request *r = request_of(c);

    if (answer_is_open(&r->answer)) {
        feed_stream(r, data);
        return;
    }
    if (r->attempt->status != 200 && buf_len(&r->body) + data.n > MAX_ERROR_BODY_BYTES)
        return;
    if (buf_append_slice(&r->body, data) != ERR_OK)
        fail(r, ERR_UPSTREAM_TOO_LARGE, NULL);
}

/* A whole 200 answer: is it one? */
static enum err judge_whole(struct request *r)
{
    struct answer_options opt = answer_options(r);
    enum err err = answer_read_whole(&opt, buf_slice(&r->body), &r->arena, &r->whole);

    if (err != ERR_OK)
        return err;
    if (r->ask.stream)
        return ERR_UPSTREAM_PROTOCOL; /* a stream was asked for */
    if (r->whole.has_usage)
        r->attempt->usage = r->whole.usage;
    return ERR_OK;
}

/* Its words name them one way or another: error.param "logprobs", "'logprobs' is not supported", an
 * unknown field "top_logprobs". */
static bool refused_logprobs(struct request *r, const struct attempt *at)
{
    struct slice body = buf_slice(&r->body);

    if (!at->asked_logprobs || (at->status != 400 && at->status != 422) ||
        !memmem(body.p, body.n, "logprobs", 8))
        return false;
    atomic_store_explicit(refuses_logprobs(r, at->model), true, memory_order_relaxed);
    return true;
}

static enum err judge(struct request *r, const struct upstream_result *res)
{
    const struct attempt *at = r->attempt;

    if (answer_is_open(&r->answer)) /* the framing's end matters less than the answer's */
        return answer_complete(&r->answer) ? ERR_OK
               : res->err == ERR_OK        ? ERR_UPSTREAM_CUT
                                           : res->err;
    if (res->err != ERR_OK)
        return res->err;
    if (at->status == 200)
        return judge_whole(r);
    if (at->status >= 200 && at->status < 400)
        return ERR_UPSTREAM_PROTOCOL;
    if (refused_logprobs(r, at))
        return ERR_UPSTREAM_LOGPROBS;
    return answer_classify(attempt_dialect(r, at), at->status, buf_slice(&r->body));
}

static void on_done(struct upstream_call *c, const struct upstream_result *res)
{
    struct request *r = request_of(c);
    enum err err = judge(r, res);

    if (err != ERR_OK) {
        fail(r, err, res);
        return;
    }
    attempt_end(r, ERR_OK, res);
    request_step(r, (struct flow_event){.kind = FLOW_EV_ANSWER});
}

static const struct upstream_handler handler = {on_head, on_data, on_done};
