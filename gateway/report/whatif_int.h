/* What the files of whatif share. */
#ifndef GATEWAY_REPORT_WHATIF_INT_H
#define GATEWAY_REPORT_WHATIF_INT_H

#include "gateway/report/whatif.h"
#include "router/decide/plan.h"

#define WHATIF_FOLDS   5
#define WHATIF_CLASSES 64

/* A logged request as the policy would route it. */
struct whatif_case {
    const struct traffic_request *q;
    const struct policy_route *route; /* NULL: none, or it has no cascade */
    int arms, pin;
    int model[PANDORA_BOXES];   /* of an arm; -1: the log never saw it */
    double cost[PANDORA_BOXES]; /* expected by who decides, nano-dollars */
    double accept[PANDORA_BOXES];
    int fold;
    uint64_t validators; /* of the route: their fingerprint; 0: none */
    int64_t deadline_us; /* of the route; -1: none */
    bool refused;        /* with its route */
    enum whatif_misfit by_audits, by_path;
};

/* What is known of models' answers without the requests of one fold. */
struct whatif_beliefs;
struct whatif_play {
    const struct traffic *t;
    const struct policy *policy;
    struct whatif_case *cases; /* [t->requests] */
    double *usual_us;          /* [t->names]: how long a model takes to answer; 0: never seen */
    struct whatif_beliefs *beliefs[WHATIF_FOLDS + 1]; /* the last: of all requests */
};

/* Fills in the cases' validators, misfits and refused, and *out's refusals. */
void whatif_fit(struct whatif *out, struct whatif_play *w);
/* A stream that the policy does not hold back: its first answer is the client's. */
bool whatif_unjudged(const struct whatif_case *c);
/* What the policy's validators said of an answer that fits. */
enum plan_verdict whatif_verdict(const struct whatif_case *c, const struct traffic_answer *a);

/* fold: which one to leave out; WHATIF_FOLDS: none. */
struct whatif_beliefs *whatif_beliefs_new(const struct whatif_play *w, int fold);
void whatif_beliefs_free(struct whatif_beliefs *b);
/* The chance that an answer with that score is good; NAN: it has no score. */
double whatif_chance(const struct whatif_beliefs *b, const struct traffic_answer *a);
/* The question for the plan; valid as long as the case and the beliefs are. */
struct plan_question whatif_question(const struct whatif_beliefs *b, const struct whatif_play *w,
                                     const struct whatif_case *c, unsigned allowed, uint64_t seed);

/* All that was paid to a model for the request, retries and failures among it, at the policy's
 * price; of a model that was asked by an audit only, that. */
double whatif_paid(const struct whatif_play *w, const struct whatif_case *c, int model);

/* How long the request waited for the model, retries and failures included. */
int64_t whatif_waited_us(const struct whatif_play *w, const struct whatif_case *c, int model);

/* Sums of one request into its cluster (traffic_request). */
struct whatif_sums {
    struct whatif_sum {
        uint64_t cluster;
        double n, cost, resolved, resolved_cost, success;
    } * at; /* owned */
    size_t count, room;
};
/* success < 0: not known. */
void whatif_sums_add(struct whatif_sums *s, const struct traffic_request *q, double cost,
                     double resolved_cost, double success, bool resolved);
void whatif_sums_end(struct whatif_sums *s, bool intervals, struct whatif_estimate *out);

/* Fills in *out's limits. */
void whatif_budgets(struct whatif *out, const struct whatif_play *w);
void whatif_audits(struct whatif *out, const struct whatif_play *w);
void whatif_weights(struct whatif *out, const struct whatif_play *w);

#endif
