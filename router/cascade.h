/* The models of a route that judges its answers, one after the other: asks the plan
 * (router/decide/plan.h) which goes first and what follows each answer, scores answers for it
 * (router/confidence.h), and keeps the best one that was passed over, so that it can be served
 * after all. Only for routes with `accept` or `objective`; every function here is harmless without.
 *
 * threads: the worker's. Owned by the request; lives in its arena, but for what it keeps. */
#ifndef ROUTER_CASCADE_H
#define ROUTER_CASCADE_H

#include <stdbool.h>
#include "router/decide/plan.h"
#include "base/slice.h"
#include "router/flow.h"

struct answer_signals;
struct cascade;
struct foreseen;
struct request;

/* The route is chosen, its steps are in r->steps. Where answers are judged: makes r->cascade, and
 * says in *l which steps are and which is asked first. */
void cascade_begin(struct request *r, struct flow_limits *l);
void cascade_end(struct request *r);

/* FLOW_JUDGE. true: *ev is what follows. false: validators run elsewhere; request_step gets CHOSEN.
 * A held stream that is passed over has been cancelled and booked. */
bool cascade_judge(struct request *r, struct flow_event *ev);
/* FLOW_CHOOSE: the step that was asked gave no answer. */
struct flow_event cascade_choose(struct request *r);
/* FLOW_RECALL: the answer that was kept is the one at hand again. */
void cascade_recall(struct request *r);

/* The request has left AWAIT_VERDICT: whatever was still asked of the model is cancelled and
 * booked. */
void cascade_stop_sampling(struct request *r);

/* FLOW_END: a stream is whole; what its beginning could not tell is added for the books. */
void cascade_whole(struct request *r);

/* ---- the attempt under way ---- */

/* Another attempt begins: what its answer says of itself is read afresh. */
void cascade_forget_answer(struct request *r);
/* What reads the answer along; NULL: nobody. */
struct answer_signals *cascade_signals(const struct request *r);
/* Is the stream held back until it is judged? */
bool cascade_holds(const struct request *r);

/* ---- for the books ---- */

const struct plan *cascade_plan(const struct request *r);         /* NULL: nothing was planned */
const struct foreseen *cascade_foreseen(const struct request *r); /* NULL: nothing was */
/* Cost of an arm in nano-dollars as estimated from the prompt's length, before what such estimates
 * came to corrects it; 0: it was not, or the length of its answers is not known yet. */
double cascade_foretold(const struct request *r, int arm);
/* Of the beliefs that were decided by; 0: none. */
uint64_t cascade_beliefs_version(const struct request *r);
/* The text of the answer that was served, as it was read along; false: it is not known whole, or it
 * calls tools. Until cascade_end. */
bool cascade_said(const struct request *r, struct slice *out);
bool cascade_is_holdout(const struct request *r); /* only with a plan; so the next */
const char *cascade_arm_model(const struct request *r, int arm);

#endif
