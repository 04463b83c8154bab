/* How routes go on from an answer: `accept`, `objective` and what belongs to them, in the `decide`
 * section and in each route. Thread: the loader's. Called by policy_load (completing) and
 * policy_check. */
#include "policies/policy_check_int.h"

#include <stdlib.h>
#include "base/atomic_file.h"
#include "base/json_scan.h"
#include "base/pattern.h"
#include "policies/policy_url.h"

/* ---- completing ---- */

static bool steps_accept(const struct policy_route *r)
{
    for (size_t i = 0; i < r->step_count; i++)
        if (r->steps[i].accept != POLICY_OFF)
            return true;
    return false;
}

/* `objective: {floor: 0.9}` minimises, too; only `off` does not. */
static void complete_objective(struct binder *b, struct policy_objective *o)
{
    const struct place *at = binder_place(b, o);
    if (binder_written(b, o) && at->node->kind == NODE_MAP && !policy_check_given(at, "minimize"))
        o->minimize = POLICY_MINIMIZE_COST_PER_SUCCESS;
}

/* What a route writes itself goes before what is written for all; an objective goes before accept,
 * which then only says when an answer is sure enough to stop at. */
static enum policy_decide_mode mode_of(const struct binder *b, const struct policy_route *r)
{
    const struct policy_decide *d = &r->decide;
    bool own_accept = steps_accept(r) || (r->line && binder_written(b, &d->accept));
    bool own_objective = r->line && binder_written(b, &d->objective);
    bool accepts = d->accept != POLICY_OFF || steps_accept(r);

    if (d->objective.minimize != POLICY_MINIMIZE_OFF && (own_objective || !own_accept || !accepts))
        return POLICY_DECIDE_OBJECTIVE;
    return accepts ? POLICY_DECIDE_ACCEPT : POLICY_DECIDE_ORDER;
}

static bool asks_only_embeddings(const struct policy_route *r)
{
    return r->match.apis == 1u << POLICY_API_EMBEDDINGS;
}

static void complete_route(struct binder *b, struct policy_route *r)
{
    complete_objective(b, &r->decide.objective);
    r->decide.mode = mode_of(b, r);
    if (r->cascade_count < 2 || asks_only_embeddings(r))
        r->decide.mode = POLICY_DECIDE_ORDER;
    for (size_t i = 0; i < r->cascade_count && r->decide.mode != POLICY_DECIDE_ORDER; i++)
        if (r->steps[i].accept == POLICY_OFF)
            r->steps[i].accept = r->decide.accept;
    for (size_t i = 0; i < r->step_count; i++)
        if (r->steps[i].samples == POLICY_NONE)
            r->steps[i].samples = i < r->cascade_count ? r->decide.confidence.samples.count : 1;
}

void policy_complete_decide(struct binder *b)
{
    struct draft *d = b->draft;
    complete_objective(b, &d->decide.objective);
    for (size_t i = 0; i < d->route_count; i++)
        complete_route(b, &d->routes[i]);
}

/* ---- validators ---- */

struct validator_key {
    const char *name;
    unsigned kinds; /* of 1 << kind: where it has a meaning */
    unsigned wanted;
};
#define KIND(k) (1u << POLICY_VALIDATE_##k)

static const struct validator_key validator_keys[] = {
    {"file", KIND(JSON_SCHEMA), 0},
    {"pattern", KIND(REGEX), KIND(REGEX)},
    {"argv", KIND(COMMAND), KIND(COMMAND)},
    {"url", KIND(HTTP), KIND(HTTP)},
    {"timeout", KIND(COMMAND) | KIND(HTTP), 0},
};

static void check_pattern(struct binder *b, const struct policy_validator *v)
{
    struct err_text why;
    struct pattern *p = pattern_new(slice_str(v->pattern), &why);
    if (!p)
        bind_error(b, binder_place(b, &v->pattern), NULL, "is not a regular expression: %s", why.s);
    pattern_free(p);
}

static void check_schema(struct binder *b, const struct policy_validator *v)
{
    struct err_text why;
    char *text = NULL;
    size_t n, at;
    /* Whether it can be read is said with all other files; it is read again before it serves. */
    if (atomic_file_read(v->file, POLICY_MAX_SCHEMA_BYTES, &text, &n, &why) == ERR_OK &&
        !json_validate(slice_make(text, n), &at))
        bind_error(b, binder_place(b, &v->file), NULL, "%s is not JSON at byte %zu", v->file, at);
    free(text);
}

