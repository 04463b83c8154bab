/* Called by weir report. */
#include "gateway/report/figures.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "router/report/evalue.h"

#define MIN_HOLDOUT 30
#define MIN_AUDITS  30

const char *figures_basis_name(enum figures_basis b)
{
    static const char *const names[] = {[BASIS_NONE] = "none",
                                        [BASIS_HOLDOUT] = "holdout",
                                        [BASIS_AUDITS] = "audits",
                                        [BASIS_REPRICED] = "repriced"};
    return names[b];
}

/* ---- cost per success ---- */

static double usd(nanousd v)
{
    return (double)v / (double)NANOUSD_PER_USD;
}

/* As sure as fewer requests would make it, by the design effect. */
static struct interval rate_of(double successes, double n, double effect)
{
    return interval_rate(successes / effect, (n - successes) / effect, FIGURES_ALPHA);
}

static struct figures_class class_of(const struct traffic *t, int name, nanousd failure_price)
{
    struct figures_class c = {.name = name};
    struct interval_clusters costs = {.open = 0}, values = {.open = 0};
    double s;

    for (size_t i = 0; i < t->requests; i++) {
        const struct traffic_request *q = &t->request[t->by_cluster[i]];
        double value = traffic_value(q);
        if (name >= 0 && q->class != name)
            continue;
        c.requests++;
        c.cost = money_add(c.cost, q->cost);
        if (value < 0)
            continue;
        c.resolved++;
        c.successes += value;
        interval_clusters_add(&costs, q->cluster, usd(q->cost), value);
        interval_clusters_add(&values, q->cluster, value, 1);
    }
    c.usd_per_success = interval_ratio(interval_clusters_end(&costs), FIGURES_ALPHA);
    interval_clusters_end(&values);
    c.success = rate_of(c.successes, (double)c.resolved, interval_clusters_effect(&values));
    s = c.success.value;
    c.effective_usd =
        c.successes > 0 ? c.usd_per_success.value + usd(failure_price) * (1 - s) / s : (double)NAN;
    return c;
}

static void count_requests(struct figures *f)
{
    for (size_t i = 0; i < f->t->requests; i++) {
        const struct traffic_request *q = &f->t->request[i];
        bool explored = false;

        f->ok += q->ok;
        f->aborted += q->aborted;
        f->failed += !q->ok && !q->aborted;
        f->cached += q->cached;
        f->escalated += q->escalated;
        f->decided += q->decided;
        f->holdouts += q->holdout;
        f->saved_by_cache = money_add(f->saved_by_cache, q->saved);
        for (int k = 0; k < q->step_count; k++)
            explored |= q->step[k].explored;
        f->explored += explored;
        f->explored_cost = money_add(f->explored_cost, explored ? q->cost : 0);
    }
}

/* ---- against what? ---- */

static int holdout_model(const struct traffic *t)
{
    for (size_t i = t->requests; i-- > 0;)
        if (t->request[i].holdout)
            return t->request[i].step[0].chosen;
    return -1;
}

/* By mean cost of served answers. */
static int dearest_model(const struct traffic *t)
{
    struct interval_sums *of = mem_zalloc((size_t)t->names + 1, sizeof *of);
    int dearest = -1;

    for (size_t i = 0; i < t->requests; i++) {
        const struct traffic_request *q = &t->request[i];
        if (q->served >= 0 && !q->cached)
            interval_add(&of[q->answer[q->served].model], (double)q->answer[q->served].cost);
    }
    for (int m = 0; m < t->names; m++)
        if (of[m].n > 0 && (dearest < 0 || of[m].x / of[m].n > of[dearest].x / of[dearest].n))
            dearest = m;
    free(of);
    return dearest;
}

/* Decided requests, and those among them that stayed on the baseline. */
struct route_arms {
    double in[INTERVAL_ARMS];
};

static bool is_compared_by_holdout(const struct traffic_request *q, int model)
{
    return q->decided && !(q->holdout && q->step[0].chosen != model);
}

static struct route_arms *count_routes(const struct traffic *t, int model)
{
    struct route_arms *route = mem_zalloc((size_t)t->names + 1, sizeof *route);

    for (size_t i = 0; i < t->requests; i++)
        if (is_compared_by_holdout(&t->request[i], model))
            route[t->request[i].route].in[t->request[i].holdout ? ARM_THEN : ARM_NOW]++;
    return route;
}

/* Requests that were decided against those that stayed on the baseline, drawn at random: within a
 * route, so that each counts as its route's share of them says. Routes that hold nothing out are no
 * part of the comparison. */
