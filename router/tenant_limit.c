/* Called by request.c before a route is chosen, and by control for metrics. */
#include "router/tenant_limit.h"

nanousd tenant_limit_of(const struct policy_tenant *t, enum spend_period p)
{
    return p == SPEND_DAY ? t->budget.per_day : t->budget.per_month;
}

const char *tenant_limit_period_name(enum spend_period p)
{
    return p == SPEND_DAY ? "day" : "month";
}

bool tenant_limit_reached(const struct policy_tenant *t, struct spend *s, int64_t wall_us,
                          struct tenant_limit *out)
{
    for (int i = SPEND_PERIODS - 1; i >= 0; i--) {
        enum spend_period p = (enum spend_period)i;
        nanousd limit = tenant_limit_of(t, p);

        if (limit == POLICY_NONE || spend_in(s, p, wall_us) < limit)
            continue;
        *out = (struct tenant_limit){
            p, limit, spend_period_begin_us(p, spend_period_of(p, wall_us) + 1) - wall_us};
        return true;
    }
    return false;
}

int tenant_limit_cheapest(const struct policy *p, const struct policy_route *route,
                          const int *steps, int n, unsigned api, int64_t input_tokens,
                          int64_t wall_us)
{
    nanousd least = INT64_MAX;
    int best = steps[0];

    for (int i = 0; i < n; i++) {
        const struct policy_model *m = &p->models[route->steps[steps[i]].model];
        nanousd cost = policy_guess_attempt(m, api, input_tokens, wall_us).cost;

        if (cost < least) {
            least = cost;
            best = steps[i];
        }
    }
    return best;
}