static void check_judge_url(struct binder *b, const struct policy_validator *v)
{
    struct policy_endpoint e;
    const char *hint = NULL, *why = url_endpoint(slice_str(v->url), b->scratch, &e, &hint);
    if (why)
        bind_error(b, binder_place(b, &v->url), hint, "the URL %s", why);
}

static void check_validator(struct binder *b, const struct policy_validator *v)
{
    const struct place *at = binder_place(b, v);
    unsigned kind = 1u << v->kind;
    for (size_t i = 0; i < sizeof validator_keys / sizeof validator_keys[0]; i++) {
        const struct validator_key *k = &validator_keys[i];
        bool given = at->node && at->node->kind == NODE_MAP && policy_check_given(at, k->name);
        if (given && !(k->kinds & kind))
            bind_error(b, binder_below(b, at, k->name), "remove it",
                       "has no effect for this kind of validator");
        else if (!given && (k->wanted & kind))
            bind_error(b, at, NULL, "the key '%s' is missing", k->name);
    }
    if (v->kind == POLICY_VALIDATE_REGEX && v->pattern)
        check_pattern(b, v);
    if (v->kind == POLICY_VALIDATE_JSON_SCHEMA && v->file)
        check_schema(b, v);
    if (v->kind == POLICY_VALIDATE_HTTP && v->url)
        check_judge_url(b, v);
}

/* ---- one section, of a route or of all ---- */

static void no_effect(struct binder *b, const void *address, const char *hint, const char *why)
{
    if (binder_written(b, address))
        bind_error(b, binder_place(b, address), hint, "has no effect %s", why);
}

static void check_floor(struct binder *b, const struct policy_floor *f)
{
    if (f->success == POLICY_OFF) {
        no_effect(b, &f->scope, "add 'success'", "without a floor");
        no_effect(b, &f->min_class, "add 'success'", "without a floor");
    } else if (f->scope == POLICY_FLOOR_CLASS) {
        no_effect(b, &f->min_class, "write it as 'success'", "with 'scope: class'");
    } else if (f->min_class > f->success) {
        bind_error(b, binder_place(b, &f->min_class), "write at most 'success'",
                   "is more than the floor of all classes together");
    }
}

static void check_objective(struct binder *b, const struct policy_objective *o)
{
    bool off = o->minimize == POLICY_MINIMIZE_OFF;
    if (!binder_written(b, o))
        return;
    if (off) {
        const char *hint = "write 'minimize: cost_per_success', or remove it";
        no_effect(b, &o->floor, hint, "with 'minimize: off'");
        no_effect(b, &o->failure_price, hint, "with 'minimize: off'");
        no_effect(b, &o->budget, hint, "with 'minimize: off'");
        no_effect(b, &o->latency_price, hint, "with 'minimize: off'");
        return;
    }
    check_floor(b, &o->floor);
    if (o->floor.success == POLICY_OFF && o->failure_price == 0)
        bind_warning(b, binder_place(b, o), "add 'floor' or 'failure_price'",
                     "the cheapest model that succeeds at all may win: nothing says what a failure "
                     "costs");
}

static void check_confidence(struct binder *b, const struct policy_confidence *c)
{
    if (c->hold != POLICY_HOLD_TOKENS)
        no_effect(b, &c->hold_tokens, "write 'hold: tokens', or remove it",
                  "unless the first tokens are held");
    if (binder_written(b, &c->validators))
        for (size_t i = 0; i < c->validator_count; i++)
            check_validator(b, &c->validators[i]);
    if (c->samples.temperature == 0)
        bind_error(b, binder_place(b, &c->samples.temperature), "write more than 0, or remove it",
                   "at temperature 0 a model says the same again, sure or not");
}

static void check_tenant(struct binder *b, const struct policy_pin *pin)
{
    if (!pin->tenant || names_get(&b->tenant_names, slice_str(pin->tenant)) != NAMES_ABSENT)
        return;
    struct names_nearest near;
    bind_nearest_init(b, &near, slice_str(pin->tenant));
    for (size_t i = 0; i < b->draft->tenant_count; i++)
        names_nearest_offer(&near, b->draft->tenants[i].name);
    bind_error(b, binder_place_inner(b, &pin->tenant), bind_did_you_mean(b, &near),
               "no tenant '%s'", pin->tenant);
}

