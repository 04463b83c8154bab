/* The doubly robust answer: each logged decision as the policy would have taken it. Called by
 * whatif.c. */
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/report/whatif_int.h"

enum { STAGES = 3, LEVELS = 4, STOP = PANDORA_BOXES, CHOICES = PANDORA_BOXES + 1 };
enum { MAX_STEPS = PANDORA_BOXES + 2 };

/* Mean of what followed a choice, by class, how many answers there were, the best chance so far,
 * and the choice: a model, by its place in `models`. */
struct cell {
    double n[2], sum[2]; /* by reward */
};
struct means {
    struct cell *at; /* [WHATIF_CLASSES][STAGES][LEVELS][CHOICES] */
    struct cell all;
    int model[PANDORA_BOXES]; /* that the log knows as candidates */
    int models;
};

/* A logged path, seen by the policy. */
struct path {
    int count;
    struct {
        double target[PANDORA_BOXES], target_stop; /* what the policy would do, by arm */
        double logged;                             /* propensity of the logged choice */
        double unsupported; /* the policy's chance of what the log never did */
        double taken;       /* the policy's propensity of the logged choice */
        int chosen;         /* a model; -1: stop */
        int stage, level;
        double cost;
    } step[MAX_STEPS];
};

static int place_of(const struct means *m, int model)
{
    for (int i = 0; i < m->models; i++)
        if (m->model[i] == model)
            return i;
    return -1;
}

static struct cell *cell_of(const struct means *m, int class, int stage, int level, int model)
{
    int choice = model < 0 ? STOP : place_of(m, model);

    class %= WHATIF_CLASSES;
    return choice < 0 ? NULL
                      : &m->at[((class * STAGES + stage) * LEVELS + level) * CHOICES + choice];
}

static double mean_of(const struct means *m, const struct cell *c, int k)
{
    if (c && c->n[k] > 0)
        return c->sum[k] / c->n[k];
    return m->all.n[k] > 0 ? m->all.sum[k] / m->all.n[k] : 0;
}

/* ---- logged steps ---- */

#define UNKNOWN (-2) /* a model whose name the log never says */

/* Of a model, or of stopping (-1). */
static double logged_propensity(const struct traffic_step *s, int model)
{
    double others = 0;

    for (int i = 0; i < s->count; i++) {
        if (s->candidate[i].model == model)
            return s->candidate[i].propensity;
        others += s->candidate[i].propensity;
    }
    if (model != -1)
        return 0;
    return s->chosen < 0 ? s->propensity : others > 1 - 1e-4 ? 0 : 1 - others;
}

static bool is_random(const struct traffic_request *q)
{
    return q->decided && !q->holdout && q->step_count > 0 && q->step_count <= MAX_STEPS &&
           q->step[0].count > 0;
}

static bool can_follow(const struct whatif_case *c)
{
    return c->route && !c->refused && c->by_path == WHATIF_FITS && is_random(c->q);
}

/* ---- the policy along the log ---- */

static int arm_of(const struct whatif_case *c, int model)
{
    for (int j = 0; j < c->arms; j++)
        if (model >= 0 && c->model[j] == model)
            return j;
    return -1;
}

/* Arms that could have been asked: a model that the log does know as a candidate, but not here, was
 * not there. One that it never knew stays, and is unsupported. */
static unsigned present(const struct means *m, const struct whatif_case *c)
{
    unsigned bits = 0;

    for (int j = 0; j < c->arms; j++) {
        bool here = false;
        for (int i = 0; i < c->q->step[0].count; i++)
            here |= c->q->step[0].candidate[i].model == c->model[j];
        bits |= here || place_of(m, c->model[j]) < 0 ? 1u << j : 0;
    }
    return bits ? bits : (1u << c->arms) - 1;
}

/* What was paid after the cascade had failed, to its fall-backs: as the log has it. */
static double paid_after(const struct whatif_play *w, const struct whatif_case *c)
{
    double sum = 0;

    for (int i = 0; i < c->q->answer_count; i++) {
        int model = c->q->answer[i].model;
        bool other = false;
        for (int s = 0; s < c->q->step_count; s++)
            other |= c->q->step[s].chosen == model;
        for (int k = 0; k < i; k++)
            other |= c->q->answer[k].model == model;
        sum += other ? 0 : whatif_paid(w, c, model);
    }
    return sum;
}

