/* The admin API's table of routes, who may use them, and the handlers. Owns the questions to
 * workers that wait for answers; everything else it shows belongs to control. Runs on the control
 * loop. Called by http_server through api_admin_handler. */
#include "gateway/api_admin.h"

#include <event2/event.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "backends/catalog.h"
#include "backends/launcher.h"
#include "backends/probe.h"
#include "backends/wire/openai_error.h"
#include "base/clock.h"
#include "base/idtable.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/admin_route.h"
#include "gateway/api_beliefs.h"
#include "gateway/api_cache.h"
#include "gateway/auth.h"
#include "gateway/control.h"
#include "gateway/diag_json.h"
#include "gateway/http_server.h"
#include "gateway/json_put.h"
#include "gateway/model_list_json.h"
#include "gateway/policy_store.h"
#include "gateway/worker.h"
#include "policies/policy_diff.h"
#include "router/classifier.h"
#include "router/embedder.h"
#include "router/snapshot.h"

#define LISTING_WAIT_US 1000000
#define LISTING_BYTES   ((size_t)16 << 20)
#define METRICS_BYTES   ((size_t)64 << 20)
#define DIFF_BYTES      ((size_t)64 << 20)
#define MAX_QUERIES     64

#define LOG_TAIL_BYTES (32 * 1024)

struct api_admin {
    struct control *control;
    struct api_cache *cache; /* owned */
    struct idtable queries;  /* of struct listing_query */
};

/* ---- replies ---- */

/* The usual error shape, and what is wrong with the policy, place by place. */
static void reply_policy_error(struct http_exchange *x, enum err e, const char *message,
                               const struct diags *d)
{
    const char *code = err_openai_code(e);
    json_t *error = json_object(), *o = json_object();
    json_put_text(error, "message", message ? message : err_text(e));
    json_put_text(error, "type", err_openai_type(e));
    json_put_text(error, "param", NULL);
    json_put_text(error, "code", *code ? code : NULL);
    json_put(error, "diagnostics", diag_json(d));
    json_put(o, "error", error);
    admin_reply_json(x, err_http_status(e), NULL, o);
}

/* ---- health and metrics ---- */

static void get_healthz(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)a;
    (void)rest;
    admin_reply_text(x, 200, "text/plain; charset=utf-8", NULL, SLICE("ok\n"));
}

static json_t *fault_json(const struct control_fault *f)
{
    if (!f->stale)
        return json_null();
    json_t *o = json_object();
    json_put_text(o, "why", f->why);
    json_put_text(o, "origin", f->origin);
    json_put_time(o, "since", f->since_wall_us);
    json_put(o, "diagnostics", diag_json(&f->diags));
    return o;
}

/* What serves, and whether the file says something else. */
static json_t *serving_json(const struct policy *p, const struct control_status *s)
{
    json_t *o = json_object();
    json_put_text(o, "version", p->version);
    json_put_int(o, "serial", s->policy_serial);
    json_put_text(o, "file", s->policy_file);
    json_put_time(o, "loaded_at", p->loaded_wall_us);
    json_put_bool(o, "stale", s->fault->stale);
    json_put(o, "error", fault_json(s->fault));
    return o;
}

static void get_readyz(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    struct control_status s;
    control_describe(a->control, &s);
    bool ready = !s.draining && !s.ledger_full;
    json_t *o = json_object(), *ledger = json_object();
    json_put_bool(o, "ready", ready);
    json_put_text(o, "status", s.draining ? "draining" : s.ledger_full ? "ledger_full" : "ready");
    json_put_bool(o, "draining", s.draining);
    json_put(o, "policy", serving_json(control_snapshot(a->control)->policy, &s));
    json_put_int(ledger, "queued", s.ledger_queued);
    json_put_bool(ledger, "full", s.ledger_full);
    json_put(o, "ledger", ledger);
    json_put_int(o, "workers", (int64_t)s.workers);
    json_put_int(o, "in_flight", s.in_flight);
    json_put_int(o, "connections", s.connections);
    admin_reply_json(x, ready ? 200 : 503, NULL, o);
}

