/* The front door of the APIs that clients speak, OpenAI's and Anthropic's. For each exchange there
 * is one struct api_exchange in the exchange's arena: the client side of the router's request, and
 * what the access log needs. Runs on its worker; called by http_server and, through reply_ops, by
 * the router. */
#include "gateway/api_client.h"

#include <stdio.h>
#include "backends/wire/answer.h"
#include "backends/wire/ask.h"
#include "base/clock.h"
#include "base/line.h"
#include "base/log.h"
#include "gateway/api_models.h"
#include "gateway/api_path.h"
#include "gateway/auth.h"
#include "gateway/cors.h"
#include "router/ledger.h"

#define OVERLOAD_RETRY_AFTER_MS 1000
#define MODELS_MAX_BYTES        (16 * 1024 * 1024)

struct api_exchange {
    struct reply reply;
    struct api_client *api;
    struct http_exchange *x;
    struct request *request; /* NULL before the start and after the reply's last call */
    struct snapshot *snap;   /* owned reference, until on_finished */
    const struct policy_tenant *tenant;
    struct api_path path;
    objid feedback; /* that the learner has; 0: none */
    bool counted;   /* in api->in_flight */
    bool routed;    /* reply.summary is valid */
    bool allow;     /* the reply names the path's methods */
    char id[REQUEST_ID_BYTES];
};

void api_client_init(struct api_client *api, struct router_env *env, struct snapshot *s,
                     struct access_log *log, _Atomic int64_t *in_flight)
{
    *api = (struct api_client){.env = env, .snapshot = snapshot_ref(s), .in_flight = in_flight};
    access_log_writer_init(&api->log, log);
    api_feedback_init(&api->feedback, env);
}

void api_client_clear(struct api_client *api)
{
    access_log_writer_clear(&api->log);
    api_feedback_clear(&api->feedback);
    snapshot_unref(api->snapshot);
}

void api_client_set_snapshot(struct api_client *api, struct snapshot *s)
{
    struct snapshot *old = api->snapshot;

    api->snapshot = snapshot_ref(s);
    snapshot_unref(old);
}

/* The dialect of an exchange's errors and lists: the path's, or for paths that both have the one of
 * the SDK that asks. */
static enum wire_dialect dialect_of(const struct http_exchange *x)
{
    const struct api_exchange *e = http_exchange_user(x);

    if (e && e->path.endpoint == API_MESSAGES)
        return WIRE_ANTHROPIC;
    if (e && e->path.endpoint == API_COUNT_TOKENS)
        return WIRE_ANTHROPIC;
    return e && http1_find(http_exchange_head(x), SLICE("anthropic-version")) ? WIRE_ANTHROPIC
                                                                              : WIRE_OPENAI;
}

enum err api_client_error_body(void *ctx, const struct http_exchange *x,
                               const struct http_error *error, int *status, struct buf *out)
{
    const struct api_exchange *e = http_exchange_user(x);
    enum wire_api api = dialect_of(x) == WIRE_ANTHROPIC ? WIRE_MESSAGES : WIRE_CHAT;

    (void)ctx;
    *status = answer_error_status(api, error->err);
    return answer_error_body(api, error->err, error->message, error->param,
                             slice_str(e ? e->id : ""), out);
}

/* ---- the reply, as the router uses it ---- */

static struct api_exchange *of_reply(struct reply *reply)
{
    return CONTAINER_OF(reply, struct api_exchange, reply);
}

static void op_whole(struct reply *reply, const struct reply_head *head, const struct slice *pieces,
                     size_t piece_count)
{
    struct api_exchange *e = of_reply(reply);

    e->request = NULL;
    http_reply_whole(e->x, head->status, head->headers, head->header_count, pieces, piece_count);
}

static void op_begin(struct reply *reply, const struct reply_head *head)
{
    http_reply_begin(of_reply(reply)->x, head->status, head->headers, head->header_count);
}

static bool op_write(struct reply *reply, struct slice bytes)
{
    return http_reply_write(of_reply(reply)->x, bytes);
}

static void op_end(struct reply *reply)
{
    struct api_exchange *e = of_reply(reply);

    e->request = NULL;
    http_reply_end(e->x);
}

static void op_abort(struct reply *reply, const char *reason)
{
    struct api_exchange *e = of_reply(reply);

    e->request = NULL;
    http_reply_abort(e->x, reason);
}

static void op_error(struct reply *reply, enum err err, const char *message, const char *param,
                     int64_t retry_after_ms, const struct reply_head *head)
{
    struct api_exchange *e = of_reply(reply);

    e->request = NULL;
    http_reply_error(e->x, err, message, param, retry_after_ms, head->headers, head->header_count);
}

static const struct reply_ops reply_ops = {op_whole, op_begin, op_write,
                                           op_end,   op_abort, op_error};

