/* From counters and a policy to beliefs: which contexts there are, what each route wants of them.
 * The same counters and policy give the same bits on every replica, in each 5-minute bucket of
 * time. Learner's thread. */
#include "router/learner_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "router/decide/alarm.h"
#include "router/learn_key.h"

#define MAX_LABELS 65 /* of one route: classes and none */
/* What a request is taken to use before any was measured. */
#define USUAL_INPUT_TOKENS  1000
#define USUAL_OUTPUT_TOKENS 300
#define USUAL_US            2000000
#define COLD_LABELS         50

static const struct policy_route *find_route(const struct policy *p, struct slice name)
{
    for (size_t i = 0; p && i < p->route_count; i++)
        if (slice_eq(slice_str(p->routes[i].name), name))
            return &p->routes[i];
    return NULL;
}

static struct tally_trust trust_of(const struct policy_sources *s)
{
    return (struct tally_trust){{
        [TALLY_EXPLICIT] = s->explicit_feedback,
        [TALLY_VALIDATOR] = s->validator,
        [TALLY_JUDGE] = s->judge,
        [TALLY_CORRECTION] = s->correction,
        [TALLY_IMPLICIT] = s->regenerate,
        [TALLY_SILENCE] = s->silence,
    }};
}

const struct policy_learn *learner_learn(const struct policy *p, struct slice route)
{
    const struct policy_route *r = find_route(p, route);

    return r ? &r->decide.learn : p ? &p->decide.learn : NULL;
}

struct tally_trust learner_trust(const struct policy *p, struct slice route)
{
    const struct policy_learn *learn = learner_learn(p, route);

    return learn ? trust_of(&learn->sources) : tally_trust_default;
}

/* ---- which classes a route has seen ---- */

struct labels {
    struct arena *arena;
    struct slice route; /* as a word */
    const char *of[MAX_LABELS];
    int count;
};

static void note_label(struct slice context, struct slice arm, void *ctx)
{
    struct labels *l = ctx;
    size_t n = l->route.n;
    char *name;
    int at = 0;

    (void)arm;
    if (!slice_starts(context, l->route) || context.n <= n || context.p[n] != '/')
        return;
    name = arena_alloc(l->arena, context.n + 1);
    if (learn_word_read(slice_from(context, n + 1), name) < 0)
        return;
    while (at < l->count && strcmp(l->of[at], name) < 0)
        at++;
    if (at < l->count && strcmp(l->of[at], name) == 0)
        return;
    if (at >= MAX_LABELS)
        return; /* the first ones in order, so that replicas agree */
    if (l->count == MAX_LABELS)
        l->count--;
    memmove(&l->of[at + 1], &l->of[at], (size_t)(l->count - at) * sizeof l->of[0]);
    l->of[at] = name;
    l->count++;
}

static void find_labels(struct learner *l, const struct policy_route *r, struct arena *a,
                        struct labels *out)
{
    char *word = arena_alloc(a, LEARN_WORD_BYTES(strlen(r->name)));

    *out = (struct labels){.arena = a, .of = {""}, .count = 1};
    out->route = slice_make(word, learn_word(slice_str(r->name), word));
    learned_each(&l->learned, note_label, out);
}

/* ---- what a route wants ---- */

static double expected_cost(const struct policy_model *m, int64_t now_us)
{
    struct token_usage usual = {
        .n = {[TOK_INPUT] = USUAL_INPUT_TOKENS, [TOK_OUTPUT] = USUAL_OUTPUT_TOKENS}};
    nanousd cost = policy_cost(policy_price_at(m, now_us), &usual, USUAL_US);

    return cost > 0 ? (double)cost : 1;
}

static double cap_of(const struct policy_explore *e, size_t model)
{
    for (size_t i = 0; i < e->canary_count; i++)
        if (e->canaries[i].model == model)
            return e->canaries[i].cap;
    return 1;
}

static double or_none(nanousd v)
{
    return v == POLICY_NONE ? PRICE_NONE : (double)v;
}

struct beliefs_objective learner_objective(const struct policy_decide *d)
{
    const struct policy_objective *o = &d->objective;

