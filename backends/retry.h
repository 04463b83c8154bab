/* May a failed attempt be followed by another, when, and where? Pure, apart from the budget's
 * counters (one per worker). Source: retry budgets as in the Google SRE book ch. 21/22 and Finagle;
 * full jitter as in the AWS architecture note on back-off. */
#ifndef BACKENDS_RETRY_H
#define BACKENDS_RETRY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/rng.h"

struct retry_budget { /* sliding window of ten one-second buckets */
    int64_t bucket_second[10];
    int32_t requests[10], retries[10];
};
void retry_budget_init(struct retry_budget *b);
void retry_budget_request(struct retry_budget *b, int64_t now_us); /* a first attempt was made */
/* Takes one retry from the budget if there is one: retries <= percent of requests in the window,
 * min_per_second always allowed. */
bool retry_budget_take(struct retry_budget *b, int64_t percent, int64_t min_per_second,
                       int64_t now_us);

/* Full jitter: uniform in [0, min(max, base * 2^(attempt-1))] ms; attempt counts from 1 (the first
 * retry). */
int64_t retry_backoff_ms(int64_t base_ms, int64_t max_ms, int attempt, struct rng *rng);

/* Retry-After (seconds or HTTP-date, RFC 9110 10.2.3), retry-after-ms and x-should-retry as
 * OpenAI's SDKs read them. Returns milliseconds, or -1 when neither header is there or valid.
 * now_wall_us for dates. */
struct http1_head;
int64_t retry_after_ms(const struct http1_head *head, int64_t now_wall_us);

#endif
