/* Self-consistency: a model that has answered is asked the same again, several times at once, to
 * see whether it says the same again (Wang et al., arXiv 2203.11171; as a gate between models Yue
 * et al., arXiv 2310.03094). Where the server gives several choices for one reading of the prompt
 * they are asked for together (`n`), else each by itself. What they say is compared and thrown
 * away; each call is booked in request->samples, whatever comes of it. A call that fails is a
 * sample less: none is made again.
 *
 * threads: the request's worker. Starting never calls back; `done` comes through the worker's
 * mailbox, and not after sampling_stop. */
#ifndef ROUTER_SAMPLING_H
#define ROUTER_SAMPLING_H

#include "base/money.h"
#include "base/tokens.h"

struct answer_signals;
struct policy_model;
struct request;
struct sampling;

/* How often the model of a step of the cascade is asked the same again, once it has answered whole
 * and, where the policy minds, without log-probabilities. 0: not at all; *why (static) then says
 * what speaks against it in this request, NULL: the policy. */
int sampling_wanted(const struct request *r, int step, const char **why);
/* The same, as far as it can be told before the model is asked. */
int sampling_expected(const struct request *r, int step);
/* What `samples` further answers of the model are expected to cost, if each is like `one`. */
nanousd sampling_cost(const struct request *r, const struct policy_model *m,
                      const struct token_usage *one, int64_t took_us, int samples);

/* The attempt at hand has answered whole; first: what it says, borrowed until done. NULL: nothing
 * could be asked, and *why (static) says why. request->samples has room for two rows a sample. */
struct sampling *sampling_start(struct request *r, const struct answer_signals *first, int samples,
                                void (*done)(struct request *r), const char **why);
/* Cancels what is under way and books it. What was learned so far, and what all of it has cost,
 * is with the attempt that was sampled. NULL is fine. */
void sampling_stop(struct sampling *s);

#endif