static void get_metrics(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    struct buf text;
    buf_init(&text, METRICS_BYTES);
    if (control_metrics_write(a->control, &text) == ERR_OK)
        admin_reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", NULL,
                         buf_slice(&text));
    else
        admin_reply_error(x, ERR_INTERNAL, "The metrics are too large.");
    buf_clear(&text);
}

/* ---- requests in flight: a question to every worker, answered when the last one or the clock says
 * so ---- */

struct listing_query {
    struct admin_task task;
    struct api_admin *admin;
    struct http_exchange *x;
    objid id;
    struct event *timer;
    struct buf json; /* objects separated by commas */
    bool *answered;  /* by worker index */
    size_t workers, missing;
    bool cut; /* more than LISTING_BYTES */
};

struct listing {
    struct worker_listing base;
    objid query;
};

static void query_free(struct listing_query *q)
{
    idtable_remove(&q->admin->queries, q->id);
    if (q->timer)
        event_free(q->timer);
    buf_clear(&q->json);
    free(q->answered);
    free(q);
}

static void query_gone(struct admin_task *t)
{
    query_free(CONTAINER_OF(t, struct listing_query, task));
}

static void query_answer(struct listing_query *q)
{
    struct buf tail;
    buf_init(&tail, 64 * 1024);
    enum err e = buf_printf(&tail, "],\"workers\":%zu,\"truncated\":%s,\"silent_workers\":[",
                            q->workers, q->cut ? "true" : "false");
    const char *comma = "";
    for (size_t i = 0; i < q->workers && e == ERR_OK; i++)
        if (!q->answered[i]) {
            e = buf_printf(&tail, "%s%zu", comma, i);
            comma = ",";
        }
    if (e == ERR_OK)
        e = buf_append_slice(&tail, SLICE("]}\n"));
    struct http_exchange *x = q->x;
    const struct http1_header type = {SLICE("Content-Type"), SLICE("application/json")};
    const struct slice pieces[] = {SLICE("{\"requests\":["), buf_slice(&q->json), buf_slice(&tail)};
    ((struct admin_visit *)http_exchange_user(x))->task = NULL;
    if (e == ERR_OK)
        http_reply_whole(x, 200, &type, 1, pieces, 3);
    else
        admin_reply_error(x, e, NULL);
    buf_clear(&tail);
    query_free(q);
}

static void on_listing_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    query_answer(ctx);
}

static void listing_free(struct message *m)
{
    struct listing *l = CONTAINER_OF(m, struct listing, base.msg);
    buf_clear(&l->base.json);
    free(l);
}

static void on_listing(struct message *m, void *receiver_ctx)
{
    struct listing *l = CONTAINER_OF(m, struct listing, base.msg);
    struct listing_query *q = idtable_get(&control_admin(receiver_ctx)->queries, l->query);
    size_t i = (size_t)l->base.worker_index;
    if (q && i < q->workers && !q->answered[i]) {
        struct slice objects = buf_slice(&l->base.json);
        if (objects.n > 0 && buf_len(&q->json) > 0 &&
            buf_append_slice(&q->json, SLICE(",")) != ERR_OK)
            q->cut = true;
        else if (buf_append_slice(&q->json, objects) != ERR_OK)
            q->cut = true;
        q->answered[i] = true;
        if (--q->missing == 0)
            query_answer(q);
    }
    listing_free(m);
}

static void ask_worker(struct api_admin *a, struct worker *w, objid query)
{
    struct listing *l = mem_zalloc(1, sizeof *l);
    l->base.on_listed = on_listing;
    l->base.msg.discard = listing_free;
    l->base.reply_to = control_mailbox(a->control);
    l->query = query;
    worker_list_requests(w, &l->base);
}

