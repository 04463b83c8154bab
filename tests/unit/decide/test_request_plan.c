/* Requests' ways through their arms, on beliefs built from counters. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "router/decide/beliefs_way.h"
#include "router/decide/plan.h"

enum { ARMS = 3 };

/* A world in which the cheap arm's score tells good answers from bad ones, the middle one's does
 * not, and the dear one is nearly always right. */
struct world {
    struct tally_view slow[ARMS];
    struct beliefs *beliefs;
    const struct beliefs_context *context;
};

static void answers(struct tally_view *v, int bin, double n, double success, double cost)
{
    v->x[tally_answers(0, bin)] += n;
    v->x[tally_label(TALLY_EXPLICIT, true, false, bin)] += 1000 * n * success;
    v->x[tally_label(TALLY_EXPLICIT, false, false, bin)] += 1000 * n * (1 - success);
    v->x[TALLY_ASKED] += n;
    v->x[TALLY_FIRST] += n;
    v->x[TALLY_COST_NANOUSD] += n * cost;
    v->x[TALLY_COST_SQUARE] += n * cost * cost / 1e6;
}

static void build(struct world *w, const struct beliefs_objective *o, double cap)
{
    const struct beliefs_arm_in arms[ARMS] = {{"small", 1000, 1, true, NULL, 0},
                                              {"middle", 5000, 1, true, NULL, 0},
                                              {"big", 20000, cap, true, NULL, 0}};
    const struct tally_view *slow[ARMS] = {&w->slow[0], &w->slow[1], &w->slow[2]};
    const struct beliefs_class_in class = {"", slow, NULL};
    const struct beliefs_route_in route = {"r", *o, arms, ARMS, &class, 1, NULL};

    w->beliefs = beliefs_build(&(struct beliefs_in){&route, 1, tally_trust_default, 1, 0});
    w->context = beliefs_find(w->beliefs, SLICE("r"), SLICE("anything"));
    assert_non_null(w->context);
}

static void world_init(struct world *w, const struct beliefs_objective *o, double cap)
{
    memset(w, 0, sizeof *w);
    answers(&w->slow[0], 11, 600, 0.97, 1000);
    answers(&w->slow[0], 1, 400, 0.1, 1000);
    answers(&w->slow[1], 5, 1000, 0.7, 5000);
    answers(&w->slow[2], 11, 1000, 0.95, 20000);
    build(w, o, cap);
}

static struct plan_question question(const struct world *w)
{
    return (struct plan_question){.mode = PLAN_OBJECTIVE,
                                  .arms = ARMS,
                                  .allowed = 7,
                                  .beliefs = w->context,
                                  .budget_nanousd = -1,
                                  .pin = -1};
}

static struct beliefs_objective worth(double failure_price)
{
    struct beliefs_objective o = beliefs_objective_default;

    o.price.failure_price_nanousd = failure_price;
    return o;
}

static void good_enough_stops_and_poor_escalates(void **state)
{
    struct beliefs_objective o = worth(100000);
    struct world w;
    struct plan p;

    (void)state;
    world_init(&w, &o, 1);
    struct plan_question q = question(&w);
    struct plan_step s = plan_begin(&p, &q);
    assert_int_equal(s.verb, PLAN_ASK);
    assert_int_equal(s.arm, 0);
    plan_answer(&p, 0.99, PLAN_UNCHECKED, 1000);
    assert_true(plan_chance(&p, 0) > 0.9);
    s = plan_next(&p, ~0u);
    assert_int_equal(s.verb, PLAN_SERVE);
    assert_int_equal(s.arm, 0);
    assert_int_equal(p.log.choice[1].reason, PLAN_ACCEPTED);

    plan_begin(&p, &q);
    plan_answer(&p, 0.15, PLAN_UNCHECKED, 1000);
    s = plan_next(&p, ~0u);
    assert_int_equal(s.verb, PLAN_ASK);
    assert_int_equal(s.arm, 2);
    assert_int_equal(p.log.choice[1].reason, PLAN_ESCALATED);
    /* the big one's answer is poor too: the better of the two is served */
    plan_answer(&p, 0.99, PLAN_REFUTED, 20000);
    s = plan_next(&p, 0);
    assert_int_equal(s.verb, PLAN_SERVE);
    assert_int_equal(s.arm, 0);
    assert_int_equal(p.log.choice[2].reason, PLAN_EXHAUSTED);
    assert_true(plan_chance(&p, 2) == 0);
    beliefs_unref(w.beliefs);
}