    return (struct beliefs_objective){
        .price = {.floor = o->floor.success == POLICY_OFF ? PRICE_NONE : o->floor.success,
                  .floor_of_best = PRICE_NONE,
                  .failure_price_nanousd = (double)o->failure_price,
                  .budget_nanousd = or_none(o->budget),
                  .margin = beliefs_objective_default.price.margin,
                  .window = beliefs_objective_default.price.window},
        .per_class = o->floor.scope == POLICY_FLOOR_CLASS,
        .class_floor = o->floor.min_class == POLICY_OFF ? PRICE_NONE : o->floor.min_class,
        .latency_nanousd_per_s = (double)o->latency_price,
        .explore = d->explore.share,
        .explore_spend = d->explore.max_spend_share,
        .cold_share = d->explore.cold_start,
        .cold_labels = COLD_LABELS,
        .flip = d->explore.step_share,
    };
}

/* ---- building ---- */

/* What is remembered of requests longer ago is gone. */
#define CHANGE_KEPT_US (LEARN_REMEMBER_S * 1000000)

struct building {
    struct learner *l;
    const struct policy *policy;
    struct arena arena;
    int64_t now_us;
};

/* Bins are those of the scorer in force, all else is of any version ("0"). Owned by the caller. */
static char *bins_key(const struct building *b, const char *model)
{
    const struct scorer_record *by = scorer_table_find(&b->l->scorers, slice_str(model));
    char text[16];
    int digits = snprintf(text, sizeof text, "%u", by ? by->scorer.version : 0);

    return learn_key(slice_str(model), slice_make(text, (size_t)digits));
}

static bool view_bins(struct building *b, struct slice context, const char *arm,
                      enum tally_kind kind, int64_t half_life_ms, struct tally_view *v)
{
    for (int f = TALLY_SCALARS; f < TALLY_FIELDS; f++)
        v->x[f] = 0;
    return learned_view(&b->l->learned, context, slice_str(arm), kind, b->now_us, half_life_ms, v);
}

/* Quick labels: since_us. */
static void view_labels_since(struct building *b, struct slice context, const char *arm,
                              int64_t since_us, struct tally_view *v)
{
    for (int f = TALLY_LABELS; f < TALLY_FIELDS; f++)
        v->x[f] = 0;
    learned_labels_since(&b->l->learned, context, slice_str(arm), since_us, v);
}

/* since_us: from when on quick labels keep all their weight; CHANGE_NONE: they decay. */
static const struct tally_view *view_of(struct building *b, const struct policy_route *r,
                                        struct slice context, const char *model,
                                        enum tally_kind kind, int64_t since_us)
{
    const struct policy_learn *learn = &r->decide.learn;
    int64_t half_life_ms = kind == TALLY_SLOW ? learn->half_life_ms : learn->fast_half_life_ms;
    struct tally_view *v = ARENA_NEW(&b->arena, struct tally_view);
    char *arm = learn_key(slice_str(model), SLICE("0")), *bins = bins_key(b, model);
    bool known =
        learned_view(&b->l->learned, context, slice_str(arm), kind, b->now_us, half_life_ms, v);

    if (strcmp(arm, bins) != 0 && view_bins(b, context, bins, kind, half_life_ms, v))
        known = true;
    if (known && kind == TALLY_QUICK && since_us != CHANGE_NONE)
        view_labels_since(b, context, bins, since_us, v);
    free(bins);
    free(arm);
    if (!known)
        return NULL;
    tally_view_check(v);
    return v;
}

/* What was believed of it last; NULL: nothing. */
static const struct beliefs_arm *serving_arm(const struct learner *l, const struct policy_route *r,
                                             size_t arm)
{
    const struct beliefs_context *c =
        l->serving.beliefs ? beliefs_find(l->serving.beliefs, slice_str(r->name), SLICE("")) : NULL;

    return c && (int)arm < c->arms ? &c->arm[arm] : NULL;
}

/* Since when a model succeeds on the route as it does now, over all its classes, by the labels of
 * the last day. */
