/* Routes of /admin/cache. Owns the tasks: requests whose work the cache thread does. A task
 * outlives its client, because a change is recorded whoever still waits for it. Control thread;
 * called by api_admin.c.
 *
 *   handler -> admin_job -> cache thread -> on_job -> (change recorded) -> reply, if somebody waits
 */
#include "gateway/api_cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_admin.h"
#include "gateway/cache_json.h"
#include "gateway/cache_where.h"
#include "gateway/change_log.h"
#include "gateway/control.h"
#include "gateway/http_target.h"
#include "gateway/json_put.h"
#include "policies/policy_value.h"
#include "router/snapshot.h"

#define MAX_TASKS     64
#define PAGE_DEFAULT  100
#define PAGE_MOST     1000
#define USAGE_STEP    4000 /* entries that one step of a sum looks at, and of a removal */
#define CHANGES_MOST  1000
#define CHANGES_FILE  "cache_changes.jsonl"
#define REMOVE_PHRASE "remove"
#define ALL_PHRASE    "remove everything"
#define FLUSH_PHRASE  "flush"

struct api_cache {
    struct control *control;
    struct idtable tasks;       /* of struct cache_task */
    struct change_log *changes; /* owned; NULL: not needed yet */
};

struct cache_task {
    struct admin_task task;
    struct api_cache *owner;
    objid id;
    struct http_exchange *x; /* NULL: the client has left */
    void (*reply)(struct cache_task *t, struct admin_job *j);
    json_t *change;          /* owned: what is to be recorded; NULL: nothing is changed */
};

/* ---- tasks ---- */

static void task_free(struct cache_task *t)
{
    idtable_remove(&t->owner->tasks, t->id);
    json_decref(t->change);
    free(t);
}

static void task_gone(struct admin_task *task)
{
    CONTAINER_OF(task, struct cache_task, task)->x = NULL;
}

/* Whether the record stands. */
static enum err record_change(struct cache_task *t, const struct admin_job *j, struct err_text *why)
{
    json_t *change = t->change;

    t->change = NULL;
    json_put_text(change, "outcome", err_name(j->err));
    json_put_int(change, "removed", (int64_t)j->removed);
    return change_log_append(t->owner->changes, change, why);
}

static void on_job(struct message *m, void *receiver_ctx)
{
    struct admin_job *j = CONTAINER_OF(m, struct admin_job, msg);
    struct api_cache *a = api_admin_cache(control_admin(receiver_ctx));
    struct cache_task *t = idtable_get(&a->tasks, j->id);

    if (t) {
        if (t->change && j->err != ERR_BAD_REQUEST) {
            struct err_text why = {""};
            enum err err = record_change(t, j, &why);
            if (err != ERR_OK && j->err == ERR_OK) {
                j->err = err;
                j->why = why;
            }
        }
        if (t->x) {
            ((struct admin_visit *)http_exchange_user(t->x))->task = NULL;
            if (j->err == ERR_OK)
                t->reply(t, j);
            else
                admin_reply_error(t->x, j->err, j->why.s[0] ? j->why.s : NULL);
        }
        task_free(t);
    }
    admin_job_free(j);
}

static void drop_job(struct message *m)
{
    admin_job_free(CONTAINER_OF(m, struct admin_job, msg));
}

/* The policy's cache; NULL: it has none, and that was answered. */
static struct cache *cache_of(struct api_admin *admin, struct http_exchange *x)
{
    struct cache *c = control_snapshot(api_admin_cache(admin)->control)->cache;

    if (!c)
        admin_reply_error(x, ERR_NOT_FOUND, "The policy has no cache.");
    return c;
}