static void a_failed_arm_is_replaced(void **state)
{
    struct beliefs_objective o = worth(100000);
    struct world w;
    struct plan p;

    (void)state;
    world_init(&w, &o, 1);
    struct plan_question q = question(&w);
    unsigned asked = 0;
    struct plan_step s = plan_begin(&p, &q);
    for (int i = 0; i < ARMS; i++) {
        assert_int_equal(s.verb, PLAN_ASK);
        assert_false(asked & 1u << s.arm);
        asked |= 1u << s.arm;
        plan_failed(&p, 0);
        s = plan_next(&p, ~0u);
    }
    assert_int_equal(s.verb, PLAN_FAIL);
    assert_int_equal(p.log.choice[ARMS].reason, PLAN_NO_ANSWER);
    beliefs_unref(w.beliefs);
}

/* Streams that were cancelled before their end: their answers are gone, but may be had again. */
static void a_dropped_answer_is_not_served(void **state)
{
    static const double accept[ARMS] = {0.9, 0.9, 0.9};
    struct plan_question q = {.mode = PLAN_ACCEPT,
                              .arms = ARMS,
                              .allowed = 7,
                              .accept = accept,
                              .budget_nanousd = -1,
                              .pin = -1};
    struct plan p;

    (void)state;
    assert_int_equal(plan_begin(&p, &q).arm, 0);
    plan_answer(&p, 0.8, PLAN_UNCHECKED, 1);
    assert_int_equal(plan_next(&p, ~0u).arm, 1);
    plan_drop(&p, 0);
    plan_answer(&p, 0.5, PLAN_UNCHECKED, 1);
    assert_int_equal(plan_next(&p, ~0u).arm, 2);
    plan_failed(&p, 1);
    struct plan_step s = plan_next(&p, ~0u);
    assert_int_equal(s.verb, PLAN_SERVE);
    assert_int_equal(s.arm, 1); /* 0 was better, and is gone */
    assert_true(plan_chance(&p, 0) == 0.8);

    plan_begin(&p, &q);
    plan_answer(&p, 0.8, PLAN_UNCHECKED, 1);
    plan_next(&p, ~0u);
    plan_drop(&p, 0);
    plan_failed(&p, 1);
    plan_next(&p, ~0u);
    plan_failed(&p, 1);
    assert_int_equal(plan_next(&p, ~0u).verb, PLAN_FAIL);
    plan_ask_again(&p, 0);
    plan_answer(&p, 0.7, PLAN_UNCHECKED, 1);
    s = plan_next(&p, ~0u);
    assert_int_equal(s.verb, PLAN_SERVE);
    assert_int_equal(s.arm, 0);
}

/* Each answer is held against its own arm's threshold. */
static void a_lower_threshold_takes_a_worse_answer(void **state)
{
    static const double accept[ARMS] = {0.9, 0.6, 0.5};
    struct plan_question q = {.mode = PLAN_ACCEPT,
                              .arms = ARMS,
                              .allowed = 7,
                              .accept = accept,
                              .budget_nanousd = -1,
                              .pin = -1};
    struct plan p;
    struct plan_step s;

    (void)state;
    plan_begin(&p, &q);
    plan_answer(&p, 0.8, PLAN_UNCHECKED, 1);
    assert_int_equal(plan_next(&p, ~0u).arm, 1);
    plan_answer(&p, 0.65, PLAN_UNCHECKED, 1);
    s = plan_next(&p, ~0u);
    assert_int_equal(s.verb, PLAN_SERVE);
    assert_int_equal(s.arm, 1);
}

static void pins_masks_and_budgets_hold(void **state)
{
    struct beliefs_objective o = worth(1e9);
    struct world w;
    struct plan p;

    (void)state;
    world_init(&w, &o, 1);
    struct plan_question q = question(&w);
    q.pin = 1;
    q.explore = true;
    assert_int_equal(plan_begin(&p, &q).arm, 1);
    assert_int_equal(p.log.choice[0].propensity[1], BELIEFS_UNIT);
    plan_answer(&p, 0.01, PLAN_UNCHECKED, 5000);
    assert_int_equal(plan_next(&p, ~0u).verb, PLAN_SERVE);

    q = question(&w);
    q.allowed = 2;
    assert_int_equal(plan_begin(&p, &q).arm, 1);
    q.allowed = 0;
    assert_int_equal(plan_begin(&p, &q).verb, PLAN_FAIL);

    q = question(&w);
    q.budget_nanousd = 7000; /* not the big one, not after the others */
    assert_int_not_equal(plan_begin(&p, &q).arm, 2);
    plan_answer(&p, 0.01, PLAN_UNCHECKED, 6900);
    assert_int_equal(plan_next(&p, ~0u).verb, PLAN_SERVE);
    q.budget_nanousd = 1; /* somebody is waiting: the cheapest */
    assert_int_equal(plan_begin(&p, &q).arm, 0);
    beliefs_unref(w.beliefs);
}