static void get_requests(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    struct listing_query *q = mem_zalloc(1, sizeof *q);
    q->task.gone = query_gone;
    q->admin = a;
    q->x = x;
    q->id = idtable_add(&a->queries, q);
    if (!q->id) {
        free(q);
        admin_reply_error(x, ERR_OVERLOADED,
                          "Too many of these questions are waiting for their answers.");
        return;
    }
    q->missing = q->workers = control_workers(a->control);
    q->answered = mem_zalloc(q->workers + 1, sizeof *q->answered);
    buf_init(&q->json, LISTING_BYTES);
    q->timer = event_new(control_base(a->control), -1, 0, on_listing_late, q);
    const struct timeval wait = {.tv_sec = LISTING_WAIT_US / 1000000};
    if (q->workers == 0 || !q->timer || event_add(q->timer, &wait) != 0) {
        query_answer(q);
        return;
    }
    ((struct admin_visit *)http_exchange_user(x))->task = &q->task;
    for (size_t i = 0; i < q->workers; i++)
        ask_worker(a, control_worker(a->control, i), q->id);
}

/* ---- backends ---- */

static json_t *probe_json(const struct prober *prober, const struct endpoint_shared *s)
{
    struct prober_info info;
    json_t *o;
    if (!prober_about(prober, s, &info))
        return NULL;
    o = json_object();
    json_put_bool(o, "down", info.down);
    json_put_int(o, "probes", info.probes);
    json_put_int(o, "failures", info.fails);
    json_put_int(o, "last_status", info.status);
    json_put_text(o, "last_error", info.err == ERR_OK ? NULL : err_name(info.err));
    return o;
}

/* What the endpoint's own list of models says; NULL: it is not asked. */
static json_t *models_json(struct api_admin *a, size_t backend, const struct endpoint_shared *s)
{
    const struct policy *p = control_snapshot(a->control)->policy;
    struct catalog_info info;
    if (!catalog_about(control_catalog(a->control), s, &info))
        return NULL;
    json_t *o = json_object();
    if (info.asked)
        json_put_time(o, "asked", info.asked_wall_us);
    else
        json_put(o, "asked", NULL);
    json_put_text(o, "error", info.why.s[0] ? info.why.s : NULL);
    json_put(o, "listed", info.list ? model_list_entries_json(p, backend, info.list) : NULL);
    json_put(o, "problems", info.list ? model_list_problems_json(p, backend, info.list) : NULL);
    return o;
}

static json_t *endpoint_json(struct api_admin *a, size_t backend, size_t endpoint, int64_t now_us)
{
    const struct snapshot *snap = control_snapshot(a->control);
    const struct policy_endpoint *e = &snap->policy->backends[backend].endpoints[endpoint];
    const struct endpoint_shared *s = snap->backends[backend].shared[endpoint];
    int64_t ejected_us = atomic_load(&s->ejected_until_us) - now_us;
    json_t *o = json_object();
    json_put_text(o, "endpoint", e->label);
    json_put_text(o, "url", e->url);
    json_put_bool(o, "healthy", endpoint_healthy(s, now_us));
    json_put_int(o, "in_flight", atomic_load(&s->in_flight));
    json_put_int(o, "requests", atomic_load(&s->requests));
    json_put_int(o, "errors", atomic_load(&s->errors));
    json_put_int(o, "latency_us", atomic_load(&s->ewma_us));
    json_put_int(o, "consecutive_failures", atomic_load(&s->failures));
    json_put_int(o, "ejected_for_ms", ejected_us > 0 ? ejected_us / 1000 : 0);
    json_put(o, "health_check", probe_json(control_prober(a->control), s));
    json_put(o, "models", models_json(a, backend, s));
    return o;
}

