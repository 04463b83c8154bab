/* One request's decisions. Runs on the request's worker (and in weir bench, explain and replay);
 * pure. */
#include "router/decide/plan.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* By how much an earlier answer's chance must be the higher one for it to be served when a dearer
 * arm has answered after it. Measured on recorded cascades (tests/bench/decide). */
#define RECALL_MARGIN 0.06

/* What is expected with a larger standard error is no promise, and that it did not come true says
 * nothing of later ones. */
#define PROMISE_ERROR 0.08

const char *plan_reason_name(enum plan_reason r)
{
    static const char *const names[] = {
        [PLAN_FIRST] = "first",         [PLAN_PINNED] = "pinned",
        [PLAN_FELL_BACK] = "fell_back", [PLAN_ESCALATED] = "escalated",
        [PLAN_ACCEPTED] = "accepted",   [PLAN_EXHAUSTED] = "exhausted",
        [PLAN_EXPLORED] = "explored",   [PLAN_NO_ANSWER] = "no_answer",
    };
    return names[r];
}

/* ---- candidates ---- */

static bool affordable(const struct plan *p, int arm)
{
    return p->q.budget_nanousd < 0 || p->spent_nanousd + p->cost[arm] <= p->q.budget_nanousd;
}

/* Arms that may be asked now. The first one is asked even when it is dearer than the budget: if
 * none fits, then the cheapest. */
static unsigned candidates(const struct plan *p, unsigned allowed)
{
    unsigned open = allowed & ~p->asked & ((1u << p->q.arms) - 1), fits = 0;
    int cheapest = -1;

    for (int j = 0; j < p->q.arms; j++) {
        if (!(open & 1u << j))
            continue;
        if (affordable(p, j))
            fits |= 1u << j;
        if (cheapest < 0 || p->cost[j] < p->cost[cheapest])
            cheapest = j;
    }
    if (fits == 0 && p->answered == 0 && cheapest >= 0)
        return 1u << cheapest;
    return fits;
}

static int first_of(unsigned candidates)
{
    return candidates ? __builtin_ctz(candidates) : -1;
}

static double with_odds(double p, double odds)
{
    return p * odds / (1 - p + p * odds);
}

/* The arm as this request sees it: its stage, cost, and how hard the question is. *chance: for
 * beliefs_propensities. */
static double index_of(const struct plan *p, int arm, int stage, double *chance)
{
    const struct beliefs_arm *a = &p->q.beliefs->arm[arm];
    struct pandora_box box;

    beliefs_box(a, stage, p->cost[arm], p->v, &box);
    *chance = -1;
    if (p->odds[arm] == 1)
        return pandora_index(&box, p->v);
    for (int b = 0; b < TALLY_BINS; b++)
        box.p[b] = with_odds(box.p[b], p->odds[arm]);
    return pandora_index_of(&box, p->v, chance);
}

/* ---- taking a step ---- */

static struct plan_choice *new_choice(struct plan *p, unsigned allowed)
{
    struct plan_choice *c = &p->log.choice[p->log.count++];

    assert(p->log.count <= PANDORA_BOXES + 3);
    c->best_p = p->best >= 0 ? p->best_p : -1;
    c->stage = tally_stage(c->best_p);
    c->allowed = allowed;
    c->stop_propensity = 0;
    for (int j = 0; j < p->q.arms; j++) {
        c->index[j] = 0;
        c->propensity[j] = 0;
    }
    return c;
}

static struct plan_step ask(struct plan *p, struct plan_choice *c, int arm, enum plan_reason why)
{
    c->chosen = p->arm = arm;
    c->reason = why;
    p->asked |= 1u << arm;
    return (struct plan_step){PLAN_ASK, arm};
}

static struct plan_step stop(struct plan *p, struct plan_choice *c, enum plan_reason why)
{
    c->chosen = -1;
    c->reason = p->best >= 0 ? why : PLAN_NO_ANSWER;
    return (struct plan_step){p->best >= 0 ? PLAN_SERVE : PLAN_FAIL, p->best};
}

/* Where nothing was left to chance. */
static struct plan_step surely(struct plan *p, struct plan_choice *c, int arm, enum plan_reason why)
{
    if (arm < 0) {
        c->stop_propensity = BELIEFS_UNIT;
        return stop(p, c, why);
    }
    c->propensity[arm] = BELIEFS_UNIT;
    return ask(p, c, arm, why);
}

static int draw_from(struct plan *p, const uint32_t *propensity)
{
    uint64_t at = rng_below(&p->rng, BELIEFS_UNIT);

    for (int j = 0; j < p->q.arms; j++) {
        if (at < propensity[j])
            return j;
        at -= propensity[j];
    }
    assert(!"propensities sum to BELIEFS_UNIT");
    return 0;
}

