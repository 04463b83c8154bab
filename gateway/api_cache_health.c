/* /admin/cache/doctor, /events and /prospects: how the cache is, what it does now, what it could do
 * under another bound. Owns nothing; control thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include "cache/guard.h"
#include "gateway/admin_reply.h"
#include "gateway/api_cache_int.h"
#include "gateway/cache_health.h"
#include "gateway/control.h"
#include "gateway/http_target.h"
#include "gateway/json_put.h"
#include "policies/policy_value.h"
#include "router/snapshot.h"

/* ---- doctor ---- */

static void look_at_disk(struct cache_health *h)
{
    struct statvfs fs;

    if (statvfs(h->folder, &fs) != 0)
        return;
    h->disk_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    h->disk_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
}

static void look_at_record(struct cache_health *h, struct api_cache *a)
{
    struct err_text t;
    json_t *tail = change_log_tail(cache_task_changes(a), 1, &t);

    h->record_known = tail;
    h->record_whole = json_is_true(json_object_get(tail, "whole"));
    json_decref(tail);
}

static void reply_doctor(struct http_exchange *x, struct admin_job *j)
{
    struct api_cache *a = j->owner;
    const struct snapshot *s = control_snapshot(a->control);
    struct cache_health h = {.job = j, .folder = s->policy->server.state_dir};
    json_t *o = json_object();

    if (s->cache)
        cache_facts(s->cache, &h.facts);
    look_at_disk(&h);
    look_at_record(&h, a);
    json_put(o, "checks", cache_health_checks(&h));
    admin_reply_json(x, 200, NULL, o);
}

void api_cache_get_doctor(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct admin_job *j = admin_job_new(ADMIN_INSPECT);

    (void)rest;
    j->owner = api_admin_cache(admin);
    cache_task_ask(admin, x, j, reply_doctor, NULL);
}

/* ---- events ---- */

#define EVENTS_WAIT_MAX_MS 30000

static json_t *event_json(const struct admin_event *v)
{
    static const char *const verdicts[] = {
        [CACHE_MISS] = "miss",
        [CACHE_HIT_EXACT] = "exact",
        [CACHE_HIT_SEMANTIC] = "semantic",
        [CACHE_WAIT_LEADER] = "wait",
    };
    char id[20];
    json_t *o = json_object();

    snprintf(id, sizeof id, "%016" PRIx64, v->entry);
    json_put_int(o, "number", (int64_t)v->number);
    json_put_time(o, "at", v->wall_ms * 1000);
    json_put_text(o, "verdict", verdicts[v->verdict]);
    json_put_text(o, "scope", v->scope);
    json_put_text(o, "text", v->text);
    json_put_text(o, "entry", v->entry ? id : NULL);
    if (v->by_meaning) {
        json_put(o, "cosine", json_real(v->cosine));
        json_put(o, "probability", json_real(v->probability));
        json_put(o, "cut", json_real(v->cut));
        json_put_text(o, "guard", v->guard < 0 ? NULL : guard_name((enum guard)v->guard));
        json_put_bool(o, "shadow", v->shadow);
        json_put_bool(o, "audit", v->audit);
    }
    return o;
}

static void reply_events(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object(), *events = json_array();
    uint64_t last = j->event_count ? j->events[j->event_count - 1].number : j->after;

    for (size_t i = 0; i < j->event_count; i++)
        json_array_append_new(events, event_json(&j->events[i]));
    json_put_int(o, "last", (int64_t)last);
    json_put_int(o, "lost", (int64_t)j->lost);
    json_put(o, "events", events);
    admin_reply_json(x, 200, NULL, o);
}

