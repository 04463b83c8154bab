/* Words and rows of a request's decisions. Called by respond.c for heads, and by account.c. */
#include "router/decision.h"

#include <math.h>
#include "router/foreseen.h"
#include "router/ledger.h"
#include "router/meters.h"
#include "router/request_int.h"

#define CANDIDATES_MAX_BYTES ((size_t)16 * 1024)

static const struct plan_choice *last_choice(const struct plan *p)
{
    return &p->log.choice[p->log.count - 1];
}

static const char *reason_name(const struct request *r, const struct plan_choice *c)
{
    return c->reason == PLAN_PINNED && cascade_is_holdout(r) ? "holdout"
                                                             : plan_reason_name(c->reason);
}

const char *decision_header(struct request *r)
{
    const struct plan *p = cascade_plan(r);
    const struct policy *policy = r->snap->policy;
    const char *all = "";

    if (!p)
        return NULL;
    for (int i = 0; i < r->attempt_count; i++) {
        const struct attempt *at = &r->attempts[i];

        if (at->confidence >= 0)
            all = arena_printf(&r->arena, "%s%s%s %.2f", all, *all ? ", " : "",
                               policy->models[at->model].name, at->confidence);
    }
    return arena_printf(&r->arena, "%s%s%s", all, *all ? ": " : "", reason_name(r, last_choice(p)));
}

/* ---- rows ---- */

static const char *mode_name(enum policy_decide_mode m)
{
    switch (m) {
    case POLICY_DECIDE_ORDER:
        return "order";
    case POLICY_DECIDE_ACCEPT:
        return "accept";
    case POLICY_DECIDE_OBJECTIVE:
        return "objective";
    }
    return "";
}

/* Names of models are the operator's and hold nothing that JSON escapes (policies: bind_name). */
static enum err write_candidate(const struct request *r, const struct plan *p,
                                const struct plan_choice *c, int arm, struct buf *out)
{
    const struct foreseen *f = cascade_foreseen(r);
    const char *between = buf_len(out) > 1 ? "," : "";
    enum err e = buf_printf(out, "%s{\"model\":\"%s\",\"propensity\":%.6f,\"cost_nanousd\":%.0f",
                            between, cascade_arm_model(r, arm),
                            (double)c->propensity[arm] / BELIEFS_UNIT, p->cost[arm]);

    if (e == ERR_OK && p->q.mode == PLAN_OBJECTIVE)
        e = buf_printf(out, ",\"index_nanousd\":%.0f", c->index[arm]);
    if (e == ERR_OK && p->q.mode == PLAN_ACCEPT)
        e = buf_printf(out, ",\"accept\":%.6g", p->q.accept[arm]);
    if (e == ERR_OK && p->odds[arm] != 1)
        e = buf_printf(out, ",\"shift\":%.3f", log(p->odds[arm]));
    if (e == ERR_OK && f && f->near[arm] != 0)
        e = buf_printf(out, ",\"neighbours\":%.3f", f->near[arm]);
    return e == ERR_OK ? buf_printf(out, "}") : e;
}

static const char *write_candidates(struct request *r, const struct plan *p,
                                    const struct plan_choice *c)
{
    struct buf out;
    const char *text = "[]";
    enum err e;

    buf_init(&out, CANDIDATES_MAX_BYTES);
    e = buf_printf(&out, "[");
    for (int j = 0; j < p->q.arms && e == ERR_OK; j++)
        if (c->allowed & 1u << j)
            e = write_candidate(r, p, c, j, &out);
    if (e == ERR_OK && buf_printf(&out, "]") == ERR_OK)
        text = arena_strdup(&r->arena, buf_slice(&out));
    buf_clear(&out);
    return text;
}

static const char *chosen_name(const struct request *r, const struct plan_choice *c)
{
    return c->chosen < 0 ? "stop" : cascade_arm_model(r, c->chosen);
}

static const char *reason_text(struct request *r, const struct plan_choice *c)
{
    return c->best_p < 0 ? reason_name(r, c)
                         : arena_printf(&r->arena, "%s: best chance so far %.3f", reason_name(r, c),
                                        c->best_p);
}

static void fill_row(struct request *r, const struct plan *p, int i, struct ledger_decision *row)
{
    const struct plan_choice *c = &p->log.choice[i];
    uint32_t propensity = c->chosen < 0 ? c->stop_propensity : c->propensity[c->chosen];

    *row = (struct ledger_decision){
        .step = i + 1,
        .kind = i == 0 ? "first" : "next",
        .mode = mode_name(r->route->decide.mode),
        .context = arena_printf(&r->arena, "%s/%.*s", r->route->name, SLICE_ARG(r->class.is.label)),
        .candidates = write_candidates(r, p, c),
        .chosen = chosen_name(r, c),
        .propensity = (double)propensity / BELIEFS_UNIT,
        .success_value = p->q.mode == PLAN_OBJECTIVE ? (nanousd)p->log.v : -1,
        .beliefs = cascade_beliefs_version(r),
        .reason = reason_text(r, c),
    };
}

const struct ledger_decision *decision_rows(struct request *r, size_t *count)
{
    const struct plan *p = cascade_plan(r);
    struct ledger_decision *rows;

    *count = p && !r->background ? (size_t)p->log.count : 0;
    if (*count == 0)
        return NULL;
    rows = ARENA_ARRAY(&r->arena, struct ledger_decision, p->log.count);
    for (int i = 0; i < p->log.count; i++)
        fill_row(r, p, i, &rows[i]);
    return rows;
}

void decision_count(struct request *r)
{
    const struct plan *p = cascade_plan(r);

    for (int i = 0; p && !r->background && i < p->log.count; i++) {
        const struct plan_choice *c = &p->log.choice[i];

        meters_decision(r->env->meters, r->route->name, chosen_name(r, c), reason_name(r, c));
    }
}
