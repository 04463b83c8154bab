/* Owns the tasks, and through them the exchanges that wait. A change is recorded when it is made,
 * whoever still waits for it: its task outlives its client. Control thread; called by api_cache*.c.
 *
 *   handler -> admin_job -> cache thread -> on_job -> (change recorded) -> reply, if somebody waits
 */
#include "gateway/cache_task.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_admin.h"
#include "gateway/cache_json.h"
#include "gateway/cache_where.h"
#include "gateway/control.h"
#include "gateway/control_vectors.h"
#include "gateway/http_target.h"
#include "gateway/json_put.h"
#include "policies/policy_value.h"
#include "router/snapshot.h"

#define CHANGES_FILE "cache_changes.jsonl"

/* ---- tasks ---- */

static void on_job(struct message *m, void *receiver_ctx)
{
    struct admin_job *j = CONTAINER_OF(m, struct admin_job, msg);
    struct api_cache *a = api_admin_cache(control_admin(receiver_ctx));
    struct cache_task *t = idtable_get(&a->tasks, j->id);

    if (t)
        t->take(t, j);
    else
        admin_job_free(j);
}

static void drop_job(struct message *m)
{
    admin_job_free(CONTAINER_OF(m, struct admin_job, msg));
}

static struct admin_visit *visit_of(struct cache_task *t)
{
    return http_exchange_user(t->x);
}

bool cache_task_open(struct cache_task *t, struct api_admin *admin, struct http_exchange *x)
{
    t->owner = api_admin_cache(admin);
    t->x = x;
    if (!control_snapshot(t->owner->control)->cache) {
        admin_reply_error(x, ERR_NOT_FOUND, "The policy has no cache.");
        return false;
    }
    t->id = idtable_add(&t->owner->tasks, t);
    if (!t->id) {
        admin_reply_error(x, ERR_OVERLOADED,
                          "Too many of these questions are waiting for their answers.");
        return false;
    }
    visit_of(t)->task = &t->task;
    return true;
}

void cache_task_give(struct cache_task *t, struct admin_job *j)
{
    struct cache *c = control_snapshot(t->owner->control)->cache;

    j->msg.deliver = on_job;
    j->msg.discard = drop_job;
    j->reply_to = control_mailbox(t->owner->control);
    j->id = t->id;
    if (c) {
        admin_job_give(c, j);
        return;
    }
    j->err = ERR_NOT_FOUND;
    err_say(&j->why, "The policy no longer has a cache.");
    mailbox_post(j->reply_to, &j->msg);
}

void cache_task_close(struct cache_task *t)
{
    idtable_remove(&t->owner->tasks, t->id);
    if (t->x)
        visit_of(t)->task = NULL;
}

/* ---- one job, one reply ---- */

struct single {
    struct cache_task base;
    cache_reply_fn *reply;
    json_t *change; /* owned; NULL: nothing is changed */
};

static void question_free(struct cache_task *t)
{
    struct single *q = CONTAINER_OF(t, struct single, base);

    json_decref(q->change);
    free(q);
}

static void question_gone(struct admin_task *t)
{
    CONTAINER_OF(t, struct cache_task, task)->x = NULL;
}

/* What was not recorded was not done well. */
static void record_change(struct single *q, struct admin_job *j)
{
    struct err_text why = {""};
    json_t *change = q->change;

    q->change = NULL;
    json_put_text(change, "outcome", err_name(j->err));
    if (j->kind == ADMIN_REMOVE || j->kind == ADMIN_DELETE)
        json_put_int(change, "removed", (int64_t)j->removed);
    enum err err = change_log_append(cache_task_changes(q->base.owner), change, &why);
    if (err != ERR_OK && j->err == ERR_OK) {
        j->err = err;
        j->why = why;
    }
}

static void question_take(struct cache_task *t, struct admin_job *j)
{
    struct single *q = CONTAINER_OF(t, struct single, base);

    if (q->change && j->err != ERR_BAD_REQUEST)
        record_change(q, j);
    if (j->kind == ADMIN_PUT && j->stored > 0)
        control_vectors_want(control_vectors(t->owner->control));
    cache_task_close(t);
    if (t->x && j->err == ERR_OK)
        q->reply(t->x, j);
    else if (t->x)
        admin_reply_error(t->x, j->err, j->why.s[0] ? j->why.s : NULL);
    admin_job_free(j);
    question_free(t);
}

