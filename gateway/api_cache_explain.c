/* POST /admin/cache/explain and /label: what would become of a question, and what somebody says
 * about an answer to it. Owns questions that are on their way. Control thread.
 *
 *   body -> identity -> exact (cache thread) -> vector (encoder) -> neighbours (cache thread) ->
 * reply
 *
 * Nothing of it counts as a request, and nothing is kept but, with /label, the label. */
#include <inttypes.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cache/vslab_dot.h"
#include "gateway/admin_reply.h"
#include "gateway/api_cache_int.h"
#include "gateway/cache_json.h"
#include "gateway/cache_where.h"
#include "gateway/control.h"
#include "gateway/json_put.h"
#include "router/cache_identity.h"
#include "router/embedder.h"
#include "router/snapshot.h"

#define NEAREST    5
#define ENCODER_US INT64_C(5000000)
#define MODEL      "auto" /* where the body names none */

struct explaining {
    struct cache_task base;
    struct arena arena; /* holds the slices of id and asker */
    struct cache_identity id;
    struct slice asker;
    const char *route;         /* its name, in the arena */
    const char *why_not;       /* no neighbours were looked for; static */
    struct cache_entry *exact; /* a reference: what answers the question as it is */
    /* of /label */
    bool labels, right;
    uint64_t entry;
    json_t *change; /* owned */
};

static void explaining_free(struct cache_task *t)
{
    struct explaining *e = CONTAINER_OF(t, struct explaining, base);

    cache_entry_unref(e->exact);
    json_decref(e->change);
    arena_clear(&e->arena);
    free(e);
}

/* Answers that are on their way find nobody. */
static void explaining_gone(struct admin_task *task)
{
    struct cache_task *t = CONTAINER_OF(task, struct cache_task, task);

    cache_task_close(t);
    explaining_free(t);
}

static void fail(struct explaining *e, enum err err, const char *why)
{
    cache_task_close(&e->base);
    admin_reply_error(e->base.x, err, why);
    explaining_free(&e->base);
}

/* ---- what is said ---- */

static const char *verdict_of(const struct explaining *e, const struct cache_explained *x, int i)
{
    const struct cache_neighbour *n = &x->near[i];

    if (n->guard >= 0)
        return "refused by a guard";
    if (n->probability < 0)
        return "its answer is in quarantine, or a nearer key of it speaks for it";
    if (i != x->choice)
        return "another is surer";
    if (!n->admitted)
        return "nobody vouches for it in a shared scope yet";
    if (!x->risk.warm)
        return "too few labels to serve anything";
    if (x->risk.alarm)
        return "nothing is served while the alarm stands";
    if (!x->would_serve)
        return "below the cut";
    return e->id.rules.shadow ? "would be served, but the route is in shadow" : "served";
}

static json_t *near_json(const struct explaining *e, const struct cache_explained *x, int i)
{
    const struct cache_neighbour *n = &x->near[i];
    json_t *o = cache_json_head(&n->entry->f);

    json_put(o, "cosine", json_real(n->cosine));
    json_put_text(o, "guard", n->guard < 0 ? NULL : guard_name((enum guard)n->guard));
    json_put(o, "probability", n->probability < 0 ? NULL : json_real(n->probability));
    json_put_text(o, "verdict", verdict_of(e, x, i));
    return o;
}

static json_t *semantic_json(const struct explaining *e, const struct cache_explained *x)
{
    json_t *o = json_object();

    json_put_text(o, "why_not", e->why_not);
    json_put(o, "max_error", json_real(e->id.rules.max_error));
    json_put_bool(o, "shadow", e->id.rules.shadow);
    json_put(o, "cut", x && x->cut <= 1 ? json_real(x->cut) : NULL);
    json_put_bool(o, "warm", x && x->risk.warm);
    json_put_bool(o, "alarm", x && x->risk.alarm);
    json_put_int(o, "labels", x ? (int64_t)x->risk.labels : 0);
    return o;
}

