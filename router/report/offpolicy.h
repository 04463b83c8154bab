/* What another policy would have cost and achieved, out of a log of randomised decisions: weights
 * (target propensity / logged propensity), the checks without which they mean nothing, and the
 * doubly robust estimate step by step (Dudik, Langford & Li 2011, arXiv 1103.4601; Jiang & Li 2016,
 * arXiv 1511.03722, for decisions in sequence). Pure. */
#ifndef ROUTER_REPORT_OFFPOLICY_H
#define ROUTER_REPORT_OFFPOLICY_H

#include <stdbool.h>
#include <stddef.h>

enum offpolicy_reward { OFFPOLICY_COST, OFFPOLICY_SUCCESS, OFFPOLICY_REWARDS };

/* One decision of a request, in order. The estimates may be anything: wrong ones cost precision,
 * not correctness. */
struct offpolicy_step {
    double weight;                    /* target / logged propensity of what was chosen */
    double reward[OFFPOLICY_REWARDS]; /* that came with it */
    double q[OFFPOLICY_REWARDS];      /* estimate of all that follows it, itself included */
    double v[OFFPOLICY_REWARDS];      /* the same before choosing, under the target */
};
/* What the target policy would have got on this request, without bias. */
void offpolicy_value(const struct offpolicy_step *s, size_t n, double out[OFFPOLICY_REWARDS]);
double offpolicy_weight(const struct offpolicy_step *s, size_t n); /* of the whole path */

/* ---- does the log answer? ---- */

#define OFFPOLICY_MIN_ESS 200.0
struct offpolicy_check {
    double n, sum, squares; /* of paths' weights */
    double unsupported;     /* sum of the target's chances of choices that the log never made */
};
/* unsupported: of this request, 0..1. */
void offpolicy_check_add(struct offpolicy_check *c, double weight, double unsupported);
double offpolicy_mean_weight(const struct offpolicy_check *c);
double offpolicy_mean_error(const struct offpolicy_check *c); /* its standard error */
double offpolicy_ess(const struct offpolicy_check *c);        /* Kish's effective sample size */
enum offpolicy_verdict {
    OFFPOLICY_VALID,
    OFFPOLICY_EMPTY,       /* no decision was logged */
    OFFPOLICY_UNSUPPORTED, /* the target does what the log never did */
    OFFPOLICY_FEW,         /* ESS < OFFPOLICY_MIN_ESS */
    OFFPOLICY_BIASED       /* the mean weight is not 1 within 3 standard errors */
};
enum offpolicy_verdict offpolicy_verdict(const struct offpolicy_check *c);

#endif