/* A server that weir starts itself. */
static json_t *server_json(struct launcher *l, const struct launcher_info *info)
{
    json_t *o = json_object();
    struct buf log;
    json_put_text(o, "state", launcher_state_name(info->state));
    json_put_int(o, "since_ms", info->since_ms);
    json_put_int(o, "pid", info->pid);
    json_put_int(o, "rss_bytes", info->rss_bytes);
    json_put_int(o, "in_flight", info->uses);
    json_put_int(o, "waiting", info->waiting);
    json_put_int(o, "starts", info->starts);
    json_put_int(o, "failures", info->failures);
    json_put_int(o, "retry_in_ms", info->retry_in_ms);
    json_put_text(o, "last_error", info->last_error[0] ? info->last_error : NULL);
    buf_init(&log, LOG_TAIL_BYTES);
    if (launcher_log_tail(l, info->name, &log) == ERR_OK && buf_append(&log, "", 1) == ERR_OK)
        json_put_text(o, "log_tail", buf_slice(&log).p);
    buf_clear(&log);
    return o;
}

static json_t *backend_json(struct api_admin *a, size_t i, const struct launcher_info *servers,
                            size_t server_count)
{
    const struct snapshot *snap = control_snapshot(a->control);
    const struct policy_backend *b = &snap->policy->backends[i];
    int64_t now_us = clock_mono_us();
    json_t *o = json_object(), *endpoints = json_array(), *server = NULL;
    for (size_t e = 0; e < b->endpoint_count; e++)
        json_array_append_new(endpoints, endpoint_json(a, i, e, now_us));
    for (size_t s = 0; s < server_count && b->command.argv; s++)
        if (strcmp(servers[s].name, b->name) == 0)
            server = server_json(control_launcher(a->control), &servers[s]);
    json_put_text(o, "name", b->name);
    json_put_text(o, "key", b->key_source);
    json_put(o, "endpoints", endpoints);
    json_put(o, "server", server);
    return o;
}

static void get_backends(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    const struct policy *p = control_snapshot(a->control)->policy;
    struct launcher_info *servers = mem_zalloc(p->backend_count, sizeof *servers);
    size_t n = launcher_list(control_launcher(a->control), servers, p->backend_count);
    json_t *o = json_object(), *backends = json_array();
    for (size_t i = 0; i < p->backend_count; i++)
        json_array_append_new(backends, backend_json(a, i, servers, n));
    json_put_text(o, "policy_version", p->version);
    json_put(o, "backends", backends);
    free(servers);
    admin_reply_json(x, 200, NULL, o);
}

/* ---- the encoder ---- */

static json_t *service_json(struct embedder *e)
{
    struct encoder_facts f = encoder_service_facts(embedder_service(e));
    struct encoder_service_counts c;
    char space[FINGERPRINT_TEXT_BYTES], full[FINGERPRINT_TEXT_BYTES];
    json_t *o = json_object(), *texts = json_object();
    encoder_service_counts(embedder_service(e), &c);
    fingerprint_text(f.space, space);
    fingerprint_text(f.full, full);
    json_put_text(o, "model", f.model);
    json_put_text(o, "kernels", f.kernels);
    json_put_text(o, "precision", encoder_precision_name(f.precision));
    json_put_int(o, "dimensions", f.dim);
    json_put_int(o, "max_tokens", f.max_tokens);
    json_put_int(o, "weight_bytes", (int64_t)f.weight_bytes);
    json_put_text(o, "space", space);
    json_put_text(o, "fingerprint", full);
    json_put_bool(o, "device_lost", c.device_lost);
    json_put_int(texts, "encoded", (int64_t)c.encoded);
    json_put_int(texts, "refused", (int64_t)c.refused);
    json_put_int(texts, "foreseen", (int64_t)c.foreseen);
    json_put_int(texts, "expired", (int64_t)c.expired);
    json_put_int(texts, "failed", (int64_t)c.failed);
    json_put_int(texts, "queued", (int64_t)c.queued);
    json_put(o, "texts", texts);
    json_put_int(o, "passes", (int64_t)c.passes);
    json_put(o, "us_per_token", json_real(c.us_per_token));
    return o;
}

/* The transformer, null where the static tier is alone; and what queries are told apart by, null
 * where no route hangs on a class. */
