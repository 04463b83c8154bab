/* Called by weir replay. */
#include "gateway/report/whatif.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/report/whatif_int.h"
#include "router/report/bootstrap.h"

#define SEEDS  8 /* plays of a policy that leaves something to chance */
#define ROUNDS 400

/* ---- routing ---- */

static const struct policy_tenant *find_tenant(const struct policy *p, const char *name)
{
    for (size_t i = 0; i < p->tenant_count; i++)
        if (strcmp(p->tenants[i].name, name) == 0)
            return &p->tenants[i];
    return NULL;
}

static int arm_of(const struct policy_route *r, size_t model)
{
    for (size_t j = 0; j < r->cascade_count; j++)
        if (r->steps[j].model == model)
            return (int)j;
    return -1;
}

static int pin_of(const struct whatif_play *w, const struct policy_route *r,
                  const struct traffic_request *q)
{
    const struct policy_explore *e = &r->decide.explore;

    for (size_t i = 0; i < e->pin_count; i++) {
        const struct policy_pin *pin = &e->pins[i];
        if ((!pin->tenant || strcmp(pin->tenant, traffic_name(w->t, q->tenant)) == 0) &&
            (!pin->class_name || strcmp(pin->class_name, traffic_name(w->t, q->class)) == 0))
            return arm_of(r, pin->model);
    }
    return -1;
}

/* What a model's answers cost on average at the policy's price, for who has to decide. */
static double usual_cost(const struct whatif_play *w, const struct interval_sums *cost, int name,
                         size_t model)
{
    struct token_usage usual = {.n = {[TOK_INPUT] = 1000, [TOK_OUTPUT] = 300}};

    if (name >= 0 && cost[name].n > 0)
        return cost[name].x / cost[name].n;
    return (double)policy_cost(policy_price_at(&w->policy->models[model], 0), &usual, 2000000);
}

static void route_case(const struct whatif_play *w, const struct traffic_request *q,
                       const struct interval_sums *cost, struct whatif_case *c)
{
    const struct policy *p = w->policy;
    struct policy_query query = {.model = slice_str(traffic_name(w->t, q->model)),
                                 .api = POLICY_API_CHAT,
                                 .tenant = find_tenant(p, traffic_name(w->t, q->tenant)),
                                 .class_name = slice_str(traffic_name(w->t, q->class)),
                                 .class_confidence = 1};
    bool known;
    const struct policy_route *r = policy_match(p, &query, &known);

    *c = (struct whatif_case){.q = q, .fold = (int)(q->key % WHATIF_FOLDS), .pin = -1};
    if (!r || r->cascade_count == 0)
        return;
    c->route = r;
    c->deadline_us = r->deadline_ms == POLICY_NONE ? -1 : 1000 * r->deadline_ms;
    c->arms = (int)r->cascade_count;
    c->pin = pin_of(w, r, q);
    for (int j = 0; j < c->arms; j++) {
        size_t model = r->steps[j].model;
        c->model[j] = traffic_find(w->t, p->models[model].name);
        c->cost[j] = usual_cost(w, cost, c->model[j], model);
        c->accept[j] = r->steps[j].accept == POLICY_OFF ? 0 : r->steps[j].accept;
    }
}

static double priced(const struct policy *p, const char *model, const struct traffic_answer *a)
{
    const struct policy_model *m = policy_find_model(p, slice_str(model));

    const struct policy_price *price = m ? policy_price_at(m, a->started_wall_us) : NULL;

    return m ? (double)policy_cost(price, &a->usage, a->duration_us) +
                   (double)policy_cost(price, &a->sampled, a->sampled_us)
             : (double)a->cost;
}

double whatif_paid(const struct whatif_play *w, const struct whatif_case *c, int model)
{
    const struct traffic_answer *audit = traffic_answer_of(w->t, c->q, model);
    const char *name = traffic_name(w->t, model);
    double sum = 0;
    bool own = false;

    for (int i = 0; i < c->q->answer_count; i++)
        if (c->q->answer[i].model == model) {
            sum += priced(w->policy, name, &c->q->answer[i]);
            own = true;
        }
    return own || !audit ? sum : priced(w->policy, name, audit);
}

int64_t whatif_waited_us(const struct whatif_play *w, const struct whatif_case *c, int model)
{
    const struct traffic_answer *audit = traffic_answer_of(w->t, c->q, model);
    int64_t sum = 0;
    bool own = false;

    for (int i = 0; i < c->q->answer_count; i++)
        if (c->q->answer[i].model == model) {
            sum += c->q->answer[i].duration_us;
            own = true;
        }
    return own || !audit ? sum : audit->duration_us;
}

static void learn_usual(const struct whatif_play *w, const struct traffic_answer *a,
                        struct interval_sums *cost, struct interval_sums *us)
{
    interval_add(&cost[a->model], priced(w->policy, traffic_name(w->t, a->model), a));
    interval_add(&us[a->model], (double)a->duration_us);
}

