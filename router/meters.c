/* Metric cells of the request path. Owns the cached cell pointers, not the cells (base/stats does).
 */
#include "router/meters.h"

#include <stdio.h>
#include <stdlib.h>
#include "backends/wire/wire.h"
#include "base/mem.h"

struct meters {
    struct stats *stats;
    struct snapshot *bound; /* owned reference; NULL before the first bind */
    /* Of the bound snapshot; NULL where not yet looked up. */
    struct stats_cell **attempts_ok; /* [model] */
    struct stats_cell **attempt_us;  /* [model] */
    struct stats_cell **cost;        /* [model * (tenants + 1) + tenant + 1] */
    struct stats_cell **tokens;      /* [model * TOK_KINDS + kind] */
    struct stats_cell **requests_ok; /* [(route + 1) * WIRE_APIS + api] */
    struct stats_cell **request_us;  /* likewise */
    struct stats_cell **ttft_us;     /* likewise */
    /* Without labels. */
    struct stats_cell *in_flight, *budget_exhausted, *pauses;
};

struct meters *meters_new(struct stats *stats)
{
    struct meters *m = mem_zalloc(1, sizeof *m);

    m->stats = stats;
    m->in_flight = stats_cell(stats, STAT_IN_FLIGHT, NULL);
    m->budget_exhausted = stats_cell(stats, STAT_RETRY_BUDGET_EXHAUSTED, NULL);
    m->pauses = stats_cell(stats, STAT_UPSTREAM_PAUSES, NULL);
    return m;
}

static void unbind(struct meters *m)
{
    free(m->attempts_ok);
    free(m->attempt_us);
    free(m->cost);
    free(m->tokens);
    free(m->requests_ok);
    free(m->request_us);
    free(m->ttft_us);
    snapshot_unref(m->bound);
    m->bound = NULL;
}

void meters_free(struct meters *m)
{
    if (!m)
        return;
    unbind(m);
    free(m);
}

void meters_bind(struct meters *m, struct snapshot *s)
{
    const struct policy *p = s->policy;
    size_t routes = (p->route_count + 1) * WIRE_APIS;

    unbind(m);
    m->bound = snapshot_ref(s);
    m->attempts_ok = mem_zalloc(p->model_count, sizeof *m->attempts_ok);
    m->attempt_us = mem_zalloc(p->model_count, sizeof *m->attempt_us);
    m->cost = mem_zalloc(p->model_count * (p->tenant_count + 1), sizeof *m->cost);
    m->tokens = mem_zalloc(p->model_count * TOK_KINDS, sizeof *m->tokens);
    m->requests_ok = mem_zalloc(routes, sizeof *m->requests_ok);
    m->request_us = mem_zalloc(routes, sizeof *m->request_us);
    m->ttft_us = mem_zalloc(routes, sizeof *m->ttft_us);
}

/* The cell for these labels; through slots[i] when s is the bound snapshot. */
static struct stats_cell *cell(struct meters *m, const struct snapshot *s,
                               struct stats_cell **slots, size_t i, enum stats_family family,
                               const char *const *labels)
{
    if (s != m->bound)
        return stats_cell(m->stats, family, labels);
    if (!slots[i])
        slots[i] = stats_cell(m->stats, family, labels);
    return slots[i];
}

void meters_attempt(struct meters *m, const struct snapshot *s, size_t model, enum err outcome,
                    const struct policy_tenant *tenant, const struct token_usage *usage,
                    nanousd cost, int64_t duration_us)
{
    const struct policy *p = s->policy;
    const char *name = p->models[model].name;
    const char *backend = p->backends[p->models[model].backend].name;

    if (outcome == ERR_OK)
        stats_add(
            cell(m, s, m->attempts_ok, model, STAT_ATTEMPTS, (const char *[]){name, backend, "ok"}),
            1);
    else
        stats_add(
            stats_cell(m->stats, STAT_ATTEMPTS, (const char *[]){name, backend, err_name(outcome)}),
            1);
    stats_observe_us(
        cell(m, s, m->attempt_us, model, STAT_ATTEMPT_US, (const char *[]){name, backend}),
        duration_us);
    if (cost) {
        size_t t = tenant ? (size_t)(tenant - p->tenants) + 1 : 0;

        stats_add(cell(m, s, m->cost, model * (p->tenant_count + 1) + t, STAT_COST,
                       (const char *[]){name, tenant ? tenant->name : ""}),
                  cost);
    }
    for (int k = 0; k < TOK_KINDS; k++)
        if (usage->n[k])
            stats_add(cell(m, s, m->tokens, model * TOK_KINDS + (size_t)k, STAT_TOKENS,
                           (const char *[]){name, token_kind_name((enum token_kind)k)}),
                      usage->n[k]);
}

