/* Beliefs: what counters lead to; the price of a success; the same bits from the same counts. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "router/decide/beliefs.h"

enum { ARMS = 2, CLASSES = 3 };

struct world {
    struct tally_view slow[CLASSES][ARMS], fast[CLASSES][ARMS];
    struct beliefs_objective objective;
    double cap;
    bool explorable;
    struct beliefs *beliefs;
};

static void count(struct tally_view *v, int bin, double n, double success, double cost)
{
    v->x[tally_answers(0, bin)] += n;
    v->x[tally_label(TALLY_EXPLICIT, true, false, bin)] += 1000 * n * success;
    v->x[tally_label(TALLY_EXPLICIT, false, false, bin)] += 1000 * n * (1 - success);
    v->x[TALLY_FIRST] += n;
    v->x[TALLY_ASKED] += n;
    v->x[TALLY_COST_NANOUSD] += n * cost;
    v->x[TALLY_COST_SQUARE] += n * cost * cost / 1e6;
}

static void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->objective = beliefs_objective_default;
    w->cap = 1;
    w->explorable = true;
}

static void build(struct world *w)
{
    static const char *const labels[CLASSES] = {"", "easy", "hard"};
    const struct beliefs_arm_in arms[ARMS] = {{"small", 1000, 1, w->explorable, NULL, 0},
                                              {"big", 20000, w->cap, w->explorable, NULL, 0}};
    const struct tally_view *slow[CLASSES][ARMS], *fast[CLASSES][ARMS];
    struct beliefs_class_in class[CLASSES];
    const struct beliefs_route_in route = {"r", w->objective, arms, ARMS, class, CLASSES, NULL};

    for (int g = 0; g < CLASSES; g++) {
        for (int j = 0; j < ARMS; j++) {
            slow[g][j] = &w->slow[g][j];
            fast[g][j] = &w->fast[g][j];
        }
        class[g] = (struct beliefs_class_in){labels[g], slow[g], fast[g]};
    }
    beliefs_unref(w->beliefs);
    w->beliefs = beliefs_build(&(struct beliefs_in){&route, 1, tally_trust_default, 7, 0});
}

static const struct beliefs_context *context(const struct world *w, const char *label)
{
    return beliefs_find(w->beliefs, SLICE("r"), slice_str(label));
}

/* Of the first choice at the class's mean costs, where all arms may answer. */
static void propensities(const struct beliefs_context *c, uint32_t out[PANDORA_BOXES])
{
    double index[PANDORA_BOXES] = {0};

    for (int j = 0; j < ARMS; j++)
        index[j] = c->arm[j].index;
    beliefs_propensities(c, index, NULL, ~0u, true, out);
}

static void nothing_known_is_survivable(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.objective.price.floor_of_best = 0.97;
    build(&w);
    const struct beliefs_context *c = context(&w, "easy");
    uint32_t sum = 0, share[PANDORA_BOXES];
    propensities(c, share);
    for (int j = 0; j < ARMS; j++) {
        assert_true(isfinite(c->arm[j].index) && c->arm[j].success > 0.3 && c->arm[j].success < 1);
        assert_true(c->arm[j].low < c->arm[j].success && c->arm[j].success < c->arm[j].high);
        assert_true(share[j] > 0); /* what is not known is tried */
        sum += share[j];
    }
    assert_int_equal(sum, BELIEFS_UNIT);
    /* dearer models are expected to be better */
    assert_true(c->arm[1].success > c->arm[0].success);
    assert_null(beliefs_find(w.beliefs, SLICE("other"), SLICE("")));
    assert_string_equal(context(&w, "never heard of")->label, "");
    beliefs_unref(w.beliefs);
}

static void classes_differ_and_share(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    for (int bin = 4; bin < 12; bin += 7) {
        count(&w.slow[1][0], bin, 400, 0.97, 1000);
        count(&w.slow[2][0], bin, 400, 0.2, 1000);
    }
    build(&w);
    assert_true(context(&w, "easy")->arm[0].success > 0.93);
    assert_true(context(&w, "hard")->arm[0].success < 0.25);
    /* a class without labels lies between, as the model does over all */
    double other = context(&w, "")->arm[0].success;
    assert_true(other > 0.4 && other < 0.8);
    assert_true(fabs(context(&w, "easy")->arm[0].cost_nanousd - 1000) < 1);
    assert_true(context(&w, "easy")->arm[0].labels == 800);
    beliefs_unref(w.beliefs);
}

