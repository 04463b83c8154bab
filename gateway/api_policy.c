/* What serves, changing it, and going back. Owns the texts that control is deciding about. Control
 * thread; called by api_admin.c. */
#include "gateway/api_policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/ascii.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_admin.h"
#include "gateway/diag_json.h"
#include "gateway/http_server.h"
#include "gateway/json_put.h"
#include "gateway/policy_store.h"
#include "policies/policy_diff.h"
#include "router/snapshot.h"

#define DIFF_BYTES ((size_t)64 << 20)

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

json_t *api_policy_serving_json(const struct policy *p, const struct control_status *s)
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

static json_t *policy_summary(struct api_admin *a)
{
    struct control_status s;
    control_describe(api_admin_control(a), &s);
    const struct policy *p = control_snapshot(api_admin_control(a))->policy;
    json_t *o = api_policy_serving_json(p, &s);
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
    const struct policy *p = control_snapshot(api_admin_control(a))->policy;
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

/* ---- changes ---- */

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
    question_asked(q, control_try_policy(api_admin_control(a), http_exchange_body(x), on_tried, q));
}

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

static void reply_changed(struct api_admin *a, struct http_exchange *x,
                          const struct control_verdict *v)
{
    struct control_status s;
    control_describe(api_admin_control(a), &s);
    const struct policy *p = control_snapshot(api_admin_control(a))->policy;
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
    question_asked(q,
                   control_put_policy(api_admin_control(a), text, h->value, origin, on_changed, q));
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
    control_describe(api_admin_control(a), &s);
    const struct policy_store *store = control_store(api_admin_control(a));
    json_t *versions = json_array();
    for (size_t i = policy_store_count(store); i-- > 0;)
        json_array_append_new(versions, version_json(policy_store_at(store, i), s.policy_serial));
    admin_reply_json(x, 200, NULL, json_pack("{s:o}", "versions", versions));
}

/* Answers with an error and returns NULL when there is no such version. *text is the caller's. */
static const struct policy_store_entry *read_version(struct api_admin *a, struct http_exchange *x,
                                                     int64_t serial, char **text, size_t *n)
{
    const struct policy_store_entry *e =
        policy_store_find(control_store(api_admin_control(a)), serial);
    struct err_text t = {""};
    if (!e) {
        admin_reply_error(x, ERR_NOT_FOUND, "There is no policy version with this serial.");
        return NULL;
    }
    if (policy_store_text(control_store(api_admin_control(a)), e, text, n, &t) != ERR_OK) {
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
        if (!ascii_is_digit(s.p[i]))
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

const struct admin_route api_policy_routes[] = {
    {"GET", "/admin/policy", ADMIN_ONLY, get_policy},
    {"PUT", "/admin/policy", ADMIN_ONLY, put_policy},
    {"POST", "/admin/policy/validate", ADMIN_ONLY, post_validate},
    {"GET", "/admin/policy/versions", ADMIN_ONLY, get_versions},
    {"GET", "/admin/policy/versions/*", ADMIN_ONLY, get_version},
    {"POST", "/admin/policy/rollback", ADMIN_ONLY, post_rollback},
    {0},
};