void meters_retry(struct meters *m, const struct snapshot *s, size_t model, enum err reason)
{
    stats_add(stats_cell(m->stats, STAT_RETRIES,
                         (const char *[]){s->policy->models[model].name, err_name(reason)}),
              1);
}

void meters_budget_exhausted(struct meters *m)
{
    stats_add(m->budget_exhausted, 1);
}

void meters_tenant_limited(struct meters *m, const char *tenant, const char *action)
{
    stats_add(stats_cell(m->stats, STAT_TENANT_LIMITED, (const char *[]){tenant, action}), 1);
}

void meters_upstream_paused(struct meters *m)
{
    stats_add(m->pauses, 1);
}

void meters_request(struct meters *m, const struct snapshot *s, unsigned api, int route, int status,
                    int64_t total_us, int64_t ttft_us)
{
    const char *api_name = wire_api_name((enum wire_api)api);
    const char *route_name = route >= 0 ? s->policy->routes[route].name : "";
    size_t i = (size_t)(route + 1) * WIRE_APIS + api;

    if (status == 200) {
        stats_add(cell(m, s, m->requests_ok, i, STAT_REQUESTS,
                       (const char *[]){api_name, route_name, "200"}),
                  1);
    } else {
        char code[8];

        snprintf(code, sizeof code, "%d", status);
        stats_add(stats_cell(m->stats, STAT_REQUESTS, (const char *[]){api_name, route_name, code}),
                  1);
    }
    stats_observe_us(
        cell(m, s, m->request_us, i, STAT_REQUEST_US, (const char *[]){api_name, route_name}),
        total_us);
    if (ttft_us >= 0)
        stats_observe_us(
            cell(m, s, m->ttft_us, i, STAT_TTFT_US, (const char *[]){api_name, route_name}),
            ttft_us);
}

void meters_background(struct meters *m, const char *purpose, enum err outcome)
{
    const char *name = outcome == ERR_OK ? "ok" : err_name(outcome);

    stats_add(stats_cell(m->stats, STAT_BACKGROUND, (const char *[]){purpose, name}), 1);
}

void meters_decision(struct meters *m, const char *route, const char *chosen, const char *reason)
{
    stats_add(stats_cell(m->stats, STAT_DECISIONS, (const char *[]){route, chosen, reason}), 1);
}

void meters_held(struct meters *m, const char *route, int64_t held_us)
{
    stats_observe_us(stats_cell(m->stats, STAT_HELD_US, &route), held_us);
}

void meters_classified(struct meters *m, const struct classification *c, int64_t took_us)
{
    const char *tier = classifier_tier_name(c->tier);
    char label[128];

    snprintf(label, sizeof label, "%.*s", SLICE_ARG(c->label));
    stats_add(stats_cell(m->stats, STAT_CLASSIFIED, (const char *[]){tier, label}), 1);
    stats_observe_us(stats_cell(m->stats, STAT_CLASSIFY_US, &tier), took_us);
}

void meters_encoder_shed(struct meters *m, const char *reason)
{
    stats_add(stats_cell(m->stats, STAT_ENCODER_SHED, &reason), 1);
}

void meters_classify_cost(struct meters *m, const char *encoder, const struct policy_tenant *tenant,
                          nanousd cost)
{
    if (cost)
        stats_add(
            stats_cell(m->stats, STAT_COST, (const char *[]){encoder, tenant ? tenant->name : ""}),
            cost);
}

void meters_cached(struct meters *m, enum cache_said said, const struct policy_route *route,
                   const struct policy_tenant *tenant, nanousd saved)
{
    const char *owner = tenant ? tenant->name : "";

    stats_add(stats_cell(m->stats, STAT_CACHE_REQUESTS,
                         (const char *[]){cache_said_name(said), route->name}),
              1);
    if (saved)
        stats_add(stats_cell(m->stats, STAT_CACHE_SAVED, &owner), saved);
}

void meters_kept(struct meters *m, enum answer_worth worth)
{
    const char *name = answer_worth_name(worth);

    stats_add(stats_cell(m->stats, STAT_CACHE_KEPT, &name), 1);
}

void meters_audit_skipped(struct meters *m, const char *why)
{
    stats_add(stats_cell(m->stats, STAT_AUDITS_SKIPPED, &why), 1);
}

void meters_judged(struct meters *m, const char *by, const char *verdict)
{
    stats_add(stats_cell(m->stats, STAT_JUDGED, (const char *[]){by, verdict}), 1);
}

void meters_in_flight(struct meters *m, int64_t n)
{
    stats_set(m->in_flight, n);
}
