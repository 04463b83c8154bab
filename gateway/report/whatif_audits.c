/* The answer by audits: the policy is played on what all its models really said. Called by
 * whatif.c.
 */
#include <math.h>
#include "gateway/report/whatif_int.h"

#define SEEDS 8 /* plays of a policy that leaves something to chance */

/* ---- what the log knows ---- */

enum known { UNKNOWN, FAILED, ANSWERED };

/* Of a model's answer to the request, or of its failure to give one. */
static enum known known_of(const struct whatif_play *w, const struct whatif_case *c, int model,
                           const struct traffic_answer **out)
{
    const struct traffic_answer *a = model >= 0 ? traffic_answer_of(w->t, c->q, model) : NULL;
    bool failed = false;

    *out = a;
    if (a)
        return a->value >= 0 ? ANSWERED : UNKNOWN;
    for (int i = 0; i < c->q->answer_count; i++)
        failed |= c->q->answer[i].model == model && c->q->answer[i].failed;
    return failed ? FAILED : UNKNOWN;
}

/* Are all answers known that the policy may ask its cascade for? In a written order that nobody
 * judges the next one matters only after a failure. */
static bool is_known(const struct whatif_play *w, const struct whatif_case *c)
{
    bool first_only = c->route->decide.mode == POLICY_DECIDE_ORDER ||
                      (c->route->decide.mode == POLICY_DECIDE_ACCEPT && whatif_unjudged(c));
    const struct traffic_answer *a;

    for (int j = 0; j < c->arms; j++) {
        enum known known = known_of(w, c, c->model[j], &a);
        if (known == UNKNOWN)
            return false;
        if (first_only && known == ANSWERED)
            return true;
    }
    return true;
}

/* ---- one request ---- */

struct played {
    double cost, success;
    bool unknown; /* it came to a model of which the log knows nothing */
};

/* Nothing of the cascade answered: the fall-backs, in order. */
static void fall_back(const struct whatif_play *w, const struct whatif_case *c, struct played *out)
{
    const struct policy_route *r = c->route;

    for (size_t i = r->cascade_count; i < r->step_count; i++) {
        int model = traffic_find(w->t, w->policy->models[r->steps[i].model].name);
        const struct traffic_answer *a;
        enum known known = known_of(w, c, model, &a);
        if (known == UNKNOWN) {
            out->unknown = true;
            return;
        }
        out->cost += whatif_paid(w, c, model);
        if (known == ANSWERED) {
            out->success += a->value;
            return;
        }
    }
}

/* The deadline has come: what was kept is served, or nothing. What was under way is paid whole: how
 * much of it would have been used is not known. */
static void serve_in_hand(const struct whatif_play *w, const struct whatif_case *c, int arm,
                          struct played *out)
{
    const struct traffic_answer *a;

    if (arm >= 0 && known_of(w, c, c->model[arm], &a) == ANSWERED)
        out->success += a->value;
}

/* As the gateway has it: models that usually answer in the time that is left, or else all. */
static unsigned in_time(const struct whatif_play *w, const struct whatif_case *c, unsigned all,
                        int64_t waited_us)
{
    unsigned bits = 0;

    for (int j = 0; j < c->arms && c->deadline_us >= 0; j++)
        if (c->model[j] >= 0 && w->usual_us[c->model[j]] <= (double)(c->deadline_us - waited_us))
            bits |= all & 1u << j;
    return bits ? bits : all;
}

static void play(const struct whatif_play *w, const struct whatif_case *c, uint64_t seed,
                 struct played *out)
{
    const struct whatif_beliefs *b = w->beliefs[c->fold];
    unsigned all = (1u << c->arms) - 1;
    struct plan_question question = whatif_question(b, w, c, in_time(w, c, all, 0), seed);
    bool recall = c->route->decide.confidence.recall;
    struct plan plan;
    struct plan_step step = plan_begin(&plan, &question);
    const struct traffic_answer *a = NULL;
    int64_t waited_us = 0;
    int last = -1;

    while (step.verb == PLAN_ASK) {
        double paid = whatif_paid(w, c, c->model[step.arm]);
        out->cost += paid;
        waited_us += whatif_waited_us(w, c, c->model[step.arm]);
        if (c->deadline_us >= 0 && waited_us > c->deadline_us) {
            serve_in_hand(w, c, recall ? plan.best : last, out);
            return;
        }
        if (known_of(w, c, c->model[step.arm], &a) == ANSWERED) {
            last = step.arm;
            if (whatif_unjudged(c))
                break;
            plan_answer(&plan, whatif_chance(b, a), whatif_verdict(c, a), paid);
        } else {
            plan_failed(&plan, paid);
        }
        step = plan_next(&plan, in_time(w, c, all, waited_us));
    }
    if (last < 0) {
        fall_back(w, c, out);
        return;
    }
    (void)known_of(w, c, c->model[recall && step.verb == PLAN_SERVE ? step.arm : last], &a);
    out->success += a->value;
}

static bool play_case(const struct whatif_play *w, const struct whatif_case *c,
                      struct whatif_sums *sums)
{
    int seeds = c->route->decide.mode == POLICY_DECIDE_OBJECTIVE ? SEEDS : 1;
    struct played p = {0};

    if (c->by_audits != WHATIF_FITS || !is_known(w, c))
        return false;
    for (int k = 0; k < seeds && !p.unknown; k++)
        play(w, c, c->q->key + (uint64_t)k, &p);
    if (p.unknown)
        return false;
    whatif_sums_add(sums, c->q, p.cost / seeds, p.cost / seeds, p.success / seeds, true);
    return true;
}

void whatif_audits(struct whatif *out, const struct whatif_play *w)
{
    struct whatif_sums sums = {.count = 0};

    for (size_t i = 0; i < w->t->requests; i++) {
        const struct whatif_case *c = &w->cases[i];
        if (!c->route || c->refused || c->q->audit_count == 0)
            continue;
        out->audited++;
        out->unusable += !play_case(w, c, &sums);
    }
    whatif_sums_end(&sums, true, &out->audits);
}
