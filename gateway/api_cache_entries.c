/* Entries over /admin/cache: looked at, marked, taken out, added up. Owns nothing; control thread.
 */
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_cache_int.h"
#include "gateway/cache_json.h"
#include "gateway/cache_where.h"
#include "gateway/json_put.h"

#define REMOVE_PHRASE "remove"
#define ALL_PHRASE    "remove everything"
#define FLUSH_PHRASE  "flush"

/* ---- entries ---- */

static void reply_page(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object(), *entries = json_array();

    for (size_t i = 0; i < j->entry_count; i++)
        json_array_append_new(entries, cache_json_head(&j->entries[i]->f));
    json_put_text(o, "cursor", j->next);
    json_put_int(o, "looked_at", (int64_t)j->looked_at);
    json_put(o, "entries", entries);
    admin_reply_json(x, 200, NULL, o);
}

void api_cache_get_entries(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct admin_job *j = admin_job_new(ADMIN_PAGE);

    (void)rest;
    if (cache_task_query(x, j))
        cache_task_ask(admin, x, j, reply_page, NULL);
    else
        admin_job_free(j);
}

static void reply_entry(struct http_exchange *x, struct admin_job *j)
{
    const struct http1_header *h = http1_find(http_exchange_head(x), SLICE("If-None-Match"));
    char tag[CACHE_JSON_TAG_BYTES];

    if (j->entry_count != 1 || !j->entries[0]) {
        admin_reply_error(x, ERR_NOT_FOUND, "No entry with this id is stored.");
        return;
    }
    cache_json_tag(&j->entries[0]->f, tag);
    if (h && admin_tag_matches(h->value, tag))
        admin_reply_text(x, 304, "application/json", tag, SLICE(""));
    else
        admin_reply_json(x, 200, tag, cache_json_entry(&j->entries[0]->f));
}

void api_cache_get_entry(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    uint64_t id = cache_task_id(x, rest);
    struct admin_job *j;

    if (id == 0)
        return;
    j = admin_job_new(ADMIN_GET);
    j->ids[0].id = id;
    j->id_count = 1;
    j->any_scope = true;
    cache_task_ask(admin, x, j, reply_entry, NULL);
}

static void reply_removed(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object();

    json_put_int(o, "removed", (int64_t)j->removed);
    json_put_int(o, "bytes", (int64_t)j->bytes);
    admin_reply_json(x, 200, NULL, o);
}

void api_cache_delete_entry(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    uint64_t id = cache_task_id(x, rest);
    struct admin_job *j = admin_job_new(ADMIN_DELETE);
    json_t *change = NULL;

    j->ids[0].id = id;
    if (id == 0 || !cache_task_if_match(x, j) ||
        !(change = cache_task_change(admin, x, "delete"))) {
        admin_job_free(j);
        return;
    }
    json_put(change, "id", json_put_slice(rest));
    cache_task_ask(admin, x, j, reply_removed, change);
}

/* ---- marks ---- */

static enum admin_mark mark_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return !v ? ADMIN_LEAVE : json_is_true(v) ? ADMIN_SET : ADMIN_UNSET;
}

static bool read_marks(struct http_exchange *x, json_t *o, struct admin_job *j)
{
    const json_t *pinned = json_object_get(o, "pinned"),
                 *quarantined = json_object_get(o, "quarantined");

    if (!cache_task_if_match(x, j))
        return false;
    j->ids[0].id = cache_task_id(x, slice_str(json_string_value(json_object_get(o, "id"))));
    if (j->ids[0].id == 0)
        return false;
    if ((!pinned && !quarantined) || (pinned && !json_is_boolean(pinned)) ||
        (quarantined && !json_is_boolean(quarantined))) {
        admin_reply_error(x, ERR_BAD_REQUEST,
                          "\"pinned\" or \"quarantined\" must be there, true or false.");
        return false;
    }
    j->pin = mark_of(o, "pinned");
    j->quarantine = mark_of(o, "quarantined");
    return true;
}

void api_cache_post_mark(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    static const char *const members[] = {"id", "pinned", "quarantined", NULL};
    json_t *o = cache_task_body(x, members), *change = NULL;
    struct admin_job *j;

    (void)rest;
    if (!o)
        return;
    j = admin_job_new(ADMIN_MARK);
    if (read_marks(x, o, j) && (change = cache_task_change(admin, x, "mark"))) {
        json_object_update(change, o);
        cache_task_ask(admin, x, j, reply_entry, change);
    } else {
        admin_job_free(j);
    }
    json_decref(o);
}

/* ---- removal ---- */

