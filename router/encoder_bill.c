/* Prices the encoder's passes. Called by classify.c, cache_vector.c and judge.c when an answer
 * comes, and by those who book it. */
#include "router/encoder_bill.h"

#include "base/clock.h"

nanousd encoder_bill_take(struct encoder_bill *b, const struct policy_encoder *e,
                          const struct encoder_query *q)
{
    struct token_usage usage = {.source = USAGE_REPORTED};
    nanousd cost;

    if (e->price_count == 0)
        return 0;
    if (!b->price) {
        b->started_wall_us = clock_wall_us() - (clock_mono_us() - q->started_us);
        b->price = policy_price_in(e->prices, e->price_count, b->started_wall_us);
    }
    usage.n[TOK_INPUT] = (int64_t)q->counts.tokens;
    cost = policy_cost(b->price, &usage, q->share_us);
    b->usage.source = USAGE_REPORTED;
    b->usage.n[TOK_INPUT] += usage.n[TOK_INPUT];
    b->share_us += q->share_us;
    b->cost = money_add(b->cost, cost);
    return cost;
}

void encoder_bill_row(const struct encoder_bill *b, const struct policy_encoder *e,
                      const char *role, struct ledger_attempt *row)
{
    *row = (struct ledger_attempt){
        .role = role,
        .started_wall_us = b->started_wall_us,
        .model = e->model,
        .upstream_model = e->model,
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

void encoder_bill_post(const struct encoder_bill *b, struct ledger *l, const struct policy *p,
                       const char *cause, const char *tenant, const char *purpose)
{
    struct ledger_request r = {
        .request_id = cause,
        .received_wall_us = b->started_wall_us,
        .api = "",
        .requested_model = "",
        .tenant = tenant,
        .route = "",
        .policy_version = p->version,
        .served_model = "",
        .outcome = "ok",
        .attempts = 1,
        .cost = b->cost,
        .ttft_us = -1,
        .duration_us = b->share_us,
        .class_name = "",
        .class_tier = "",
        .class_us = -1,
        .cache = "",
        .cache_cosine = -1,
        .cache_probability = -1,
        .purpose = purpose,
        .cap = "",
    };
    struct ledger_attempt row;

    if (!b->price)
        return;
    encoder_bill_row(b, &p->encoder, "embed", &row);
    row.seq = 1;
    ledger_post(l, ledger_record_new(&r, &row, 1, NULL, 0));
}