static bool covers(const char *wide, const char *narrow)
{
    return !wide || (narrow && strcmp(wide, narrow) == 0);
}

/* The first pin that fits is taken. */
static void check_pin_order(struct binder *b, const struct policy_explore *e, size_t index)
{
    const struct policy_pin *pin = &e->pins[index];
    for (size_t i = 0; i < index; i++) {
        const struct policy_pin *before = &e->pins[i];
        if (!(before->tenant || before->class_name) || !covers(before->tenant, pin->tenant) ||
            !covers(before->class_name, pin->class_name))
            continue;
        bind_error(b, binder_place(b, pin), "move it up, or remove it",
                   "has no effect: the pin at line %d takes all of its requests",
                   policy_check_line(b, before));
        return;
    }
}

static void check_canaries(struct binder *b, const struct policy_explore *e)
{
    for (size_t i = 0; i < e->canary_count; i++)
        for (size_t j = 0; j < i; j++)
            if (e->canaries[i].model == e->canaries[j].model && e->canaries[i].model != SIZE_MAX) {
                bind_error(b, binder_place(b, &e->canaries[i]), "keep one of the two",
                           "the model is already listed at line %d",
                           policy_check_line(b, &e->canaries[j]));
                break;
            }
}

/* Shares that are asked for and may cost nothing. The first one has the section's own address. */
static void check_free_exploring(struct binder *b, const struct policy_explore *e)
{
    static const char *const names[] = {"share", "cold_start"};
    const double shares[] = {e->share, e->cold_start};
    const struct place *at = binder_place(b, e);
    if (!binder_written(b, e))
        return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (shares[i] > 0 && policy_check_given(at, names[i]))
            bind_error(b, binder_below(b, at, names[i]), "let it cost something, or write 0",
                       "has no effect with 'max_spend_share: 0'");
}

static void check_explore(struct binder *b, const struct policy_explore *e)
{
    if (e->max_spend_share == 0)
        check_free_exploring(b, e);
    if (binder_written(b, &e->canaries))
        check_canaries(b, e);
    if (!binder_written(b, &e->pins))
        return;
    for (size_t i = 0; i < e->pin_count; i++) {
        const struct policy_pin *pin = &e->pins[i];
        check_tenant(b, pin);
        if (!pin->tenant && !pin->class_name)
            bind_error(b, binder_place(b, pin), "name a tenant or a class",
                       "pins every request: the other models would never be asked");
        check_pin_order(b, e, i);
    }
}

static void check_learn(struct binder *b, const struct policy_learn *l)
{
    if (l->mode == POLICY_LEARN_OFF) {
        no_effect(b, &l->silence, "write 'mode: on', or remove it", "with 'mode: off'");
        no_effect(b, &l->silence_after_ms, "write 'mode: on', or remove it", "with 'mode: off'");
    }
    if (l->silence == POLICY_SILENCE_MISSING) {
        no_effect(b, &l->silence_after_ms, "say what silence counts as", "with 'as: missing'");
        no_effect(b, &l->sources.silence, "say what silence counts as, with 'silence: {as: ...}'",
                  "where silence counts as nothing");
    }
    if (l->fast_half_life_ms > l->half_life_ms)
        bind_error(b,
                   binder_place(b, binder_written(b, &l->fast_half_life_ms)
                                       ? (const void *)&l->fast_half_life_ms
                                       : (const void *)&l->half_life_ms),
                   "write at most half_life", "fast_half_life is longer than half_life");
}

/* What the top says of audits and holdouts may be meant for the shares that routes give. */
static bool routes_share(const struct draft *d, bool audits)
{
    for (size_t i = 0; i < d->written_routes; i++) {
        const struct policy_decide *r = &d->routes[i].decide;
        if ((audits ? r->audit.share : r->holdout.share) > 0)
            return true;
    }
    return false;
}