static int64_t changed_since(struct building *b, const struct policy_route *r,
                             const struct labels *labels, const struct tally_trust *trust,
                             const char *model)
{
    struct change_labels *by_time = mem_zalloc((size_t)labels->count, sizeof *by_time);
    char *arm = bins_key(b, model);

    for (int i = 0; i < labels->count; i++) {
        char *context = learn_key(slice_str(r->name), slice_str(labels->of[i]));

        change_labels_init(&by_time[i], b->now_us);
        learned_labels(&b->l->learned, slice_str(context), slice_str(arm), trust, b->now_us,
                       r->decide.learn.half_life_ms, &by_time[i]);
        free(context);
    }
    int64_t since_us = change_since(by_time, labels->count);
    free(by_time);
    free(arm);
    return since_us;
}

/* The same as far as it is remembered. A change that was known is one still when the day that is
 * looked at has gone past it, whether its edge seems to be the change then, or labels of the day
 * alone do not show it. */
static int64_t known_change(const struct building *b, const struct policy_route *r, size_t arm,
                            int64_t since_us)
{
    const struct beliefs_arm *was = serving_arm(b->l, r, arm);
    int64_t edge_us = change_first_us(b->now_us);

    return was && strcmp(was->model, b->policy->models[r->steps[arm].model].name) == 0 &&
                   was->changed_us != CHANGE_NONE && was->changed_us < edge_us &&
                   was->changed_us > b->now_us - CHANGE_KEPT_US && since_us <= edge_us
               ? was->changed_us
               : since_us;
}

/* since_us[arms]: by labels of the last day. */
static void fill_class(struct building *b, const struct policy_route *r, const int64_t *since_us,
                       const char *label, struct beliefs_class_in *out)
{
    const struct policy *p = b->policy;
    const struct tally_view **slow =
                                ARENA_ARRAY(&b->arena, const struct tally_view *, r->cascade_count),
                            **fast =
                                ARENA_ARRAY(&b->arena, const struct tally_view *, r->cascade_count);
    char *context = learn_key(slice_str(r->name), slice_str(label));

    for (size_t i = 0; i < r->cascade_count; i++) {
        const char *model = p->models[r->steps[i].model].name;

        slow[i] = view_of(b, r, slice_str(context), model, TALLY_SLOW, CHANGE_NONE);
        fast[i] = view_of(b, r, slice_str(context), model, TALLY_QUICK, since_us[i]);
    }
    free(context);
    *out = (struct beliefs_class_in){label, slow, fast};
}

/* ---- canaries ---- */

/* What is labelled of an arm, over all classes of its route. */
static struct alarm_group group_of(const struct policy_route *r,
                                   const struct beliefs_class_in *classes, int count, size_t arm)
{
    struct tally_trust trust = trust_of(&r->decide.learn.sources);
    struct alarm_group g = {0, 0};
    double good[TALLY_BINS], bad[TALLY_BINS];

    for (int i = 0; i < count; i++)
        for (int later = 0; later < 2 && classes[i].slow[arm]; later++) {
            tally_view_labels(classes[i].slow[arm], &trust, later, good, bad);
            for (int bin = 0; bin < TALLY_BINS; bin++) {
                g.failures += bad[bin];
                g.answers += good[bin] + bad[bin];
            }
        }
    return g;
}

/* Was it out of use already? Then it need not be said again. */
static bool is_out(const struct learner *l, const struct policy_route *r, size_t arm)
{
    const struct beliefs_arm *a = serving_arm(l, r, arm);

    return a && a->cap <= 0;
}

/* A canary that fails more often than the others is taken out of use, until its failures have
 * faded. */
static void check_canary(struct learner *l, const struct policy_route *r,
                         const struct beliefs_class_in *classes, int count,
                         const struct policy_canary *canary, struct beliefs_arm_in *arms)
{
    struct alarm_group own = {0, 0}, rest = {0, 0};
    size_t arm = 0;

    for (size_t i = 0; i < r->cascade_count; i++) {
        struct alarm_group g = group_of(r, classes, count, i);

        if (r->steps[i].model == canary->model) {
            own = g;
            arm = i;
        } else {
            rest.failures += g.failures;
            rest.answers += g.answers;
        }
    }
    if (!alarm_is_worse(own, rest, canary->alpha))
        return;
    if (!is_out(l, r, arm))
        log_line(
            LOG_WARN, "learner", "canary out of use",
            "route=%s model=%s failed=%.0f answers=%.0f others_failed=%.0f others_answers=%.0f",
            r->name, arms[arm].model, own.failures, own.answers, rest.failures, rest.answers);
    arms[arm].cap = 0;
    arms[arm].explorable = false;
}