static void get_encoder(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    const struct snapshot *s = control_snapshot(a->control);
    json_t *o = s->embedder ? service_json(s->embedder) : json_object();
    json_t *classes = json_array();
    if (!s->embedder)
        json_put_text(o, "model", s->classifier ? POLICY_ENCODER_STATIC : NULL);
    for (size_t i = 0; i < s->policy->class_count; i++)
        json_array_append_new(classes, json_put_string(s->policy->classes[i].name));
    json_put_bool(o, "classifies", s->classifier != NULL);
    json_put(o, "declared_classes", classes);
    json_put_text(o, "policy_version", s->policy->version);
    admin_reply_json(x, 200, NULL, o);
}

/* ---- the policy ---- */

static json_t *policy_summary(struct api_admin *a)
{
    struct control_status s;
    control_describe(a->control, &s);
    const struct policy *p = control_snapshot(a->control)->policy;
    json_t *o = serving_json(p, &s);
    json_t *backends = json_array(), *models = json_array(), *aliases = json_object(),
           *routes = json_array(), *tenants = json_array();
    for (size_t i = 0; i < p->backend_count; i++)
        json_array_append_new(backends, json_put_string(p->backends[i].name));
    for (size_t i = 0; i < p->model_count; i++)
        json_array_append_new(models, json_put_string(p->models[i].name));
    for (size_t i = 0; i < p->alias_count; i++)
        json_put_text(aliases, p->aliases[i].name, p->aliases[i].canonical);
    for (size_t i = 0; i < p->route_count; i++)
        json_array_append_new(routes, json_put_string(p->routes[i].name));
    for (size_t i = 0; i < p->tenant_count; i++)
        json_array_append_new(tenants, json_put_string(p->tenants[i].name));
    json_put(o, "backends", backends);
    json_put(o, "models", models);
    json_put(o, "aliases", aliases);
    json_put(o, "routes", routes);
    json_put(o, "tenants", tenants);
    return o;
}

static bool wants_json(struct http_exchange *x)
{
    static const char json[] = "application/json";
    const struct http1_header *accept = http1_find(http_exchange_head(x), SLICE("Accept"));
    return accept && memmem(accept->value.p, accept->value.n, json, sizeof json - 1) != NULL;
}

static void get_policy(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    const struct policy *p = control_snapshot(a->control)->policy;
    if (wants_json(x))
        admin_reply_json(x, 200, p->version, policy_summary(a));
    else
        admin_reply_text(x, 200, "application/yaml", p->version, p->text);
}

/* NULL when it cannot be said. */
static json_t *diff_json(const struct policy *old, const struct policy *new)
{
    struct policy_diff diff;
    struct buf text;
    buf_init(&text, DIFF_BYTES);
    policy_diff(old, new, &diff);
    json_t *o = NULL;
    if (policy_diff_write_json(&diff, &text) == ERR_OK)
        o = json_loadb(buf_slice(&text).p, buf_len(&text), 0, NULL);
    policy_diff_clear(&diff);
    buf_clear(&text);
    return o;
}

/* A text that control is deciding about. Lives until it has decided, even if the client leaves. */
struct policy_question {
    struct admin_task task;
    struct api_admin *admin;
    struct http_exchange *x; /* NULL: the client left */
};

static void question_gone(struct admin_task *t)
{
    CONTAINER_OF(t, struct policy_question, task)->x = NULL;
}

static struct policy_question *question_new(struct api_admin *a, struct http_exchange *x)
{
    struct policy_question *q = mem_zalloc(1, sizeof *q);
    *q = (struct policy_question){.task.gone = question_gone, .admin = a, .x = x};
    return q;
}

/* e: of control_try_policy or control_put_policy. */
static void question_asked(struct policy_question *q, enum err e)
{
    if (e == ERR_OK) {
        ((struct admin_visit *)http_exchange_user(q->x))->task = &q->task;
        return;
    }
    admin_reply_error(q->x, e, NULL);
    free(q);
}

