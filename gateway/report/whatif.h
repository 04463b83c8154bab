/* What another policy would have cost and achieved on logged traffic.
 *
 *   audits       requests on which every model of the policy's cascade answered and was judged: the
 *                policy is played on what they really said, with router/decide/plan as the gateway
 *                plays it. Scores become chances by curves that were fitted on other requests (five
 *                folds). No model of the world; any policy.
 *   doubly robust  decided requests weighed by target / logged propensities (router/report/
 *                offpolicy), when the log's randomness covers what the policy would do.
 *   preview      means of what was logged, per class and choice, without correction: it promises
 *                too much, and decides nothing.
 *
 * Intervals resample conversations; requests of which the ledger names none, in blocks of ten
 * minutes of a tenant. Costs are at the policy's prices. Success of decided requests
 * is that of resolved ones: feedback is taken to be missing at random given the class. Not played:
 * streams' holding back, validators, fall-backs after the cascade, deadlines. Single-threaded. */
#ifndef GATEWAY_REPORT_WHATIF_H
#define GATEWAY_REPORT_WHATIF_H

#include "gateway/report/traffic.h"
#include "policies/policy.h"
#include "router/report/interval.h"
#include "router/report/offpolicy.h"

#define WHATIF_MIN_AUDITS 30
#define WHATIF_ALPHA      0.05

struct whatif_estimate {
    int64_t n;            /* requests that the cost rests on */
    int64_t resolved;     /* ... and the success */
    struct interval cost; /* nano-dollars per request */
    struct interval success;
    struct interval cost_per_success; /* nano-dollars */
};

enum whatif_answer { WHATIF_REFUSED, WHATIF_BY_AUDITS, WHATIF_BY_WEIGHTS };

struct whatif {
    enum whatif_answer answer;
    int64_t requests, unrouted; /* of clients; for which the policy has no cascade */
    int64_t audited, unusable;  /* with audits; of those, where some model's answer is not known */
    int64_t decided, pinned;    /* with decisions; held out or pinned, and left aside */
    struct whatif_estimate logged, audits, weights;
    struct offpolicy_check check;
    enum offpolicy_verdict verdict;
    struct whatif_estimate preview; /* without intervals */
};

void whatif_run(struct whatif *w, const struct traffic *t, const struct policy *p);

#endif