/* ---- the head: may this request's body be read at all? ---- */

/* "req_", 12 hex digits of the time in ms, 20 random ones: ids that grow with time keep the
 * ledger's index cheap to extend (as UUIDv7 does, RFC 9562), the rest keeps them apart and hard to
 * guess. */
static void make_id(struct rng *rng, char out[REQUEST_ID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t ms = (uint64_t)(clock_wall_us() / 1000), high = rng_u64(rng), low = rng_u64(rng);
    char *p = out;

    memcpy(p, "req_", 4);
    p += 4;
    for (int shift = 44; shift >= 0; shift -= 4)
        *p++ = digits[ms >> shift & 15];
    for (int i = 0; i < 20; i++)
        *p++ = digits[(i < 16 ? high >> (i * 4) : low >> (i * 4 - 64)) & 15];
    *p = '\0';
}

static enum err refuse(struct api_exchange *e, enum err err, const char *message, const char *param)
{
    http_exchange_refuse(e->x, message, param);
    return err;
}

static enum err refuse_for_now(struct api_exchange *e, const char *message)
{
    http_exchange_retry_after(e->x, OVERLOAD_RETRY_AFTER_MS);
    return refuse(e, ERR_OVERLOADED, message, NULL);
}

/* Room for one more request? Counted until on_finished. */
static enum err admit(struct api_exchange *e)
{
    struct api_client *api = e->api;
    const struct policy_server *s = &e->snap->policy->server;
    int64_t before;

    if (api->draining)
        return ERR_DRAINING;
    if (ledger_full(api->env->ledger))
        return refuse_for_now(e, "The gateway cannot book costs fast enough; try again later.");
    before = atomic_fetch_add_explicit(api->in_flight, 1, memory_order_relaxed);
    e->counted = true;
    if (s->max_in_flight != POLICY_NONE && before >= s->max_in_flight)
        return refuse_for_now(e, NULL);
    return ERR_OK;
}

static enum err check_coding(struct api_exchange *e, const struct http1_head *head)
{
    const struct http1_header *coding = http1_find(head, SLICE("content-encoding"));

    if (!coding || coding->value.n == 0 || slice_ieq(coding->value, SLICE("identity")))
        return ERR_OK;
    return refuse(e, ERR_UNSUPPORTED_MEDIA,
                  "Compressed request bodies are not supported: send the JSON as it is, without "
                  "Content-Encoding.",
                  NULL);
}

static enum err on_head(void *ctx, struct http_exchange *x)
{
    struct api_client *api = ctx;
    struct arena *a = http_exchange_arena(x);
    const struct http1_head *head = http_exchange_head(x);
    struct api_exchange *e = ARENA_NEW(a, struct api_exchange);
    const char *message = NULL;
    enum err err;

    e->reply.ops = &reply_ops;
    e->api = api;
    e->x = x;
    e->snap = snapshot_ref(api->snapshot);
    make_id(&api->env->rng, e->id);
    http_exchange_set_user(x, e);

    err = api_path_parse(head->method, http_exchange_path(x), a, &e->path);
    if (err == ERR_OK && e->path.endpoint == API_PREFLIGHT)
        return ERR_OK; /* browsers send preflights without credentials */
    if (err == ERR_NOT_FOUND)
        return refuse(e, err,
                      arena_printf(a, "Unknown request URL: %.*s %.*s", SLICE_ARG(head->method),
                                   SLICE_ARG(http_exchange_path(x))),
                      NULL);
    if (err == ERR_METHOD_NOT_ALLOWED) {
        e->allow = true;
        return refuse(e, err,
                      arena_printf(a, "Not allowed to %.*s on %.*s.", SLICE_ARG(head->method),
                                   SLICE_ARG(http_exchange_path(x))),
                      NULL);
    }
    if (err == ERR_OK)
        err = auth_check(e->snap->policy, head, &e->tenant, &message);
    if (err != ERR_OK)
        return refuse(e, err, message, NULL);
    if (e->path.endpoint == API_MODELS || e->path.endpoint == API_MODEL)
        return ERR_OK;
    err = check_coding(e, head);
    return err == ERR_OK ? admit(e) : err;
}

/* ---- what weir answers by itself ---- */

static void reply_json(struct api_exchange *e, struct buf *body)
{
    struct http1_header type = {SLICE("Content-Type"), SLICE("application/json")};
    struct slice whole = buf_slice(body);

    http_reply_whole(e->x, 200, &type, 1, &whole, 1);
}

static void reply_no_model(struct api_exchange *e, struct slice name)
{
    http_reply_error(
        e->x, ERR_MODEL_NOT_FOUND,
        arena_printf(http_exchange_arena(e->x),
                     "The model '%.*s' does not exist or you do not have access to it.",
                     SLICE_ARG(name)),
        "model", -1, NULL, 0);
}

static void answer_models(struct api_exchange *e)
{
    const struct policy *p = e->snap->policy;
    enum wire_dialect d = dialect_of(e->x);
    struct buf body;
    enum err err;

    buf_init(&body, MODELS_MAX_BYTES);
    err = e->path.endpoint == API_MODEL ? api_models_one(p, e->tenant, d, e->path.model, &body)
                                        : api_models_list(p, e->tenant, d, &body);
    if (err == ERR_OK)
        reply_json(e, &body);
    else if (err == ERR_MODEL_NOT_FOUND)
        reply_no_model(e, e->path.model);
    else
        http_reply_error(e->x, ERR_INTERNAL, "The list of models is too long.", NULL, -1, NULL, 0);
    buf_clear(&body);
}

/* An estimate, for every model alike: whoever routes does not know yet which tokenizer will count.
 */
static void answer_count_tokens(struct api_exchange *e)
{
    struct slice model = SLICE("");
    struct err_text why = {""};
    const char *param = NULL;
    int64_t tokens = 0;
    struct buf body;
    enum err err = ask_count_tokens(http_exchange_body(e->x), http_exchange_arena(e->x), &model,
                                    &tokens, &param, &why);

    if (err != ERR_OK) {
        http_reply_error(e->x, err, why.s[0] ? why.s : NULL, param, -1, NULL, 0);
        return;
    }
    if (!policy_offers(e->snap->policy, model, e->tenant)) {
        reply_no_model(e, model);
        return;
    }
    buf_init(&body, 64);
    if (buf_printf(&body, "{\"input_tokens\":%lld}", (long long)tokens) == ERR_OK)
        reply_json(e, &body);
    buf_clear(&body);
}

/* ---- the request ---- */

static void answer_inference(struct api_exchange *e)
{
    struct request_spec spec = {
        .id = e->id,
        .snapshot = e->snap,
        .tenant = e->tenant,
        .head = http_exchange_head(e->x),
        .body = http_exchange_body(e->x),
        .query = http_exchange_query(e->x),
        .received_us = http_exchange_received_us(e->x),
    };

    switch (e->path.endpoint) {
    case API_CHAT:
        spec.api = WIRE_CHAT;
        break;
    case API_COMPLETIONS:
        spec.api = WIRE_COMPLETIONS;
        break;
    case API_EMBEDDINGS:
        spec.api = WIRE_EMBEDDINGS;
        break;
    case API_MESSAGES:
        spec.api = WIRE_MESSAGES;
        break;
    case API_RESPONSES:
        spec.api = WIRE_RESPONSES;
        break;
    case API_COUNT_TOKENS:
    case API_MODELS:
    case API_MODEL:
    case API_FEEDBACK:
    case API_PREFLIGHT:
        return;
    }
    e->routed = true;
    e->request = request_start(e->api->env, &spec, &e->reply);
}

static void on_request(void *ctx, struct http_exchange *x)
{
    struct api_exchange *e = http_exchange_user(x);

    (void)ctx;
    switch (e->path.endpoint) {
    case API_PREFLIGHT:
        e->allow = true;
        http_reply_whole(x, 204, NULL, 0, NULL, 0);
        return;
    case API_MODELS:
    case API_MODEL:
        answer_models(e);
        return;
    case API_COUNT_TOKENS:
        answer_count_tokens(e);
        return;
    case API_FEEDBACK:
        e->feedback = api_feedback_take(&e->api->feedback, x, e->tenant, e->snap->cache);
        return;
    case API_CHAT:
    case API_COMPLETIONS:
    case API_EMBEDDINGS:
    case API_MESSAGES:
    case API_RESPONSES:
        answer_inference(e);
        return;
    }
}

static void on_writable(void *ctx, struct http_exchange *x)
{
    struct api_exchange *e = http_exchange_user(x);

    (void)ctx;
    if (e->request)
        request_writable(e->request);
}

static void on_gone(void *ctx, struct http_exchange *x)
{
    struct api_exchange *e = http_exchange_user(x);
    struct request *r = e ? e->request : NULL;

    (void)ctx;
    if (e)
        api_feedback_gone(&e->api->feedback, e->feedback);
    if (!r)
        return;
    e->request = NULL;
    request_client_gone(r);
}

static enum err append_header(struct buf *out, struct slice name, const char *value)
{
    enum err err = buf_append_slice(out, name);

    if (err == ERR_OK)
        err = buf_append_slice(out, slice_str(value));
    return err == ERR_OK ? buf_append_slice(out, SLICE("\r\n")) : err;
}

static void extra_headers(void *ctx, struct http_exchange *x, struct buf *out)
{
    const struct api_exchange *e = http_exchange_user(x);
    enum err err;

    (void)ctx;
    if (!e)
        return; /* the head was not a request */
    err = append_header(out, SLICE("x-request-id: "), e->id);
    if (err == ERR_OK && dialect_of(x) == WIRE_ANTHROPIC) /* where its SDKs look */
        err = append_header(out, SLICE("request-id: "), e->id);
    if (err == ERR_OK && e->allow)
        err = append_header(out, SLICE("Allow: "), e->path.allow);
    if (err == ERR_OK)
        err = cors_headers(&e->snap->policy->server, http_exchange_head(x),
                           e->path.endpoint == API_PREFLIGHT, out);
    if (err != ERR_OK)
        log_line(LOG_WARN, "api", "reply headers too large", "id=%s", e->id);
}

/* ---- the access log ---- */

#define LINE_BYTES 1536

static void put_field(struct line *l, struct slice key, struct slice value)
{
    line_put(l, key); /* " key=" */
    line_put(l, value);
}

static void put_name(struct line *l, struct slice key, const char *name)
{
    put_field(l, key, name && *name ? slice_str(name) : SLICE("-"));
}

/* What comes from outside. */
static void put_quoted(struct line *l, struct slice key, struct slice value)
{
    char quoted[256];

    put_field(l, key, slice_str(log_quote(value, quoted, sizeof quoted)));
}

static void put_number(struct line *l, struct slice key, int64_t v)
{
    line_put(l, key);
    line_put_int(l, v);
}

static void put_routed(struct line *l, const struct reply_summary *s)
{
    const struct token_usage *u = &s->usage;
    char usd[32];

    put_quoted(l, SLICE(" model="), slice_str(s->requested));
    put_name(l, SLICE(" served="), s->model);
    put_name(l, SLICE(" endpoint="), s->endpoint);
    put_name(l, SLICE(" route="), s->route);
    put_number(l, SLICE(" attempts="), s->attempts);
    put_number(l, SLICE(" in="), u->n[TOK_INPUT] + u->n[TOK_CACHED_INPUT] + u->n[TOK_CACHE_WRITE]);
    put_number(l, SLICE(" cached="), u->n[TOK_CACHED_INPUT]);
    put_number(l, SLICE(" out="), u->n[TOK_OUTPUT] + u->n[TOK_REASONING]);
    put_name(l, SLICE(" usage="), usage_source_name(u->source));
    put_name(l, SLICE(" cost="), money_format_usd(s->cost, usd, sizeof usd));
    if (s->class_name[0])
        put_quoted(l, SLICE(" class="), slice_str(s->class_name));
    else
        line_put(l, SLICE(" class=-"));
    put_name(l, SLICE(" cache="), s->cache);
    put_number(l, SLICE(" ttft_ms="), s->ttft_us < 0 ? -1 : s->ttft_us / 1000);
    put_name(l, SLICE(" err="), s->err == ERR_OK ? NULL : err_name(s->err));
}

static void write_access_line(struct api_exchange *e, int status, uint64_t bytes_sent,
                              const char *dropped_reason)
{
    const struct http1_head *head = http_exchange_head(e->x);
    int64_t now_us = clock_mono_us();
    char time[32], text[LINE_BYTES];
    struct line l = line_in(text, sizeof text);

    clock_rfc3339(clock_wall_us(), time, sizeof time);
    put_name(&l, SLICE("time="), time);
    put_name(&l, SLICE(" id="), e->id);
    put_field(&l, SLICE(" peer="), http_exchange_peer(e->x));
    put_field(&l, SLICE(" method="), head->method);
    put_quoted(&l, SLICE(" path="), http_exchange_path(e->x));
    put_number(&l, SLICE(" status="), status);
    put_name(&l, SLICE(" tenant="), e->tenant ? e->tenant->name : NULL);
    put_number(&l, SLICE(" bytes="), (int64_t)bytes_sent);
    put_number(&l, SLICE(" ms="), (now_us - http_exchange_received_us(e->x)) / 1000);
    put_quoted(&l, SLICE(" drop="), slice_str(dropped_reason ? dropped_reason : "-"));
    if (e->routed && e->reply.summary.route)
        put_routed(&l, &e->reply.summary);
    access_log_line(&e->api->log, line_slice(&l), now_us);
}

static void on_finished(void *ctx, struct http_exchange *x, int status, uint64_t bytes_sent,
                        const char *dropped_reason)
{
    struct api_client *api = ctx;
    struct api_exchange *e = http_exchange_user(x);

    if (!e)
        return; /* refused by the server before it was a request; counted there */
    if (api->log.log)
        write_access_line(e, status, bytes_sent, dropped_reason);
    if (e->counted)
        atomic_fetch_sub_explicit(api->in_flight, 1, memory_order_relaxed);
    snapshot_unref(e->snap);
    e->snap = NULL;
}

const struct http_handler api_client_handler = {on_head, on_request,    on_writable,
                                                on_gone, extra_headers, on_finished};
