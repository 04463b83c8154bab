/* What the log knows of models' answers, as the policy's learner would: chances of scores, and
 * beliefs for policies with an objective. Called by whatif.c and whatif_weights.c. */
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/report/whatif_int.h"
#include "router/learner.h"

/* Scores of audits are raw, those of served answers were calibrated when they were given. */
struct score_curve {
    bool known;
    double good[TALLY_BINS], bad[TALLY_BINS];
    struct curve curve;
};

struct whatif_beliefs {
    struct score_curve *curve; /* [names][2]: of served answers, of audits */
    struct beliefs *beliefs;   /* NULL: no route has an objective */
};

static bool left_out(const struct whatif_case *c, int fold)
{
    return fold < WHATIF_FOLDS && c->fold == fold;
}

/* ---- scores ---- */

static void count_score(struct whatif_beliefs *b, const struct traffic_answer *a)
{
    struct score_curve *s = &b->curve[2 * a->model + a->audit];

    if (a->confidence < 0 || a->value < 0)
        return;
    s->known = true;
    s->good[curve_bin(a->confidence)] += a->value;
    s->bad[curve_bin(a->confidence)] += 1 - a->value;
}

static void fit_curves(struct whatif_beliefs *b, const struct whatif_play *w, int fold)
{
    const struct traffic *t = w->t;

    for (size_t i = 0; i < t->requests; i++) {
        const struct traffic_request *q = &t->request[i];
        if (left_out(&w->cases[i], fold))
            continue;
        for (int k = 0; k < q->answer_count; k++)
            count_score(b, &q->answer[k]);
        for (int k = 0; k < q->audit_count; k++)
            count_score(b, &t->audit[q->audit + k].answer);
    }
    for (int i = 0; i < 2 * t->names; i++) {
        struct curve identity;
        curve_identity(&identity);
        if (b->curve[i].known)
            curve_fit(&b->curve[i].curve, &identity, b->curve[i].good, b->curve[i].bad, 1);
    }
}

double whatif_chance(const struct whatif_beliefs *b, const struct traffic_answer *a)
{
    const struct score_curve *s = &b->curve[2 * a->model + a->audit];

    if (a->confidence < 0)
        return (double)NAN;
    return s->known ? s->curve.p[curve_bin(a->confidence)] : a->confidence;
}

/* ---- beliefs of a route ---- */

struct views {
    const char *label[WHATIF_CLASSES];
    int name[WHATIF_CLASSES];
    int classes;
    struct tally_view *view; /* [classes][arms] */
};

static int class_at(const struct traffic *t, struct views *v, int name)
{
    for (int g = 0; g < v->classes; g++)
        if (v->name[g] == name || strcmp(v->label[g], traffic_name(t, name)) == 0)
            return g;
    if (v->classes == WHATIF_CLASSES)
        return 0;
    v->name[v->classes] = name;
    v->label[v->classes] = traffic_name(t, name);
    return v->classes++;
}

static void count_answer(struct tally_view *v, const struct traffic_answer *a, double chance,
                         double before, double cost)
{
    int stage = tally_stage(before), bin = curve_bin(chance);

    tally_view_add(v, TALLY_ASKED, 1, 1);
    if (stage == 0)
        tally_view_add(v, TALLY_FIRST, 1, 1);
    tally_view_add(v, TALLY_COST_NANOUSD, (int64_t)cost, 1);
    tally_view_add(v, TALLY_COST_SQUARE, (int64_t)(cost / 1e3 * (cost / 1e3)), 1);
    tally_view_add(v, TALLY_TOKENS_OUT, a->usage.n[TOK_OUTPUT] + a->usage.n[TOK_REASONING], 1);
    tally_view_add(v, TALLY_LATENCY_MS, a->duration_us / 1000, 1);
    tally_view_add(v, tally_answers(stage, bin), 1, 1);
    if (a->value < 0)
        return;
    tally_view_add(v, tally_label(TALLY_EXPLICIT, true, stage > 0, bin), lround(1000 * a->value),
                   1);
    tally_view_add(v, tally_label(TALLY_EXPLICIT, false, stage > 0, bin),
                   1000 - lround(1000 * a->value), 1);
}

/* Every answer as a first one, and after each answer of an arm before it. */
static void count_case(const struct whatif_beliefs *b, const struct whatif_play *w,
                       const struct whatif_case *c, struct tally_view *of)
{
    for (int j = 0; j < c->arms; j++) {
        const struct traffic_answer *a = traffic_answer_of(w->t, c->q, c->model[j]);
        double cost;
        if (c->model[j] < 0 || !a || isnan(whatif_chance(b, a)))
            continue;
        cost = whatif_paid(w, c, c->model[j]);
        count_answer(&of[j], a, whatif_chance(b, a), -1, cost);
        for (int k = 0; k < j; k++) {
            const struct traffic_answer *before = traffic_answer_of(w->t, c->q, c->model[k]);
            if (c->model[k] >= 0 && before && !isnan(whatif_chance(b, before)))
                count_answer(&of[j], a, whatif_chance(b, a), whatif_chance(b, before), cost);
        }
    }
}

