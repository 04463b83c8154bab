/* One comparison from the decision to its label. Owns the question's copy, the two entries and the
 * background request. Called by cache_use.c; the rest comes through the worker's mailbox. */
#include "router/cache_audit.h"

#include <stdlib.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "router/background.h"
#include "router/cache_replay.h"
#include "router/judge.h"
#include "router/meters.h"
#include "router/request_int.h"

/* Below it nothing is ever served, and what a judge costs would teach next to nothing. */
#define MIN_COSINE 0.5

struct cache_audit {
    struct router_env *env;
    struct snapshot *snap; /* owned reference */
    const struct policy_tenant *tenant;
    const char *cause;
    struct arena arena;
    struct cache_why why;
    struct cache_rules rules;
    struct cache_entry *stored, *fresh; /* references; fresh NULL: still to come */
    struct cache_fields question;       /* of an audit: what the fresh entry is made of */
    struct background *ask;             /* owned until it is started; NULL: no audit */
};

static void audit_free(struct cache_audit *x)
{
    background_free(x->ask);
    cache_entry_unref(x->stored);
    cache_entry_unref(x->fresh);
    snapshot_unref(x->snap);
    arena_clear(&x->arena);
    free(x);
}

static struct cache_audit *audit_new(struct request *r, struct cache_entry *stored)
{
    struct cache_audit *x = mem_zalloc(1, sizeof *x);

    x->env = r->env;
    x->snap = snapshot_ref(r->snap);
    x->tenant = r->tenant;
    x->why = r->cache.why;
    x->rules = r->cache.rules;
    x->stored = cache_entry_ref(stored);
    arena_init(&x->arena, 1024);
    x->cause = arena_strdup(&x->arena, slice_str(r->id));
    return x;
}

/* ---- the verdict ---- */

static struct cache_label label_of(const struct cache_why *why)
{
    struct cache_label l = {.entry = why->entry,
                            .answer = why->answer,
                            .cosine = why->cosine,
                            .audit = why->audit,
                            .probability = why->probability,
                            .budget = why->budget,
                            .audit_share = why->audit_share};

    memcpy(l.features, why->features, sizeof l.features);
    return l;
}

/* A judge's. key: the entry of a fresh answer that was compared; 0: none. */
static void learn(struct cache *c, const struct cache_why *why, bool right, uint64_t key)
{
    struct cache_label l = label_of(why);

    l.right = right;
    l.weight = 1;
    l.key = key;
    cache_learn(c, &l);
}

/* A fresh answer that was asked for because of an audit: kept in any case, for it answers this very
 * question. One that agrees becomes a key of the answer that was served. */
static void keep_fresh(struct cache_audit *x, enum judge_verdict v)
{
    struct cache_fields f = x->fresh->f;

    if (v == JUDGE_SAME) {
        f.answer = x->stored->f.answer;
        f.source = CACHE_FROM_AUDIT;
    }
    cache_put(x->snap->cache, cache_entry_new(&f), &x->rules);
}

static void on_verdict(void *ctx, enum judge_verdict v, enum judge_by by)
{
    struct cache_audit *x = ctx;
    bool audit = x->why.audit;

    log_line(LOG_DEBUG, "cache", "compared", "id=%s audit=%d cosine=%.4f p=%.4f verdict=%s by=%s",
             x->cause, audit, x->why.cosine, x->why.probability, judge_verdict_name(v),
             judge_by_name(by));
    if (audit && x->rules.store)
        keep_fresh(x, v);
    if (v != JUDGE_UNKNOWN)
        learn(x->snap->cache, &x->why, v == JUDGE_SAME, audit ? 0 : x->fresh->f.id);
    audit_free(x);
}

static struct judge_answer answer_of(const struct cache_entry *e, enum wire_api api)
{
    return (struct judge_answer){api, cache_replay_dialect(e->f.dialect), e->f.body};
}

static bool api_named(struct slice name, enum wire_api *out)
{
    for (int i = 0; i < WIRE_APIS; i++)
        if (slice_eq(name, slice_str(wire_api_name((enum wire_api)i)))) {
            *out = (enum wire_api)i;
            return true;
        }
    return false;
}

/* Takes x over. */
static void compare(struct cache_audit *x)
{
    const struct policy_cache *p = &x->snap->policy->cache;
    enum wire_api api;

    /* Neighbours are of one API: it is part of their identity. */
    if (api_named(x->fresh->f.api, &api) &&
        judge_start(x->env, &(struct judge_spec){
                                .snapshot = x->snap,
                                .tenant = x->tenant,
                                .cause = x->cause,
                                .question = x->fresh->f.text,
                                .answers = {answer_of(x->stored, api), answer_of(x->fresh, api)},
                                .judge = &p->judge,
                                .cap = x->snap->spends.cache_judge,
                                .done = on_verdict,
                                .ctx = x}))
        return;
    audit_free(x);
}