static void check_audit(struct binder *b, const struct policy *p, const struct policy_decide *d)
{
    const struct policy_audit *a = &d->audit;
    if (a->share > 0 && a->max_per_day == 0)
        bind_error(b,
                   binder_written(b, &a->max_per_day) ? binder_place(b, &a->max_per_day)
                                                      : binder_place_inner(b, &a->share),
                   "allow them to cost something", "no request is audited for 0 USD a day");
    if (a->share == 0) {
        if (d == &b->draft->decide && routes_share(b->draft, true))
            return;
        no_effect(b, &a->judge, "give it a 'share'", "with a share of 0");
        no_effect(b, &a->max_per_day, "give it a 'share'", "with a share of 0");
        return;
    }
    if (a->judge == SIZE_MAX && d->confidence.validator_count == 0)
        bind_error(b, binder_place(b, binder_written(b, a) ? a : &b->draft->decide.audit),
                   "name a 'judge', or 'validators' under 'confidence'",
                   "nothing judges the answers of audits");
    if (a->judge < p->model_count && !(p->models[a->judge].capabilities & CAP_CHAT))
        bind_error(b, binder_place_inner(b, &a->judge), NULL, "'%s' does not chat: it cannot judge",
                   p->models[a->judge].name);
}

static void check_section(struct binder *b, const struct policy *p, const struct policy_decide *d)
{
    check_objective(b, &d->objective);
    check_confidence(b, &d->confidence);
    check_explore(b, &d->explore);
    check_learn(b, &d->learn);
    if (d->mode != POLICY_DECIDE_OBJECTIVE)
        no_effect(b, &d->learn.neighbours, "write an 'objective'", "without an objective");
    check_audit(b, p, d);
    bool for_routes = d == &b->draft->decide && routes_share(b->draft, false);
    if (d->holdout.share == 0 && !for_routes)
        no_effect(b, &d->holdout.model, "give it a 'share'", "with a share of 0");
}

/* ---- a route ---- */

static bool in_cascade(const struct policy_route *r, size_t model)
{
    for (size_t i = 0; i < r->cascade_count; i++)
        if (r->steps[i].model == model)
            return true;
    return false;
}

/* A model that the route's section names belongs to its cascade. */
static void check_arm(struct binder *b, const struct policy *p, const struct policy_route *r,
                      const size_t *model)
{
    if (*model < p->model_count && !in_cascade(r, *model))
        bind_error(b, binder_place_inner(b, model), "name one of the cascade, or add it there",
                   "'%s' is not in the cascade of '%s'", p->models[*model].name, r->name);
}

/* What is above a canary's cap goes to models that are none. */
static void check_not_all_canaries(struct binder *b, const struct policy_route *r)
{
    const struct policy_explore *e = &r->decide.explore;
    size_t others = 0;
    for (size_t i = 0; i < r->cascade_count; i++) {
        bool canary = false;
        for (size_t j = 0; j < e->canary_count; j++)
            canary = canary || e->canaries[j].model == r->steps[i].model;
        others += !canary;
    }
    if (others == 0 && binder_written(b, &e->canaries))
        bind_error(b, binder_place(b, &e->canaries), "leave one model out",
                   "every model of the cascade is on probation: none may answer the rest");
}

static void check_arms(struct binder *b, const struct policy *p, const struct policy_route *r)
{
    const struct policy_explore *e = &r->decide.explore;
    if (binder_written(b, &e->canaries))
        for (size_t i = 0; i < e->canary_count; i++)
            check_arm(b, p, r, &e->canaries[i].model);
    check_not_all_canaries(b, r);
    if (binder_written(b, &e->pins))
        for (size_t i = 0; i < e->pin_count; i++)
            check_arm(b, p, r, &e->pins[i].model);
    if (binder_written(b, &r->decide.holdout.model))
        check_arm(b, p, r, &r->decide.holdout.model);
}

/* A model's own number may ask for samples where the section does not. */
static void check_samples(struct binder *b, const struct policy_route *r)
{
    const struct policy_samples *s = &r->decide.confidence.samples;
    const char *hint = "give 'samples' a 'count' above 1, or remove it";
    for (size_t i = 0; i < r->cascade_count; i++)
        if (r->steps[i].samples > 1)
            return;
    if (!binder_written(b, s))
        return;
    no_effect(b, &s->when, hint, "where every model is asked for one answer");
    no_effect(b, &s->temperature, hint, "where every model is asked for one answer");
}

