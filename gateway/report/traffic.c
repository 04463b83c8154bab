/* Called by weir report and weir replay. */
#include "gateway/report/traffic.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/htable.h"

/* A conversation mostly lies within it. */
#define BLOCK_US (INT64_C(10) * 60 * 1000000)

void traffic_init(struct traffic *t)
{
    *t = (struct traffic){.names = 0};
    arena_init(&t->arena, (size_t)1 << 20);
}

void traffic_clear(struct traffic *t)
{
    for (int i = 0; i < TRAFFIC_GROUPINGS; i++)
        free(t->group[i]);
    free(t->name);
    free(t->request);
    free(t->by_cluster);
    free(t->audit);
    arena_clear(&t->arena);
}

/* Room for one more; doubles. */
static void *grow(void *all, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return all;
    *room = *room ? 2 * *room : 64;
    return mem_resize(all, *room, size);
}

/* ---- names ---- */

int traffic_find(const struct traffic *t, const char *name)
{
    for (int i = 0; i < t->names; i++)
        if (strcmp(t->name[i], name) == 0)
            return i;
    return -1;
}

static int intern(struct traffic *t, const char *name)
{
    int found = traffic_find(t, name);
    size_t room = (size_t)t->name_room;

    if (found >= 0)
        return found;
    t->name = grow(t->name, (size_t)t->names, &room, sizeof *t->name);
    t->name_room = (int)room;
    t->name[t->names] = arena_strdup(&t->arena, slice_str(name));
    return t->names++;
}

/* ---- what was spent ---- */

static struct traffic_group *group_of(struct traffic *t, enum traffic_by by, int name)
{
    for (int i = 0; i < t->groups[by]; i++)
        if (t->group[by][i].name == name)
            return &t->group[by][i];
    t->group[by] = mem_resize(t->group[by], (size_t)t->groups[by] + 1, sizeof **t->group);
    t->group[by][t->groups[by]] = (struct traffic_group){.name = name};
    return &t->group[by][t->groups[by]++];
}

static void spend(struct traffic_group *g, const struct ledger_attempt *a)
{
    g->attempts++;
    g->tokens_in +=
        a->usage.n[TOK_INPUT] + a->usage.n[TOK_CACHED_INPUT] + a->usage.n[TOK_CACHE_WRITE];
    g->tokens_out += a->usage.n[TOK_OUTPUT] + a->usage.n[TOK_REASONING];
    g->cost = money_add(g->cost, a->cost);
}

static void add_spend(struct traffic *t, const struct ledger_story *s)
{
    const struct ledger_request *q = &s->request;
    struct traffic_group *of[] = {group_of(t, BY_TENANT, intern(t, q->tenant)),
                                  group_of(t, BY_ROUTE, intern(t, q->route)),
                                  group_of(t, BY_CLASS, intern(t, q->class_name))};

    t->requests_cost = money_add(t->requests_cost, q->cost);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        of[i]->requests += strcmp(q->purpose, "serve") == 0;
    for (size_t k = 0; k < s->attempt_count; k++) {
        const struct ledger_attempt *a = &s->attempts[k];
        t->attempts_cost = money_add(t->attempts_cost, a->cost);
        spend(group_of(t, BY_MODEL, intern(t, a->model)), a);
        spend(group_of(t, BY_ROLE, intern(t, a->role)), a);
        for (size_t i = 0; i < sizeof of / sizeof *of; i++)
            spend(of[i], a);
    }
}

/* ---- answers ---- */

static uint64_t key_of(const struct ledger_request *q)
{
    return htable_hash_slice(slice_str(q->request_id)) ^
           htable_hash_slice(slice_str(q->tenant)) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t cluster_of(const struct ledger_request *q)
{
    return q->conversation ? q->conversation
                           : htable_hash_id((uint64_t)(q->received_wall_us / BLOCK_US)) ^
                                 htable_hash_slice(slice_str(q->tenant));
}

/* As far as it lay with the model and its servers. */
static bool has_failed(const struct ledger_attempt *a)
{
    static const char *const others[] = {"ok", "client_gone", "superseded", "draining"};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(a->outcome, others[i]) == 0)
            return false;
    return strcmp(a->role, "lost") != 0 && strcmp(a->role, "escalated") != 0;
}

/* Further answers that were asked for to judge one by (router/sampling.h) are part of what that one
 * cost. */
static bool is_sample(const struct ledger_attempt *a)
{
    return strcmp(a->role, "sample") == 0;
}