static int best_index(const struct plan *p, const struct plan_choice *c)
{
    int best = -1;

    for (int j = 0; j < p->q.arms; j++)
        if (c->allowed & 1u << j && (best < 0 || c->index[j] > c->index[best]))
            best = j;
    return best;
}

/* Was the arm drawn because the posterior has it for the best now and then, more than for
 * exploration's share? Only then is there a belief in which it was the best. */
static bool drawn_as_best(const struct plan *p, const struct plan_choice *c, int arm)
{
    double floor = (double)p->q.beliefs->floor_share[arm] * BELIEFS_UNIT;

    return c->propensity[arm] > 2 * floor;
}

/* Is the arm's answer known beforehand not to be served? Its score tells nothing, and by what is
 * believed of it, it will be worth less than asking the best one after it. */
static bool is_asked_in_vain(const struct plan *p, int arm, int best)
{
    const struct beliefs_arm *a = &p->q.beliefs->arm[arm];
    double budget = p->q.budget_nanousd, worth = with_odds(a->success, p->odds[arm]), chance;

    if (a->informative || a->labels < BELIEFS_LITTLE_KNOWN || p->q.final >> arm & 1u ||
        (budget >= 0 && p->cost[arm] + p->cost[best] > budget))
        return false;
    return p->v * worth < index_of(p, best, tally_stage(worth), &chance);
}

/* The posterior draws arms because an answer that is served gets a label. Of one that is asked in
 * vain nothing is learned: the best arm has its draws, and exploration's share is left to it. */
static void draw_none_in_vain(const struct plan *p, struct plan_choice *c)
{
    int best = best_index(p, c);

    if (!p->q.explore || p->q.beliefs->arm[best].cap < 1)
        return;
    for (int j = 0; j < p->q.arms; j++) {
        uint32_t floor = (uint32_t)((double)p->q.beliefs->floor_share[j] * BELIEFS_UNIT);
        if (j == best || c->propensity[j] <= floor || !is_asked_in_vain(p, j, best))
            continue;
        c->propensity[best] += c->propensity[j] - floor;
        c->propensity[j] = floor;
    }
}

/* The best arm if nothing were in doubt. This request's costs and estimates move its indices as
 * they move those at v. */
static int best_boldly(const struct plan *p, const struct plan_choice *c)
{
    double most = -INFINITY, scale = p->q.beliefs->price.bold / p->v;
    int best = -1;

    for (int j = 0; j < p->q.arms; j++) {
        const struct beliefs_arm *a = &p->q.beliefs->arm[j];
        double moved = (c->index[j] - a->index) * (p->odds[j] == 1 ? 1 : scale);
        if (c->allowed & 1u << j && a->cap >= 1 && a->bold_index + moved > most) {
            most = a->bold_index + moved;
            best = j;
        }
    }
    return best;
}

/* Some requests are decided as if nothing were in doubt (price.h), the whole way: without it, what
 * would do is asked first and never served, and nothing more is learned of it. Their choice is part
 * of the propensities. */
static void blend_bold(struct plan *p, struct plan_choice *c)
{
    double share = p->q.explore ? p->q.beliefs->price.bold_share : 0;
    uint32_t left = BELIEFS_UNIT;

    p->bold_arm = share > 0 ? best_boldly(p, c) : -1;
    if (p->bold_arm < 0)
        return;
    for (int j = 0; j < p->q.arms; j++) {
        double explored =
            fmin((double)p->q.beliefs->floor_share[j] * BELIEFS_UNIT, c->propensity[j]);
        c->propensity[j] = (uint32_t)(explored + (1 - share) * (c->propensity[j] - explored));
        left -= c->propensity[j];
    }
    p->bold = left; /* and what rounding down left over */
    c->propensity[p->bold_arm] += left;
}

/* What it means that this arm is the first: whether the request is one of the bold ones, and
 * whether the arm is only tried. */
static void settle_first(struct plan *p, const struct plan_choice *c, int arm)
{
    p->v = p->log.v = p->q.beliefs->price.v;
    p->tried = -1;
    p->trust = 0;
    if (arm == p->bold_arm && rng_below(&p->rng, c->propensity[arm]) < p->bold) {
        p->v = p->log.v = p->q.beliefs->price.bold;
    } else if (p->q.beliefs->arm[arm].labels < BELIEFS_LITTLE_KNOWN && drawn_as_best(p, c, arm)) {
        p->tried = arm;
        p->trust = c->index[best_index(p, c)] - c->index[arm];
    }
}

static struct plan_step first_by_objective(struct plan *p, struct plan_choice *c,
                                           const double *chance)
{
    int arm;

    if (c->allowed == 0)
        return surely(p, c, -1, PLAN_NO_ANSWER);
    beliefs_propensities(p->q.beliefs, c->index, chance, c->allowed, p->q.explore, c->propensity);
    draw_none_in_vain(p, c);
    blend_bold(p, c);
    arm = draw_from(p, c->propensity);
    settle_first(p, c, arm);
    return ask(p, c, arm, PLAN_FIRST);
}

