/* Used by the tests of the ledger and of sums that are filled from one. */
#include "tests/unit/router/ledger_plain.h"

struct ledger_request ledger_plain_request(void)
{
    return (struct ledger_request){.request_id = "",
                                   .api = "",
                                   .requested_model = "",
                                   .tenant = "",
                                   .route = "",
                                   .policy_version = "",
                                   .served_model = "",
                                   .outcome = "ok",
                                   .class_name = "",
                                   .class_tier = "",
                                   .cache = "",
                                   .purpose = "serve",
                                   .cap = ""};
}

struct ledger_record *ledger_plain_charge(const char *tenant, const char *cap, int64_t wall_us,
                                          nanousd cost)
{
    struct ledger_request r = ledger_plain_request();

    r.tenant = tenant;
    r.cap = cap;
    r.received_wall_us = wall_us;
    r.cost = cost;
    return ledger_record_new(&r, NULL, 0, NULL, 0);
}
