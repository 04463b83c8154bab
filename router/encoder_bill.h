/* What the encoder did for a request, as it is priced and booked. Belongs to the request. */
#ifndef ROUTER_ENCODER_BILL_H
#define ROUTER_ENCODER_BILL_H

#include "policies/policy.h"
#include "router/encoder/encoder_service.h"
#include "router/ledger.h"

struct request;

struct encoder_bill {
    const struct policy_price *price; /* NULL: it did nothing, or has no price */
    struct token_usage usage;
    int64_t share_us, started_wall_us;
    nanousd cost;
};

/* The answer is there; booked whether it still counts or not, for it was computed. */
void encoder_bill_take(struct encoder_bill *b, struct request *r, const struct encoder_query *q);
/* price is not NULL. Nobody was sent anything: there is no HTTP status. role: "classify", "embed".
 */
void encoder_bill_row(const struct encoder_bill *b, const struct request *r, const char *role,
                      struct ledger_attempt *row);

#endif