static bool is_free(const struct policy_model *m)
{
    bool free_of_charge = true;
    for (size_t i = 0; i < m->price_count; i++) {
        const struct policy_price *p = &m->prices[i];
        free_of_charge = free_of_charge && p->gpu_second == 0;
        for (int k = 0; k < TOK_KINDS; k++)
            free_of_charge = free_of_charge && p->per_mtok[k] == 0;
    }
    return free_of_charge;
}

/* No budget at all leaves models that cost nothing. */
static void check_budget(struct binder *b, const struct policy *p, const struct policy_route *r)
{
    const nanousd *own = &r->decide.objective.budget, *top = &b->draft->decide.objective.budget;
    if (*own != 0)
        return;
    for (size_t i = 0; i < r->cascade_count; i++)
        if (r->steps[i].model < p->model_count && is_free(&p->models[r->steps[i].model]))
            return;
    bind_error(b, binder_place(b, binder_written(b, own) ? own : top),
               "write what a request may cost, or remove it",
               "no model of '%s' answers for nothing", r->name);
}

/* What only a search for the best order has a use for. */
static void check_fixed_order(struct binder *b, const struct policy_route *r)
{
    static const char *const useless[] = {"share", "step_share", "max_spend_share", "cold_start",
                                          "canary"};
    const struct place *at = binder_place(b, &r->decide.explore);
    if (!binder_written(b, &r->decide.explore))
        return;
    for (size_t i = 0; i < sizeof useless / sizeof useless[0]; i++)
        if (policy_check_given(at, useless[i]))
            bind_error(b, binder_below(b, at, useless[i]), "write an 'objective', or remove it",
                       "has no effect where models are asked in written order");
}

static void check_undecided(struct binder *b, const struct policy_route *r)
{
    const struct policy_decide *d = &r->decide;
    const void *keys[] = {&d->confidence, &d->explore, &d->learn, &d->audit, &d->holdout};
    bool wanted = steps_accept(r) || (binder_written(b, &d->accept) && d->accept != POLICY_OFF) ||
                  (binder_written(b, &d->objective) && d->objective.minimize);
    if (wanted) {
        const void *address = binder_written(b, &d->objective) ? (const void *)&d->objective
                              : binder_written(b, &d->accept)  ? (const void *)&d->accept
                                                               : (const void *)&r->cascade_count;
        bind_error(b, binder_place(b, address),
                   asks_only_embeddings(r) ? "remove it" : "add a second model to the cascade",
                   asks_only_embeddings(r)
                       ? "embeddings are not judged"
                       : "there is nothing to decide in a cascade of one model");
        return;
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        no_effect(b, keys[i], "add 'accept' or 'objective', or remove it",
                  "in a route that judges no answers");
}

static void check_route(struct binder *b, const struct policy *p, const struct policy_route *r)
{
    const struct policy_decide *d = &r->decide;
    for (size_t i = r->cascade_count; i < r->step_count; i++)
        if (binder_written(b, &r->steps[i].accept))
            bind_error(b, binder_place(b, &r->steps[i].accept), "put the model into the cascade",
                       "a fall-back is asked when nothing has answered: its answer is final");
    for (size_t i = 0; i < r->step_count; i++)
        if (i >= r->cascade_count || d->mode == POLICY_DECIDE_ORDER)
            no_effect(b, &r->steps[i].samples, "remove it",
                      i < r->cascade_count ? "in a route that judges no answers"
                                           : "for a fall-back: its answer is not judged");
    if (d->mode == POLICY_DECIDE_ORDER)
        check_undecided(b, r);
    else
        check_samples(b, r);
    if (d->mode == POLICY_DECIDE_ACCEPT)
        check_fixed_order(b, r);
    if (d->mode == POLICY_DECIDE_OBJECTIVE)
        check_budget(b, p, r);
    check_arms(b, p, r);
    check_section(b, p, d);
}

/* What is written for all routes and reaches none. */
static void check_use(struct binder *b, const struct policy *p)
{
    const struct draft *d = b->draft;
    if (binder_written(b, &d->decide) && !p->decides)
        bind_warning(b, binder_place(b, &d->decide),
                     "write 'accept' or 'objective', and give a cascade more than one model",
                     "no route judges its answers");
}

void policy_check_decide(struct binder *b, const struct policy *p)
{
    check_section(b, p, &b->draft->decide);
    for (size_t i = 0; i < b->draft->written_routes; i++)
        check_route(b, p, &p->routes[i]);
    if (b->diags->errors == 0)
        check_use(b, p);
}
