/* POST /admin/cache/warm: answers that an operator brings along, stored as if the fleet had given
 * them. Owns the rows on their way; texts are encoded one after the other, so that traffic never
 * waits behind them. Control thread.
 *
 *   lines -> identity of each -> vectors, one by one -> stored by the cache thread -> reply */
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cache/timely.h"
#include "cache/vslab_dot.h"
#include "gateway/admin_reply.h"
#include "gateway/api_cache_int.h"
#include "gateway/control.h"
#include "gateway/json_put.h"
#include "router/cache_identity.h"
#include "router/embedder.h"
#include "router/snapshot.h"

#define LINES_TYPE      "application/x-ndjson"
#define MOST_ROWS       256
#define ENCODER_US      INT64_C(30000000)
#define BYTES_PER_TOKEN 4 /* an estimate, as for requests */

struct warming {
    struct cache_task base;
    struct arena arena;        /* of what the rows point to */
    struct cache_fields *rows; /* in the arena */
    bool *by_meaning;          /* likewise: it has neighbours */
    size_t count, next, plain; /* next: to be encoded; plain: of by_meaning, without a vector */
    json_t *change;            /* owned */
};

static void warming_free(struct cache_task *t)
{
    struct warming *w = CONTAINER_OF(t, struct warming, base);

    json_decref(w->change);
    arena_clear(&w->arena);
    free(w);
}

/* What was begun is ended and recorded. */
static void warming_gone(struct admin_task *t)
{
    CONTAINER_OF(t, struct cache_task, task)->x = NULL;
}

/* ---- storing ---- */

static void warming_take(struct cache_task *t, struct admin_job *j)
{
    struct warming *w = CONTAINER_OF(t, struct warming, base);
    struct err_text why = j->why;
    enum err err = j->err, recorded;
    json_t *o;

    json_put_text(w->change, "outcome", err_name(j->err));
    json_put_int(w->change, "stored", (int64_t)j->stored);
    recorded = change_log_append(cache_task_changes(t->owner), w->change, err ? NULL : &why);
    w->change = NULL;
    err = err ? err : recorded;
    cache_task_close(t);
    if (t->x && err == ERR_OK) {
        o = json_object();
        json_put_int(o, "stored", (int64_t)j->stored);
        json_put_int(o, "refused", (int64_t)(j->refused + j->kept));
        json_put_int(o, "without_vector", (int64_t)(w->plain + j->without_vector));
        admin_reply_json(t->x, 200, NULL, o);
    } else if (t->x) {
        admin_reply_error(t->x, err, why.s[0] ? why.s : NULL);
    }
    admin_job_free(j);
    warming_free(t);
}

static void store(struct warming *w)
{
    struct admin_job *j = admin_job_new(ADMIN_PUT);

    for (size_t i = 0; i < w->count; i++)
        admin_job_add(j, cache_entry_new(&w->rows[i]));
    cache_task_give(&w->base, j);
}

/* ---- vectors ---- */

static void encode_next(struct warming *w);

static void take_vector(struct warming *w, const struct encoder_query *q)
{
    struct cache_fields *f = &w->rows[w->next];
    uint16_t *halves;

    if (q->err != ERR_OK || q->counts.truncated) {
        w->plain++; /* its repeats are found all the same */
        return;
    }
    f->dim = (int)q->index;
    halves = ARENA_ARRAY(&w->arena, uint16_t, f->dim);
    for (int i = 0; i < f->dim; i++)
        halves[i] = vslab_half_of(q->embedding[i]);
    f->vector = halves;
    memcpy(f->fingerprint, q->full.bytes, sizeof f->fingerprint);
}

static void on_encoded(struct message *m, void *receiver_ctx)
{
    struct encoder_query *q = CONTAINER_OF(m, struct encoder_query, msg);
    struct api_cache *a = api_admin_cache(control_admin(receiver_ctx));
    struct cache_task *t = idtable_get(&a->tasks, q->id);

    if (t) {
        struct warming *w = CONTAINER_OF(t, struct warming, base);
        take_vector(w, q);
        w->next++;
        encode_next(w);
    }
    encoder_query_free(q);
}