void cache_task_ask(struct api_admin *admin, struct http_exchange *x, struct admin_job *j,
                    cache_reply_fn *reply, json_t *change)
{
    struct single *q = mem_zalloc(1, sizeof *q);

    *q = (struct single){
        .base = {.task.gone = question_gone, .take = question_take, .drop = question_free},
        .reply = reply,
        .change = change};
    if (cache_task_open(&q->base, admin, x)) {
        cache_task_give(&q->base, j);
    } else {
        question_free(&q->base);
        admin_job_free(j);
    }
}

/* ---- changes ---- */

struct change_log *cache_task_changes(struct api_cache *a)
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

json_t *cache_task_change(struct api_admin *admin, struct http_exchange *x, const char *action)
{
    const struct admin_visit *v = http_exchange_user(x);
    struct err_text t = {""};
    json_t *change;

    if (change_log_ready(cache_task_changes(api_admin_cache(admin)), &t) != ERR_OK) {
        admin_reply_error(x, ERR_INTERNAL, t.s);
        return NULL;
    }
    change = json_object();
    json_put_text(change, "action", action);
    json_put_text(change, "who", v->who);
    json_put(change, "from", json_put_slice(http_exchange_peer(x)));
    return change;
}

/* ---- requests ---- */

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

bool cache_task_is_of_type(struct http_exchange *x, const char *content_type)
{
    const struct http1_header *type = http1_find(http_exchange_head(x), SLICE("Content-Type"));
    struct err_text t;

    if (type && slice_istarts(type->value, slice_str(content_type)))
        return true;
    err_say(&t, "Content-Type must be %s.", content_type);
    admin_reply_error(x, ERR_UNSUPPORTED_MEDIA, t.s);
    return false;
}

json_t *cache_task_body(struct http_exchange *x, const char *const *names)
{
    struct slice body = http_exchange_body(x);
    json_error_t fault;
    struct err_text t;
    json_t *o;

    if (!cache_task_is_of_type(x, "application/json"))
        return NULL;
    o = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &fault);
    if (json_is_object(o) && only_members(x, o, names))
        return o;
    if (!json_is_object(o)) {
        if (o)
            err_say(&t, "The body must be a JSON object.");
        else
            err_say(&t, "The body is no JSON: line %d, column %d: %s.", fault.line, fault.column,
                    fault.text);
        admin_reply_error(x, ERR_BAD_JSON, t.s);
    }
    json_decref(o);
    return NULL;
}

bool cache_task_confirmed(struct http_exchange *x, const json_t *o, const char *phrase)
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

bool cache_task_query(struct http_exchange *x, struct admin_job *j)
{
    struct slice query = http_exchange_query(x), key, value;
    int64_t limit = CACHE_PAGE_DEFAULT, now_ms = clock_wall_us() / 1000;
    const char *wrong = NULL, *hint;
    struct err_text t = {""};

    while (!t.s[0] && http_target_next(&query, &j->arena, &key, &value, &wrong)) {
        if (slice_eq(key, SLICE("cursor")))
            j->cursor = value;
        else if (!slice_eq(key, SLICE("limit")))
            (void)cache_where_set(j, key, value, now_ms, &t);
        else if (value_int(value, &limit, &hint) || limit < 1 || limit > CACHE_PAGE_MOST)
            err_say(&t, "limit: a whole number from 1 to %d is wanted.", CACHE_PAGE_MOST);
    }
    if (!t.s[0] && wrong)
        err_say(&t, "%s.", wrong);
    if (t.s[0])
        admin_reply_error(x, ERR_BAD_REQUEST, t.s);
    j->limit = (size_t)limit;
    return !t.s[0];
}

uint64_t cache_task_id(struct http_exchange *x, struct slice hex)
{
    uint64_t id = cache_where_id(hex);

    if (id == 0)
        admin_reply_error(x, ERR_BAD_REQUEST, "An entry is named by its id, 16 hex digits.");
    return id;
}

bool cache_task_if_match(struct http_exchange *x, struct admin_job *j)
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