/* The exchange that waits for the answer, or NULL; q is gone. */
static struct http_exchange *question_end(struct policy_question *q)
{
    struct http_exchange *x = q->x;
    if (x)
        ((struct admin_visit *)http_exchange_user(x))->task = NULL;
    free(q);
    return x;
}

static void on_tried(void *ctx, const struct control_verdict *v)
{
    struct http_exchange *x = question_end(ctx);
    if (!x)
        return;
    if (v->err != ERR_OK && v->err != ERR_CONFLICT && v->err != ERR_INVALID_POLICY) {
        admin_reply_error(x, v->err, v->why);
        return;
    }
    json_t *o = json_object();
    json_put_bool(o, "valid", v->policy != NULL);
    json_put_text(o, "version", v->policy ? v->policy->version : NULL);
    json_put_bool(o, "restart_needed", v->err == ERR_CONFLICT);
    json_put_text(o, "restart_why", v->err == ERR_CONFLICT ? v->why : NULL);
    json_put(o, "diagnostics", diag_json(v->diags));
    json_put(o, "diff", v->policy ? diff_json(v->before, v->policy) : NULL);
    admin_reply_json(x, 200, NULL, o);
}

static void post_validate(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    struct policy_question *q = question_new(a, x);
    question_asked(q, control_try_policy(a->control, http_exchange_body(x), on_tried, q));
}

static void reply_changed(struct api_admin *a, struct http_exchange *x,
                          const struct control_verdict *v)
{
    struct control_status s;
    control_describe(a->control, &s);
    const struct policy *p = control_snapshot(a->control)->policy;
    json_t *o = json_object();
    json_put_text(o, "version", p->version);
    json_put_int(o, "serial", s.policy_serial);
    json_put(o, "diagnostics", diag_json(v->diags));
    json_put(o, "diff", diff_json(v->before, p));
    admin_reply_json(x, 200, p->version, o);
}

static void on_changed(void *ctx, const struct control_verdict *v)
{
    struct api_admin *a = ((struct policy_question *)ctx)->admin;
    struct http_exchange *x = question_end(ctx);
    if (!x)
        return;
    if (v->err == ERR_OK)
        reply_changed(a, x, v);
    else if (v->err == ERR_PRECONDITION_FAILED)
        admin_reply_error(x, v->err, NULL);
    else
        reply_policy_error(x, v->err, v->why, v->diags);
}

/* The common end of PUT and rollback. */
static void change_policy(struct api_admin *a, struct http_exchange *x, struct slice text,
                          const char *origin)
{
    const struct http1_header *h = http1_find(http_exchange_head(x), SLICE("If-Match"));
    if (!h) {
        admin_reply_error(x, ERR_PRECONDITION_REQUIRED, NULL);
        return;
    }
    struct policy_question *q = question_new(a, x);
    question_asked(q, control_put_policy(a->control, text, h->value, origin, on_changed, q));
}

static void put_policy(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    change_policy(a, x, http_exchange_body(x), "api");
}

/* ---- versions ---- */

static json_t *version_json(const struct policy_store_entry *e, int64_t serving)
{
    json_t *o = json_object();
    json_put_int(o, "serial", e->serial);
    json_put_text(o, "version", e->version);
    json_put_time(o, "loaded_at", e->wall_us);
    json_put_text(o, "origin", e->origin);
    json_put_bool(o, "serving", e->serial == serving);
    return o;
}

static void get_versions(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    struct control_status s;
    control_describe(a->control, &s);
    const struct policy_store *store = control_store(a->control);
    json_t *versions = json_array();
    for (size_t i = policy_store_count(store); i-- > 0;)
        json_array_append_new(versions, version_json(policy_store_at(store, i), s.policy_serial));
    admin_reply_json(x, 200, NULL, json_pack("{s:o}", "versions", versions));
}