static void the_same_seed_decides_the_same(void **state)
{
    struct beliefs_objective o = worth(30000);
    struct world w;
    struct plan a, b;
    double share[ARMS + 1] = {0}, propensity[ARMS] = {0};
    enum { RUNS = 20000 };

    (void)state;
    o.explore = 0.3;
    o.explore_spend = 1;
    o.flip = 0.1;
    world_init(&w, &o, 1);
    struct plan_question q = question(&w);
    q.explore = true;
    for (int i = 0; i < RUNS; i++) {
        q.seed = (uint64_t)i;
        struct plan_step s = plan_begin(&a, &q);
        assert_int_equal(s.arm, plan_begin(&b, &q).arm);
        share[s.arm] += 1.0 / RUNS;
        uint32_t sum = 0;
        for (int j = 0; j < ARMS; j++) {
            sum += a.log.choice[0].propensity[j];
            propensity[j] = a.log.choice[0].propensity[j] / (double)BELIEFS_UNIT;
        }
        assert_int_equal(sum, BELIEFS_UNIT);
        plan_answer(&a, 0.99, PLAN_UNCHECKED, 1000);
        plan_answer(&b, 0.99, PLAN_UNCHECKED, 1000);
        struct plan_step x = plan_next(&a, ~0u), y = plan_next(&b, ~0u);
        assert_int_equal(x.verb, y.verb);
        assert_int_equal(x.arm, y.arm);
        sum = a.log.choice[1].stop_propensity;
        for (int j = 0; j < ARMS; j++)
            sum += a.log.choice[1].propensity[j];
        assert_int_equal(sum, BELIEFS_UNIT);
    }
    /* what was logged is what happens: within five standard errors */
    for (int j = 0; j < ARMS; j++) {
        assert_true(propensity[j] >= 0.0999);
        assert_true(fabs(share[j] - propensity[j]) < 5 * sqrt(0.25 / RUNS));
    }
    beliefs_unref(w.beliefs);
}

/* Of 200 requests, those that begin with the middle arm, of which nothing is known and which is
 * dearer than the small one. *served: how many of its answers are. */
static int tried_of(double share, int *served)
{
    struct beliefs_objective o = worth(100000);
    struct world w;
    struct plan p;
    int tried = 0;

    o.explore = 0;
    o.cold_share = share;
    o.explore_spend = 1;
    o.flip = 0;
    memset(&w, 0, sizeof w);
    answers(&w.slow[0], 5, 1000, 0.9, 1000);
    answers(&w.slow[2], 5, 1000, 0.9, 20000);
    build(&w, &o, 1);
    struct plan_question q = question(&w);
    q.explore = true;
    *served = 0;
    for (q.seed = 0; q.seed < 200; q.seed++)
        if (plan_begin(&p, &q).arm == 1) {
            plan_answer(&p, 0.6, PLAN_UNCHECKED, 5000);
            *served += plan_next(&p, ~0u).verb == PLAN_SERVE;
            tried++;
        }
    beliefs_unref(w.beliefs);
    return tried;
}

/* Where the posterior draws an unknown arm its answers are served: they get labels. */
static void what_is_drawn_is_served(void **state)
{
    int served, tried = tried_of(0, &served);

    (void)state;
    assert_true(tried > 10);
    assert_int_equal(served, tried);
}

/* Exploration's share asks without any belief that the arm were the best: its answers are held
 * against the others. */
static void what_exploration_asks_is_compared(void **state)
{
    int served, tried = tried_of(0.3, &served);

    (void)state;
    assert_true(tried > 30);
    assert_int_equal(served, 0);
}

/* Two arms whose scores tell nothing: the propensity of the small one, which may be the better one
 * for all that is known, but after which the big one would be asked by what is believed. */
static uint32_t drawn_in_vain(const struct beliefs_objective *how, double labels, double cap,
                              unsigned final, double budget)
{
    struct beliefs_objective o = *how;
    struct world w;
    struct plan p;

    o.flip = o.cold_share = 0;
    o.explore_spend = 1;
    memset(&w, 0, sizeof w);
    answers(&w.slow[0], 5, labels, 0.7, 1000);
    answers(&w.slow[2], 5, labels, 0.9, 20000);
    /* and as good after another answer */
    for (int good = 0; good < 2; good++)
        w.slow[2].x[tally_label(TALLY_EXPLICIT, good, true, 5)] = 1000 * (good ? 90 : 10);
    for (int stage = 1; stage < TALLY_STAGES; stage++)
        w.slow[2].x[tally_answers(stage, 5)] = 100;
    build(&w, &o, cap);
    struct plan_question q = question(&w);
    q.allowed = 5;
    q.explore = true;
    q.final = final;
    q.budget_nanousd = budget;
    plan_begin(&p, &q);
    uint32_t small = p.log.choice[0].propensity[0], big = p.log.choice[0].propensity[2];
    assert_int_equal(small + big, BELIEFS_UNIT);
    assert_true(p.log.choice[0].index[2] > p.log.choice[0].index[0]);
    assert_false(w.context->arm[0].informative);
    beliefs_unref(w.beliefs);
    return small;
}