static void drop_query(struct message *m)
{
    encoder_query_free(CONTAINER_OF(m, struct encoder_query, msg));
}

/* false: the encoder takes none now, or there is none. */
static bool encode(struct warming *w, struct slice text)
{
    struct embedder *em = control_snapshot(w->base.owner->control)->embedder;
    struct encoder_query *q;

    if (!em)
        return false;
    q = encoder_query_new(text);
    q->msg.deliver = on_encoded;
    q->msg.discard = drop_query;
    q->reply_to = control_mailbox(w->base.owner->control);
    q->id = w->base.id;
    q->index = (size_t)encoder_service_facts(embedder_service(em)).dim;
    q->deadline_us = clock_mono_us() + ENCODER_US;
    if (encoder_service_submit(embedder_service(em), q) == ERR_OK)
        return true;
    encoder_query_free(q);
    return false;
}

static void encode_next(struct warming *w)
{
    for (; w->next < w->count; w->next++) {
        if (!w->by_meaning[w->next])
            continue;
        if (encode(w, w->rows[w->next].text))
            return;
        w->plain++;
    }
    store(w);
}

/* ---- rows ---- */

/* A chat completion with that one text, as a server would have given it. */
static struct slice completion(struct warming *w, const char *model, const char *answer,
                               const struct token_usage *u, int64_t now_ms)
{
    json_t *o = json_pack(
        "{s:s,s:s,s:I,s:s,s:[{s:i,s:{s:s,s:s},s:n,s:s}],s:{s:I,s:I,s:I}}", "id", "chatcmpl-warm",
        "object", "chat.completion", "created", (json_int_t)(now_ms / 1000), "model", model,
        "choices", "index", 0, "message", "role", "assistant", "content", answer, "logprobs",
        "finish_reason", "stop", "usage", "prompt_tokens", (json_int_t)u->n[TOK_INPUT],
        "completion_tokens", (json_int_t)u->n[TOK_OUTPUT], "total_tokens",
        (json_int_t)(u->n[TOK_INPUT] + u->n[TOK_OUTPUT]));
    char *text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
    struct slice kept;

    mem_need(text);
    kept = arena_dup(&w->arena, slice_str(text));
    free(text);
    json_decref(o);
    return kept;
}

static void fill_row(struct warming *w, const struct cache_identity_ask *q,
                     const struct cache_identity *id, const char *answer)
{
    const struct policy_cache_use *use = &id->route->cache;
    struct arena *a = &w->arena;
    const char *model = q->policy->models[id->route->steps[0].model].name;
    int64_t now_ms = clock_wall_us() / 1000;
    bool timely = timely_of(id->text) != TIMELESS && use->timely_ttl_ms < use->ttl_ms;
    struct cache_fields *f = &w->rows[w->count];

    *f = (struct cache_fields){
        .exact = id->exact,
        .rest = id->rest,
        .scope = arena_dup(a, id->scope),
        .owner = q->tenant ? slice_str(arena_strdup(a, slice_str(q->tenant->name))) : SLICE(""),
        .text = arena_dup(a, id->text),
        .dialect = SLICE("openai"),
        .api = slice_str(wire_api_name(WIRE_CHAT)),
        .model = slice_str(arena_strdup(a, slice_str(model))),
        .route = slice_str(arena_strdup(a, slice_str(id->route->name))),
        .created_ms = now_ms,
        .expires_ms = now_ms + (timely ? use->timely_ttl_ms : use->ttl_ms),
        .usage = {.n = {[TOK_INPUT] = (int64_t)(q->body.n / BYTES_PER_TOKEN),
                        [TOK_OUTPUT] = (int64_t)(strlen(answer) / BYTES_PER_TOKEN + 1)},
                  .source = USAGE_ESTIMATED},
        .source = CACHE_FROM_WARMING,
    };
    for (size_t i = 0; i < use->tag_count && i < CACHE_MAX_TAGS; i++)
        f->tags[f->tag_count++] = slice_str(arena_strdup(a, slice_str(use->tags[i])));
    f->body = completion(w, model, answer, &f->usage, now_ms);
    w->by_meaning[w->count++] = !id->why_not;
}

