/* Budgets of tenants are not played: what a refused client would have done nobody knows. But
 * whether what is in the log would have reached one can be said. Called by whatif.c. */
#include "gateway/report/whatif_int.h"
#include "router/tenant_limit.h"

static int64_t limited_requests(const struct traffic *t, const struct policy_tenant *tenant)
{
    int name = traffic_find(t, tenant->name);
    struct spend spent = {.name = NULL};
    struct tenant_limit over;
    int64_t count = 0;

    for (size_t i = 0; i < t->requests && name >= 0; i++) {
        const struct traffic_request *q = &t->request[i];
        if (q->tenant != name)
            continue;
        count += tenant_limit_reached(tenant, &spent, q->received_wall_us, &over);
        spend_book(&spent, q->cost, q->received_wall_us);
    }
    return count;
}

void whatif_budgets(struct whatif *out, const struct whatif_play *w)
{
    for (size_t i = 0; i < w->policy->tenant_count && out->limits < WHATIF_REFUSALS; i++) {
        const struct policy_tenant *tenant = &w->policy->tenants[i];
        int64_t n = limited_requests(w->t, tenant);
        if (n > 0)
            out->limit[out->limits++] = (struct whatif_limit){tenant->name, n};
    }
}