static void nothing_is_drawn_in_vain(void **state)
{
    struct beliefs_objective o = worth(250000);

    (void)state;
    o.explore = 0;
    assert_int_equal(drawn_in_vain(&o, 30, 1, 0, -1), 0);
    /* where its answer may be served it is drawn, and gets a label */
    assert_true(drawn_in_vain(&o, 30, 1, 1, -1) > BELIEFS_UNIT / 64);
    assert_int_equal(drawn_in_vain(&o, 30, 1, 4, -1), 0);
    assert_true(drawn_in_vain(&o, 30, 1, 0, 20500) > BELIEFS_UNIT / 64); /* money for one alone */
    assert_int_equal(drawn_in_vain(&o, 30, 1, 0, 30000), 0);
    assert_true(drawn_in_vain(&o, 10, 1, 0, -1) > BELIEFS_UNIT / 64); /* little known: served */
    assert_true(drawn_in_vain(&o, 30, 0.25, 0, -1) >= BELIEFS_UNIT / 4 * 3); /* caps hold */
    o.explore = 0.2; /* a third of exploration's share is left to each arm */
    assert_int_equal(drawn_in_vain(&o, 30, 1, 0, -1),
                     (uint32_t)((double)(float)(0.2 / 3) * BELIEFS_UNIT));
}

/* The first and then the second arm answer with these scores, and no third may be asked: which is
 * served? */
static int served_of_two(const struct world *w, const int arm[2], const double score[2],
                         enum plan_verdict second)
{
    struct plan_question q = question(w);
    struct plan_step s;
    struct plan p;

    q.allowed = 1u << arm[0];
    assert_int_equal(plan_begin(&p, &q).arm, arm[0]);
    plan_answer(&p, score[0], PLAN_UNCHECKED, 1);
    p.q.allowed |= 1u << arm[1];
    s = plan_next(&p, ~0u);
    assert_int_equal(s.verb, PLAN_ASK);
    assert_int_equal(s.arm, arm[1]);
    plan_answer(&p, score[1], second, 1);
    s = plan_next(&p, 0);
    assert_int_equal(s.verb, PLAN_SERVE);
    return s.arm;
}

/* Three arms whose answers, first or later, rise by six points in a hundred from bin to bin. */
/* A middle arm that would do, of which too little is known to be sure. Most requests do not end
 * with it; those of the bold share do, at the price that it has without doubt, and what they are
 * asked is part of the propensities. */
static void doubt_is_put_aside_now_and_then(void **state)
{
    enum { RUNS = 4000 };
    struct beliefs_objective o = beliefs_objective_default;
    struct world w = {0};
    struct plan p;
    double asked[ARMS] = {0}, told[ARMS] = {0}, bold = 0, served = 0;

    (void)state;
    o.price.floor = 0.7;
    answers(&w.slow[0], 5, 1000, 0.3, 1000);
    answers(&w.slow[1], 5, 18, 0.8, 5000);
    answers(&w.slow[2], 5, 1000, 0.95, 20000);
    build(&w, &o, 1);
    const struct price *price = &w.context->price;
    assert_true(price->bold < price->v / 2 && price->bold_share > 0.1 && price->bold_share < 0.9);
    for (int run = 0; run < RUNS; run++) {
        struct plan_question q = question(&w);
        q.explore = true;
        q.seed = (uint64_t)run;
        struct plan_step s = plan_begin(&p, &q);
        uint32_t all = 0;
        for (int j = 0; j < ARMS; j++) {
            told[j] += (double)p.log.choice[0].propensity[j] / BELIEFS_UNIT / RUNS;
            all += p.log.choice[0].propensity[j];
        }
        assert_int_equal(all, BELIEFS_UNIT);
        asked[s.arm] += 1.0 / RUNS;
        for (; s.verb == PLAN_ASK; s = plan_next(&p, ~0u))
            plan_answer(&p, 0.6, PLAN_UNCHECKED, 0);
        assert_true(p.log.v == price->v || p.log.v == price->bold);
        bold += (p.log.v == price->bold) * 1.0 / RUNS;
        served += (s.arm == 1) * 1.0 / RUNS;
        if (p.log.v == price->bold)
            assert_int_equal(p.log.choice[0].chosen, 1);
    }
    /* a log has the big one asked first: such a request was none of the bold ones */
    for (int run = 0; run < 200; run++) {
        struct plan_question q = question(&w);
        q.explore = true;
        q.seed = (uint64_t)run;
        plan_begin(&p, &q);
        plan_take(&p, 2);
        assert_true(p.log.v == price->v);
    }
    assert_true(fabs(bold - price->bold_share) < 0.05);
    assert_true(served > 0.8 * bold && served < bold + 0.3);
    for (int j = 0; j < ARMS; j++)
        assert_true(fabs(asked[j] - told[j]) < 0.03);
    beliefs_unref(w.beliefs);
}

