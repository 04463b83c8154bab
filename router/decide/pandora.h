/* Which model to ask next, and when an answer is good enough: Weitzman's reservation indices
 * ("Optimal Search for the Best Alternative", Econometrica 47, 1979; for cascades of language
 * models arXiv 2606.07392). Opening a box means paying for a model's answer; what is in it is the
 * chance that the answer is a success, known only once it is there.
 *
 *   index of a model   the sigma at which asking it would just pay: E[(v p - sigma)+] = cost
 *   the rule           ask the unasked model of the highest index; stop as soon as the best answer
 * so far is worth v p >= every remaining index; return the best answer, not the last
 *
 * v is what one more success is worth, in the unit of the costs. The rule is optimal when the
 * models' chances are independent given the class of the query; routing (one model) and a fixed
 * cascade are special cases of it. Pure; doubles; no allocation. */
#ifndef ROUTER_DECIDE_PANDORA_H
#define ROUTER_DECIDE_PANDORA_H

#include <stdbool.h>

#define PANDORA_BINS  12
#define PANDORA_BOXES 16

/* A model for one class of queries: how often its answers fall into each bin of confidence, and the
 * calibrated chance of success there. */
struct pandora_box {
    double cost;                /* expected, of asking it; > 0 */
    double share[PANDORA_BINS]; /* >= 0, summing to 1 */
    double p[PANDORA_BINS];     /* 0..1, in any order; ascending is fastest */
};

/* sigma; may be negative (not worth asking, even with nothing in hand). */
double pandora_index(const struct pandora_box *b, double v);
/* The same; *chance: the mean chance of the answers that are worth more than sigma, which is
 * d sigma / d v. */
double pandora_index_of(const struct pandora_box *b, double v, double *chance);

/* What the rule does on average, in closed form: U(v) = E[max_j min(v p_j, sigma_j)], and by the
 * envelope theorem success = dU/dv, cost = v success - U. At least one model is asked. */
struct pandora_outlook {
    double utility, success, cost;
    /* By box: how far success hangs on its chances, d success / d (their log-odds) under the same
     * choices: p (1 - p) of its answers that are served, of those accepted unseen at their mean
     * chance, which is rather too much. */
    double at_stake[PANDORA_BOXES];
};
void pandora_expect(const struct pandora_box *boxes, int count, double v,
                    struct pandora_outlook *out);
/* Becomes that of requests of which `share` go the other way. */
void pandora_blend(struct pandora_outlook *o, const struct pandora_outlook *other, double share);

#endif