/* Answers with an error and returns NULL when there is no such version. *text is the caller's. */
static const struct policy_store_entry *read_version(struct api_admin *a, struct http_exchange *x,
                                                     int64_t serial, char **text, size_t *n)
{
    const struct policy_store_entry *e = policy_store_find(control_store(a->control), serial);
    struct err_text t = {""};
    if (!e) {
        admin_reply_error(x, ERR_NOT_FOUND, "There is no policy version with this serial.");
        return NULL;
    }
    if (policy_store_text(control_store(a->control), e, text, n, &t) != ERR_OK) {
        admin_reply_error(x, ERR_INTERNAL, t.s);
        return NULL;
    }
    return e;
}

/* Digits only; -1 for anything else. */
static int64_t parse_serial(struct slice s)
{
    int64_t v = 0;
    if (s.n == 0 || s.n > 15)
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        v = v * 10 + (s.p[i] - '0');
    }
    return v;
}

static void get_version(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    int64_t serial = parse_serial(rest);
    if (serial < 0) {
        admin_reply_error(x, ERR_NOT_FOUND,
                          "A policy version is named by its serial, a whole number.");
        return;
    }
    char *text;
    size_t n;
    const struct policy_store_entry *e = read_version(a, x, serial, &text, &n);
    if (!e)
        return;
    admin_reply_text(x, 200, "application/yaml", e->version, slice_make(text, n));
    free(text);
}

static void post_rollback(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    struct slice body = http_exchange_body(x);
    json_error_t fault;
    json_int_t serial = 0;
    json_t *o = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &fault);
    bool ok = o && json_unpack_ex(o, &fault, JSON_STRICT, "{s:I}", "serial", &serial) == 0;
    json_decref(o);
    if (!ok) {
        admin_reply_error(
            x, ERR_BAD_REQUEST,
            "The body must be {\"serial\": N}, N a serial of /admin/policy/versions.");
        return;
    }
    char *text, origin[64];
    size_t n;
    if (!read_version(a, x, serial, &text, &n))
        return;
    snprintf(origin, sizeof origin, "rollback to %" PRId64, (int64_t)serial);
    change_policy(a, x, slice_make(text, n), origin);
    free(text);
}

/* ---- who may ask what ---- */

static const struct admin_route routes[] = {
    {"GET", "/healthz", ADMIN_OPEN, get_healthz},
    {"GET", "/readyz", ADMIN_OPEN, get_readyz},
    {"GET", "/metrics", ADMIN_ONLY, get_metrics},
    {"GET", "/admin/requests", ADMIN_ONLY, get_requests},
    {"GET", "/admin/backends", ADMIN_ONLY, get_backends},
    {"GET", "/admin/encoder", ADMIN_ONLY, get_encoder},
    {"GET", "/admin/policy", ADMIN_ONLY, get_policy},
    {"PUT", "/admin/policy", ADMIN_ONLY, put_policy},
    {"POST", "/admin/policy/validate", ADMIN_ONLY, post_validate},
    {"GET", "/admin/policy/versions", ADMIN_ONLY, get_versions},
    {"GET", "/admin/policy/versions/*", ADMIN_ONLY, get_version},
    {"POST", "/admin/policy/rollback", ADMIN_ONLY, post_rollback},
    {0},
};
static const struct admin_route *const tables[] = {routes, api_cache_routes, api_beliefs_routes,
                                                   NULL};

/* "localhost", 127.0.0.0/8 or ::1, with or without a port. A name that an attacker made resolve to
 * us is none of them. */
static bool is_loopback_host(struct slice host)
{
    if (slice_starts(host, SLICE("[::1]")))
        return host.n == 5 || host.p[5] == ':';
    const char *colon = memchr(host.p, ':', host.n);
    struct slice name = slice_make(host.p, colon ? (size_t)(colon - host.p) : host.n);
    if (slice_ieq(name, SLICE("localhost")))
        return true;
    if (!slice_starts(name, SLICE("127.")))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] != '.' && (name.p[i] < '0' || name.p[i] > '9'))
            return false;
    return true;
}