static void alike(struct world *w)
{
    memset(w, 0, sizeof *w);
    for (int j = 0; j < ARMS; j++)
        for (int bin = 0; bin < TALLY_BINS; bin++) {
            double success = 0.3 + 0.06 * bin;
            answers(&w->slow[j], bin, 1000, success, 1000 * (1 + j));
            for (int good = 0; good < 2; good++)
                w->slow[j].x[tally_label(TALLY_EXPLICIT, good, true, bin)] +=
                    1e6 * (good ? success : 1 - success);
        }
}

static void of_two_close_answers_the_dearer_arms_is_served(void **state)
{
    struct beliefs_objective o = worth(1e9);
    const int up[2] = {0, 2}, down[2] = {2, 0};
    const double close[2] = {0.85, 0.8}, far[2] = {0.92, 0.05}; /* bins 7 and 6, 8 and 0 */
    struct world w;
    double lower;

    (void)state;
    alike(&w);
    build(&w, &o, 1);
    lower = w.context->arm[0].tempered[0][7] - w.context->arm[2].tempered[1][6];
    assert_true(lower > 0.001 && lower < 0.05);
    assert_true(w.context->arm[0].tempered[0][8] - w.context->arm[2].tempered[1][0] > 0.08);
    assert_int_equal(served_of_two(&w, up, close, PLAN_UNCHECKED), 2);
    assert_int_equal(served_of_two(&w, down, close, PLAN_UNCHECKED), 2);
    assert_int_equal(served_of_two(&w, up, far, PLAN_UNCHECKED), 0);
    assert_int_equal(served_of_two(&w, up, close, PLAN_REFUTED), 0);
    beliefs_unref(w.beliefs);
}

static void order_and_thresholds_keep_the_written_order(void **state)
{
    const double accept[ARMS] = {0.8, 0.8, 0};
    struct plan_question q = {.mode = PLAN_ACCEPT,
                              .arms = ARMS,
                              .allowed = 7,
                              .accept = accept,
                              .budget_nanousd = -1,
                              .pin = -1};
    struct plan p;
    struct plan_step s;

    (void)state;
    assert_int_equal(plan_begin(&p, &q).arm, 0);
    plan_answer(&p, 0.6, PLAN_UNCHECKED, 1);
    assert_int_equal(plan_next(&p, ~0u).arm, 1);
    plan_answer(&p, 0.5, PLAN_UNCHECKED, 1);
    s = plan_next(&p, 3); /* the third may not be asked any more */
    assert_int_equal(s.verb, PLAN_SERVE);
    assert_int_equal(s.arm, 0); /* recall: the first was better */

    assert_int_equal(plan_begin(&p, &q).arm, 0);
    plan_answer(&p, 0.95, PLAN_REFUTED, 1);
    assert_int_equal(plan_next(&p, ~0u).arm, 1);
    plan_answer(&p, 0.81, PLAN_PASSED, 1);
    s = plan_next(&p, ~0u);
    assert_int_equal(s.verb, PLAN_SERVE);
    assert_int_equal(s.arm, 1);

    q.mode = PLAN_ORDER;
    assert_int_equal(plan_begin(&p, &q).arm, 0);
    plan_failed(&p, 0);
    s = plan_next(&p, ~0u);
    assert_int_equal(s.arm, 1);
    assert_int_equal(p.log.choice[1].reason, PLAN_FELL_BACK);
    plan_answer(&p, (double)NAN, PLAN_UNCHECKED, 1);
    assert_int_equal(plan_next(&p, ~0u).verb, PLAN_SERVE);
}

static void an_easy_query_stays_with_the_small_one(void **state)
{
    struct beliefs_objective o = worth(100000);
    struct world w;
    struct plan p;
    double easy[ARMS] = {3, 0, 0}, hard[ARMS] = {-6, 0, 0}, dear[ARMS] = {1e6, 5000, 20000};

    (void)state;
    world_init(&w, &o, 1);
    struct plan_question q = question(&w);
    q.shift = easy;
    assert_int_equal(plan_begin(&p, &q).arm, 0);
    q.shift = hard;
    assert_int_not_equal(plan_begin(&p, &q).arm, 0);
    q.shift = NULL;
    q.cost_nanousd = dear; /* this request has a very long prompt for it */
    assert_int_not_equal(plan_begin(&p, &q).arm, 0);
    beliefs_unref(w.beliefs);
}

