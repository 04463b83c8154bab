/* A record of the ledger with nothing in it, for tests to fill in what they are about. */
#ifndef TESTS_UNIT_ROUTER_LEDGER_PLAIN_H
#define TESTS_UNIT_ROUTER_LEDGER_PLAIN_H

#include "router/ledger.h"

/* A client's, that went well; all other text is "", all numbers are 0. */
struct ledger_request ledger_plain_request(void);
/* Likewise, without attempts: what a tenant, or a cap of its, was charged. */
struct ledger_record *ledger_plain_charge(const char *tenant, const char *cap, int64_t wall_us,
                                          nanousd cost);

#endif
