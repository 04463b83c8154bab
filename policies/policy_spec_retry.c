/* `retry`, at the top level and in a route. Constant data, read by way of spec_policy. */
#include "policies/policy_spec_int.h"

static const struct spec_key retry_budget_keys[] = {
    {.name = "percent",
     .type = SPEC_INT,
     AT(policy_retry, budget_percent),
     .deflt = "20",
     .min = 0,
     .max = 100,
     .also = "ratio",
     .help = "Retries allowed as a share of the requests of the last ten seconds."},
    {.name = "min_per_second",
     .type = SPEC_INT,
     AT(policy_retry, budget_min_per_second),
     .deflt = "3",
     .min = 0,
     .max = 10000,
     .also = "minimum min",
     .help = "Retries per second that are always allowed."},
};
OBJECT(retry_budget, policy_retry, "retry_budget",
       "Keeps retries from burying a fleet that is already failing.");

static const struct spec_key retry_backoff_keys[] = {
    {.name = "base",
     .type = SPEC_DURATION,
     AT(policy_retry, backoff_base_ms),
     .deflt = "100ms",
     .min = 1,
     .max = HOUR,
     .also = "initial min",
     .help = "Longest wait before the first retry; each further one doubles it."},
    {.name = "max",
     .type = SPEC_DURATION,
     AT(policy_retry, backoff_max_ms),
     .deflt = "2s",
     .min = 1,
     .max = HOUR,
     .also = "cap limit",
     .help = "Longest wait before any retry."},
};
OBJECT(retry_backoff, policy_retry, "retry_backoff",
       "Waits are drawn evenly between zero and the limit (full jitter).");

static const struct spec_key retry_keys[] = {
    {.name = "max_attempts",
     .type = SPEC_INT,
     AT(policy_retry, max_attempts),
     .deflt = "4",
     .min = 1,
     .max = 100,
     .also = "attempts retries max_retries num_retries",
     .help = "Attempts per request over all models and endpoints, the first included."},
    {.name = "per_model",
     .type = SPEC_INT,
     AT(policy_retry, per_model),
     .deflt = "2",
     .min = 1,
     .max = 100,
     .help = "Attempts on one model before the next is asked."},
    {.name = "backoff",
     .type = SPEC_OBJECT,
     .object = &retry_backoff,
     .help = "Waits between attempts."},
    {.name = "max_retry_after",
     .type = SPEC_DURATION,
     AT(policy_retry, max_retry_after_ms),
     .deflt = "5s",
     .min = 0,
     .max = HOUR,
     .also = "retry_after",
     .help = "Longest Retry-After that is waited for; a longer one means the next endpoint or "
             "model at once."},
    {.name = "budget",
     .type = SPEC_OBJECT,
     .object = &retry_budget,
     .help = "Keeps retries from burying a fleet that is already failing."},
};
SECTION(retry, policy_retry, "retry",
        "What happens after a failed attempt. At the top level: for all routes; in a route: only "
        "what differs.");