/* j and change are taken over. */
static void start(struct api_admin *admin, struct http_exchange *x, struct admin_job *j,
                  void (*reply)(struct cache_task *t, struct admin_job *j), json_t *change)
{
    struct api_cache *a = api_admin_cache(admin);
    struct cache *c = cache_of(admin, x);
    struct cache_task *t = mem_zalloc(1, sizeof *t);

    *t = (struct cache_task){.task.gone = task_gone,
                             .owner = a,
                             .x = x,
                             .reply = reply,
                             .change = change,
                             .id = c ? idtable_add(&a->tasks, t) : 0};
    if (c && !t->id)
        admin_reply_error(x, ERR_OVERLOADED,
                          "Too many of these questions are waiting for their answers.");
    if (!t->id) {
        json_decref(change);
        free(t);
        admin_job_free(j);
        return;
    }
    ((struct admin_visit *)http_exchange_user(x))->task = &t->task;
    j->msg.deliver = on_job;
    j->msg.discard = drop_job;
    j->reply_to = control_mailbox(a->control);
    j->id = t->id;
    admin_job_give(c, j);
}

/* ---- changes ---- */

static struct change_log *changes_of(struct api_cache *a)
{
    const char *folder = control_snapshot(a->control)->policy->server.state_dir;
    size_t n = strlen(folder) + sizeof "/" CHANGES_FILE;

    if (!a->changes) {
        char *path = mem_alloc(n);
        snprintf(path, n, "%s/" CHANGES_FILE, folder);
        a->changes = change_log_new(path);
        free(path);
    }
    return a->changes;
}

/* The record of what is about to be done; NULL: it cannot be kept, and that was answered. */
static json_t *begin_change(struct api_admin *admin, struct http_exchange *x, const char *action)
{
    const struct admin_visit *v = http_exchange_user(x);
    struct err_text t = {""};
    json_t *change;

    if (change_log_ready(changes_of(api_admin_cache(admin)), &t) != ERR_OK) {
        admin_reply_error(x, ERR_INTERNAL, t.s);
        return NULL;
    }
    change = json_object();
    json_put_text(change, "action", action);
    json_put_text(change, "who", v->who);
    json_put(change, "from", json_put_slice(http_exchange_peer(x)));
    return change;
}

static void get_changes(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct slice query = http_exchange_query(x), key, value;
    int64_t most = PAGE_DEFAULT;
    const char *wrong, *hint;
    struct err_text t = {""};

    (void)rest;
    while (http_target_next(&query, http_exchange_arena(x), &key, &value, &wrong))
        if (!slice_eq(key, SLICE("limit")) || value_int(value, &most, &hint) || most < 1 ||
            most > CHANGES_MOST) {
            admin_reply_error(x, ERR_BAD_REQUEST, "The only condition is limit, 1 to 1000.");
            return;
        }
    json_t *o = change_log_tail(changes_of(api_admin_cache(admin)), (size_t)most, &t);
    if (o)
        admin_reply_json(x, 200, NULL, o);
    else
        admin_reply_error(x, ERR_INTERNAL, t.s);
}

/* ---- requests ---- */

/* The body as an object; NULL: it is none, and that was answered. */
static json_t *body_object(struct http_exchange *x)
{
    const struct http1_header *type = http1_find(http_exchange_head(x), SLICE("Content-Type"));
    struct slice body = http_exchange_body(x);
    json_error_t fault;
    struct err_text t;
    json_t *o;

    if (!type || !slice_istarts(type->value, SLICE("application/json"))) {
        admin_reply_error(x, ERR_UNSUPPORTED_MEDIA, "Content-Type must be application/json.");
        return NULL;
    }
    o = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &fault);
    if (json_is_object(o))
        return o;
    if (o)
        err_say(&t, "The body must be a JSON object.");
    else
        err_say(&t, "The body is no JSON: line %d, column %d: %s.", fault.line, fault.column,
                fault.text);
    admin_reply_error(x, ERR_BAD_JSON, t.s);
    json_decref(o);
    return NULL;
}

/* Members that nobody asked for are errors, too. false: that was answered. */
static bool only_members(struct http_exchange *x, json_t *o, const char *const *names)
{
    const char *key;
    json_t *value;
    struct err_text t;

    json_object_foreach(o, key, value)
    {
        const char *const *n = names;
        while (*n && strcmp(*n, key) != 0)
            n++;
        if (*n)
            continue;
        err_say(&t, "The body has a member that is not known here: \"%s\".", key);
        admin_reply_error(x, ERR_BAD_REQUEST, t.s);
        return false;
    }
    return true;
}

