/* `tenants`: their keys, limits and budgets. Constant data, read by way of spec_policy. */
#include "policies/policy_spec_int.h"

static const struct spec_key tenant_key_keys[] = {
    {.name = "env",
     .type = SPEC_TEXT,
     AT(tenant_key_source, env),
     .also = "key_env",
     .help = "Environment variable that holds the key."},
    {.name = "sha256",
     .type = SPEC_TEXT,
     AT(tenant_key_source, sha256),
     .also = "hash",
     .help = "SHA-256 of the key, 64 hexadecimal digits (`printf %s \"$KEY\" | sha256sum`)."},
    {.name = "file",
     .type = SPEC_TEXT,
     AT(tenant_key_source, file),
     .also = "key_file",
     .help = "File that holds the key; relative to the policy file."},
};
OBJECT(tenant_key, tenant_key_source, "tenant_key",
       "One API key, by exactly one of its sources; never the key itself.");

static const struct spec_word at_limit_words[] = {{"refuse", POLICY_LIMIT_REFUSES, false},
                                                  {"cheapest", POLICY_LIMIT_CHEAPEST, false},
                                                  {NULL, 0, false}};

static const struct spec_key tenant_budget_keys[] = {
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_tenant_budget, per_day),
     .also = "usd_per_day per_day daily day usd",
     .help = "USD from midnight to midnight, UTC. Left out: no limit."},
    {.name = "max_usd_per_month",
     .type = SPEC_USD,
     AT(policy_tenant_budget, per_month),
     .also = "usd_per_month per_month monthly month",
     .help = "USD in a month of the calendar, UTC. Left out: no limit."},
    {.name = "at_limit",
     .type = SPEC_ENUM,
     AT(policy_tenant_budget, at_limit),
     .deflt = "refuse",
     .words = at_limit_words,
     .also = "then action on_limit",
     .help =
         "What becomes of requests once it is spent: `refuse` answers 429 (code "
         "`insufficient_quota`) until the day or month is over; `cheapest` asks only that model "
         "of the route that is likely to cost least, without an end. What is under way when it "
         "is reached is finished, and may go beyond it."},
};
OBJECT(tenant_budget, policy_tenant_budget, "tenant_budget", "What a tenant may spend.");

static const struct spec_key tenant_keys[] = {
    {.name = "keys",
     .type = SPEC_TENANT_KEYS,
     ARRAY(policy_tenant, key),
     .object = &tenant_key,
     .flags = SPEC_REQUIRED,
     .also = "key api_keys",
     .help = "The API keys that belong to this tenant."},
    {.name = "tags",
     .type = SPEC_NAMES,
     ARRAY(policy_tenant, tag),
     .also = "labels",
     .help = "Tags that each of its requests carries, for routes to match."},
    {.name = "admin",
     .type = SPEC_BOOL,
     AT(policy_tenant, admin),
     .deflt = "false",
     .help = "Whether its keys open the admin API."},
    {.name = "budget",
     .type = SPEC_OBJECT,
     .object = &tenant_budget,
     AT(policy_tenant, budget),
     .also = "budgets quota",
     .help = "What it may spend, by everything that is booked to it: also audits and judges of its "
             "requests. It is counted from the ledger at the start, so that a restart changes "
             "nothing. Replicas that share a Redis (`cache: {store: redis}`) have one budget "
             "together: each "
             "hears four times a second what the others have spent. Without one each counts what "
             "it has served itself."},
};
SECTION(tenant, policy_tenant, "tenant", "Someone who may ask, told apart by API keys.");
