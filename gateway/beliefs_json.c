/* Owns nothing. Called by api_beliefs.c and cli/explain_beliefs.c. */
#include "gateway/beliefs_json.h"

#include "gateway/json_put.h"
#include "router/confidence.h"
#include "router/decide/beliefs_way.h"
#include "router/neighbours.h"

static void put_nanousd(json_t *o, const char *key, double amount)
{
    json_put_int(o, key, (int64_t)amount);
}

/* Why v is what it is: v = (failure_price + ratio + floor_adds) / (1 + budget_takes). */
static json_t *price_json(const struct price *p)
{
    json_t *o = json_object();

    put_nanousd(o, "success_nanousd", p->v);
    put_nanousd(o, "failure_price_nanousd", p->failure_price);
    put_nanousd(o, "ratio_nanousd", p->theta);
    put_nanousd(o, "floor_adds_nanousd", p->mu);
    json_put(o, "budget_takes", json_real(p->beta));
    json_put_share(o, "floor", p->floor);
    json_put_bool(o, "floor_reachable", p->floor_reachable);
    json_put(o, "success_error", json_real(p->blend_error));
    put_nanousd(o, "without_doubt_nanousd", p->bold);
    json_put(o, "without_doubt_share", json_real(p->bold_share));
    return o;
}

/* By feature; of features as they are scaled, one standard deviation each. */
static json_t *coefficients_json(const struct scorer *s)
{
    json_t *o = json_object();

    for (int i = 0; i < s->features; i++)
        json_put(o, confidence_feature_name((enum confidence_feature)i), json_real(s->coef[i]));
    json_put(o, "constant", json_real(s->coef[s->features]));
    return o;
}

/* Who scores its answers; null: the default, which nobody fitted. Losses are of answers held out.
 */
static json_t *scorer_json(const struct scorer_record *r)
{
    json_t *o;

    if (!r)
        return json_null();
    o = json_object();
    json_put_int(o, "version", r->scorer.version);
    json_put_int(o, "rows", r->rows);
    json_put_int(o, "held_out_rows", r->held_rows);
    json_put(o, "held_out_log_loss", json_real(r->loss));
    json_put(o, "held_out_log_loss_before", json_real(r->loss_before));
    json_put(o, "coefficients", coefficients_json(&r->scorer));
    return o;
}

/* How trained heads have done against the class's mean: nats won, over so many labels. */
static json_t *foresight_json(const struct foresight *f)
{
    json_t *o = json_object();

    json_put(o, "labels", json_real(f->labels));
    json_put(o, "lead_nats", json_real(f->lead));
    json_put(o, "lead_error_nats", json_real(f->error));
    json_put(o, "trust", json_real(f->trust));
    return o;
}

static json_t *arm_json(const struct beliefs_context *c, int j, double first)
{
    const struct beliefs_arm *a = &c->arm[j];
    json_t *o = json_object();

    json_put_text(o, "model", a->model);
    json_put(o, "success", json_real(a->success));
    json_put(o, "success_low", json_real(a->low));
    json_put(o, "success_high", json_real(a->high));
    json_put(o, "asked", json_real(a->asked));
    json_put(o, "labels", json_real(a->labels));
    put_nanousd(o, "cost_nanousd", a->cost_nanousd);
    json_put(o, "cost_factor", json_real(a->cost_factor));
    json_put(o, "latency_ms", json_real(a->latency_ms));
    put_nanousd(o, "index_nanousd", a->index);
    json_put(o, "propensity", json_real(first));
    json_put(o, "auroc", json_real(a->auroc));
    json_put_bool(o, "gated_on_confidence", a->informative);
    json_put(o, "shift", json_real(a->shift));
    if (a->changed_us != CHANGE_NONE)
        json_put_time(o, "changed_at", a->changed_us);
    json_put(o, "scorer", scorer_json(a->scored_by));
    if (a->foresight.labels > 0)
        json_put(o, "foresight", foresight_json(&a->foresight));
    return o;
}

/* In which order they are asked, how likely, and when an answer is enough. first: by arm;
 * NULL: only the order is of interest. */
static json_t *way_json(const struct beliefs_context *c, const struct beliefs_way_step *way,
                        const double *first)
{
    json_t *steps = json_array();

    for (int i = 0; i < c->arms; i++) {
        json_t *o = json_object();
        json_put_text(o, "model", c->arm[way[i].arm].model);
        if (first)
            json_put(o, "first", json_real(first[way[i].arm]));
        json_put(o, "asked", json_real(way[i].asked));
        json_put(o, "enough", json_real(way[i].enough));
        json_array_append_new(steps, o);
    }
    return steps;
}

/* Labelled questions of the route, and how far they are trusted. */
static json_t *neighbours_json(const struct neighbours_route *n)
{
    json_t *o = json_object();

    json_put_int(o, "questions", (int64_t)neighbours_rows(n));
    json_put(o, "trust", json_real(neighbours_trust(n)));
    return o;
}

static json_t *context_json(const struct beliefs_context *c, const struct neighbours *n)
{
    const struct neighbours_route *near = neighbours_find(n, slice_str(c->route));
    json_t *o = json_object(), *arms = json_array();
    struct beliefs_way way;

    beliefs_way(c, &way);
    for (int j = 0; j < c->arms; j++)
        json_array_append_new(arms, arm_json(c, j, way.first[j]));
    json_put_text(o, "route", c->route);
    json_put_text(o, "class", c->label);
    json_put(o, "requests", json_real(c->traffic));
    json_put(o, "price", price_json(&c->price));
    json_put(o, "expected_success", json_real(way.success));
    put_nanousd(o, "expected_cost_nanousd", way.cost_nanousd);
    json_put(o, "bias", json_real(c->bias));
    json_put_text(o, "one_model_is_best", c->single < 0 ? NULL : c->arm[c->single].model);
    json_put(o, "way", way_json(c, way.step, way.first));
    if (way.bold_share > 0)
        json_put(o, "way_without_doubt", way_json(c, way.bold, NULL));
    json_put(o, "models", arms);
    if (near)
        json_put(o, "neighbours", neighbours_json(near));
    return o;
}

json_t *beliefs_json(const struct beliefs *b, const struct neighbours *n, bool learning)
{
    json_t *o = json_object(), *contexts = json_array();

    for (size_t i = 0; b && i < beliefs_count(b); i++)
        json_array_append_new(contexts, context_json(beliefs_at(b, i), n));
    json_put_bool(o, "learning", learning);
    json_put(o, "version", b ? json_integer((json_int_t)beliefs_version(b)) : json_null());
    json_put(o, "contexts", contexts);
    return o;
}