static void add_samples(const struct ledger_story *s, struct traffic_answer *of, const char *model)
{
    for (size_t i = 0; i < s->attempt_count; i++) {
        const struct ledger_attempt *a = &s->attempts[i];
        if (!is_sample(a) || strcmp(a->model, model) != 0)
            continue;
        of->cost = money_add(of->cost, a->cost);
        of->sampled_us += a->duration_us > 0 ? a->duration_us : 0;
        for (int k = 0; k < TOK_KINDS; k++)
            of->sampled.n[k] += a->usage.n[k];
    }
}

/* As router/account.c writes it: "served; repeated 2.00 of 3". */
static int samples_told(const char *verdict)
{
    const char *at = strstr(verdict, "repeated "), *of = at ? strstr(at, " of ") : NULL;

    return of ? (int)strtol(of + 4, NULL, 10) : 0;
}

static struct traffic_answer answer_from(struct traffic *t, const struct ledger_story *s,
                                         const struct ledger_attempt *a)
{
    const struct ledger_outcome *o = ledger_outcome_of(s, a->model);
    struct traffic_answer out = {
        .model = intern(t, a->model),
        .good = strcmp(a->outcome, "ok") == 0 || strcmp(a->role, "escalated") == 0,
        .failed = has_failed(a),
        .refuted = strncmp(a->verdict, "refuted", 7) == 0,
        .judged_tokens = a->judged_tokens,
        .validators = a->validators,
        .validated = a->validated_milli >= 0,
        .served = a->served,
        .audit = strcmp(s->request.purpose, "serve") != 0,
        .confidence = a->confidence,
        .value = o ? o->value_milli / 1000.0 : -1,
        .started_wall_us = a->started_wall_us,
        .duration_us = a->duration_us > 0 ? a->duration_us : 0,
        .cost = a->cost,
        .usage = a->usage,
        .samples = samples_told(a->verdict),
        .unsampled = strstr(a->verdict, "not sampled: ") != NULL,
    };

    add_samples(s, &out, a->model);
    return out;
}

static bool of_a_model(const struct ledger_attempt *a)
{
    return strcmp(a->role, "classify") != 0 && strcmp(a->role, "embed") != 0 && !is_sample(a);
}

static void add_audit(struct traffic *t, const struct ledger_story *s)
{
    for (size_t i = 0; i < s->attempt_count; i++) {
        const struct ledger_attempt *a = &s->attempts[i];
        if (!of_a_model(a) || strcmp(a->outcome, "ok") != 0)
            continue;
        t->audit = grow(t->audit, t->audits, &t->audit_room, sizeof *t->audit);
        t->audit[t->audits++] = (struct traffic_audit){key_of(&s->request), answer_from(t, s, a)};
    }
}

/* ---- decisions ---- */

static bool read_candidates(struct traffic *t, const char *json, struct traffic_step *out)
{
    json_t *list = json_loads(json, 0, NULL);
    size_t n = json_array_size(list);
    struct traffic_candidate *all = ARENA_ARRAY(&t->arena, struct traffic_candidate, n);
    bool good = json_is_array(list) && n <= PANDORA_BOXES;

    for (size_t i = 0; i < n && good; i++) {
        const json_t *c = json_array_get(list, i);
        const char *model = json_string_value(json_object_get(c, "model"));
        double p = json_number_value(json_object_get(c, "propensity"));
        good = model && p >= 0 && p <= 1;
        if (good)
            all[i] = (struct traffic_candidate){
                intern(t, model), p, json_number_value(json_object_get(c, "cost_nanousd"))};
    }
    out->candidate = all;
    out->count = good ? (int)n : 0;
    json_decref(list);
    return good;
}

static void add_steps(struct traffic *t, const struct ledger_story *s, struct traffic_request *q)
{
    struct traffic_step *steps = ARENA_ARRAY(&t->arena, struct traffic_step, s->decision_count);

    for (size_t i = 0; i < s->decision_count; i++) {
        const struct ledger_decision *d = &s->decisions[i];
        steps[i] = (struct traffic_step){
            .chosen = strcmp(d->chosen, "stop") == 0 ? -1 : intern(t, d->chosen),
            .propensity = d->propensity,
            .explored = strncmp(d->reason, "explored", 8) == 0};
        if (!read_candidates(t, d->candidates, &steps[i])) {
            t->unread++;
            return;
        }
        for (int k = 0; i == 0 && k < steps[i].count; k++)
            steps[i].explored |= steps[i].candidate[k].propensity > d->propensity;
        q->holdout |= i == 0 && strcmp(d->reason, "holdout") == 0;
    }
    q->step = steps;
    q->step_count = (int32_t)s->decision_count;
    q->decided = s->decision_count > 0;
}