/* The small arm's share of the first choice had its draws been moved in log-odds, one by one: its
 * score says nothing, so that a draw is v p - cost. */
static double exact_share(const struct beliefs_context *c, double shift)
{
    double v = c->price.v, cost = c->arm[0].cost_nanousd, won = 0;

    for (int d = 0; d < BELIEFS_DRAWS; d++) {
        double p = ((double)c->draw[d][0] + cost) / v, odds = p / (1 - p) * exp(shift);
        won += v * odds / (1 + odds) - cost > (double)c->draw[d][2];
    }
    return won / BELIEFS_DRAWS;
}

/* Little is known of the small arm, and all of the big one, which succeeds as often as the small
 * one does on a question that is somewhat easier than that: from there on, doubt shrinks. */
static void a_shift_moves_draws_in_log_odds(void **state)
{
    struct beliefs_objective o = worth(100000);
    struct world w;
    struct plan p;
    double shift[ARMS] = {0}, apart = 0;

    (void)state;
    o.explore = o.cold_share = o.flip = 0;
    memset(&w, 0, sizeof w);
    answers(&w.slow[0], 5, 12, 0.5, 1000);
    w.slow[0].x[TALLY_ASKED] = 1000; /* what it costs is known */
    w.slow[0].x[TALLY_COST_NANOUSD] = 1000 * 1000;
    w.slow[0].x[TALLY_COST_SQUARE] = 1000;
    answers(&w.slow[2], 5, 100000, 0.88, 5000);
    build(&w, &o, 1);
    assert_false(w.context->arm[0].informative);
    struct plan_question q = question(&w);
    q.allowed = 5;
    q.explore = true;
    q.final = ~0u; /* all draws, as they are */
    q.shift = shift;
    for (shift[0] = -3; shift[0] <= 3; shift[0] += 0.25) {
        plan_begin(&p, &q);
        const struct plan_choice *c = &p.log.choice[0];
        double share = (double)c->propensity[0] / BELIEFS_UNIT, moved[PANDORA_BOXES];
        uint32_t as_before[PANDORA_BOXES];
        assert_true(fabs(share - exact_share(w.context, shift[0])) < 1.5 / BELIEFS_DRAWS);
        memcpy(moved, c->index, sizeof moved);
        beliefs_propensities(w.context, moved, NULL, 5, true, as_before);
        apart = fmax(apart, fabs(share - (double)as_before[0] / BELIEFS_UNIT));
    }
    assert_true(apart > 0.1); /* what the class's own spread would have made of it */
    beliefs_unref(w.beliefs);
}

/* Where nothing is foreseen, the same bits come out as where nobody was asked. */
static void no_shift_changes_nothing(void **state)
{
    struct beliefs_objective o = worth(30000);
    const double none[ARMS] = {0};
    struct beliefs_way way;
    struct world w;
    struct plan a, b;

    (void)state;
    world_init(&w, &o, 1);
    beliefs_way(w.context, &way);
    struct plan_question q = question(&w);
    q.explore = true;
    for (q.seed = 0; q.seed < 500; q.seed++) {
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        q.shift = NULL;
        struct plan_step x = plan_begin(&a, &q);
        q.shift = none;
        struct plan_step y = plan_begin(&b, &q);
        while (x.verb == PLAN_ASK) {
            plan_answer(&a, 0.3, PLAN_UNCHECKED, 1000);
            plan_answer(&b, 0.3, PLAN_UNCHECKED, 1000);
            assert_int_equal(x.arm, y.arm);
            x = plan_next(&a, ~0u);
            y = plan_next(&b, ~0u);
        }
        assert_int_equal(x.arm, y.arm);
        assert_memory_equal(&a.log, &b.log, sizeof a.log);
        for (int j = 0; j < ARMS; j++)
            assert_true(a.log.choice[0].propensity[j] == way.first[j] * BELIEFS_UNIT);
    }
    beliefs_unref(w.beliefs);
}

/* A bin of the arm's answers at that stage, as likely as it is believed to be. */
static int random_bin(const struct beliefs_arm *a, int stage, struct rng *rng)
{
    double u = rng_unit(rng);
    int b = 0;

    while (b + 1 < TALLY_BINS && (u -= a->share[stage][b]) >= 0)
        b++;
    return b;
}

