/* `decide`: how a route goes on from an answer. Its keys stand in routes as well. Constant data,
 * read by way of spec_policy. */
#include "policies/policy_spec_int.h"

static const struct spec_word minimize_words[] = {
    {"cost_per_success", POLICY_MINIMIZE_COST_PER_SUCCESS, false},
    {"off", POLICY_MINIMIZE_OFF, false},
    {NULL, 0, false}};
static const struct spec_word floor_scope_words[] = {
    {"route", POLICY_FLOOR_ROUTE, false}, {"class", POLICY_FLOOR_CLASS, false}, {NULL, 0, false}};

static const struct spec_key success_floor_keys[] = {
    {.name = "success",
     .type = SPEC_FRACTION,
     AT(policy_floor, success),
     .flags = SPEC_NONE,
     .also = "floor share rate",
     .help = "Share of requests that must succeed."},
    {.name = "scope",
     .type = SPEC_ENUM,
     AT(policy_floor, scope),
     .deflt = "route",
     .words = floor_scope_words,
     .help = "Whether the floor holds for the route as a whole, or for each class by itself."},
    {.name = "min_class",
     .type = SPEC_FRACTION,
     AT(policy_floor, min_class),
     .flags = SPEC_NONE,
     .help = "Least share of successes of any class under a floor of scope `route`."},
};
OBJECT(success_floor, policy_floor, "floor", "The quality that must be kept.");

static const struct spec_key objective_keys[] = {
    {.name = "minimize",
     .type = SPEC_ENUM,
     AT(policy_objective, minimize),
     .deflt = "off",
     .words = minimize_words,
     .also = "minimise optimise optimize goal",
     .help = "`cost_per_success`: models are asked in whatever order makes a good answer cheapest, "
             "as far as outcomes tell. Stands for itself in an `objective` with any other key."},
    {.name = "floor",
     .type = SPEC_OBJECT,
     .object = &success_floor,
     AT(policy_objective, floor),
     .flags = SPEC_SHORT,
     .also = "success quality min_success",
     .help = "What must hold; money is spent until it does. A number is the share of successes. It "
             "is aimed at so that 19 of 20 windows of 1,000 requests keep it, by what is known of "
             "the models: as long as little is, dearer ones answer."},
    {.name = "failure_price",
     .type = SPEC_USD,
     AT(policy_objective, failure_price),
     .deflt = "0",
     .also = "failure_price_usd penalty",
     .help = "What one answer that fails costs you, in USD. Without it and without a floor the "
             "cheapest model wins by failing cheaply."},
    {.name = "budget",
     .type = SPEC_USD,
     AT(policy_objective, budget),
     .also = "budget_usd_per_request max_cost",
     .help = "USD that a request may cost, all attempts together; goes before the floor. Where "
             "even the cheapest model costs more, that one alone is asked. Left out: no limit."},
    {.name = "latency_price",
     .type = SPEC_USD,
     AT(policy_objective, latency_price),
     .deflt = "0",
     .help = "What a second of waiting is worth, in USD; added to a model's cost when models are "
             "compared, never booked."},
};
SECTION(objective, policy_objective, "objective",
        "What is minimised, and what must hold. `objective: cost_per_success` alone is enough to "
        "begin with.");

static const struct spec_key canary_keys[] = {
    {.name = "model",
     .type = SPEC_MODEL,
     AT(policy_canary, model),
     .flags = SPEC_REQUIRED,
     .also = "arm",
     .help = "The model of the cascade that is being tried."},
    {.name = "cap",
     .type = SPEC_FRACTION,
     AT(policy_canary, cap),
     .deflt = "0.05",
     .help = "At most this share of a class's requests begins with it."},
    {.name = "alpha",
     .type = SPEC_FRACTION,
     AT(policy_canary, alpha),
     .deflt = "0.01",
     .help = "How likely a false alarm may be that takes it out of use."},
};
OBJECT(canary, policy_canary, "canary", "A model on probation.");

