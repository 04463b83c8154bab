/* Prices the encoder's passes. Called by classify.c and cache_vector.c when an answer comes, and by
 * account.c. */
#include "router/encoder_bill.h"

#include "router/meters.h"
#include "router/request_int.h"

void encoder_bill_take(struct encoder_bill *b, struct request *r, const struct encoder_query *q)
{
    const struct policy_encoder *e = &r->snap->policy->encoder;

    if (e->price_count == 0)
        return;
    b->started_wall_us = r->received_wall_us + (q->started_us - r->received_us);
    b->price = policy_price_in(e->prices, e->price_count, b->started_wall_us);
    b->usage = (struct token_usage){.source = USAGE_REPORTED};
    b->usage.n[TOK_INPUT] = (int64_t)q->counts.tokens;
    b->share_us = q->share_us;
    b->cost = policy_cost(b->price, &b->usage, q->share_us);
    meters_classify_cost(r->env->meters, e->model, r->tenant, b->cost);
}

void encoder_bill_row(const struct encoder_bill *b, const struct request *r, const char *role,
                      struct ledger_attempt *row)
{
    *row = (struct ledger_attempt){
        .role = role,
        .started_wall_us = b->started_wall_us,
        .model = r->snap->policy->encoder.model,
        .upstream_model = r->snap->policy->encoder.model,
        .backend = "(encoder)",
        .endpoint = "encoder",
        .outcome = "ok",
        .usage = b->usage,
        .cost = b->cost,
        .price_version = b->price->version,
        .first_byte_us = -1,
        .duration_us = b->share_us,
        .confidence = -1,
        .verdict = "",
    };
}