static void reply_step(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object();

    json_put_bool(o, "dry_run", j->kind == ADMIN_PAGE);
    json_put_int(o, "looked_at", (int64_t)j->looked_at);
    json_put_int(o, "matched", (int64_t)j->matched);
    json_put_int(o, "removed", (int64_t)j->removed);
    json_put_int(o, "bytes", (int64_t)j->bytes);
    json_put_text(o, "cursor", j->next);
    admin_reply_json(x, 200, NULL, o);
}

static bool read_removal(struct http_exchange *x, json_t *o, struct admin_job *j)
{
    const json_t *cursor = json_object_get(o, "cursor"), *dry = json_object_get(o, "dry_run");
    struct err_text t = {""};

    if ((cursor && !json_is_string(cursor)) || (dry && !json_is_boolean(dry)))
        err_say(&t, "\"cursor\" is a string, \"dry_run\" true or false.");
    else
        (void)cache_where_json(j, json_object_get(o, "where"), clock_wall_us() / 1000, &t);
    if (t.s[0]) {
        admin_reply_error(x, ERR_BAD_REQUEST, t.s);
        return false;
    }
    if (cursor)
        j->cursor = arena_dup(&j->arena, slice_str(json_string_value(cursor)));
    j->kind = json_is_true(dry) ? ADMIN_PAGE : ADMIN_REMOVE;
    j->count_only = true;
    j->limit = CACHE_STEP;
    bool all = j->filter.by == 0 && j->life == ADMIN_LIVING;
    if (all)
        j->life = ADMIN_BOTH; /* everything is everything */
    return j->kind == ADMIN_PAGE || cache_task_confirmed(x, o, all ? ALL_PHRASE : REMOVE_PHRASE);
}

void api_cache_post_remove(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    static const char *const members[] = {"where", "cursor", "dry_run", "confirm", NULL};
    json_t *o = cache_task_body(x, members), *change = NULL;
    struct admin_job *j;

    (void)rest;
    if (!o)
        return;
    j = admin_job_new(ADMIN_REMOVE);
    bool good = read_removal(x, o, j);
    if (good && j->kind == ADMIN_REMOVE) {
        change = cache_task_change(admin, x, "remove");
        good = change;
    }
    if (change) {
        json_put(change, "where", json_incref(json_object_get(o, "where")));
        json_put(change, "cursor", json_incref(json_object_get(o, "cursor")));
    }
    if (good)
        cache_task_ask(admin, x, j, reply_step, change);
    else
        admin_job_free(j);
    json_decref(o);
}

static void reply_flushed(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object();

    json_put_int(o, "generation", (int64_t)j->generation);
    admin_reply_json(x, 200, NULL, o);
}

void api_cache_post_flush(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    static const char *const members[] = {"scope", "confirm", NULL};
    json_t *o = cache_task_body(x, members), *change = NULL;
    const char *scope = json_string_value(json_object_get(o, "scope"));

    (void)rest;
    if (!o)
        return;
    if (!scope)
        admin_reply_error(x, ERR_BAD_REQUEST, "\"scope\": the name of a scope is wanted.");
    else if (cache_task_confirmed(x, o, FLUSH_PHRASE) &&
             (change = cache_task_change(admin, x, "flush"))) {
        struct admin_job *j = admin_job_new(ADMIN_FLUSH);
        j->filter.scope = arena_dup(&j->arena, slice_str(scope));
        json_put_text(change, "scope", scope);
        cache_task_ask(admin, x, j, reply_flushed, change);
    }
    json_decref(o);
}

/* ---- sums ---- */

static void add_int(json_t *o, const char *key, int64_t n)
{
    json_put_int(o, key, json_integer_value(json_object_get(o, key)) + n);
}

static void reply_usage(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object(), *scopes = json_object();

    for (size_t i = 0; i < j->entry_count; i++) {
        const struct cache_fields *f = &j->entries[i]->f;
        char *name = mem_strdup(f->scope);
        json_t *scope = json_object_get(scopes, name);
        if (!scope)
            json_put(scopes, name, scope = json_object());
        free(name);
        add_int(scope, "entries", 1);
        add_int(scope, "bytes", (int64_t)admin_job_entry_bytes(f));
        add_int(scope, "with_vector", f->vector != NULL);
        add_int(scope, "pinned", f->pinned);
        add_int(scope, "quarantined", f->quarantined);
    }
    json_put_text(o, "cursor", j->next);
    json_put_int(o, "looked_at", (int64_t)j->looked_at);
    json_put(o, "scopes", scopes);
    admin_reply_json(x, 200, NULL, o);
}

void api_cache_get_usage(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct admin_job *j = admin_job_new(ADMIN_PAGE);

    (void)rest;
    if (!cache_task_query(x, j)) {
        admin_job_free(j);
        return;
    }
    j->limit = CACHE_STEP;
    cache_task_ask(admin, x, j, reply_usage, NULL);
}