static bool by_holdout(const struct traffic *t, struct figures_saving *s)
{
    struct interval_arms arms = {.cluster = 0};
    struct route_arms *route = count_routes(t, s->model);

    for (size_t i = 0; i < t->requests; i++) {
        const struct traffic_request *q = &t->request[t->by_cluster[i]];
        const double *in = route[q->route].in;
        enum interval_arm arm = q->holdout ? ARM_THEN : ARM_NOW;
        if (is_compared_by_holdout(q, s->model) && in[ARM_NOW] > 0 && in[ARM_THEN] > 0)
            interval_arms_add(&arms, q->cluster, arm, (double)q->cost,
                              (in[ARM_NOW] + in[ARM_THEN]) / in[arm]);
    }
    free(route);
    s->n = (int64_t)arms.each.in_arm[ARM_THEN];
    if (s->n < MIN_HOLDOUT || arms.each.in_arm[ARM_NOW] < 2)
        return false;
    s->basis = BASIS_HOLDOUT;
    s->share = interval_saving(&arms, FIGURES_ALPHA);
    return true;
}

/* What was paid beside what the baseline would have cost, request by request. */
static bool saving_of(struct interval_clusters *c, enum figures_basis basis, double min,
                      struct figures_saving *s)
{
    const struct interval_pairs *p = interval_clusters_end(c);
    struct interval r = interval_ratio(p, FIGURES_ALPHA);

    if (c->each.n < min || !(c->each.y > 0))
        return false;
    s->basis = basis;
    s->n = (int64_t)c->each.n;
    s->share = (struct interval){1 - r.value, 1 - r.high, 1 - r.low};
    return true;
}

/* Requests whose audit asked the baseline as well: what it really used and cost. */
static bool by_audits(const struct traffic *t, struct figures_saving *s)
{
    struct interval_clusters c = {.open = 0};

    for (size_t i = 0; i < t->requests; i++) {
        const struct traffic_request *q = &t->request[t->by_cluster[i]];
        const struct traffic_answer *a = q->audit_count ? traffic_answer_of(t, q, s->model) : NULL;
        if (a)
            interval_clusters_add(&c, q->cluster, (double)q->cost, (double)a->cost);
    }
    return saving_of(&c, BASIS_AUDITS, MIN_AUDITS, s);
}

/* The served answers' own tokens at the baseline's price: as if it were as wordy as they. */
static bool by_prices(const struct traffic *t, const struct policy *policy,
                      struct figures_saving *s)
{
    const struct policy_model *m =
        policy ? policy_find_model(policy, slice_str(s->baseline)) : NULL;
    struct interval_clusters c = {.open = 0};

    for (size_t i = 0; m && i < t->requests; i++) {
        const struct traffic_request *q = &t->request[t->by_cluster[i]];
        const struct traffic_answer *a = q->served >= 0 ? &q->answer[q->served] : NULL;
        if (a && !q->cached)
            interval_clusters_add(&c, q->cluster, (double)q->cost,
                                  (double)policy_cost(policy_price_at(m, a->started_wall_us),
                                                      &a->usage, a->duration_us));
    }
    return saving_of(&c, BASIS_REPRICED, 2, s);
}

/* Names of routes and tenants stand among the same names. */
static int asked_model(const struct traffic *t, const char *model)
{
    int name = traffic_find(t, model);

    for (int i = 0; i < t->groups[BY_MODEL]; i++)
        if (t->group[BY_MODEL][i].name == name)
            return name;
    return -1;
}

static const char *why_not(const struct figures_saving *s, const struct policy *policy)
{
    if (!s->baseline)
        return "No model has answered anything.";
    if (s->model < 0 && !policy)
        return "In this time the ledger has no answer of a model of that name; with --config what "
               "was served can be repriced.";
    return policy ? "There are too few requests held out on it or audited with it, and nothing to "
                    "reprice."
                  : "Fewer than 30 requests were held out on it or audited with it; with --config "
                    "they can be repriced.";
}

static struct figures_saving saving(const struct traffic *t, const struct figures_options *o)
{
    int holdout = holdout_model(t);
    struct figures_saving s = {.baseline = o->baseline,
                               .model = o->baseline    ? asked_model(t, o->baseline)
                                        : holdout >= 0 ? holdout
                                                       : dearest_model(t),
                               .share = {(double)NAN, (double)NAN, (double)NAN}};

    if (!s.baseline && s.model >= 0)
        s.baseline = traffic_name(t, s.model);
    bool measured = s.model >= 0 && (by_holdout(t, &s) || by_audits(t, &s));
    if (!measured && !(s.baseline && by_prices(t, o->policy, &s)))
        s.why = why_not(&s, o->policy);
    return s;
}