static void note_step(struct path *p, const struct plan *plan, const struct whatif_play *w,
                      const struct whatif_case *c, const struct traffic_step *s, int stage,
                      double best)
{
    const struct plan_choice *choice = &plan->log.choice[plan->log.count - 1];
    int arm = arm_of(c, s->chosen), i = p->count++;

    p->step[i].chosen = s->chosen;
    p->step[i].stage = stage < STAGES ? stage : STAGES - 1;
    p->step[i].level = best < 0 ? 0 : (int)fmin(LEVELS - 1, best * LEVELS);
    p->step[i].logged = logged_propensity(s, s->chosen);
    p->step[i].cost = s->chosen >= 0 ? whatif_paid(w, c, s->chosen) : 0;
    if (s == &c->q->step[c->q->step_count - 1])
        p->step[i].cost += paid_after(w, c);
    p->step[i].target_stop = choice->stop_propensity / (double)BELIEFS_UNIT;
    p->step[i].unsupported = logged_propensity(s, -1) > 0 ? 0 : p->step[i].target_stop;
    for (int j = 0; j < c->arms; j++) {
        p->step[i].target[j] = choice->propensity[j] / (double)BELIEFS_UNIT;
        if (!(logged_propensity(s, c->model[j] < 0 ? UNKNOWN : c->model[j]) > 0))
            p->step[i].unsupported += p->step[i].target[j];
    }
    p->step[i].taken = s->chosen < 0 ? p->step[i].target_stop
                       : arm < 0     ? 0
                                     : p->step[i].target[arm];
}

/* The step just noted is one that the policy does not have: it has served already. */
static void always_stop(struct path *p, const struct traffic_step *s)
{
    int i = p->count - 1;

    for (int j = 0; j < PANDORA_BOXES; j++)
        p->step[i].target[j] = 0;
    p->step[i].target_stop = 1;
    p->step[i].unsupported = logged_propensity(s, -1) > 0 ? 0 : 1;
    p->step[i].taken = s->chosen < 0 ? 1 : 0;
}

static void follow(struct path *p, const struct whatif_play *w, const struct means *m,
                   const struct whatif_case *c)
{
    const struct whatif_beliefs *b = w->beliefs[WHATIF_FOLDS];
    unsigned allowed = present(m, c);
    struct plan_question question = whatif_question(b, w, c, allowed, c->q->key);
    struct plan plan;
    int answered = 0;

    p->count = 0;
    plan_begin(&plan, &question);
    for (int i = 0; i < c->q->step_count; i++) {
        const struct traffic_step *s = &c->q->step[i];
        const struct traffic_answer *a;
        int arm = arm_of(c, s->chosen);
        note_step(p, &plan, w, c, s, answered, plan.best_p);
        if (answered && whatif_unjudged(c))
            always_stop(p, s);
        if (!(p->step[i].taken > 0) || s->chosen < 0)
            return; /* weight 0, or the end */
        plan_take(&plan, arm);
        a = traffic_answer_of(w->t, c->q, s->chosen);
        if (a && !a->audit)
            plan_answer(&plan, whatif_chance(b, a), whatif_verdict(c, a), p->step[i].cost);
        else
            plan_failed(&plan, p->step[i].cost);
        answered += a && !a->audit;
        plan_next(&plan, allowed);
    }
}

/* ---- estimates ---- */

static void learn_means(struct means *m, const struct whatif_play *w)
{
    for (size_t i = 0; i < w->t->requests; i++) {
        const struct traffic_request *q = &w->t->request[i];
        for (int s = 0; s < q->step_count; s++)
            for (int k = 0; k < q->step[s].count; k++)
                if (place_of(m, q->step[s].candidate[k].model) < 0 && m->models < PANDORA_BOXES)
                    m->model[m->models++] = q->step[s].candidate[k].model;
    }
}

static void add_returns(struct means *m, const struct path *p, const struct traffic_request *q,
                        double total)
{
    double value = traffic_value(q);

    m->all.n[OFFPOLICY_COST]++;
    m->all.sum[OFFPOLICY_COST] += total;
    m->all.n[OFFPOLICY_SUCCESS] += value >= 0;
    m->all.sum[OFFPOLICY_SUCCESS] += value >= 0 ? value : 0;
    for (int i = 0; i < p->count; i++) {
        struct cell *c =
            cell_of(m, q->class, p->step[i].stage, p->step[i].level, p->step[i].chosen);
        if (!c)
            continue;
        c->n[OFFPOLICY_COST]++;
        c->sum[OFFPOLICY_COST] += total;
        c->n[OFFPOLICY_SUCCESS] += value >= 0;
        c->sum[OFFPOLICY_SUCCESS] += value >= 0 ? value : 0;
        total -= p->step[i].cost;
    }
}