/* The phrase stands where it must. false: that was answered. */
static bool is_confirmed(struct http_exchange *x, const json_t *o, const char *phrase)
{
    const char *said = json_string_value(json_object_get(o, "confirm"));
    struct err_text t;

    if (said && strcmp(said, phrase) == 0)
        return true;
    err_say(&t, "This cannot be undone: it wants \"confirm\": \"%s\"%s", phrase,
            said ? "; the body has another phrase." : ".");
    admin_reply_error(x, said ? ERR_CONFLICT : ERR_PRECONDITION_REQUIRED, t.s);
    return false;
}

/* The query as conditions, cursor and limit. false: that was answered. */
static bool read_query(struct http_exchange *x, struct admin_job *j)
{
    struct slice query = http_exchange_query(x), key, value;
    int64_t limit = PAGE_DEFAULT, now_ms = clock_wall_us() / 1000;
    const char *wrong = NULL, *hint;
    struct err_text t = {""};

    while (!t.s[0] && http_target_next(&query, &j->arena, &key, &value, &wrong)) {
        if (slice_eq(key, SLICE("cursor")))
            j->cursor = value;
        else if (!slice_eq(key, SLICE("limit")))
            (void)cache_where_set(j, key, value, now_ms, &t);
        else if (value_int(value, &limit, &hint) || limit < 1 || limit > PAGE_MOST)
            err_say(&t, "limit: a whole number from 1 to %d is wanted.", PAGE_MOST);
    }
    if (!t.s[0] && wrong)
        err_say(&t, "%s.", wrong);
    if (t.s[0])
        admin_reply_error(x, ERR_BAD_REQUEST, t.s);
    j->limit = (size_t)limit;
    return !t.s[0];
}

static uint64_t read_id(struct http_exchange *x, struct slice hex)
{
    uint64_t id = cache_where_id(hex);

    if (id == 0)
        admin_reply_error(x, ERR_BAD_REQUEST, "An entry is named by its id, 16 hex digits.");
    return id;
}

/* If-Match, where there is one. false: it can match nothing, and that was answered. */
static bool read_if_match(struct http_exchange *x, struct admin_job *j)
{
    const struct http1_header *h = http1_find(http_exchange_head(x), SLICE("If-Match"));
    struct slice tag = h ? slice_trim(h->value) : SLICE("*");

    if (slice_eq(tag, SLICE("*")))
        return true;
    j->expects = true;
    if (tag.n > 2 && cache_json_parse_tag(slice_make(tag.p + 1, tag.n - 2), j->expected))
        return true;
    admin_reply_error(x, ERR_PRECONDITION_FAILED, "If-Match must hold one ETag of this entry.");
    return false;
}

/* ---- entries ---- */

static void reply_page(struct cache_task *t, struct admin_job *j)
{
    json_t *o = json_object(), *entries = json_array();

    for (size_t i = 0; i < j->entry_count; i++)
        json_array_append_new(entries, cache_json_head(&j->entries[i]->f));
    json_put_text(o, "cursor", j->next);
    json_put_int(o, "looked_at", (int64_t)j->looked_at);
    json_put(o, "entries", entries);
    admin_reply_json(t->x, 200, NULL, o);
}

static void get_entries(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct admin_job *j = admin_job_new(ADMIN_PAGE);

    (void)rest;
    if (read_query(x, j))
        start(admin, x, j, reply_page, NULL);
    else
        admin_job_free(j);
}

static void reply_entry(struct cache_task *t, struct admin_job *j)
{
    const struct http1_header *h = http1_find(http_exchange_head(t->x), SLICE("If-None-Match"));
    char tag[CACHE_JSON_TAG_BYTES];

    if (j->entry_count != 1 || !j->entries[0]) {
        admin_reply_error(t->x, ERR_NOT_FOUND, "No entry with this id is stored.");
        return;
    }
    cache_json_tag(&j->entries[0]->f, tag);
    if (h && admin_tag_matches(h->value, tag))
        admin_reply_text(t->x, 304, "application/json", tag, SLICE(""));
    else
        admin_reply_json(t->x, 200, tag, cache_json_entry(&j->entries[0]->f));
}

