/* What the encoder did for a request, or for a comparison of answers, as it is priced and booked.
 * Belongs to whoever asked. */
#ifndef ROUTER_ENCODER_BILL_H
#define ROUTER_ENCODER_BILL_H

#include "policies/policy.h"
#include "router/encoder/encoder_service.h"
#include "router/ledger.h"

struct encoder_bill {
    const struct policy_price *price; /* NULL: it did nothing, or has no price */
    struct token_usage usage;
    int64_t share_us, started_wall_us;
    nanousd cost;
};

/* An answer is there; booked whether it still counts or not, for it was computed. Several passes
 * add up to one bill. Returns what this one cost. */
nanousd encoder_bill_take(struct encoder_bill *b, const struct policy_encoder *e,
                          const struct encoder_query *q);
/* price is not NULL. Nobody was sent anything: there is no HTTP status. role: "classify", "embed".
 */
void encoder_bill_row(const struct encoder_bill *b, const struct policy_encoder *e,
                      const char *role, struct ledger_attempt *row);

/* A record of its own, for passes that no client's request waited for: under the x-request-id of
 * the one that caused them, with one attempt of the role "embed". Nothing without a price. purpose:
 * as in struct ledger_request. */
void encoder_bill_post(const struct encoder_bill *b, struct ledger *l, const struct policy *p,
                       const char *cause, const char *tenant, const char *purpose);

#endif