/* Where the small model does as well, it is the one; where a score tells nothing, it is not gated
 * on. */
static void one_model_may_be_best(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.objective.price.failure_price_nanousd = 50000;
    count(&w.slow[1][0], 6, 1000, 0.95, 1000);
    count(&w.slow[1][1], 6, 1000, 0.95, 20000);
    build(&w);
    const struct beliefs_context *c = context(&w, "easy");
    assert_int_equal(c->single, 0);
    assert_false(c->arm[0].informative);
    assert_true(c->arm[0].p[0][0] == c->arm[0].p[0][11]);
    uint32_t share[PANDORA_BOXES];
    propensities(c, share);
    assert_true(share[0] > 0.9 * BELIEFS_UNIT);
    beliefs_unref(w.beliefs);
}

static void the_last_hours_move_it(void **state)
{
    struct world w;
    double before;

    (void)state;
    world_init(&w);
    count(&w.slow[1][0], 10, 2000, 0.95, 1000);
    build(&w);
    before = context(&w, "easy")->arm[0].success;
    count(&w.fast[1][0], 10, 60, 0.3, 1000);
    build(&w);
    assert_true(before > 0.9 && context(&w, "easy")->arm[0].success < 0.5);
    assert_true(context(&w, "easy")->arm[0].shift < -2);
    /* a model that fails in one class is doubted in the others, too */
    assert_true(context(&w, "hard")->arm[0].shift < -1);
    beliefs_unref(w.beliefs);
}

/* One model is good and the other never: what the floor and its bias ask for cannot be had. The
 * good one is asked first then, though a request's own cost is a third more than the mean. */
static void a_floor_out_of_reach_is_no_tie(void **state)
{
    struct world w;
    struct pandora_box bad, good;

    (void)state;
    world_init(&w);
    for (int g = 0; g < CLASSES; g++) {
        count(&w.slow[g][0], 11, 600, 0.05, 12000);
        count(&w.slow[g][1], 11, 600, 0.92, 150000);
    }
    w.objective.price.floor = 0.99;
    build(&w);
    const struct beliefs_context *c = context(&w, "easy");
    assert_false(c->price.floor_reachable);
    beliefs_box(&c->arm[0], 0, 20000, c->price.v, &bad);
    beliefs_box(&c->arm[1], 0, 200000, c->price.v, &good);
    assert_true(pandora_index(&good, c->price.v) > pandora_index(&bad, c->price.v));
    beliefs_unref(w.beliefs);
}

/* Neither score says anything, one model is above the floor and one below: all go to the first,
 * draws and requests that cost a quarter more than the mean among them. */
static void a_floor_between_two_models_is_no_tie(void **state)
{
    struct world w;
    struct pandora_box low, high;

    (void)state;
    world_init(&w);
    for (int g = 0; g < CLASSES; g++) {
        count(&w.slow[g][0], 6, 2000, 0.85, 1000);
        count(&w.slow[g][1], 6, 2000, 0.94, 20000);
    }
    w.objective.price.floor = 0.88;
    build(&w);
    const struct beliefs_context *c = context(&w, "easy");
    assert_true(c->price.floor_reachable);
    uint32_t share[PANDORA_BOXES];
    propensities(c, share);
    assert_true(share[1] > 0.95 * BELIEFS_UNIT);
    beliefs_box(&c->arm[0], 0, 1250, c->price.v, &low);
    beliefs_box(&c->arm[1], 0, 25000, c->price.v, &high);
    assert_true(pandora_index(&high, c->price.v) > pandora_index(&low, c->price.v));
    beliefs_unref(w.beliefs);
}

/* Asked first, an arm must be worth its cost; after another answer BELIEFS_LEAST_GAIN more: however
 * much a success is worth, what hardly gains is not asked. */