static void get_entry(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    uint64_t id = read_id(x, rest);
    struct admin_job *j;

    if (id == 0)
        return;
    j = admin_job_new(ADMIN_GET);
    j->ids[0].id = id;
    j->id_count = 1;
    j->any_scope = true;
    start(admin, x, j, reply_entry, NULL);
}

static void reply_removed(struct cache_task *t, struct admin_job *j)
{
    json_t *o = json_object();

    json_put_int(o, "removed", (int64_t)j->removed);
    json_put_int(o, "bytes", (int64_t)j->bytes);
    admin_reply_json(t->x, 200, NULL, o);
}

static void delete_entry(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    uint64_t id = read_id(x, rest);
    struct admin_job *j = admin_job_new(ADMIN_DELETE);
    json_t *change = NULL;

    j->ids[0].id = id;
    if (id == 0 || !read_if_match(x, j) || !(change = begin_change(admin, x, "delete"))) {
        admin_job_free(j);
        return;
    }
    json_put(change, "id", json_put_slice(rest));
    start(admin, x, j, reply_removed, change);
}

/* ---- marks ---- */

static enum admin_mark mark_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return !v ? ADMIN_LEAVE : json_is_true(v) ? ADMIN_SET : ADMIN_UNSET;
}

static bool read_marks(struct http_exchange *x, json_t *o, struct admin_job *j)
{
    static const char *const members[] = {"id", "pinned", "quarantined", NULL};
    const json_t *pinned = json_object_get(o, "pinned"),
                 *quarantined = json_object_get(o, "quarantined");

    if (!only_members(x, o, members) || !read_if_match(x, j))
        return false;
    j->ids[0].id = read_id(x, slice_str(json_string_value(json_object_get(o, "id"))));
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

static void post_mark(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    json_t *o = body_object(x), *change = NULL;
    struct admin_job *j;

    (void)rest;
    if (!o)
        return;
    j = admin_job_new(ADMIN_MARK);
    if (read_marks(x, o, j) && (change = begin_change(admin, x, "mark"))) {
        json_object_update(change, o);
        start(admin, x, j, reply_entry, change);
    } else {
        admin_job_free(j);
    }
    json_decref(o);
}

/* ---- removal ---- */

static void reply_step(struct cache_task *t, struct admin_job *j)
{
    json_t *o = json_object();

    json_put_bool(o, "dry_run", j->kind == ADMIN_PAGE);
    json_put_int(o, "looked_at", (int64_t)j->looked_at);
    json_put_int(o, "matched", (int64_t)j->matched);
    json_put_int(o, "removed", (int64_t)j->removed);
    json_put_int(o, "bytes", (int64_t)j->bytes);
    json_put_text(o, "cursor", j->next);
    admin_reply_json(t->x, 200, NULL, o);
}

static bool read_removal(struct http_exchange *x, json_t *o, struct admin_job *j)
{
    static const char *const members[] = {"where", "cursor", "dry_run", "confirm", NULL};
    const json_t *cursor = json_object_get(o, "cursor"), *dry = json_object_get(o, "dry_run");
    struct err_text t = {""};

    if (!only_members(x, o, members))
        return false;
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
    j->limit = USAGE_STEP;
    bool all = j->filter.by == 0 && j->life == ADMIN_LIVING;
    if (all)
        j->life = ADMIN_BOTH; /* everything is everything */
    return j->kind == ADMIN_PAGE || is_confirmed(x, o, all ? ALL_PHRASE : REMOVE_PHRASE);
}

static void post_remove(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    json_t *o = body_object(x), *change = NULL;
    struct admin_job *j;

    (void)rest;
    if (!o)
        return;
    j = admin_job_new(ADMIN_REMOVE);
    bool good = read_removal(x, o, j);
    if (good && j->kind == ADMIN_REMOVE) {
        change = begin_change(admin, x, "remove");
        good = change;
    }
    if (change) {
        json_put(change, "where", json_incref(json_object_get(o, "where")));
        json_put(change, "cursor", json_incref(json_object_get(o, "cursor")));
    }
    if (good)
        start(admin, x, j, reply_step, change);
    else
        admin_job_free(j);
    json_decref(o);
}

static void reply_flushed(struct cache_task *t, struct admin_job *j)
{
    json_t *o = json_object();

    json_put_int(o, "generation", (int64_t)j->generation);
    admin_reply_json(t->x, 200, NULL, o);
}

static void post_flush(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    static const char *const members[] = {"scope", "confirm", NULL};
    json_t *o = body_object(x), *change = NULL;
    const char *scope = json_string_value(json_object_get(o, "scope"));

    (void)rest;
    if (!o)
        return;
    if (!scope && only_members(x, o, members))
        admin_reply_error(x, ERR_BAD_REQUEST, "\"scope\": the name of a scope is wanted.");
    else if (scope && only_members(x, o, members) && is_confirmed(x, o, FLUSH_PHRASE) &&
             (change = begin_change(admin, x, "flush"))) {
        struct admin_job *j = admin_job_new(ADMIN_FLUSH);
        j->filter.scope = arena_dup(&j->arena, slice_str(scope));
        json_put_text(change, "scope", scope);
        start(admin, x, j, reply_flushed, change);
    }
    json_decref(o);
}

/* ---- sums ---- */

static void add_int(json_t *o, const char *key, int64_t n)
{
    json_put_int(o, key, json_integer_value(json_object_get(o, key)) + n);
}

static void reply_usage(struct cache_task *t, struct admin_job *j)
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
    admin_reply_json(t->x, 200, NULL, o);
}