/* One request on answers as they are believed to be, to its end. */
static void walk(struct plan *p, const struct plan_question *q, struct rng *rng)
{
    struct plan_step s;

    for (s = plan_begin(p, q); s.verb == PLAN_ASK; s = plan_next(p, ~0u)) {
        const struct beliefs_arm *a = &q->beliefs->arm[s.arm];
        int stage = p->log.choice[p->log.count - 1].stage;
        plan_answer(p, curve_middle(random_bin(a, stage, rng)), PLAN_UNCHECKED, a->cost_nanousd);
    }
    assert_int_equal(s.verb, PLAN_SERVE);
}

/* What is said of a class beforehand is what requests then do. */
static void the_way_is_the_one_that_is_gone(void **state)
{
    enum { RUNS = 20000 };
    struct beliefs_objective o = worth(100000);
    struct beliefs_way way;
    double asked[ARMS] = {0}, all = 0, enough = 1;
    struct world w;
    struct plan p;
    struct rng rng;

    (void)state;
    world_init(&w, &o, 1);
    struct plan_question q = question(&w);
    rng_seed(&rng, 5);
    for (int i = 0; i < RUNS; i++) {
        walk(&p, &q, &rng);
        for (int j = 0; j < ARMS; j++)
            asked[j] += (p.asked >> j & 1) * 1.0 / RUNS;
        if (p.log.count == 2) /* the first answer was enough */
            enough = fmin(enough, p.log.choice[1].best_p);
    }
    beliefs_way(w.context, &way);
    assert_true(way.step[0].asked == 1 && way.step[1].asked > 0.2 && way.step[1].asked < 0.8);
    for (int i = 0; i < ARMS; i++) {
        const struct beliefs_way_step *s = &way.step[i];
        assert_true(fabs(s->asked - asked[s->arm]) < 5 * sqrt(0.25 / RUNS));
        assert_true(i == 0 || w.context->arm[s->arm].index <= w.context->arm[s[-1].arm].index);
        all += way.first[i];
    }
    assert_true(fabs(all - 1) < 1e-9);
    assert_true(way.step[0].enough > 0 && way.step[0].enough <= enough);
    assert_true(way.step[ARMS - 1].enough == 0);
    assert_true(way.bold_share == 0 && way.success == w.context->outlook.success);
    beliefs_unref(w.beliefs);
}

/* Requests of one price that begin with the best by its index, as many as came. */
struct gone {
    double asked[ARMS], success, cost, runs, enough;
};

static void add_gone(struct gone *g, const struct plan *p)
{
    for (int j = 0; j < ARMS; j++)
        g->asked[j] += p->asked >> j & 1;
    g->success += p->best_p;
    g->cost += p->spent_nanousd;
    g->runs++;
    if (p->log.count == 2)
        g->enough = fmin(g->enough, p->log.choice[1].best_p);
}

/* Of all requests, from those of both prices. */
static double of_both(double careful, double bold, double share)
{
    return (1 - share) * careful + share * bold;
}

/* What is shown of a class, of which a share of the requests is decided as if nothing were in
 * doubt, against what its requests do. *success, *cost: of these, but for what is explored. */
static void hold_shown_against_done(const struct world *w, struct beliefs_way *way, double *success,
                                    double *cost)
{
    enum { RUNS = 20000 };
    const struct price *price = &w->context->price;
    struct gone careful = {.enough = 1}, bold = {.enough = 1};
    double first[ARMS] = {0}, error = 5 * sqrt(0.25 / RUNS);
    struct plan_question q = question(w);
    struct plan p;
    struct rng rng;

    assert_true(price->bold_share > 0.1 && price->bold_share < 0.9);
    beliefs_way(w->context, way);
    assert_true(way->bold_share == price->bold_share);
    rng_seed(&rng, 5);
    q.explore = true;
    for (q.seed = 0; q.seed < RUNS; q.seed++) {
        walk(&p, &q, &rng);
        for (int j = 0; j < ARMS; j++)
            assert_true(p.log.choice[0].propensity[j] == way->first[j] * BELIEFS_UNIT);
        int arm = p.log.choice[0].chosen;
        first[arm] += 1.0 / RUNS;
        if (p.log.v == price->bold)
            add_gone(&bold, &p);
        else if (arm == way->step[0].arm)
            add_gone(&careful, &p);
    }
    assert_true(careful.runs > RUNS / 10 && bold.runs > RUNS / 10);
    for (int i = 0; i < ARMS; i++) {
        int arm = way->step[i].arm, next = way->bold[i].arm;
        double asked = of_both(careful.asked[arm] / careful.runs, bold.asked[arm] / bold.runs,
                               way->bold_share);
        assert_true(fabs(first[arm] - way->first[arm]) < error);
        assert_true(fabs(asked - way->step[i].asked) < 2 * error);
        assert_true(fabs(bold.asked[next] / bold.runs - way->bold[i].asked) < 2 * error);
    }
    *success = of_both(careful.success / careful.runs, bold.success / bold.runs, way->bold_share);
    *cost = of_both(careful.cost / careful.runs, bold.cost / bold.runs, way->bold_share);
    assert_true(careful.enough >= way->step[0].enough && bold.enough >= way->bold[0].enough);
    assert_true(way->bold[0].enough < way->step[0].enough);
}