static double total_of(const struct whatif_play *w, const struct whatif_case *c)
{
    double sum = paid_after(w, c);

    for (int i = 0; i < c->q->step_count; i++)
        if (c->q->step[i].chosen >= 0)
            sum += whatif_paid(w, c, c->q->step[i].chosen);
    return sum;
}

/* The path as steps of the estimator; returns how many. */
static size_t as_steps(const struct means *m, const struct whatif_case *c, const struct path *p,
                       struct offpolicy_step out[MAX_STEPS])
{
    double value = traffic_value(c->q);

    for (int i = 0; i < p->count; i++) {
        int stage = p->step[i].stage, level = p->step[i].level, class = c->q->class;
        out[i].weight = p->step[i].logged > 0 ? p->step[i].taken / p->step[i].logged : 0;
        out[i].reward[OFFPOLICY_COST] = p->step[i].cost;
        out[i].reward[OFFPOLICY_SUCCESS] = i == p->count - 1 && value >= 0 ? value : 0;
        for (int k = 0; k < OFFPOLICY_REWARDS; k++) {
            out[i].q[k] = mean_of(m, cell_of(m, class, stage, level, p->step[i].chosen), k);
            out[i].v[k] =
                p->step[i].target_stop * mean_of(m, cell_of(m, class, stage, level, -1), k);
            for (int j = 0; j < c->arms; j++)
                out[i].v[k] +=
                    p->step[i].target[j] *
                    mean_of(m,
                            c->model[j] < 0 ? NULL : cell_of(m, class, stage, level, c->model[j]),
                            k);
        }
    }
    return (size_t)p->count;
}

/* The policy's chance, along this path, of what the log never did. */
static double unsupported_of(const struct path *p)
{
    double reached = 1, sum = 0;

    for (int i = 0; i < p->count; i++) {
        sum += reached * p->step[i].unsupported;
        reached *= fmin(1, p->step[i].logged > 0 ? p->step[i].taken / p->step[i].logged : 0);
    }
    return fmin(1, sum);
}

static void weigh(struct whatif *out, const struct whatif_play *w, const struct means *m,
                  struct path *p)
{
    struct whatif_sums sums = {.count = 0}, preview = {.count = 0};

    for (size_t i = 0; i < w->t->requests; i++) {
        const struct whatif_case *c = &w->cases[i];
        struct offpolicy_step steps[MAX_STEPS];
        double value[OFFPOLICY_REWARDS];
        bool resolved = traffic_value(c->q) >= 0;
        if (!can_follow(c))
            continue;
        follow(p, w, m, c);
        size_t n = as_steps(m, c, p, steps);
        offpolicy_value(steps, n, value);
        offpolicy_check_add(&out->check, offpolicy_weight(steps, n), unsupported_of(p));
        whatif_sums_add(&sums, c->q, value[OFFPOLICY_COST], value[OFFPOLICY_COST],
                        value[OFFPOLICY_SUCCESS], resolved);
        whatif_sums_add(&preview, c->q, steps[0].v[OFFPOLICY_COST], steps[0].v[OFFPOLICY_COST],
                        steps[0].v[OFFPOLICY_SUCCESS], true);
    }
    whatif_sums_end(&sums, true, &out->weights);
    whatif_sums_end(&preview, false, &out->preview);
}

void whatif_weights(struct whatif *out, const struct whatif_play *w)
{
    struct means m = {
        .at = mem_zalloc((size_t)WHATIF_CLASSES * STAGES * LEVELS * CHOICES, sizeof *m.at)};
    struct path *p = mem_zalloc(1, sizeof *p);

    learn_means(&m, w);
    for (size_t i = 0; i < w->t->requests; i++) {
        const struct whatif_case *c = &w->cases[i];
        out->decided += c->q->decided;
        out->pinned += c->q->decided && !is_random(c->q);
        if (!can_follow(c))
            continue;
        follow(p, w, &m, c);
        add_returns(&m, p, c->q, total_of(w, c));
    }
    weigh(out, w, &m, p);
    out->verdict = offpolicy_verdict(&out->check);
    if (out->verdict == OFFPOLICY_VALID && (double)out->weights.resolved < OFFPOLICY_MIN_ESS)
        out->verdict = OFFPOLICY_FEW;
    free(p);
    free(m.at);
}