static void build_route(const struct whatif_beliefs *b, const struct whatif_play *w,
                        const struct policy_route *route, int fold, struct arena *arena,
                        struct beliefs_route_in *out)
{
    size_t arms = route->cascade_count;
    struct views v = {.label = {""}, .name = {-1}, .classes = 1};
    struct beliefs_class_in *class = ARENA_ARRAY(arena, struct beliefs_class_in, WHATIF_CLASSES);
    struct beliefs_arm_in *arm = ARENA_ARRAY(arena, struct beliefs_arm_in, arms);
    const struct whatif_case *any = NULL;

    v.view = ARENA_ARRAY(arena, struct tally_view, WHATIF_CLASSES * arms);
    for (size_t i = 0; i < w->t->requests; i++) {
        const struct whatif_case *c = &w->cases[i];
        if (c->route != route)
            continue;
        any = c;
        int g = class_at(w->t, &v, c->q->class);
        if (!left_out(c, fold))
            count_case(b, w, c, &v.view[(size_t)g * arms]);
    }
    for (size_t j = 0; j < arms; j++)
        arm[j] = (struct beliefs_arm_in){w->policy->models[route->steps[j].model].name,
                                         any ? fmax(any->cost[j], 1) : 1,
                                         1,
                                         true,
                                         NULL,
                                         CHANGE_NONE};
    for (int g = 0; g < v.classes; g++) {
        const struct tally_view **slow = ARENA_ARRAY(arena, const struct tally_view *, arms);
        for (size_t j = 0; j < arms; j++)
            slow[j] = &v.view[(size_t)g * arms + j];
        class[g] = (struct beliefs_class_in){v.label[g], slow,
                                             ARENA_ARRAY(arena, const struct tally_view *, arms)};
    }
    *out = (struct beliefs_route_in){.name = route->name,
                                     .objective = learner_objective(&route->decide),
                                     .arm = arm,
                                     .arms = (int)arms,
                                     .class = class,
                                     .classes = v.classes,
                                     .trust = &tally_trust_default};
}

struct whatif_beliefs *whatif_beliefs_new(const struct whatif_play *w, int fold)
{
    struct whatif_beliefs *b = mem_zalloc(1, sizeof *b);
    const struct policy *p = w->policy;
    struct beliefs_route_in *routes;
    struct arena arena;
    int count = 0;

    b->curve = mem_zalloc(2 * (size_t)w->t->names + 1, sizeof *b->curve);
    fit_curves(b, w, fold);
    arena_init(&arena, 65536);
    routes = ARENA_ARRAY(&arena, struct beliefs_route_in, p->route_count);
    for (size_t i = 0; i < p->route_count; i++)
        if (p->routes[i].decide.mode == POLICY_DECIDE_OBJECTIVE)
            build_route(b, w, &p->routes[i], fold, &arena, &routes[count++]);
    if (count)
        b->beliefs = beliefs_build(&(struct beliefs_in){routes, count, tally_trust_default, 1, 0});
    arena_clear(&arena);
    return b;
}

void whatif_beliefs_free(struct whatif_beliefs *b)
{
    if (!b)
        return;
    beliefs_unref(b->beliefs);
    free(b->curve);
    free(b);
}

struct plan_question whatif_question(const struct whatif_beliefs *b, const struct whatif_play *w,
                                     const struct whatif_case *c, unsigned allowed, uint64_t seed)
{
    bool search = c->route->decide.mode == POLICY_DECIDE_OBJECTIVE;
    nanousd budget = c->route->decide.objective.budget;

    return (struct plan_question){
        .mode = search                                          ? PLAN_OBJECTIVE
                : c->route->decide.mode == POLICY_DECIDE_ACCEPT ? PLAN_ACCEPT
                                                                : PLAN_ORDER,
        .arms = c->arms,
        .allowed = allowed,
        .beliefs = search ? beliefs_find(b->beliefs, slice_str(c->route->name),
                                         slice_str(traffic_name(w->t, c->q->class)))
                          : NULL,
        .accept = c->accept,
        .cost_nanousd = c->cost,
        .budget_nanousd = search && budget != POLICY_NONE ? (double)budget : -1,
        .pin = c->pin,
        .explore = search,
        .seed = seed,
    };
}