/* What the answer in hand is worth. An arm that was drawn although another's index was better is
 * judged by the belief in which it was the best: else its answers would be paid for, passed over
 * and never get a label, and what is not known of it would stay so. Only where little is known and
 * no score tells the good answers from the others: good ones are served anyway. */
static double worth_in_hand(const struct plan *p)
{
    double trust = p->best == p->tried && !p->refuted[p->best] ? p->trust : 0;

    return p->v * p->best_p + trust;
}

/* Stop or go on: the rule's choice, but for a small share in which all choices are equal. */
static struct plan_step next_by_objective(struct plan *p, struct plan_choice *c)
{
    int best = best_index(p, c), rule, choices = __builtin_popcount(c->allowed) + 1, drawn;
    uint32_t each;

    rule = best >= 0 && worth_in_hand(p) < c->index[best] ? best : -1;
    if (best < 0)
        return surely(p, c, -1, PLAN_EXHAUSTED);
    if (!p->q.explore || p->q.beliefs->flip <= 0)
        return surely(p, c, rule, rule < 0 ? PLAN_ACCEPTED : PLAN_ESCALATED);
    each = (uint32_t)(p->q.beliefs->flip * BELIEFS_UNIT / choices);
    for (int j = 0; j < p->q.arms; j++)
        c->propensity[j] = c->allowed & 1u << j ? each : 0;
    c->stop_propensity = each;
    *(rule < 0 ? &c->stop_propensity : &c->propensity[rule]) +=
        BELIEFS_UNIT - each * (uint32_t)choices;
    drawn = -1;
    uint64_t at = rng_below(&p->rng, BELIEFS_UNIT);
    if (at >= c->stop_propensity) {
        at -= c->stop_propensity;
        for (drawn = 0; at >= c->propensity[drawn]; drawn++)
            at -= c->propensity[drawn];
    }
    enum plan_reason why = drawn != rule ? PLAN_EXPLORED
                           : rule < 0    ? PLAN_ACCEPTED
                                         : PLAN_ESCALATED;
    return drawn < 0 ? stop(p, c, why) : ask(p, c, drawn, why);
}

static struct plan_step by_objective(struct plan *p, unsigned allowed)
{
    struct plan_choice *c = new_choice(p, allowed);
    double chance[PANDORA_BOXES];

    for (int j = 0; j < p->q.arms; j++)
        if (allowed & 1u << j)
            c->index[j] = index_of(p, j, c->stage, &chance[j]);
    return p->best >= 0 ? next_by_objective(p, c) : first_by_objective(p, c, chance);
}

static bool accepted_in_order(const struct plan *p, bool thresholds)
{
    if (p->last < 0)
        return false;
    return !thresholds || (!p->refuted[p->last] && p->p[p->last] >= p->q.accept[p->last]);
}

/* Written order: accepted by the threshold of the arm that answered last (ORDER: any answer). */
static struct plan_step in_order(struct plan *p, unsigned allowed)
{
    struct plan_choice *c = new_choice(p, allowed);
    bool thresholds = p->q.mode == PLAN_ACCEPT;
    int next = first_of(allowed);

    for (int j = 0; thresholds && j < p->q.arms; j++)
        c->index[j] = p->q.accept[j];
    if (p->best >= 0) {
        if (accepted_in_order(p, thresholds)) {
            p->best = p->last;
            return surely(p, c, -1, PLAN_ACCEPTED);
        }
        return surely(p, c, next, next < 0 ? PLAN_EXHAUSTED : PLAN_ESCALATED);
    }
    return surely(p, c, next, p->asked ? PLAN_FELL_BACK : PLAN_FIRST);
}

struct plan_step plan_next(struct plan *p, unsigned allowed)
{
    unsigned open = candidates(p, p->q.allowed & allowed);

    if (p->q.mode != PLAN_OBJECTIVE)
        return in_order(p, open);
    return by_objective(p, open);
}