/* As in doubt_is_put_aside_now_and_then: `hopeful` would do, but too little is known of it. */
static void hopeful_or_sure(struct world *w, int hopeful, int sure, double cap)
{
    struct beliefs_objective o = beliefs_objective_default;

    memset(w, 0, sizeof *w);
    o.flip = 0;
    o.price.floor = 0.7;
    answers(&w->slow[0], 5, 1000, 0.3, 1000);
    answers(&w->slow[hopeful], 5, 18, 0.8, 5000);
    answers(&w->slow[sure], 5, 1000, 0.95, 20000);
    build(w, &o, cap);
}

static void what_is_shown_has_the_bold_share_in_it(void **state)
{
    struct beliefs_objective o = beliefs_objective_default;
    const struct pandora_outlook *careful;
    struct beliefs_way way;
    double success, cost;
    struct world w;

    (void)state;
    hopeful_or_sure(&w, 1, 2, 1);
    hold_shown_against_done(&w, &way, &success, &cost);
    careful = &w.context->outlook;
    assert_true(fabs(success - way.success) < 1e-6 && fabs(cost - way.cost_nanousd) < 1e-6 * cost);
    assert_true(way.step[0].arm == 2 && way.bold[0].arm == 1);
    assert_true(way.first[1] > way.bold_share * 0.9 &&
                way.step[0].asked < 1 - way.bold_share * 0.9);
    assert_true(way.success < careful->success - 0.05 && way.cost_nanousd < 0.6 * careful->cost);
    beliefs_unref(w.beliefs);

    /* the hopeful one is a canary: it is no bold request's first */
    hopeful_or_sure(&w, 2, 1, 0.1);
    hold_shown_against_done(&w, &way, &success, &cost);
    assert_true(w.context->arm[2].bold_index > w.context->arm[way.bold[0].arm].bold_index);
    beliefs_unref(w.beliefs);

    /* all begin with the small one, and only a poor answer of it parts them */
    memset(&w, 0, sizeof w);
    o.flip = 0;
    o.price.floor = 0.8;
    answers(&w.slow[0], 11, 600, 0.97, 1000);
    answers(&w.slow[0], 1, 400, 0.1, 1000);
    answers(&w.slow[1], 5, 18, 0.8, 5000);
    answers(&w.slow[2], 5, 1000, 0.95, 20000);
    build(&w, &o, 1);
    hold_shown_against_done(&w, &way, &success, &cost);
    careful = &w.context->outlook;
    assert_true(fabs(success - way.success) < 0.04); /* closed: later answers are as first ones */
    assert_true(fabs(cost - way.cost_nanousd) < 0.02 * cost);
    assert_true(way.step[0].arm == 0 && way.step[1].arm == 2);
    assert_true(way.bold[0].arm == 0 && way.bold[1].arm == 1);
    assert_true(way.cost_nanousd < 0.6 * careful->cost);
    beliefs_unref(w.beliefs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_enough_stops_and_poor_escalates),
        cmocka_unit_test(a_failed_arm_is_replaced),
        cmocka_unit_test(pins_masks_and_budgets_hold),
        cmocka_unit_test(a_dropped_answer_is_not_served),
        cmocka_unit_test(a_lower_threshold_takes_a_worse_answer),
        cmocka_unit_test(the_same_seed_decides_the_same),
        cmocka_unit_test(what_is_drawn_is_served),
        cmocka_unit_test(what_exploration_asks_is_compared),
        cmocka_unit_test(nothing_is_drawn_in_vain),
        cmocka_unit_test(doubt_is_put_aside_now_and_then),
        cmocka_unit_test(of_two_close_answers_the_dearer_arms_is_served),
        cmocka_unit_test(order_and_thresholds_keep_the_written_order),
        cmocka_unit_test(an_easy_query_stays_with_the_small_one),
        cmocka_unit_test(a_shift_moves_draws_in_log_odds),
        cmocka_unit_test(no_shift_changes_nothing),
        cmocka_unit_test(the_way_is_the_one_that_is_gone),
        cmocka_unit_test(what_is_shown_has_the_bold_share_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