static void get_usage(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct admin_job *j = admin_job_new(ADMIN_PAGE);

    (void)rest;
    if (!read_query(x, j)) {
        admin_job_free(j);
        return;
    }
    j->limit = USAGE_STEP;
    start(admin, x, j, reply_usage, NULL);
}

/* ---- facts ---- */

static json_t *semantic_json(const struct cache_facts *f)
{
    const struct risk_facts *r = &f->risk;
    json_t *o = json_object();

    json_put_int(o, "indexed", (int64_t)f->indexed);
    json_put_int(o, "index_bytes", (int64_t)f->index_bytes);
    json_put_bool(o, "filling", f->scanning);
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
    json_put_int(o, "entries", (int64_t)f->store_entries);
    json_put_int(o, "bytes", (int64_t)f->store_bytes);
    json_put_int(o, "failed", (int64_t)f->store_failed);
    json_put_int(o, "late", (int64_t)f->store_late);
    json_put_int(o, "losses", (int64_t)f->store_losses);
    json_put_int(o, "bad_entries", (int64_t)f->bad_entries);
    return o;
}

/* What workers answered from their hot sets is not among the look-ups: see the metrics. */
static json_t *cache_json(const struct cache *c)
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
    json_put(o, "semantic", semantic_json(&f));
    return o;
}

static void get_cache(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    const struct snapshot *s = control_snapshot(api_admin_cache(admin)->control);
    json_t *o = s->cache ? cache_json(s->cache) : json_object();

    (void)rest;
    json_put_bool(o, "enabled", s->cache != NULL);
    admin_reply_json(x, 200, NULL, o);
}

/* ---- the table ---- */

const struct admin_route api_cache_routes[] = {
    {"GET", "/admin/cache", ADMIN_ONLY, get_cache},
    {"GET", "/admin/cache/entries", ADMIN_ONLY, get_entries},
    {"GET", "/admin/cache/entries/*", ADMIN_ONLY, get_entry},
    {"DELETE", "/admin/cache/entries/*", ADMIN_ONLY, delete_entry},
    {"POST", "/admin/cache/mark", ADMIN_ONLY, post_mark},
    {"POST", "/admin/cache/remove", ADMIN_ONLY, post_remove},
    {"POST", "/admin/cache/flush", ADMIN_ONLY, post_flush},
    {"GET", "/admin/cache/usage", ADMIN_ONLY, get_usage},
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

static void forget_task(void *object, objid id, void *ctx)
{
    struct cache_task *t = object;

    (void)id, (void)ctx;
    json_decref(t->change);
    free(t);
}

void api_cache_free(struct api_cache *a)
{
    if (!a)
        return;
    idtable_each(&a->tasks, forget_task, NULL);
    idtable_clear(&a->tasks);
    change_log_free(a->changes);
    free(a);
}