/* A change that was not known is said once. */
static void say_change(const struct learner *l, const struct policy_route *r, size_t arm,
                       const struct beliefs_arm_in *in)
{
    const struct beliefs_arm *was = serving_arm(l, r, arm);
    char when[32];

    if (!was || was->changed_us != CHANGE_NONE || in->changed_us == CHANGE_NONE)
        return;
    clock_rfc3339(in->changed_us, when, sizeof when);
    log_line(LOG_WARN, "learner", "a model's successes are not what they were",
             "route=%s model=%s since=%s", r->name, in->model, when);
}

static void fill_route(struct building *b, const struct policy_route *r,
                       struct beliefs_route_in *out)
{
    const struct policy *p = b->policy;
    struct beliefs_arm_in *arms = ARENA_ARRAY(&b->arena, struct beliefs_arm_in, r->cascade_count);
    int64_t *since_us = ARENA_ARRAY(&b->arena, int64_t, r->cascade_count);
    struct beliefs_class_in *classes;
    struct tally_trust *trust = ARENA_NEW(&b->arena, struct tally_trust);
    struct labels labels;

    *trust = trust_of(&r->decide.learn.sources);
    find_labels(b->l, r, &b->arena, &labels);
    for (size_t i = 0; i < r->cascade_count; i++) {
        size_t model = r->steps[i].model;

        since_us[i] = changed_since(b, r, &labels, trust, p->models[model].name);
        arms[i] = (struct beliefs_arm_in){
            .model = p->models[model].name,
            .cost_nanousd = expected_cost(&p->models[model], b->now_us),
            .cap = cap_of(&r->decide.explore, model),
            .scored_by = scorer_table_find(&b->l->scorers, slice_str(p->models[model].name)),
            .changed_us = known_change(b, r, i, since_us[i]),
            .explorable = true};
        say_change(b->l, r, i, &arms[i]);
    }
    classes = ARENA_ARRAY(&b->arena, struct beliefs_class_in, labels.count);
    for (int i = 0; i < labels.count; i++)
        fill_class(b, r, since_us, labels.of[i], &classes[i]);
    for (size_t i = 0; i < r->decide.explore.canary_count; i++)
        check_canary(b->l, r, classes, labels.count, &r->decide.explore.canaries[i], arms);
    *out = (struct beliefs_route_in){.name = r->name,
                                     .objective = learner_objective(&r->decide),
                                     .arm = arms,
                                     .arms = (int)r->cascade_count,
                                     .class = classes,
                                     .classes = labels.count,
                                     .trust = trust};
}

static uint64_t seed_of(const struct policy *p)
{
    struct digest d = digest_of(slice_str(p->version));
    uint64_t seed;

    memcpy(&seed, d.bytes, sizeof seed);
    return seed;
}

struct beliefs *learner_build(struct learner *l, const struct policy *p, int64_t now_us,
                              uint64_t version)
{
    struct building b = {.l = l, .policy = p, .now_us = now_us};
    struct beliefs_route_in *routes;
    struct beliefs *out = NULL;
    int count = 0;

    if (!p || !p->decides)
        return NULL;
    arena_init(&b.arena, 65536);
    routes = ARENA_ARRAY(&b.arena, struct beliefs_route_in, p->route_count);
    for (size_t i = 0; i < p->route_count; i++)
        if (p->routes[i].decide.mode != POLICY_DECIDE_ORDER)
            fill_route(&b, &p->routes[i], &routes[count++]);
    if (count)
        out = beliefs_build(&(struct beliefs_in){.route = routes,
                                                 .routes = count,
                                                 .trust = trust_of(&p->decide.learn.sources),
                                                 .seed = seed_of(p),
                                                 .version = version});
    arena_clear(&b.arena);
    return out;
}