/* x: NULL when no neighbours were looked for. */
static void reply(struct explaining *e, const struct cache_explained *x)
{
    json_t *o = json_object(), *near = json_array();
    size_t n = x ? x->count : 0;

    for (size_t i = 0; i < n && i < NEAREST; i++)
        json_array_append_new(near, near_json(e, x, (int)i));
    json_put_text(o, "verdict",
                  e->exact        ? "exact"
                  : x && x->serve ? "semantic"
                  : !e->id.keeps  ? "bypass"
                                  : "miss");
    json_put_text(o, "route", e->route);
    json_put(o, "scope", json_put_slice(e->id.scope));
    json_put(o, "text", json_put_slice(e->id.text));
    json_put(o, "exact", e->exact ? cache_json_head(&e->exact->f) : NULL);
    json_put(o, "semantic", semantic_json(e, x));
    json_put(o, "near", near);
    cache_task_close(&e->base);
    admin_reply_json(e->base.x, 200, NULL, o);
    explaining_free(&e->base);
}

/* ---- labels ---- */

/* The label of the entry that was named, out of how it looked as a neighbour. */
static void label(struct explaining *e, const struct cache_explained *x)
{
    struct cache *c = control_snapshot(e->base.owner->control)->cache;
    struct err_text why = {""};
    size_t i = 0;

    while (x && i < x->count && x->near[i].entry->f.id != e->entry)
        i++;
    if (!c || !x || i == x->count || x->near[i].probability < 0) {
        fail(e, ERR_CONFLICT,
             e->why_not ? e->why_not
                        : "The entry is not among the neighbours of this question that could be "
                          "served: there is nothing to learn from it.");
        return;
    }
    const struct cache_neighbour *n = &x->near[i];
    struct cache_label l = {.entry = n->entry->f.id,
                            .answer = n->entry->f.answer,
                            .rest = e->id.rest,
                            .cosine = n->cosine,
                            .right = e->right,
                            .weight = 1,
                            .probability = n->probability,
                            .budget = x->budget};
    memcpy(l.features, n->features, sizeof l.features);
    json_put_text(e->change, "outcome", "ok");
    enum err err = change_log_append(cache_task_changes(e->base.owner), e->change, &why);
    e->change = NULL;
    if (err != ERR_OK) {
        fail(e, err, why.s);
        return;
    }
    cache_learn(c, &l);
    json_t *o = near_json(e, x, (int)i);
    json_put_bool(o, "right", e->right);
    cache_task_close(&e->base);
    admin_reply_json(e->base.x, 200, NULL, o);
    explaining_free(&e->base);
}

static void finish(struct explaining *e, const struct cache_explained *x)
{
    if (x && !x->by_meaning) {
        e->why_not = "the index of this encoder's vectors is not at hand";
        x = NULL;
    }
    if (e->labels)
        label(e, x);
    else
        reply(e, x);
}

/* ---- the steps ---- */

static struct explaining *find(void *receiver_ctx, objid id)
{
    struct api_cache *a = api_admin_cache(control_admin(receiver_ctx));
    struct cache_task *t = idtable_get(&a->tasks, id);

    return t ? CONTAINER_OF(t, struct explaining, base) : NULL;
}

static void on_explained(struct message *m, void *receiver_ctx)
{
    struct cache_ask *a = CONTAINER_OF(m, struct cache_ask, msg);
    struct explaining *e = find(receiver_ctx, a->id);

    if (e)
        finish(e, a->explain);
    cache_ask_free(a);
}

static void drop_ask(struct message *m)
{
    cache_ask_free(CONTAINER_OF(m, struct cache_ask, msg));
}

static void ask_neighbours(struct explaining *e, const struct encoder_query *q, int dim)
{
    struct cache *c = control_snapshot(e->base.owner->control)->cache;
    struct cache_question question = {.exact = e->id.exact,
                                      .rest = e->id.rest,
                                      .scope = e->id.scope,
                                      .text = e->id.text,
                                      .asker = e->asker,
                                      .rules = e->id.rules};
    uint16_t *halves = ARENA_ARRAY(&e->arena, uint16_t, dim);
    struct cache_ask *a;

    if (!c) {
        fail(e, ERR_NOT_FOUND, "The policy no longer has a cache.");
        return;
    }
    for (int i = 0; i < dim; i++)
        halves[i] = vslab_half_of(q->embedding[i]);
    a = cache_ask_new(&question, halves, dim);
    cache_ask_explain(a);
    memcpy(a->fingerprint, q->full.bytes, sizeof a->fingerprint);
    a->msg.deliver = on_explained;
    a->msg.discard = drop_ask;
    a->reply_to = control_mailbox(e->base.owner->control);
    a->id = e->base.id;
    cache_lookup(c, a);
}