static enum err admit(struct api_admin *a, struct http_exchange *x, struct admin_visit *v)
{
    const struct policy *p = control_snapshot(a->control)->policy;
    const struct http1_head *head = http_exchange_head(x);
    const struct http1_header *host = http1_find(head, SLICE("Host"));
    if (p->tenant_count == 0 && p->server.admin.loopback && host &&
        !is_loopback_host(host->value)) {
        http_exchange_refuse(
            x, "Without tenants the admin API answers only to loopback names in the Host header.",
            NULL);
        return ERR_FORBIDDEN;
    }
    enum err found = admin_route_find(tables, x, v);
    if (found == ERR_OK && v->route->access == ADMIN_OPEN)
        return ERR_OK;
    const struct policy_tenant *tenant;
    const char *message = NULL;
    enum err e = auth_check_admin(p, head, &tenant, &message);
    if (e != ERR_OK) {
        v->allow = NULL;
        v->challenge = e == ERR_UNAUTHORIZED;
        http_exchange_refuse(x, message, NULL);
        return e;
    }
    v->who = tenant ? arena_strdup(http_exchange_arena(x), slice_str(tenant->name)) : "-";
    return found;
}

/* ---- the handler ---- */

static enum err on_head(void *ctx, struct http_exchange *x)
{
    struct admin_visit *v = ARENA_NEW(http_exchange_arena(x), struct admin_visit);
    http_exchange_set_user(x, v);
    return admit(ctx, x, v);
}

static void on_request(void *ctx, struct http_exchange *x)
{
    const struct admin_visit *v = http_exchange_user(x);
    v->route->handle(ctx, x, v->rest);
}

static void on_gone(void *ctx, struct http_exchange *x)
{
    const struct admin_visit *v = http_exchange_user(x);
    (void)ctx;
    if (v->task)
        v->task->gone(v->task);
}

static void on_writable(void *ctx, struct http_exchange *x)
{
    const struct admin_visit *v = http_exchange_user(x);
    (void)ctx;
    if (v->task && v->task->writable)
        v->task->writable(v->task);
}

static void extra_headers(void *ctx, struct http_exchange *x, struct buf *out)
{
    (void)ctx;
    const struct admin_visit *v = http_exchange_user(x);
    enum err e = buf_append_slice(
        out, SLICE("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"));
    if (e == ERR_OK && v && v->allow && !v->route)
        e = buf_printf(out, "Allow: %s\r\n", v->allow);
    if (e == ERR_OK && v && v->challenge)
        e = buf_append_slice(out, SLICE("WWW-Authenticate: Bearer\r\n"));
    (void)e; /* a header less, when memory for heads is at its bound */
}

const struct http_handler *api_admin_handler(void)
{
    static const struct http_handler handler = {
        .on_head = on_head,
        .on_request = on_request,
        .on_gone = on_gone,
        .on_writable = on_writable,
        .extra_headers = extra_headers,
    };
    return &handler;
}

struct api_admin *api_admin_new(struct control *c)
{
    struct api_admin *a = mem_zalloc(1, sizeof *a);
    a->control = c;
    a->cache = api_cache_new(c);
    idtable_init(&a->queries, MAX_QUERIES);
    return a;
}

static void free_query(void *object, objid id, void *ctx)
{
    (void)id;
    (void)ctx;
    struct listing_query *q = object;
    event_free(q->timer);
    buf_clear(&q->json);
    free(q->answered);
    free(q);
}

void api_admin_free(struct api_admin *a)
{
    if (!a)
        return;
    idtable_each(&a->queries, free_query, NULL);
    idtable_clear(&a->queries);
    api_cache_free(a->cache);
    free(a);
}

struct control *api_admin_control(const struct api_admin *a)
{
    return a->control;
}

struct api_cache *api_admin_cache(const struct api_admin *a)
{
    return a->cache;
}

enum err api_admin_error_body(void *ctx, const struct http_exchange *x,
                              const struct http_error *error, int *status, struct buf *out)
{
    (void)ctx;
    (void)x;
    (void)status;
    return openai_error_body(error->err, error->message, error->param, out);
}
