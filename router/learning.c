/* Reads a request's plan and attempts, owns nothing. Called by account.c. */
#include "router/learning.h"

#include <math.h>
#include "base/clock.h"
#include "router/confidence.h"
#include "router/decide/curve.h"
#include "router/encoder/static_table.h"
#include "router/evidence.h"
#include "router/foreseen.h"
#include "router/learner.h"
#include "router/request_int.h"

_Static_assert(CONFIDENCE_FEATURES <= EVIDENCE_FEATURES, "features are remembered whole");
_Static_assert(PANDORA_BOXES <= EVIDENCE_ANSWERS, "so are the arms of a cascade");

/* Of several attempts on one model the answer is the last's, the cost is all of theirs. */
static void add_attempt(const struct attempt *at, struct evidence_answer *a)
{
    a->cost = money_add(money_add(a->cost, at->cost), at->samples_cost);
    a->served = a->served || at->served;
    if (at->err != ERR_OK && !at->passed_over && !at->served)
        return;
    a->failed = false;
    a->tokens_in =
        at->usage.n[TOK_INPUT] + at->usage.n[TOK_CACHED_INPUT] + at->usage.n[TOK_CACHE_WRITE];
    a->tokens_out = at->usage.n[TOK_OUTPUT] + at->usage.n[TOK_REASONING];
    a->latency_ms = at->duration_us < 0 ? 0 : at->duration_us / 1000;
    if (!at->features)
        return;
    a->bin = curve_bin(at->score);
    a->scorer = at->scorer;
    a->chance = at->confidence;
    a->verdict_milli = at->verdict_milli;
    a->features = at->features;
    a->feature_count = CONFIDENCE_FEATURES;
}

/* In which stage each arm was asked, and what was expected, as the plan has it. */
static void add_stages(const struct request *r, struct evidence_answer *all, int count)
{
    const struct plan *p = cascade_plan(r);

    for (int i = 0; p && i < p->log.count; i++) {
        const struct plan_choice *c = &p->log.choice[i];

        for (int j = 0; j < count && c->chosen >= 0; j++)
            if (strcmp(all[j].model, cascade_arm_model(r, c->chosen)) == 0)
                all[j].stage = c->stage;
    }
    for (int j = 0; p && p->log.expected >= 0 && j < count; j++)
        all[j].chance = all[j].failed ? -1 : p->log.expected;
}

/* What each arm's costs were to be. Several arms may be one model: the first speaks for it. */
static void add_foretold(const struct request *r, struct evidence_answer *all, int count)
{
    const struct plan *p = cascade_plan(r);

    for (int arm = 0; p && arm < p->q.arms; arm++)
        for (int j = 0; j < count; j++)
            if (all[j].foretold == 0 && strcmp(all[j].model, cascade_arm_model(r, arm)) == 0)
                all[j].foretold = (nanousd)llround(cascade_foretold(r, arm));
}

/* By name, as several attempts on one model are one answer. */
static void add_foreseen(const struct request *r, struct evidence_answer *all, int count)
{
    const struct foreseen *f = cascade_foreseen(r);
    const struct plan *p = cascade_plan(r);

    for (int arm = 0; f && arm < p->q.arms; arm++)
        for (int j = 0; j < count; j++)
            if (all[j].stage == 0 && strcmp(all[j].model, cascade_arm_model(r, arm)) == 0) {
                all[j].believed_milli = f->believed_milli[arm];
                all[j].foreseen_milli = f->foreseen_milli[arm];
            }
}

static void add_query(struct evidence *e)
{
    const struct static_table *table = static_table_builtin();

    e->query_dim = static_table_dim(table);
    e->query_space = fingerprint_full(static_table_space(table), ENCODER_STATIC);
}

static bool is_learned(const struct request *r)
{
    const struct policy_decide *d = &r->route->decide;

    return r->cascade && d->mode != POLICY_DECIDE_ORDER && d->learn.mode == POLICY_LEARN_ON;
}

/* The request's bytes before what the user said last. */
static void make_print(const struct request *r, struct outcome_print *p)
{
    struct slice body = r->ask.body, said = r->ask.last_user_text;
    bool inside = said.n && said.p >= body.p && said.p < body.p + body.n;

    outcome_print_make(p, slice_str(r->tenant ? r->tenant->name : ""),
                       slice_make(body.p, inside ? (size_t)(said.p - body.p) : 0), said);
}

void learning_post(struct request *r)
{
    const struct policy *p = r->snap->policy;
    struct evidence_answer all[EVIDENCE_ANSWERS];
    bool learn = r->route && is_learned(r) && !r->cache.entry;
    int count = 0;

    if (!r->env->learner || !r->route || r->background)
        return;
    if (!learn && learner_recalls(r->env->learner))
        return;
    if (r->cache.entry) { /* its words were another request's: an outcome is booked, not counted */
        struct evidence_answer *a =
            evidence_answer_of(all, &count, arena_strdup(&r->arena, r->cache.entry->f.model));
        a->served = r->outcome == ERR_OK;
        a->failed = false;
    }
    for (int i = 0; i < r->attempt_count; i++) {
        const struct attempt *at = &r->attempts[i];
        struct evidence_answer *a =
            at->lost ? NULL : evidence_answer_of(all, &count, p->models[at->model].name);

        if (a)
            add_attempt(at, a);
    }
    add_stages(r, all, count);
    add_foretold(r, all, count);
    add_foreseen(r, all, count);
    if (count)
        all[0].first = !r->cache.entry;
    struct evidence e = {.tenant = r->tenant ? r->tenant->name : "",
                         .request_id = r->id,
                         .route = r->route->name,
                         .class_name = arena_strdup(&r->arena, r->class.is.label),
                         .decided_wall_us = r->received_wall_us,
                         .ended_wall_us = clock_wall_us(),
                         .learn = learn,
                         .answers = all,
                         .count = count,
                         .query = r->class.query};
    if (e.query)
        add_query(&e);
    if (e.learn && r->outcome == ERR_OK) /* else the client may be gone, and its bytes with it */
        make_print(r, &e.print);
    learner_post(r->env->learner, &e);
}