static const struct spec_key pin_keys[] = {
    {.name = "model",
     .type = SPEC_MODEL,
     AT(policy_pin, model),
     .flags = SPEC_REQUIRED,
     .also = "tier arm",
     .help = "The model of the cascade that answers alone."},
    {.name = "tenant",
     .type = SPEC_NAME,
     AT(policy_pin, tenant),
     .help = "Whose requests. Left out: anyone's."},
    {.name = "class",
     .type = SPEC_NAME,
     AT(policy_pin, class_name),
     .help = "Requests of which class. Left out: of any, or none."},
};
OBJECT(pin, policy_pin, "pin", "Requests that one model answers, whatever has been learnt.");

static const struct spec_key explore_keys[] = {
    {.name = "share",
     .type = SPEC_FRACTION,
     AT(policy_explore, share),
     .deflt = "0.01",
     .also = "epsilon rate",
     .help = "Share of requests whose first model is drawn at random."},
    {.name = "step_share",
     .type = SPEC_FRACTION,
     AT(policy_explore, step_share),
     .deflt = "0.005",
     .help = "Share of answers after which what follows is drawn at random."},
    {.name = "max_spend_share",
     .type = SPEC_FRACTION,
     AT(policy_explore, max_spend_share),
     .deflt = "0.02",
     .also = "max_spend budget",
     .help = "Share of what the route spends that may go into it."},
    {.name = "cold_start",
     .type = SPEC_FRACTION,
     AT(policy_explore, cold_start),
     .deflt = "0.02",
     .help = "Share of a class's requests that a model begins with until enough is known of it."},
    {.name = "canary",
     .type = SPEC_LIST,
     .object = &canary,
     .at = offsetof(struct policy_explore, canaries),
     .count_at = offsetof(struct policy_explore, canary_count),
     .flags = SPEC_SHORT,
     .max = POLICY_MAX_STEPS,
     .also = "canaries",
     .help = "Models of the cascade that are on probation."},
    {.name = "pins",
     .type = SPEC_LIST,
     .object = &pin,
     ARRAY(policy_explore, pin),
     .max = 256,
     .also = "pin pinned",
     .help = "Requests that stay with one model; the first that fits is taken."},
};
SECTION(explore, policy_explore, "explore",
        "How much is tried out. Only with an `objective`; every choice is logged with its "
        "probability.");

static const struct spec_key audit_keys[] = {
    {.name = "share",
     .type = SPEC_FRACTION,
     AT(policy_audit, share),
     .deflt = "0",
     .also = "rate sample",
     .help = "Share of finished requests that all models of the cascade are asked in the "
             "background. The client never waits for it."},
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_audit, max_per_day),
     .deflt = "1",
     .also = "budget cap max_per_day",
     .help = "USD a day (UTC) at most for a route's audits and their judge, at all replicas that "
             "share a Redis."},
    {.name = "judge",
     .type = SPEC_MODEL,
     AT(policy_audit, judge),
     .also = "model",
     .help = "The model that judges answers. Left out: only validators do."},
};
SECTION(audit, policy_audit, "audit",
        "Finished requests asked of every model, to know what other choices would have brought.");

static const struct spec_key holdout_keys[] = {
    {.name = "share",
     .type = SPEC_FRACTION,
     AT(policy_holdout, share),
     .deflt = "0",
     .also = "rate",
     .help = "Share of requests that one model answers alone, whatever has been learnt."},
    {.name = "model",
     .type = SPEC_MODEL,
     AT(policy_holdout, model),
     .also = "tier arm baseline",
     .help = "That model. Left out: the last of the cascade."},
};
SECTION(holdout, policy_holdout, "holdout", "The baseline that savings are measured against.");

static const struct spec_key decide_keys[] = {
    DECIDE_KEYS(policy_decide, , 0),
};
SECTION(decide, policy_decide, "decide",
        "How routes with more than one model go on from an answer, unless they say otherwise: each "
        "key may stand in a route as well.");
