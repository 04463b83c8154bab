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
 * is that of resolved ones: feedback is taken to be missing at random given the class.
 *
 * A policy sees what validators say of an answer, and of a stream its beginning. Where the log has
 * that, it is played; a route that judges otherwise than the log did (other validators, another
 * `hold`, other `samples`) is refused by name, and its requests are left out of everything. Audits
 * are judged whole: of streams that are judged by their beginning only the weights know. Models
 * that failed in the log fail again, and what follows them, fall-backs after the cascade too, is
 * played where the log has their answer. A deadline is played on audits, by how long each answer
 * took; along the log a route of which it would have ended, or did end, more than one request in a
 * hundred is refused. Tenants' budgets are not played, but where one would have been reached that
 * is said. Single-threaded. */
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

/* What the log knows of an answer is not what the policy would see. */
enum whatif_misfit {
    WHATIF_FITS,
    WHATIF_VALIDATORS,
    WHATIF_HOLD,
    WHATIF_SAMPLES,
    WHATIF_DEADLINE,
    WHATIF_MISFITS
};

#define WHATIF_REFUSALS 64
struct whatif_refusal {
    const char *route; /* the policy's */
    int64_t requests;
    enum whatif_misfit why;
};

/* A tenant whose budget in the policy is reached by what the logged requests have cost. */
struct whatif_limit {
    const char *tenant; /* the policy's */
    int64_t requests;   /* that came while it was */
};

struct whatif {
    enum whatif_answer answer;
    struct whatif_refusal refusal[WHATIF_REFUSALS];
    int refusals;
    struct whatif_limit limit[WHATIF_REFUSALS];
    int limits;
    int64_t refused_requests; /* of all routes that were */
    /* A route of which most requests do not fit the one way: it cannot answer for the policy then.
     * NULL: none. */
    const char *missed_by_audits, *missed_by_weights;
    int64_t requests, unrouted; /* of clients; for which the policy has no cascade */
    int64_t audited, unusable;  /* with audits; of those, where some model's answer is not known, or
                                   was judged otherwise */
    int64_t decided, pinned;    /* with decisions; held out or pinned, and left aside */
    struct whatif_estimate logged, audits, weights;
    struct offpolicy_check check;
    enum offpolicy_verdict verdict;
    struct whatif_estimate preview; /* without intervals */
};

void whatif_run(struct whatif *w, const struct traffic *t, const struct policy *p);

#endif