struct plan_step plan_begin(struct plan *p, const struct plan_question *q)
{
    assert(q->arms >= 1 && q->arms <= PANDORA_BOXES);
    assert(q->mode != PLAN_OBJECTIVE || (q->beliefs && q->beliefs->arms == q->arms));
    assert(q->mode != PLAN_ACCEPT || q->accept);
    p->q = *q;
    p->q.cost_nanousd = p->q.shift = NULL; /* borrowed for this call alone */
    rng_seed(&p->rng, q->seed);
    p->v = p->log.v = q->beliefs ? q->beliefs->price.v : 0;
    p->log.expected = q->mode == PLAN_OBJECTIVE && q->beliefs->price.error < PROMISE_ERROR
                          ? q->beliefs->outlook.success
                          : -1;
    p->log.count = 0;
    p->asked = p->answered = 0;
    p->arm = p->last = p->best = p->tried = p->bold_arm = -1;
    p->trust = 0;
    p->best_p = -1;
    p->spent_nanousd = 0;
    for (int j = 0; j < q->arms; j++) {
        double cost = q->cost_nanousd ? q->cost_nanousd[j]
                      : q->beliefs    ? q->beliefs->arm[j].cost_nanousd
                                      : 0;
        plan_set_cost(p, j, cost);
        p->odds[j] = q->shift && q->shift[j] != 0 ? exp(q->shift[j]) : 1;
        p->p[j] = -1;
        p->refuted[j] = false;
    }
    if (q->pin >= 0 && q->allowed & 1u << q->pin) {
        p->q.allowed = 1u << q->pin;
        return surely(p, new_choice(p, p->q.allowed), q->pin, PLAN_PINNED);
    }
    return plan_next(p, q->allowed);
}

/* ---- what came of it ---- */

/* The chance as calibrated, and as it is compared with others. */
static double chance_of(const struct plan *p, int arm, double score, double *compared)
{
    const struct beliefs_arm *a;
    bool later = p->best >= 0;
    int bin;

    if (!p->q.beliefs)
        return *compared = isnan(score) ? 1 : fmin(fmax(score, 0), 1);
    a = &p->q.beliefs->arm[arm];
    if (isnan(score))
        return *compared = with_odds(a->success, p->odds[arm]);
    bin = curve_bin(score);
    *compared = with_odds(a->tempered[later][bin], p->odds[arm]);
    return with_odds(a->p[later][bin], p->odds[arm]);
}

/* Which of two answers is served: that of the better chance, and of equals the later one: it comes
 * from the arm that was asked because of the earlier one. A dearer arm's is preferred by
 * RECALL_MARGIN: the earlier chance does not know yet that the answers differ, and who takes the
 * higher of two estimates takes the one that is too high (winner's curse). */
static bool replaces_best(const struct plan *p, int arm, double compared)
{
    double margin = 0;

    if (p->best < 0)
        return true;
    if (p->q.mode == PLAN_OBJECTIVE && !p->refuted[arm] && p->cost[arm] > p->cost[p->best])
        margin = RECALL_MARGIN;
    return compared + margin >= p->best_p;
}

void plan_answer(struct plan *p, double score, enum plan_verdict verdict, double cost_nanousd)
{
    int arm = p->arm;
    double compared;

    assert(arm >= 0);
    p->arm = -1;
    p->last = arm;
    p->answered |= 1u << arm;
    p->spent_nanousd += cost_nanousd;
    p->refuted[arm] = verdict == PLAN_REFUTED;
    p->p[arm] = chance_of(p, arm, score, &compared);
    if (p->refuted[arm])
        p->p[arm] = compared = 0;
    if (p->q.mode != PLAN_OBJECTIVE)
        compared = p->p[arm];
    if (replaces_best(p, arm, compared)) {
        p->best = arm;
        p->best_p = compared;
    }
}

void plan_failed(struct plan *p, double cost_nanousd)
{
    assert(p->arm >= 0);
    p->arm = -1;
    p->spent_nanousd += cost_nanousd;
}

void plan_drop(struct plan *p, int arm)
{
    p->answered &= ~(1u << arm);
    p->last = p->last == arm ? -1 : p->last;
    if (p->best != arm)
        return;
    p->best = -1;
    for (int j = 0; j < p->q.arms; j++)
        if (p->answered & 1u << j && (p->best < 0 || p->p[j] >= p->p[p->best]))
            p->best = j;
    p->best_p = p->best >= 0 ? p->p[p->best] : -1;
}

void plan_take(struct plan *p, int arm)
{
    struct plan_choice *c = &p->log.choice[p->log.count - 1];

    if (c->chosen >= 0)
        p->asked &= ~(1u << c->chosen);
    assert(c->allowed & 1u << arm && !(p->asked & 1u << arm));
    if (c->reason == PLAN_FIRST && c->chosen != arm && p->q.mode == PLAN_OBJECTIVE)
        settle_first(p, c, arm);
    (void)ask(p, c, arm, c->reason);
}

void plan_ask_again(struct plan *p, int arm)
{
    assert(p->asked & 1u << arm);
    (void)surely(p, new_choice(p, 1u << arm), arm, PLAN_FELL_BACK);
}

double plan_chance(const struct plan *p, int arm)
{
    return p->p[arm];
}

void plan_set_cost(struct plan *p, int arm, double cost_nanousd)
{
    const struct beliefs_context *c = p->q.beliefs;

    p->cost[arm] = cost_nanousd;
    if (c)
        p->cost[arm] += c->latency_nanousd_per_s * c->arm[arm].latency_ms / 1000;
}
