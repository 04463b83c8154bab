/* Looks at a held stream; owns nothing. */
#include "router/hold.h"

#include "base/clock.h"
#include "router/meters.h"
#include "router/request_int.h"

/* A call of a tool is judged whole: a client acts upon it. */
bool hold_is_enough(const struct request *r)
{
    const struct policy_confidence *c = &r->route->decide.confidence;
    const struct answer_signals *s = cascade_signals(r);

    return c->hold == POLICY_HOLD_TOKENS && s->call_count == 0 &&
           answer_deltas(&r->answer) >= c->hold_tokens;
}

void hold_count(struct request *r)
{
    const struct attempt *at = r->hand >= 0 ? &r->attempts[r->hand] : NULL;

    if (cascade_holds(r) && at && at->first_byte_us >= 0)
        meters_held(r->env->meters, r->route->name,
                    clock_mono_us() - at->started_us - at->first_byte_us);
}

void hold_watch(struct request *r)
{
    int64_t every_ms = r->snap->policy->server.sse_keepalive_ms;

    if (!r->ask.stream || r->keepalive_us >= 0 || every_ms == POLICY_NONE || !cascade_holds(r))
        return;
    r->last_write_us = r->received_us;
    r->keepalive_us = r->received_us + every_ms * 1000;
    request_arm(r);
}