static void a_later_answer_must_bring_something(void **state)
{
    struct world w;
    struct pandora_box first, later;

    (void)state;
    world_init(&w);
    for (int g = 0; g < CLASSES; g++)
        count(&w.slow[g][1], 11, 600, 0.92, 150000);
    build(&w);
    const struct beliefs_arm *a = &context(&w, "easy")->arm[1];
    for (double v = 1e3; v < 1e12; v *= 10) {
        beliefs_box(a, 0, 200000, v, &first);
        beliefs_box(a, 1, 200000, v, &later);
        assert_float_equal(first.cost, 200000, 0);
        assert_float_equal(later.cost, 200000 + BELIEFS_LEAST_GAIN * v, 1e-6 * v);
        double in_hand = later.p[TALLY_BINS - 1] - BELIEFS_LEAST_GAIN / 2;
        assert_true(pandora_index(&later, v) < v * in_hand);
    }
    beliefs_unref(w.beliefs);
}

static void floors_budgets_and_what_failed_costs(void **state)
{
    struct world w;
    double cheap, kept;

    (void)state;
    world_init(&w);
    for (int g = 0; g < CLASSES; g++) {
        count(&w.slow[g][0], 11, 600, 0.95, 1000);
        count(&w.slow[g][0], 1, 400, 0.3, 1000);
        count(&w.slow[g][1], 11, 1000, 0.95, 20000);
    }
    build(&w);
    cheap = context(&w, "easy")->price.v;
    assert_true(context(&w, "easy")->price.floor == PRICE_NONE);
    w.objective.price.floor = 0.85;
    build(&w);
    const struct price *p = &context(&w, "easy")->price;
    assert_true(p->floor_reachable && p->v > cheap && p->mu > 0 && p->success >= 0.85);
    kept = p->v;
    w.objective.price.floor = 0.999;
    build(&w);
    assert_false(context(&w, "easy")->price.floor_reachable);
    assert_true(isfinite(context(&w, "easy")->price.v));
    w.objective.price.floor = 0.85;
    w.objective.price.budget_nanousd = 1500; /* the floor cannot be had for that */
    build(&w);
    p = &context(&w, "easy")->price;
    assert_true(p->v < kept && p->beta > 0 && p->cost <= 1501);
    w.objective.price = beliefs_objective_default.price;
    w.objective.price.failure_price_nanousd = 1e6;
    build(&w);
    assert_true(context(&w, "easy")->price.v >= 1e6);
    beliefs_unref(w.beliefs);
}

/* What was promised and did not come true is aimed higher the next time. */
static void a_promise_not_kept_raises_the_price(void **state)
{
    struct world w;
    double before;

    (void)state;
    world_init(&w);
    w.objective.price.floor = 0.6;
    for (int g = 0; g < CLASSES; g++) {
        count(&w.slow[g][0], 11, 600, 0.95, 1000);
        count(&w.slow[g][0], 1, 400, 0.3, 1000);
        count(&w.slow[g][1], 11, 1000, 0.97, 20000);
    }
    build(&w);
    before = context(&w, "easy")->price.v;
    w.slow[1][0].x[TALLY_RESOLVED] = 1000;
    w.slow[1][0].x[TALLY_PREDICTED_MILLI] = 690000;
    w.slow[1][0].x[TALLY_REALISED_MILLI] = 610000;
    build(&w);
    assert_true(context(&w, "easy")->bias > 0.05);
    assert_true(context(&w, "easy")->price.v > before);
    beliefs_unref(w.beliefs);
}

static void caps_and_floors_of_propensities(void **state)
{
    struct world w;
    double index[PANDORA_BOXES] = {0};
    uint32_t share[PANDORA_BOXES];

    (void)state;
    world_init(&w);
    w.cap = 0.05;
    w.objective.explore_spend = 1;
    count(&w.slow[1][0], 6, 1000, 0.2, 1000);
    count(&w.slow[1][1], 11, 1000, 0.99, 1100);
    build(&w);
    const struct beliefs_context *c = context(&w, "easy");
    propensities(c, share);
    assert_true(share[1] <= 0.05 * BELIEFS_UNIT + 1); /* better, but a canary */
    assert_true(share[0] >= 0.94 * BELIEFS_UNIT);
    index[0] = c->arm[0].index;
    index[1] = c->arm[1].index;
    beliefs_propensities(c, index, NULL, 2, true, share); /* it alone may answer */
    assert_int_equal(share[1], BELIEFS_UNIT);
    beliefs_propensities(c, index, NULL, 0, true, share);
    assert_int_equal(share[0] + share[1], 0);
    beliefs_propensities(c, index, NULL, 3, false, share);
    assert_int_equal(share[0], BELIEFS_UNIT);
    beliefs_unref(w.beliefs);
}