static const struct policy_tenant *tenant_named(const struct policy *p, const char *name)
{
    for (size_t i = 0; name && i < p->tenant_count; i++)
        if (strcmp(p->tenants[i].name, name) == 0)
            return &p->tenants[i];
    return NULL;
}

static const char *what_is_wrong(json_t *row)
{
    const json_t *tenant = json_object_get(row, "tenant"),
                 *request = json_object_get(row, "request"),
                 *answer = json_object_get(row, "answer");

    if (json_object_size(row) != 2u + (tenant != NULL))
        return "\"request\", \"answer\" and perhaps \"tenant\" are wanted, and nothing else";
    if (!json_is_object(request) || (tenant && !json_is_string(tenant)))
        return "\"request\" is the body of a chat, an object; \"tenant\" a name";
    if (!json_is_string(answer) || json_string_length(answer) == 0)
        return "\"answer\" is the text of the answer, and not empty";
    if (json_integer_value(json_object_get(request, "n")) > 1)
        return "\"n\": one answer cannot be several";
    return NULL;
}

static bool read_row(struct warming *w, const struct snapshot *s, json_t *row, struct err_text *why)
{
    const char *name = json_string_value(json_object_get(row, "tenant")),
               *wrong = what_is_wrong(row);
    struct cache_identity_ask q = {.policy = s->policy,
                                   .tenant = tenant_named(s->policy, name),
                                   .encoder = s->embedder != NULL};
    struct cache_identity id;
    char *text;

    if (wrong || (name && !q.tenant)) {
        err_say(why, wrong ? "%s" : "the policy has no tenant '%s'", wrong ? wrong : name);
        return false;
    }
    text = json_dumps(json_object_get(row, "request"), JSON_COMPACT | JSON_PRESERVE_ORDER);
    mem_need(text);
    q.body = slice_str(arena_strdup(&w->arena, slice_str(text)));
    free(text);
    if (cache_identity_of(&q, &w->arena, &id, why) != ERR_OK)
        return false;
    if (!id.keeps) {
        err_say(why, "%s", id.why_not);
        return false;
    }
    fill_row(w, &q, &id, json_string_value(json_object_get(row, "answer")));
    return true;
}

/* All lines, or none: false with why. */
static bool read_rows(struct warming *w, const struct snapshot *s, struct slice body,
                      struct err_text *why)
{
    w->rows = ARENA_ARRAY(&w->arena, struct cache_fields, MOST_ROWS);
    w->by_meaning = ARENA_ARRAY(&w->arena, bool, MOST_ROWS);
    for (size_t number = 1; body.n > 0; number++) {
        const char *end = memchr(body.p, '\n', body.n);
        struct slice line = slice_make(body.p, end ? (size_t)(end - body.p) : body.n);
        struct err_text what = {"no JSON object"};
        body = slice_from(body, end ? line.n + 1 : line.n);
        if (slice_trim(line).n == 0)
            continue;
        if (w->count == MOST_ROWS) {
            err_say(why, "Line %zu: more than %d rows; send them in parts.", number, MOST_ROWS);
            return false;
        }
        json_t *row = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
        bool good = json_is_object(row) && read_row(w, s, row, &what);
        json_decref(row);
        if (!good) {
            err_say(why, "Line %zu: %.400s.", number, what.s);
            return false;
        }
    }
    return true;
}

void api_cache_post_warm(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    const struct snapshot *s = control_snapshot(api_admin_cache(admin)->control);
    struct warming *w;
    struct err_text why = {""};

    (void)rest;
    if (!cache_task_is_of_type(x, LINES_TYPE))
        return;
    w = mem_zalloc(1, sizeof *w);
    w->base =
        (struct cache_task){.task.gone = warming_gone, .take = warming_take, .drop = warming_free};
    arena_init(&w->arena, 65536);
    if (!read_rows(w, s, http_exchange_body(x), &why)) {
        admin_reply_error(x, ERR_BAD_REQUEST, why.s);
        warming_free(&w->base);
        return;
    }
    w->change = cache_task_change(admin, x, "warm");
    if (w->change && cache_task_open(&w->base, admin, x)) {
        json_put_int(w->change, "entries", (int64_t)w->count);
        encode_next(w);
    } else {
        warming_free(&w->base);
    }
}
