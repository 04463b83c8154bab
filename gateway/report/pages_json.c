/* A report for programs. Money in nano-dollars where it is exact; null where nothing is known. */
#include "base/clock.h"
#include "gateway/report/interval_json.h"
#include "gateway/report/pages.h"

static void put_int(json_t *o, const char *key, int64_t v)
{
    json_object_set_new(o, key, json_integer(v));
}

/* What is no UTF-8 has no place in JSON. */
static json_t *name(const struct figures *f, int n)
{
    json_t *s = json_string(traffic_name(f->t, n));

    return s ? s : json_null();
}

static json_t *groups(const struct figures *f, enum traffic_by by)
{
    json_t *list = json_array();

    for (int i = 0; i < f->t->groups[by]; i++) {
        const struct traffic_group *g = &f->t->group[by][i];
        json_t *o = json_object();
        json_object_set_new(o, "name", name(f, g->name));
        put_int(o, "attempts", g->attempts);
        put_int(o, "tokens_in", g->tokens_in);
        put_int(o, "tokens_out", g->tokens_out);
        put_int(o, "cost_nanousd", g->cost);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *success(const struct figures *f, const struct figures_class *c)
{
    json_t *o = json_object();

    json_object_set_new(o, "class", c->name < 0 ? json_null() : name(f, c->name));
    put_int(o, "requests", c->requests);
    put_int(o, "resolved", c->resolved);
    json_object_set_new(o, "successes", interval_json_number(c->successes));
    put_int(o, "cost_nanousd", c->cost);
    json_object_set_new(o, "success", interval_json(c->success));
    json_object_set_new(o, "usd_per_success", interval_json(c->usd_per_success));
    json_object_set_new(o, "effective_usd_per_success", interval_json_number(c->effective_usd));
    return o;
}

static json_t *saving(const struct figures *f)
{
    json_t *o = json_object();

    json_object_set_new(o, "basis", json_string(figures_basis_name(f->saving.basis)));
    json_object_set_new(o, "baseline",
                        f->saving.baseline ? json_string(f->saving.baseline) : json_null());
    put_int(o, "requests", f->saving.n);
    json_object_set_new(o, "share", interval_json(f->saving.share));
    return o;
}

static json_t *frontier(const struct figures *f)
{
    json_t *o = json_object(), *list = json_array();

    put_int(o, "requests", f->compared);
    for (int j = 0; j < f->singles && f->compared; j++) {
        json_t *m = json_object();
        json_object_set_new(m, "model", name(f, f->single[j].model));
        json_object_set_new(m, "mean_cost_nanousd",
                            interval_json_number(f->single[j].cost_nanousd));
        json_object_set_new(m, "success", interval_json_number(f->single[j].success));
        json_array_append_new(list, m);
    }
    json_object_set_new(o, "models", list);
    json_object_set_new(o, "weir_mean_cost_nanousd",
                        f->compared ? interval_json_number(f->weir.cost) : json_null());
    json_object_set_new(o, "weir_success",
                        f->compared ? interval_json_number(f->weir.success) : json_null());
    return o;
}

static json_t *requests(const struct figures *f)
{
    json_t *o = json_object();

    put_int(o, "all", (int64_t)f->t->requests);
    put_int(o, "ok", f->ok);
    put_int(o, "failed", f->failed);
    put_int(o, "aborted", f->aborted);
    put_int(o, "cached", f->cached);
    put_int(o, "escalated", f->escalated);
    put_int(o, "decided", f->decided);
    put_int(o, "explored", f->explored);
    put_int(o, "held_out", f->holdouts);
    put_int(o, "own", f->t->own);
    return o;
}

json_t *pages_json(const struct figures *f, const struct pages_span *span)
{
    static const char *const by[TRAFFIC_GROUPINGS] = {[BY_MODEL] = "by_model",
                                                      [BY_TENANT] = "by_tenant",
                                                      [BY_ROUTE] = "by_route",
                                                      [BY_CLASS] = "by_class",
                                                      [BY_ROLE] = "by_role"};
    json_t *o = json_object(), *classes = json_array(), *spend = json_object();
    char time[32];

    clock_rfc3339(span->since_wall_us, time, sizeof time);
    json_object_set_new(o, "since", json_string(time));
    clock_rfc3339(span->until_wall_us, time, sizeof time);
    json_object_set_new(o, "until", json_string(time));
    json_object_set_new(o, "requests", requests(f));
    put_int(o, "cost_nanousd", f->t->requests_cost);
    put_int(o, "attempts_cost_nanousd", f->t->attempts_cost);
    put_int(o, "own_cost_nanousd", f->t->own_cost);
    put_int(o, "explored_cost_nanousd", f->explored_cost);
    put_int(o, "saved_by_cache_nanousd", f->saved_by_cache);
    json_object_set_new(o, "cost_per_success", success(f, &f->all));
    for (int i = 0; i < f->classes; i++)
        json_array_append_new(classes, success(f, &f->class[i]));
    json_object_set_new(o, "classes", classes);
    json_object_set_new(o, "saving", saving(f));
    for (int i = 0; i < TRAFFIC_GROUPINGS; i++)
        json_object_set_new(spend, by[i], groups(f, (enum traffic_by)i));
    json_object_set_new(o, "spend", spend);
    json_object_set_new(o, "frontier", frontier(f));
    json_object_set_new(o, "choice_log_e", interval_json_number(f->choice_log_e));
    json_object_set_new(o, "feedback_log_e", interval_json_number(f->feedback_log_e));
    return o;
}