/* ---- an audit ---- */

static void on_fresh(void *ctx, const struct background_answer *a)
{
    struct cache_audit *x = ctx;
    struct cache_fields f = x->question;

    if (a->err != ERR_OK) {
        audit_free(x);
        return;
    }
    f.body = a->body;
    f.dialect = slice_str(cache_replay_dialect_name(a->dialect));
    f.model = slice_str(a->model);
    f.usage = a->usage;
    f.cost = a->cost;
    x->fresh = cache_entry_new(&f);
    compare(x);
}

/* The request's arena is gone when the answer comes. */
static void copy_question(struct cache_audit *x, struct request *r)
{
    struct cache_fields *f = &x->question;
    struct arena *a = &x->arena;

    cache_use_question(r, f);
    f->scope = arena_dup(a, f->scope);
    f->text = arena_dup(a, f->text);
    f->class_label = arena_dup(a, f->class_label);
    f->route = arena_dup(a, f->route);
    if (f->vector) {
        uint16_t *v = ARENA_ARRAY(a, uint16_t, f->dim);
        memcpy(v, f->vector, sizeof *v * (size_t)f->dim);
        f->vector = v;
    }
}

void cache_audit_plan(struct request *r)
{
    const struct policy_cache *p = &r->snap->policy->cache;
    struct cache_audit *x;

    if (spend_in(r->snap->spends.cache_audits, SPEND_DAY, clock_wall_us()) >= p->audits_per_day) {
        meters_audit_skipped(r->env->meters, "budget");
        return;
    }
    x = audit_new(r, r->cache.entry);
    copy_question(x, r);
    x->ask = background_new(r->env, &(struct background_spec){.purpose = "audit",
                                                              .cause = r->id,
                                                              .cap = r->snap->spends.cache_audits,
                                                              .snapshot = r->snap,
                                                              .tenant = r->tenant,
                                                              .route = r->route,
                                                              .api = r->api,
                                                              .body = r->ask.body,
                                                              .query = r->query,
                                                              .headers = r->forward,
                                                              .header_count = r->forward_count,
                                                              .done = on_fresh,
                                                              .ctx = x});
    if (x->ask) {
        r->cache.audit = x;
        return;
    }
    meters_audit_skipped(r->env->meters, "busy");
    audit_free(x);
}

/* ---- after the reply ---- */

static void begin_audit(struct cache_audit *x)
{
    struct background *b = x->ask;

    x->ask = NULL;
    if (!background_start(b)) {
        meters_audit_skipped(x->env->meters, "failed");
        audit_free(x);
    }
}

void cache_audit_begin(struct request *r)
{
    struct cache_use *u = &r->cache;

    if (u->audit) {
        begin_audit(u->audit);
        u->audit = NULL;
    } else if (u->neighbour && u->kept && u->why.budget && u->why.cosine >= MIN_COSINE) {
        struct cache_audit *x = audit_new(r, u->neighbour);
        x->fresh = cache_entry_ref(u->kept);
        compare(x);
    }
}

/* ---- what users say ---- */

static struct digest name_of(const char *tenant, const char *request_id)
{
    struct digest_stream *s = digest_stream_new();

    digest_stream_add(s, slice_make(tenant, strlen(tenant) + 1)); /* a NUL ends it */
    digest_stream_add(s, slice_str(request_id));
    return digest_stream_end(s);
}

void cache_audit_remember(struct request *r)
{
    struct cache_label l = label_of(&r->cache.why);
    struct digest name;

    if (r->cache.said != CACHE_SAID_SEMANTIC || !l.budget)
        return;
    name = name_of(r->tenant ? r->tenant->name : "", r->id);
    l.audit = false;
    /* Where answers are shared, one tenant's words do not take them from the others. */
    l.word = r->route->cache.scope == POLICY_SCOPE_TENANT;
    l.audit_share = 0;
    cache_remember(r->snap->cache, &name, &l);
}

void cache_audit_word(struct cache *c, const char *tenant, const char *request_id, int value_milli,
                      int weight_milli)
{
    struct digest name;

    if (!c || value_milli < 0 || value_milli == 500 || weight_milli <= 0)
        return;
    name = name_of(tenant, request_id);
    cache_word(c, &name, value_milli > 500, CACHE_AUDIT_WORD * weight_milli / 1000);
}
