/* The table of /admin/cache, its facts and its record of changes. Owns the table of tasks and the
 * record's file. Control thread; called by api_admin.c. */
#include "gateway/api_cache.h"

#include <stdlib.h>
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_cache_int.h"
#include "gateway/control.h"
#include "gateway/control_vectors.h"
#include "gateway/http_target.h"
#include "gateway/json_put.h"
#include "policies/policy_value.h"
#include "router/snapshot.h"

#define MAX_TASKS    64
#define CHANGES_MOST 1000

/* ---- changes ---- */

static void get_changes(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct slice query = http_exchange_query(x), key, value;
    int64_t most = CACHE_PAGE_DEFAULT;
    const char *wrong, *hint;
    struct err_text t = {""};

    (void)rest;
    while (http_target_next(&query, http_exchange_arena(x), &key, &value, &wrong))
        if (!slice_eq(key, SLICE("limit")) || value_int(value, &most, &hint) || most < 1 ||
            most > CHANGES_MOST) {
            admin_reply_error(x, ERR_BAD_REQUEST, "The only condition is limit, 1 to 1000.");
            return;
        }
    json_t *o = change_log_tail(cache_task_changes(api_admin_cache(admin)), (size_t)most, &t);
    if (o)
        admin_reply_json(x, 200, NULL, o);
    else
        admin_reply_error(x, ERR_INTERNAL, t.s);
}

/* ---- facts ---- */

static json_t *semantic_json(const struct cache_facts *f, const struct control_vectors *v)
{
    const struct risk_facts *r = &f->risk;
    json_t *o = json_object();

    json_put_int(o, "indexed", (int64_t)f->indexed);
    json_put_int(o, "index_bytes", (int64_t)f->index_bytes);
    json_put_bool(o, "filling", f->scanning);
    json_put_int(o, "reencoded", (int64_t)v->encoded);
    json_put_bool(o, "reencoding", v->walking || v->anew);
    json_put_int(o, "hits", (int64_t)f->hits_semantic);
    json_put_int(o, "labels", (int64_t)r->labels);
    json_put_int(o, "audits", (int64_t)r->audits);
    json_put_int(o, "audited_wrong", (int64_t)r->audited_wrong);
    json_put(o, "error", json_real(r->error));
    json_put(o, "error_low", json_real(r->error_low));
    json_put(o, "error_high", json_real(r->error_high));
    json_put(o, "cut", json_real(r->cut));
    json_put(o, "correction", json_real(r->correction));
    json_put_bool(o, "warm", r->warm);
    json_put_bool(o, "alarm", r->alarm);
    return o;
}

static json_t *store_json(const struct cache_facts *f)
{
    json_t *o = json_object();

    json_put_bool(o, "up", f->store_up);
    json_put(o, "entries",
             f->store_counts ? json_integer((json_int_t)f->store_entries) : json_null());
    json_put(o, "bytes", f->store_counts ? json_integer((json_int_t)f->store_bytes) : json_null());
    json_put_int(o, "failed", (int64_t)f->store_failed);
    json_put_int(o, "late", (int64_t)f->store_late);
    json_put_int(o, "losses", (int64_t)f->store_losses);
    json_put_int(o, "bad_entries", (int64_t)f->bad_entries);
    return o;
}

/* What workers answered from their hot sets is not among the look-ups: see the metrics. */
static json_t *cache_json(const struct cache *c, const struct control_vectors *v)
{
    struct cache_facts f;
    json_t *o = json_object();

    cache_facts(c, &f);
    json_put_int(o, "lookups", (int64_t)f.lookups);
    json_put_int(o, "hits_exact", (int64_t)f.hits_exact);
    json_put_int(o, "waits", (int64_t)f.waits);
    json_put_int(o, "puts", (int64_t)f.puts);
    json_put_int(o, "refused_puts", (int64_t)f.refused_puts);
    json_put_int(o, "resident", (int64_t)f.resident);
    json_put_int(o, "resident_bytes", (int64_t)f.resident_bytes);
    json_put_int(o, "in_flight", (int64_t)f.flights);
    json_put(o, "store", store_json(&f));
    json_put(o, "semantic", semantic_json(&f, v));
    return o;
}

static void get_cache(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    const struct snapshot *s = control_snapshot(api_admin_cache(admin)->control);
    const struct control_vectors *v = control_vectors(api_admin_cache(admin)->control);
    json_t *o = s->cache ? cache_json(s->cache, v) : json_object();

    (void)rest;
    json_put_bool(o, "enabled", s->cache != NULL);
    admin_reply_json(x, 200, NULL, o);
}

/* ---- the table ---- */

const struct admin_route api_cache_routes[] = {
    {"GET", "/admin/cache", ADMIN_ONLY, get_cache},
    {"GET", "/admin/cache/entries", ADMIN_ONLY, api_cache_get_entries},
    {"GET", "/admin/cache/entries/*", ADMIN_ONLY, api_cache_get_entry},
    {"DELETE", "/admin/cache/entries/*", ADMIN_ONLY, api_cache_delete_entry},
    {"POST", "/admin/cache/mark", ADMIN_ONLY, api_cache_post_mark},
    {"POST", "/admin/cache/remove", ADMIN_ONLY, api_cache_post_remove},
    {"POST", "/admin/cache/flush", ADMIN_ONLY, api_cache_post_flush},
    {"GET", "/admin/cache/usage", ADMIN_ONLY, api_cache_get_usage},
    {"GET", "/admin/cache/export", ADMIN_ONLY, api_cache_get_export},
    {"POST", "/admin/cache/import", ADMIN_ONLY, api_cache_post_import},
    {"POST", "/admin/cache/warm", ADMIN_ONLY, api_cache_post_warm},
    {"GET", "/admin/cache/doctor", ADMIN_ONLY, api_cache_get_doctor},
    {"GET", "/admin/cache/events", ADMIN_ONLY, api_cache_get_events},
    {"GET", "/admin/cache/prospects", ADMIN_ONLY, api_cache_get_prospects},
    {"POST", "/admin/cache/explain", ADMIN_ONLY, api_cache_post_explain},
    {"POST", "/admin/cache/label", ADMIN_ONLY, api_cache_post_label},
    {"GET", "/admin/cache/changes", ADMIN_ONLY, get_changes},
    {0},
};

struct api_cache *api_cache_new(struct control *c)
{
    struct api_cache *a = mem_zalloc(1, sizeof *a);

    a->control = c;
    idtable_init(&a->tasks, MAX_TASKS);
    return a;
}

static void drop_task(void *object, objid id, void *ctx)
{
    struct cache_task *t = object;

    (void)id, (void)ctx;
    t->drop(t);
}

void api_cache_free(struct api_cache *a)
{
    if (!a)
        return;
    idtable_each(&a->tasks, drop_task, NULL);
    idtable_clear(&a->tasks);
    change_log_free(a->changes);
    free(a);
}