/* ---- requests ---- */

static void add_answers(struct traffic *t, const struct ledger_story *s, struct traffic_request *q)
{
    struct traffic_answer *all = ARENA_ARRAY(&t->arena, struct traffic_answer, s->attempt_count);

    q->served = -1;
    for (size_t i = 0; i < s->attempt_count; i++) {
        const struct ledger_attempt *a = &s->attempts[i];
        if (!of_a_model(a))
            continue;
        if (a->served)
            q->served = q->answer_count;
        q->escalated |= strcmp(a->role, "escalated") == 0;
        all[q->answer_count++] = answer_from(t, s, a);
    }
    q->answer = all;
}

void traffic_add(void *traffic, const struct ledger_story *s)
{
    struct traffic *t = traffic;
    const struct ledger_request *r = &s->request;
    struct traffic_request *q;

    add_spend(t, s);
    if (strcmp(r->purpose, "serve") != 0) {
        t->own++;
        t->own_cost = money_add(t->own_cost, r->cost);
        if (strcmp(r->purpose, "audit") == 0)
            add_audit(t, s);
        return;
    }
    t->request = grow(t->request, t->requests, &t->request_room, sizeof *t->request);
    q = &t->request[t->requests++];
    *q = (struct traffic_request){
        .key = key_of(r),
        .cluster = cluster_of(r),
        .received_wall_us = r->received_wall_us,
        .duration_us = r->duration_us,
        .tenant = intern(t, r->tenant),
        .route = intern(t, r->route),
        .class = intern(t, r->class_name),
        .model = intern(t, r->requested_model),
        .ok = strcmp(r->outcome, "ok") == 0,
        .late = strcmp(r->outcome, err_name(ERR_UPSTREAM_TOTAL_TIMEOUT)) == 0,
        .stream = r->stream,
        .aborted = r->status == 499,
        .cached = strcmp(r->cache, "hit") == 0 || strcmp(r->cache, "semantic") == 0 ||
                  strcmp(r->cache, "coalesced") == 0,
        .cost = r->cost,
        .saved = r->saved,
    };
    add_answers(t, s, q);
    add_steps(t, s, q);
}

/* ---- the end ---- */

static int dearest_first(const void *a, const void *b)
{
    const struct traffic_group *x = a, *y = b;

    return (x->cost < y->cost) - (x->cost > y->cost);
}

static int by_key(const void *a, const void *b)
{
    const struct traffic_audit *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

static void find_audits(const struct traffic *t, struct traffic_request *q)
{
    size_t low = 0, high = t->audits;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->audit[middle].key < q->key)
            low = middle + 1;
        else
            high = middle;
    }
    q->audit = (int32_t)low;
    while (low < t->audits && t->audit[low].key == q->key)
        low++;
    q->audit_count = (int32_t)low - q->audit;
}

static int by_cluster(const void *a, const void *b, void *traffic)
{
    const struct traffic *t = traffic;
    uint64_t x = t->request[*(const size_t *)a].cluster, y = t->request[*(const size_t *)b].cluster;

    return (x > y) - (x < y);
}

static void order_clusters(struct traffic *t)
{
    t->by_cluster = mem_zalloc(t->requests + 1, sizeof *t->by_cluster);
    for (size_t i = 0; i < t->requests; i++)
        t->by_cluster[i] = i;
    qsort_r(t->by_cluster, t->requests, sizeof *t->by_cluster, by_cluster, t);
}

void traffic_end(struct traffic *t)
{
    for (int i = 0; i < TRAFFIC_GROUPINGS; i++)
        if (t->groups[i])
            qsort(t->group[i], (size_t)t->groups[i], sizeof **t->group, dearest_first);
    if (t->audits)
        qsort(t->audit, t->audits, sizeof *t->audit, by_key);
    for (size_t i = 0; i < t->requests; i++)
        find_audits(t, &t->request[i]);
    order_clusters(t);
}

double traffic_value(const struct traffic_request *q)
{
    return q->served >= 0 ? q->answer[q->served].value : -1;
}

const struct traffic_answer *traffic_answer_of(const struct traffic *t,
                                               const struct traffic_request *q, int model)
{
    for (int i = 0; i < q->answer_count; i++)
        if (q->answer[i].model == model && q->answer[i].good)
            return &q->answer[i];
    for (int i = 0; i < q->audit_count; i++)
        if (t->audit[q->audit + i].answer.model == model)
            return &t->audit[q->audit + i].answer;
    return NULL;
}