static void equal_counts_give_equal_bits(void **state)
{
    struct world a, b;

    (void)state;
    world_init(&a);
    world_init(&b);
    for (int g = 0; g < CLASSES; g++)
        for (int j = 0; j < ARMS; j++) {
            count(&a.slow[g][j], 3 + g + j, 37 + g, 0.6 + 0.1 * j, 1000 + 5000 * j);
            count(&b.slow[g][j], 3 + g + j, 37 + g, 0.6 + 0.1 * j, 1000 + 5000 * j);
        }
    a.objective.price.floor = b.objective.price.floor = 0.8;
    build(&a);
    build(&b);
    for (size_t i = 0; i < beliefs_count(a.beliefs); i++) {
        const struct beliefs_context *x = beliefs_at(a.beliefs, i), *y = beliefs_at(b.beliefs, i);
        assert_memory_equal(x->draw, y->draw, sizeof x->draw);
        assert_memory_equal(x->floor_share, y->floor_share, sizeof x->floor_share);
        assert_memory_equal(&x->price, &y->price, sizeof x->price);
    }
    struct beliefs *again = beliefs_ref(a.beliefs);
    beliefs_unref(a.beliefs);
    assert_int_equal(beliefs_count(again), CLASSES);
    beliefs_unref(again);
    beliefs_unref(b.beliefs);
    beliefs_unref(NULL);
}

/* What was foretold is corrected by what it came to: here, as far as known, else as elsewhere. */
static void costs_are_corrected(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    count(&w.slow[1][0], 5, 400, 0.5, 1000);
    w.slow[1][0].x[TALLY_FORETOLD] = 400 * 500;
    w.slow[1][0].x[TALLY_FORETOLD_COST] = 400 * 1000;
    w.slow[1][0].x[TALLY_TOKENS_OUT] = 400 * 70;
    build(&w);
    const struct beliefs_context *easy = context(&w, "easy"), *hard = context(&w, "hard");
    assert_float_equal(easy->arm[0].cost_factor, 2, 0.1);
    assert_true(hard->arm[0].cost_factor > 1.8 && hard->arm[0].cost_factor < 2);
    assert_float_equal(hard->arm[0].tokens_out, 70, 1e-9); /* as long as elsewhere */
    assert_float_equal(easy->arm[1].cost_factor, 1, 1e-12);
    assert_float_equal(easy->arm[1].tokens_out, 0, 1e-12);

    count(&w.slow[2][0], 5, 400, 0.5, 1000); /* charged as foretold, but the other was not */
    w.slow[2][0].x[TALLY_FORETOLD] = w.slow[2][0].x[TALLY_FORETOLD_COST] = 400 * 1000;
    build(&w);
    assert_float_equal(context(&w, "hard")->arm[0].cost_factor, 1, 0.05);
    assert_float_equal(context(&w, "easy")->arm[0].cost_factor, 2, 0.1);

    beliefs_unref(w.beliefs);
    world_init(&w); /* what costs nothing */
    w.slow[0][0].x[TALLY_ASKED] = 100;
    build(&w);
    assert_true(isfinite(context(&w, "")->arm[0].cost_factor));
    beliefs_unref(w.beliefs);
}

/* Scores that are all alike say nothing: without labels, models stand where their prices put them,
 * however their answers score. */
static void scores_that_say_nothing_leave_the_price(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    for (int j = 0; j < ARMS; j++)
        w.slow[1][j].x[tally_answers(0, 9)] = 500;
    build(&w);
    const struct beliefs_context *c = context(&w, "easy");
    assert_true(c->arm[1].success > c->arm[0].success + 0.1);
    /* scores that differ are believed until labels come */
    for (int b = 1; b < TALLY_BINS; b++)
        w.slow[1][0].x[tally_answers(0, b)] = 500.0 * b;
    build(&w);
    assert_true(context(&w, "easy")->arm[0].success > 0.7);
    beliefs_unref(w.beliefs);
}

