/* The fleet and the encoder as they are now. Owns nothing. Control thread. Called by api_admin. */
#include "gateway/api_backends.h"

#include <jansson.h>
#include <stdlib.h>
#include "backends/catalog.h"
#include "backends/launcher.h"
#include "backends/probe.h"
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_admin.h"
#include "gateway/control.h"
#include "gateway/http_server.h"
#include "gateway/json_put.h"
#include "gateway/model_list_json.h"
#include "router/embedder.h"
#include "router/snapshot.h"

#define LOG_TAIL_BYTES (32 * 1024)

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
    const struct policy *p = control_snapshot(api_admin_control(a))->policy;
    struct catalog_info info;
    if (!catalog_about(control_catalog(api_admin_control(a)), s, &info))
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
    const struct snapshot *snap = control_snapshot(api_admin_control(a));
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
    json_put(o, "health_check", probe_json(control_prober(api_admin_control(a)), s));
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
    const struct snapshot *snap = control_snapshot(api_admin_control(a));
    const struct policy_backend *b = &snap->policy->backends[i];
    int64_t now_us = clock_mono_us();
    json_t *o = json_object(), *endpoints = json_array(), *server = NULL;
    for (size_t e = 0; e < b->endpoint_count; e++)
        json_array_append_new(endpoints, endpoint_json(a, i, e, now_us));
    for (size_t s = 0; s < server_count && b->command.argv; s++)
        if (strcmp(servers[s].name, b->name) == 0)
            server = server_json(control_launcher(api_admin_control(a)), &servers[s]);
    json_put_text(o, "name", b->name);
    json_put_text(o, "key", b->key_source);
    json_put(o, "endpoints", endpoints);
    json_put(o, "server", server);
    return o;
}

static void get_backends(struct api_admin *a, struct http_exchange *x, struct slice rest)
{
    (void)rest;
    const struct policy *p = control_snapshot(api_admin_control(a))->policy;
    struct launcher_info *servers = mem_zalloc(p->backend_count, sizeof *servers);
    size_t n = launcher_list(control_launcher(api_admin_control(a)), servers, p->backend_count);
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
    const struct snapshot *s = control_snapshot(api_admin_control(a));
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

const struct admin_route api_backends_routes[] = {
    {"GET", "/admin/backends", ADMIN_ONLY, get_backends},
    {"GET", "/admin/encoder", ADMIN_ONLY, get_encoder},
    {0},
};