static void on_encoded(struct message *m, void *receiver_ctx)
{
    struct encoder_query *q = CONTAINER_OF(m, struct encoder_query, msg);
    struct explaining *e = find(receiver_ctx, q->id);

    if (e && q->err != ERR_OK) {
        fail(e, q->err, "The encoder did not answer.");
    } else if (e && q->counts.truncated) {
        e->why_not = "the encoder cannot read the whole text";
        finish(e, NULL);
    } else if (e) {
        ask_neighbours(e, q, (int)q->index);
    }
    encoder_query_free(q);
}

static void drop_query(struct message *m)
{
    encoder_query_free(CONTAINER_OF(m, struct encoder_query, msg));
}

static void ask_encoder(struct explaining *e)
{
    struct embedder *em = control_snapshot(e->base.owner->control)->embedder;
    struct encoder_query *q;

    if (!em) {
        e->why_not = "there is no encoder";
        finish(e, NULL);
        return;
    }
    q = encoder_query_new(e->id.text);
    q->msg.deliver = on_encoded;
    q->msg.discard = drop_query;
    q->reply_to = control_mailbox(e->base.owner->control);
    q->id = e->base.id;
    q->index = (size_t)encoder_service_facts(embedder_service(em)).dim;
    q->deadline_us = clock_mono_us() + ENCODER_US;
    if (encoder_service_submit(embedder_service(em), q) != ERR_OK) {
        encoder_query_free(q);
        fail(e, ERR_OVERLOADED, "The encoder has too much to do.");
    }
}

/* What answers the question as it is has come. */
static void explaining_take(struct cache_task *t, struct admin_job *j)
{
    struct explaining *e = CONTAINER_OF(t, struct explaining, base);

    if (j->err != ERR_OK) {
        fail(e, j->err, j->why.s[0] ? j->why.s : NULL);
    } else {
        if (j->entry_count == 1 && j->entries[0] && !j->entries[0]->f.quarantined)
            e->exact = cache_entry_ref(j->entries[0]);
        if (e->why_not)
            finish(e, NULL);
        else
            ask_encoder(e);
    }
    admin_job_free(j);
}

static void begin(struct explaining *e)
{
    struct admin_job *j = admin_job_new(ADMIN_GET);

    j->by_exact = true;
    j->exact = e->id.exact;
    j->filter.scope = arena_dup(&j->arena, e->id.scope);
    cache_task_give(&e->base, j);
}

/* ---- the body ---- */

/* The request that is asked about: as it is given, or one of a single question. */
static char *request_text(const json_t *body)
{
    json_t *request = json_object_get(body, "request");
    const char *model = json_string_value(json_object_get(body, "model"));
    char *text;

    if (request)
        return json_dumps(request, JSON_COMPACT | JSON_PRESERVE_ORDER);
    request = json_pack("{s:s,s:[{s:s,s:O}]}", "model", model ? model : MODEL, "messages", "role",
                        "user", "content", json_object_get(body, "text"));
    text = json_dumps(request, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(request);
    return text;
}

static const struct policy_tenant *tenant_named(const struct policy *p, const char *name)
{
    for (size_t i = 0; name && i < p->tenant_count; i++)
        if (strcmp(p->tenants[i].name, name) == 0)
            return &p->tenants[i];
    return NULL;
}

/* Strings, where they are there; one of text and request. */
static const char *what_is_wrong(const json_t *body)
{
    static const char *const strings[] = {"text", "model", "tenant", "api", "class"};

    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        const json_t *v = json_object_get(body, strings[i]);
        if (v && !json_is_string(v))
            return "\"text\", \"model\", \"tenant\", \"api\" and \"class\" are strings.";
    }
    if (!json_object_get(body, "text") == !json_object_get(body, "request"))
        return "Either \"text\" or \"request\" must be there.";
    if (json_object_get(body, "request") && !json_is_object(json_object_get(body, "request")))
        return "\"request\" is the body of a request, an object.";
    if (json_object_get(body, "request") && json_object_get(body, "model"))
        return "\"request\" names its model itself.";
    if (json_object_get(body, "text") && json_object_get(body, "api"))
        return "\"api\" goes with \"request\"; a \"text\" is asked as a chat.";
    return NULL;
}