void api_cache_get_events(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct slice query = http_exchange_query(x), key, value;
    struct admin_job *j = admin_job_new(ADMIN_WATCH);
    int64_t after = 0, limit = CACHE_PAGE_DEFAULT, wait_ms = 0;
    const char *wrong, *hint;

    (void)rest;
    while (http_target_next(&query, &j->arena, &key, &value, &wrong)) {
        int64_t *to = slice_eq(key, SLICE("after"))   ? &after
                      : slice_eq(key, SLICE("limit")) ? &limit
                                                      : NULL;
        if (slice_eq(key, SLICE("wait")))
            wrong = value_duration(value, &wait_ms, &hint) || wait_ms > EVENTS_WAIT_MAX_MS
                        ? "wait: a duration of at most 30s"
                        : NULL;
        else if (!to || value_int(value, to, &hint) || *to < (to == &limit) ||
                 (to == &limit && *to > ADMIN_TRAIL_EVENTS))
            wrong = "after: a number from 0 on; limit: 1 to 512; wait: a duration; nothing else";
        if (wrong)
            break;
    }
    if (wrong) {
        admin_reply_error(x, ERR_BAD_REQUEST, wrong);
        admin_job_free(j);
        return;
    }
    j->after = (uint64_t)after;
    j->wait_ms = wait_ms;
    j->limit = (size_t)limit;
    cache_task_ask(admin, x, j, reply_events, NULL);
}

/* ---- prospects ---- */

static json_t *then_json(double max_error, const struct risk_prospect *p)
{
    json_t *o = json_object();

    json_put(o, "max_error", json_real(max_error));
    json_put(o, "cut", p->cut <= 1 ? json_real(p->cut) : NULL);
    json_put(o, "hits", json_real(p->hits));
    json_put(o, "error", json_real(p->error));
    return o;
}

static json_t *prospect_json(const struct admin_job *j, const struct admin_prospect *p)
{
    json_t *o = json_object(), *now = json_object(), *then = json_array();

    json_put_bool(now, "warm", p->now.warm);
    json_put_bool(now, "alarm", p->now.alarm);
    json_put(now, "cut", p->now.cut <= 1 ? json_real(p->now.cut) : NULL);
    json_put_int(now, "requests", (int64_t)p->now.requests);
    json_put_int(now, "served", (int64_t)p->now.served);
    json_put_int(now, "labels", (int64_t)p->now.labels);
    json_put_int(now, "audits", (int64_t)p->now.audits);
    json_put_int(now, "audited_wrong", (int64_t)p->now.audited_wrong);
    json_put(now, "error_low", json_real(p->now.error_low));
    json_put(now, "error_high", json_real(p->now.error_high));
    for (size_t i = 0; i < j->bound_count; i++)
        json_array_append_new(then, then_json(j->bounds[i], &p->then[i]));
    json_put(o, "scope", json_put_slice(p->scope));
    json_put(o, "max_error", json_real(p->max_error));
    json_put_int(o, "looked_at", j->bound_count ? (int64_t)p->then[0].requests : 0);
    json_put(o, "now", now);
    json_put(o, "then", then);
    return o;
}

static void reply_prospects(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object(), *scopes = json_array();

    for (size_t i = 0; i < j->prospect_count; i++)
        json_array_append_new(scopes, prospect_json(j, &j->prospects[i]));
    json_put(o, "scopes", scopes);
    admin_reply_json(x, 200, NULL, o);
}

void api_cache_get_prospects(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    static const double usual[] = {0.001, 0.005, 0.01, 0.02, 0.05};
    struct slice query = http_exchange_query(x), key, value;
    struct admin_job *j = admin_job_new(ADMIN_TUNE);
    const char *wrong, *hint;

    (void)rest;
    while (http_target_next(&query, &j->arena, &key, &value, &wrong)) {
        double *to = &j->bounds[j->bound_count];
        if (!slice_eq(key, SLICE("max_error")) || j->bound_count == ADMIN_BOUNDS ||
            value_fraction(value, to, &hint) || *to <= 0 || *to >= 0.5)
            wrong = "max_error: a number between 0 and 0.5, eight times at most; nothing else";
        if (wrong)
            break;
        j->bound_count++;
    }
    if (wrong) {
        admin_reply_error(x, ERR_BAD_REQUEST, wrong);
        admin_job_free(j);
        return;
    }
    if (j->bound_count == 0)
        for (; j->bound_count < sizeof usual / sizeof *usual; j->bound_count++)
            j->bounds[j->bound_count] = usual[j->bound_count];
    cache_task_ask(admin, x, j, reply_prospects, NULL);
}
