/* The admin API's tables of routes, who may use them, and health and metrics; the other answers are
 * those of api_*.c. What it shows belongs to control. Runs on the control loop. Called by
 * http_server through api_admin_handler. */
#include "gateway/api_admin.h"

#include <jansson.h>
#include <stdlib.h>
#include "backends/wire/openai_error.h"
#include "base/ascii.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/admin_route.h"
#include "gateway/api_backends.h"
#include "gateway/api_beliefs.h"
#include "gateway/api_cache.h"
#include "gateway/api_policy.h"
#include "gateway/api_requests.h"
#include "gateway/auth.h"
#include "gateway/control.h"
#include "gateway/http_server.h"
#include "gateway/json_put.h"
#include "router/snapshot.h"

#define METRICS_BYTES ((size_t)64 << 20)

struct api_admin {
    struct control *control;
    struct api_cache *cache;       /* owned */
    struct api_requests *requests; /* owned */
};

/* ---- health and metrics ---- */

static void get_healthz(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)a;
    (void)rest;
    admin_reply_text(x, 200, "text/plain; charset=utf-8", NULL, SLICE("ok\n"));
}

static void get_readyz(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    struct control_status s;
    control_describe(a->control, &s);
    bool ready = !s.draining && !s.ledger_full;
    json_t *o = json_object(), *ledger = json_object(), *budgets = json_object();
    json_put_bool(o, "ready", ready);
    json_put_text(o, "status", s.draining ? "draining" : s.ledger_full ? "ledger_full" : "ready");
    json_put_bool(o, "draining", s.draining);
    json_put(o, "policy", api_policy_serving_json(control_snapshot(a->control)->policy, &s));
    json_put_int(ledger, "queued", s.ledger_queued);
    json_put_bool(ledger, "full", s.ledger_full);
    json_put(o, "ledger", ledger);
    json_put_bool(budgets, "shared", s.spends_shared);
    if (s.spends_shared)
        json_put_bool(budgets, "store_up", s.spends_up);
    json_put(o, "budgets", budgets);
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

/* ---- who may ask what ---- */

static const struct admin_route routes[] = {
    {"GET", "/healthz", ADMIN_OPEN, get_healthz},
    {"GET", "/readyz", ADMIN_OPEN, get_readyz},
    {"GET", "/metrics", ADMIN_ONLY, get_metrics},
    {0},
};
static const struct admin_route *const tables[] = {routes,
                                                   api_requests_routes,
                                                   api_backends_routes,
                                                   api_policy_routes,
                                                   api_cache_routes,
                                                   api_beliefs_routes,
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
        if (name.p[i] != '.' && !ascii_is_digit(name.p[i]))
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
    a->requests = api_requests_new(c);
    return a;
}

void api_admin_free(struct api_admin *a)
{
    if (!a)
        return;
    api_requests_free(a->requests);
    api_cache_free(a->cache);
    free(a);
}

struct control *api_admin_control(const struct api_admin *a)
{
    return a->control;
}

struct api_requests *api_admin_requests(const struct api_admin *a)
{
    return a->requests;
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