static bool take_api(const json_t *body, enum wire_api *out)
{
    const char *name = json_string_value(json_object_get(body, "api"));

    *out = WIRE_CHAT;
    for (int a = 0; name && a < WIRE_APIS; a++)
        if (strcmp(name, wire_api_name((enum wire_api)a)) == 0) {
            *out = (enum wire_api)a;
            return true;
        }
    return !name;
}

static enum err read_question(struct explaining *e, struct api_cache *a, const json_t *body,
                              struct err_text *t)
{
    const struct snapshot *s = control_snapshot(a->control);
    const char *tenant = json_string_value(json_object_get(body, "tenant")),
               *class_name = json_string_value(json_object_get(body, "class")),
               *wrong = what_is_wrong(body);
    struct cache_identity_ask q = {.policy = s->policy,
                                   .tenant = tenant_named(s->policy, tenant),
                                   .class_name = slice_str(class_name),
                                   .encoder = s->embedder != NULL};
    enum err err = ERR_BAD_REQUEST;
    char *text = NULL;

    if (wrong)
        err_say(t, "%s", wrong);
    else if (!take_api(body, &q.api))
        err_say(t, "\"api\": chat, completions, messages or responses is wanted.");
    else if (tenant && !q.tenant)
        err_say(t, "The policy has no tenant '%s'.", tenant);
    else {
        text = request_text(body);
        mem_need(text);
        q.body = slice_str(arena_strdup(&e->arena, slice_str(text)));
        err = cache_identity_of(&q, &e->arena, &e->id, t);
    }
    free(text);
    e->asker = arena_dup(&e->arena, slice_str(tenant));
    e->id.scope = arena_dup(&e->arena, e->id.scope); /* the policy may go */
    e->route = e->id.route ? arena_strdup(&e->arena, slice_str(e->id.route->name)) : "";
    e->id.route = NULL;
    e->why_not = e->id.why_not;
    return err;
}

static bool read_label(struct explaining *e, struct api_admin *admin, struct http_exchange *x,
                       json_t *body)
{
    const json_t *right = json_object_get(body, "right");

    e->entry = cache_task_id(x, slice_str(json_string_value(json_object_get(body, "id"))));
    if (e->entry == 0)
        return false;
    if (!json_is_boolean(right)) {
        admin_reply_error(x, ERR_BAD_REQUEST, "\"right\": true or false is wanted.");
        return false;
    }
    e->labels = true;
    e->right = json_is_true(right);
    e->change = cache_task_change(admin, x, "label");
    if (e->change)
        json_object_update_missing(e->change, body);
    return e->change;
}

static void answer(struct api_admin *admin, struct http_exchange *x, json_t *body, bool labels)
{
    struct explaining *e = mem_zalloc(1, sizeof *e);
    struct err_text t = {""};

    e->base = (struct cache_task){
        .task.gone = explaining_gone, .take = explaining_take, .drop = explaining_free};
    arena_init(&e->arena, 4096);
    if (labels && !read_label(e, admin, x, body)) {
        explaining_free(&e->base);
        return;
    }
    enum err err = read_question(e, api_admin_cache(admin), body, &t);
    if (err != ERR_OK)
        admin_reply_error(x, err, t.s[0] ? t.s : NULL);
    if (err == ERR_OK && cache_task_open(&e->base, admin, x))
        begin(e);
    else
        explaining_free(&e->base);
}

void api_cache_post_explain(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    static const char *const members[] = {"text", "request", "model", "tenant",
                                          "api",  "class",   NULL};
    json_t *body = cache_task_body(x, members);

    (void)rest;
    if (body)
        answer(admin, x, body, false);
    json_decref(body);
}

void api_cache_post_label(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    static const char *const members[] = {"id",     "right", "text",  "request", "model",
                                          "tenant", "api",   "class", NULL};
    json_t *body = cache_task_body(x, members);

    (void)rest;
    if (body)
        answer(admin, x, body, true);
    json_decref(body);
}
