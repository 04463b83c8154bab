/* What /metrics says: the counters of all threads, and gauges made for the one answer. Control
 * thread; called by api_admin.c. */
#include "gateway/control_int.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/worker.h"
#include "router/learner.h"
#include "router/ledger.h"
#include "router/tenant_limit.h"

/* Health is written into a table of this one answer: endpoints that a reload removed leave no
 * series behind. */
static struct stats *endpoint_gauges(const struct control *c)
{
    struct stats *s = stats_new();
    int64_t now_us = clock_mono_us();
    const struct policy *p = c->snapshot->policy;
    for (size_t b = 0; b < p->backend_count; b++)
        for (size_t e = 0; e < p->backends[b].endpoint_count; e++) {
            const char *labels[] = {p->backends[b].name, p->backends[b].endpoints[e].label};
            stats_set(stats_cell(s, STAT_ENDPOINT_UP, labels),
                      endpoint_healthy(c->snapshot->backends[b].shared[e], now_us));
        }
    return s;
}

static void tenant_gauges(const struct control *c, struct stats *s)
{
    const struct policy *p = c->snapshot->policy;
    int64_t now_us = clock_wall_us();
    for (size_t i = 0; i < p->tenant_count; i++)
        for (int k = 0; k < SPEND_PERIODS; k++) {
            enum spend_period period = (enum spend_period)k;
            nanousd limit = tenant_limit_of(&p->tenants[i], period);
            const char *labels[] = {p->tenants[i].name, tenant_limit_period_name(period)};
            if (limit == POLICY_NONE)
                continue;
            stats_set(stats_cell(s, STAT_TENANT_BUDGET, labels), limit);
            stats_set(stats_cell(s, STAT_TENANT_SPENT, labels),
                      spend_in(c->snapshot->spends.tenants[i], period, now_us));
            stats_set(stats_cell(s, STAT_TENANT_SPENT_HERE, labels),
                      spend_here(c->snapshot->spends.tenants[i], period, now_us));
        }
}

enum err control_metrics_write(struct control *c, struct buf *out)
{
    size_t workers = control_workers(c), n = 0;
    struct stats **tables = mem_zalloc(workers + 6, sizeof *tables);
    for (size_t i = 0; i < workers; i++)
        tables[n++] = worker_stats(c->workers[i]);
    tables[n++] = ledger_stats(c->ledger);
    tables[n++] = learner_stats(c->learner);
    tables[n++] = c->stats;
    if (c->spends_share)
        tables[n++] = spends_share_stats(c->spends_share);
    if (c->cache.stats)
        tables[n++] = c->cache.stats;
    struct stats *endpoints = endpoint_gauges(c);
    control_encoder_gauges(c->snapshot->embedder, endpoints);
    tenant_gauges(c, endpoints);
    tables[n++] = endpoints;
    enum err e = stats_write_prometheus(tables, n, out);
    stats_free(endpoints);
    free(tables);
    return e;
}
