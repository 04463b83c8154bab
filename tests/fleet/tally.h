/* What the fleet counted: per model, requests by how they ended, tokens by kind, and cost. The
 * other side of the gateway's ledger. Plain data and pure functions.
 *
 * What is billed: a reply whose head says 200 (also one that a fault broke) costs its prompt tokens
 * and the completion tokens that were handed to the socket; everything else costs nothing. Cost is
 * rounded once per request, half up. */
#ifndef FLEET_TALLY_H
#define FLEET_TALLY_H

#include "base/buf.h"
#include "base/money.h"
#include "base/tokens.h"

enum outcome {
    OUTCOME_COMPLETED, /* a 200, whole */
    OUTCOME_REFUSED,   /* an error status, whole */
    OUTCOME_FAULTED,   /* broken by a fault */
    OUTCOME_ABORTED,   /* the peer left before the reply was complete */
    OUTCOME_KINDS,
};

struct tally {
    int64_t requests, streams, by_outcome[OUTCOME_KINDS];
    int64_t tokens[TOK_KINDS];     /* billed */
    int64_t aborted_output_tokens; /* the part of tokens that went to peers that left */
    nanousd cost;
};

const char *outcome_name(enum outcome o);
nanousd tally_cost(const int64_t tokens[TOK_KINDS], const nanousd price_per_million[TOK_KINDS]);
/* The members of a JSON object, without braces. */
void tally_print(const struct tally *t, struct buf *out);

#endif