static void route_all(struct whatif_play *w)
{
    const struct traffic *t = w->t;
    struct interval_sums *cost = mem_zalloc((size_t)t->names + 1, sizeof *cost),
                         *us = mem_zalloc((size_t)t->names + 1, sizeof *us);

    for (size_t i = 0; i < t->requests; i++)
        for (int k = 0; k < t->request[i].answer_count; k++)
            if (t->request[i].answer[k].good)
                learn_usual(w, &t->request[i].answer[k], cost, us);
    for (size_t i = 0; i < t->audits; i++)
        learn_usual(w, &t->audit[i].answer, cost, us);
    for (size_t i = 0; i < t->requests; i++)
        route_case(w, &t->request[i], cost, &w->cases[i]);
    for (int i = 0; i < t->names; i++)
        w->usual_us[i] = us[i].n > 0 ? us[i].x / us[i].n : 0;
    free(us);
    free(cost);
}

/* ---- sums ---- */

void whatif_sums_add(struct whatif_sums *s, const struct traffic_request *q, double cost,
                     double resolved_cost, double success, bool resolved)
{
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 256;
        s->at = mem_resize(s->at, s->room, sizeof *s->at);
    }
    s->at[s->count++] = (struct whatif_sum){.cluster = q->cluster,
                                            .n = 1,
                                            .cost = cost,
                                            .resolved = resolved,
                                            .resolved_cost = resolved ? resolved_cost : 0,
                                            .success = resolved ? success : 0};
}

static int by_cluster(const void *a, const void *b)
{
    const struct whatif_sum *x = a, *y = b;

    return (x->cluster > y->cluster) - (x->cluster < y->cluster);
}

/* Requests of a cluster become one; where there are few clusters, all stay by themselves. */
static void merge_clusters(struct whatif_sums *s)
{
    size_t kept = 0, clusters = 0;

    if (s->count)
        qsort(s->at, s->count, sizeof *s->at, by_cluster);
    for (size_t i = 0; i < s->count; i++)
        clusters += i == 0 || s->at[i].cluster != s->at[i - 1].cluster;
    if (clusters < INTERVAL_MIN_CLUSTERS)
        return;
    for (size_t i = 0; i < s->count; i++) {
        struct whatif_sum *into = kept ? &s->at[kept - 1] : NULL, *x = &s->at[i];
        if (!into || into->cluster != x->cluster) {
            s->at[kept++] = *x;
            continue;
        }
        into->n += x->n;
        into->cost += x->cost;
        into->resolved += x->resolved;
        into->resolved_cost += x->resolved_cost;
        into->success += x->success;
    }
    s->count = kept;
}

static struct interval ratio(const struct whatif_sums *s, struct bootstrap_cluster *scratch,
                             bool intervals)
{
    return bootstrap_ratio(scratch, s->count, intervals ? ROUNDS : 1, WHATIF_ALPHA, 1);
}

void whatif_sums_end(struct whatif_sums *s, bool intervals, struct whatif_estimate *out)
{
    struct bootstrap_cluster *scratch = mem_zalloc(s->count + 1, sizeof *scratch);

    *out = (struct whatif_estimate){.n = (int64_t)s->count};
    for (size_t i = 0; i < s->count; i++)
        out->resolved += s->at[i].resolved > 0;
    merge_clusters(s);
    for (size_t i = 0; i < s->count; i++)
        scratch[i] = (struct bootstrap_cluster){s->at[i].cost, s->at[i].n};
    out->cost = ratio(s, scratch, intervals);
    for (size_t i = 0; i < s->count; i++)
        scratch[i] = (struct bootstrap_cluster){s->at[i].success, s->at[i].resolved};
    out->success = ratio(s, scratch, intervals);
    for (size_t i = 0; i < s->count; i++)
        scratch[i] = (struct bootstrap_cluster){s->at[i].resolved_cost, s->at[i].success};
    out->cost_per_success = ratio(s, scratch, intervals);
    free(scratch);
    free(s->at);
}

/* ---- what happened ---- */

static void sum_logged(struct whatif *out, const struct whatif_play *w)
{
    struct whatif_sums sums = {.count = 0};

    for (size_t i = 0; i < w->t->requests; i++) {
        const struct traffic_request *q = &w->t->request[i];
        double value = traffic_value(q);
        if (w->cases[i].refused)
            continue;
        whatif_sums_add(&sums, q, (double)q->cost, (double)q->cost, value, value >= 0);
        out->unrouted += !w->cases[i].route;
    }
    whatif_sums_end(&sums, true, &out->logged);
}

void whatif_run(struct whatif *out, const struct traffic *t, const struct policy *p)
{
    struct whatif_play w = {.t = t,
                            .policy = p,
                            .cases = mem_zalloc(t->requests + 1, sizeof(struct whatif_case)),
                            .usual_us = mem_zalloc((size_t)t->names + 1, sizeof(double))};

    *out = (struct whatif){.requests = (int64_t)t->requests};
    route_all(&w);
    whatif_fit(out, &w);
    whatif_budgets(out, &w);
    for (int fold = 0; fold <= WHATIF_FOLDS; fold++)
        w.beliefs[fold] = whatif_beliefs_new(&w, fold);
    sum_logged(out, &w);
    whatif_audits(out, &w);
    whatif_weights(out, &w);
    if (out->audits.n >= WHATIF_MIN_AUDITS && !out->missed_by_audits)
        out->answer = WHATIF_BY_AUDITS;
    else if (out->verdict == OFFPOLICY_VALID && !out->missed_by_weights)
        out->answer = WHATIF_BY_WEIGHTS;
    for (int fold = 0; fold <= WHATIF_FOLDS; fold++)
        whatif_beliefs_free(w.beliefs[fold]);
    free(w.usual_us);
    free(w.cases);
}
