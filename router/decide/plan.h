/* One request's way through its arms, as a pure state machine: which to ask first, whether the
 * answer that came is good enough, which to ask next, and which answer to serve. Embedded by value;
 * no allocation, no clock; all chance comes from the seed, so that a logged decision can be
 * repeated.
 *
 *     step = plan_begin(&p, &question);
 *     while (step.verb == PLAN_ASK) {
 *         ... ask step.arm ...
 *         plan_answer(&p, score, verdict, cost) or plan_failed(&p);
 *         step = plan_next(&p, arms that may still be asked);
 *     }
 *     ... PLAN_SERVE: step.arm's answer (maybe an earlier one); PLAN_FAIL: nobody answered
 *
 * ORDER     the first allowed arm in written order; the next one only when it failed
 * ACCEPT    written order; an answer is accepted from its arm's threshold on; when none was, the
 *           best answer is served
 * OBJECTIVE reservation indices (pandora.h) on beliefs; the first arm is drawn with explicit
 *           propensities, and a small share of continue/stop decisions is drawn at random. What
 *           would be asked in vain is not drawn: an arm whose score tells nothing, and after which
 *           the best one would be asked all the same */
#ifndef ROUTER_DECIDE_PLAN_H
#define ROUTER_DECIDE_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/rng.h"
#include "router/decide/beliefs.h"

enum plan_mode { PLAN_ORDER, PLAN_ACCEPT, PLAN_OBJECTIVE };

struct plan_question {
    enum plan_mode mode;
    int arms;         /* of the route's cascade, 1..PANDORA_BOXES */
    unsigned allowed; /* bits of arms that can serve this request in time */
    /* OBJECTIVE: needed. ACCEPT: may be NULL, then a score is taken as the chance itself. Borrowed
     * until the plan is done. */
    const struct beliefs_context *beliefs;
    const double *accept; /* [arms], ACCEPT: least chance of success; borrowed until then, too */
    /* [arms], read during the call: this request's expected costs (its own input tokens, what a
     * lost prompt cache adds); NULL: the beliefs' means. The price of latency is added by the plan.
     */
    const double *cost_nanousd;
    /* [arms], read during the call: log-odds by which this query is easier for an arm than its
     * class is on average (exante.h); NULL: 0. */
    const double *shift;
    double budget_nanousd; /* most that this request may spend; < 0: no limit */
    int pin;               /* the one arm to ask (pins, holdouts), -1: none */
    unsigned final;        /* OBJECTIVE: bits of arms whose answer is served, whatever it says */
    bool explore;          /* false: no choice is left to chance */
    uint64_t seed;         /* of the request's id */
};

enum plan_verb { PLAN_ASK, PLAN_SERVE, PLAN_FAIL };
struct plan_step {
    enum plan_verb verb;
    int arm; /* -1 with PLAN_FAIL */
};

/* What validators said of the answer. */
enum plan_verdict { PLAN_UNCHECKED, PLAN_PASSED, PLAN_REFUTED };

/* Why a step was taken. */
enum plan_reason {
    PLAN_FIRST, /* the first arm */
    PLAN_PINNED,
    PLAN_FELL_BACK, /* an arm failed to answer */
    PLAN_ESCALATED, /* the best answer so far is worth less than trying on */
    PLAN_ACCEPTED,  /* good enough */
    PLAN_EXHAUSTED, /* no arm is left that may be asked: the best answer */
    PLAN_EXPLORED,  /* drawn at random against the better judgement */
    PLAN_NO_ANSWER
};
const char *plan_reason_name(enum plan_reason r);

/* One decision as it was taken. chosen -1: to serve (stop). */
struct plan_choice {
    int chosen;
    enum plan_reason reason;
    int stage;                   /* tally_stage of best_p: where a chosen arm's answer counts */
    double best_p;               /* the best chance in hand, < 0: none */
    unsigned allowed;            /* candidates */
    double index[PANDORA_BOXES]; /* of candidates, OBJECTIVE; ACCEPT: their thresholds */
    uint32_t propensity[PANDORA_BOXES]; /* of candidates, in 1/BELIEFS_UNIT */
    uint32_t stop_propensity;
};

/* What is written to the ledger. */
struct plan_log {
    double v;
    double expected; /* success of requests of this class as decided now, OBJECTIVE; else -1 */
    int count;
    struct plan_choice choice[PANDORA_BOXES + 3]; /* each arm once, one again, and the stops */
};

struct plan {
    struct plan_log log;
    /* private */
    struct plan_question q;
    struct rng rng;
    double v;       /* what a success is worth to this request */
    int bold_arm;   /* that is asked first where nothing is in doubt; -1: nothing is put aside */
    uint32_t bold;  /* of its propensity: of requests that are decided so */
    unsigned asked; /* answered, failed, or under way */
    unsigned answered;
    int arm;      /* under way */
    int last;     /* that answered, -1 */
    int best;     /* answer in hand, -1 */
    int tried;    /* the first arm, when it was drawn; -1 */
    double trust; /* by how much the best index was above its own */
    double best_p;
    double spent_nanousd;
    double cost[PANDORA_BOXES]; /* with latency's price */
    double odds[PANDORA_BOXES]; /* exp(shift) */
    double p[PANDORA_BOXES];    /* of answers that came */
    bool refuted[PANDORA_BOXES];
};

struct plan_step plan_begin(struct plan *p, const struct plan_question *q);
/* The arm under way answered. score: of its scorer, 0..1, or NAN; cost_nanousd: what it came to. */
void plan_answer(struct plan *p, double score, enum plan_verdict verdict, double cost_nanousd);
/* The arm under way gave no answer. */
void plan_failed(struct plan *p, double cost_nanousd);
/* The arm's answer is not there any more (a stream that was cancelled before its end): it cannot be
 * served. */
void plan_drop(struct plan *p, int arm);
/* The step just given was another one: of the same choice that arm was asked, as a log says. For
 * replays of logged paths. arm: allowed there and not asked before. */
void plan_take(struct plan *p, int arm);
/* Asks such an arm once more, when no other is left. */
void plan_ask_again(struct plan *p, int arm);
/* allowed: as of now (the deadline moves, breakers open). */
struct plan_step plan_next(struct plan *p, unsigned allowed);

/* The calibrated chance that an arm's answer is a success; < 0: it has none. */
double plan_chance(const struct plan *p, int arm);
/* Renews an arm's expected cost after an answer told more (its length, the cache). */
void plan_set_cost(struct plan *p, int arm, double cost_nanousd);

#endif