/* The same shares of successes, from few labels and from many. */
static void doubt_aims_higher(void **state)
{
    struct world few, many;

    (void)state;
    world_init(&few);
    world_init(&many);
    few.objective.price.floor = many.objective.price.floor = 0.8;
    for (int g = 0; g < CLASSES; g++)
        for (int j = 0; j < ARMS; j++) {
            count(&few.slow[g][j], 6, 20, j ? 0.95 : 0.85, j ? 20000 : 1000);
            count(&many.slow[g][j], 6, 4000, j ? 0.95 : 0.85, j ? 20000 : 1000);
        }
    build(&few);
    build(&many);
    const struct price *doubted = &context(&few, "easy")->price,
                       *known = &context(&many, "easy")->price;
    assert_true(doubted->error > 5 * known->error);
    /* the small model will do, and is asked; as long as that is not sure, the big one, but for the
     * share that finds out */
    assert_true(known->v < 20000 && doubted->v > 100 * known->v);
    assert_true(doubted->bold < 0.01 * doubted->v);
    assert_true(doubted->bold_share > 0.1 && doubted->bold_share < 0.9);
    assert_true(known->blend_error == known->error && known->bold_share == 0);
    assert_true(doubted->floor_reachable && known->floor_reachable);
    /* the big one is all that careful requests hang on, the small one all that the others do */
    const double careful = (1 - doubted->bold_share) * doubted->error, share = doubted->bold_share,
                 both = doubted->blend_error;
    few.objective.price.window = 0; /* on average: doubt is as often too low as too high */
    build(&few);
    const struct price *mean = &context(&few, "easy")->price;
    assert_true(mean->bold_share == 0 && mean->v < 20000);
    assert_true(fabs(both - hypot(careful, share * mean->error)) < 1e-6);
    beliefs_unref(few.beliefs);
    beliefs_unref(many.beliefs);
}

/* Under a floor the unknown arm is tried, but no more than a fifth of the time, even if it seems to
 * be the best; without one as often as the posterior has it. */
static void what_is_hardly_known_is_only_tried(void **state)
{
    struct world w;
    double tried[2];

    (void)state;
    world_init(&w);
    for (int g = 0; g < CLASSES; g++) {
        count(&w.slow[g][0], 6, 400, 0.7, 1000);
        count(&w.slow[g][1], 6, 4, 1, 20000);
    }
    for (int floor = 0; floor < 2; floor++) {
        w.objective.price.floor = floor ? 0.65 : PRICE_NONE;
        w.objective.price.failure_price_nanousd = 1e7; /* success is what counts */
        build(&w);
        const struct beliefs_context *c = context(&w, "easy");
        assert_true(c->arm[1].labels < BELIEFS_LITTLE_KNOWN && c->arm[1].index > c->arm[0].index);
        uint32_t share[PANDORA_BOXES];
        propensities(c, share);
        tried[floor] = (double)share[1] / BELIEFS_UNIT;
    }
    assert_true(tried[0] > 0.5);
    assert_true(tried[1] > 0.05 && tried[1] < 0.25);
    beliefs_unref(w.beliefs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs_are_corrected),
        cmocka_unit_test(nothing_known_is_survivable),
        cmocka_unit_test(classes_differ_and_share),
        cmocka_unit_test(one_model_may_be_best),
        cmocka_unit_test(the_last_hours_move_it),
        cmocka_unit_test(a_floor_out_of_reach_is_no_tie),
        cmocka_unit_test(a_floor_between_two_models_is_no_tie),
        cmocka_unit_test(a_later_answer_must_bring_something),
        cmocka_unit_test(floors_budgets_and_what_failed_costs),
        cmocka_unit_test(scores_that_say_nothing_leave_the_price),
        cmocka_unit_test(doubt_aims_higher),
        cmocka_unit_test(what_is_hardly_known_is_only_tried),
        cmocka_unit_test(a_promise_not_kept_raises_the_price),
        cmocka_unit_test(caps_and_floors_of_propensities),
        cmocka_unit_test(equal_counts_give_equal_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
