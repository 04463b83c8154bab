/* Rate-limit headers from one dialect's names and units to the other's. Pure.
 *   x-ratelimit-{limit,remaining,reset}-{requests,tokens}             reset: a duration, "6m0s"
 *   anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}     reset: a time, RFC 3339
 * Sources: OpenAI guide "Rate limits", Anthropic API reference "Rate limits". */
#ifndef ROUTER_RATE_LIMITS_H
#define ROUTER_RATE_LIMITS_H

#include "backends/wire/wire.h"
#include "base/arena.h"
#include "base/http1.h"

/* Renames, in place, those of h that belong to the other dialect than `to`; a reset that cannot be
 * read keeps its name and value. New texts are in the arena. */
void rate_limits_translate(struct http1_header *h, size_t n, enum wire_dialect to,
                           int64_t now_wall_us, struct arena *a);

#endif