/* ---- single models ---- */

static int single_of(struct figures *f, int model)
{
    for (int i = 0; i < f->singles; i++)
        if (f->single[i].model == model)
            return i;
    if (f->singles == FIGURES_MODELS)
        return -1;
    f->single[f->singles] = (struct figures_single){.model = model};
    return f->singles++;
}

static bool is_compared(const struct figures *f, const struct traffic_request *q)
{
    if (q->audit_count == 0 || traffic_value(q) < 0)
        return false;
    for (int j = 0; j < f->singles; j++) {
        const struct traffic_answer *a = traffic_answer_of(f->t, q, f->single[j].model);
        if (!a || a->value < 0)
            return false;
    }
    return true;
}

static void compare_models(struct figures *f)
{
    double n;

    for (size_t i = 0; i < f->t->audits; i++)
        if (f->t->audit[i].answer.value >= 0)
            single_of(f, f->t->audit[i].answer.model);
    for (size_t i = 0; i < f->t->requests && f->singles > 0; i++) {
        const struct traffic_request *q = &f->t->request[i];
        if (!is_compared(f, q))
            continue;
        f->compared++;
        f->weir.cost += (double)q->cost;
        f->weir.success += traffic_value(q);
        for (int j = 0; j < f->singles; j++) {
            const struct traffic_answer *a = traffic_answer_of(f->t, q, f->single[j].model);
            f->single[j].cost_nanousd += (double)a->cost;
            f->single[j].success += a->value;
        }
    }
    n = fmax(1, (double)f->compared);
    f->weir.cost /= n;
    f->weir.success /= n;
    for (int j = 0; j < f->singles; j++) {
        f->single[j].cost_nanousd /= n;
        f->single[j].success /= n;
    }
}

/* ---- alarms ---- */

/* First choices as their propensities say. Pins and holdouts are no choices. */
static double choices(const struct traffic *t)
{
    struct evalue_drawn e = {0};
    double p[EVALUE_ARMS];

    for (size_t i = 0; i < t->requests; i++) {
        const struct traffic_request *q = &t->request[i];
        int chosen = -1;
        double sum = 0;
        for (int k = 0; q->step_count && k < q->step[0].count; k++) {
            sum += p[k] = q->step[0].candidate[k].propensity;
            chosen = q->step[0].candidate[k].model == q->step[0].chosen ? k : chosen;
        }
        if (chosen >= 0 && !q->holdout && fabs(sum - 1) < 1e-3)
            evalue_drawn_add(&e, p, q->step[0].count, chosen);
    }
    return e.log_e;
}

/* Within each class labels should come for each model as often as it was served. */
static double feedback(const struct figures *f)
{
    double log_e = 0;

    for (int g = 0; g < f->classes; g++) {
        double served[FIGURES_MODELS] = {0}, resolved[FIGURES_MODELS] = {0}, total = 0;
        int model[FIGURES_MODELS], models = 0;
        for (size_t i = 0; i < f->t->requests; i++) {
            const struct traffic_request *q = &f->t->request[i];
            int m, k = 0;
            if (q->class != f->class[g].name || q->served < 0 || q->cached || q->audit_count)
                continue;
            m = q->answer[q->served].model;
            while (k < models && model[k] != m)
                k++;
            if (k == FIGURES_MODELS)
                continue;
            if (k == models)
                model[models++] = m;
            served[k]++;
            total++;
            resolved[k] += traffic_value(q) >= 0;
        }
        for (int k = 0; k < models; k++)
            served[k] /= total;
        if (models > 1)
            log_e += evalue_split(resolved, served, models, EVALUE_STRENGTH);
    }
    return log_e;
}

/* ---- all of it ---- */

void figures_init(struct figures *f, const struct traffic *t, const struct figures_options *o)
{
    *f = (struct figures){.t = t, .failure_price = o->failure_price};
    count_requests(f);
    f->all = class_of(t, -1, o->failure_price);
    f->class = mem_zalloc((size_t)t->groups[BY_CLASS] + 1, sizeof *f->class);
    for (int i = 0; i < t->groups[BY_CLASS]; i++) {
        struct figures_class c = class_of(t, t->group[BY_CLASS][i].name, o->failure_price);
        if (c.requests > 0)
            f->class[f->classes++] = c;
    }
    f->saving = saving(t, o);
    compare_models(f);
    f->choice_log_e = choices(t);
    f->feedback_log_e = feedback(f);
}

void figures_clear(struct figures *f)
{
    free(f->class);
}
