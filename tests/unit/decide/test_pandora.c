/* Reservation indices against their definition, the rule against exhaustive search, the closed
 * forms against simulation. */
#include <cmocka.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include "base/rng.h"
#include "router/decide/pandora.h"

static struct rng random_numbers;

static double uniform(void)
{
    return rng_unit(&random_numbers);
}

/* Some bins may be empty; chances are in no order. */
static struct pandora_box random_box(int bins)
{
    struct pandora_box b = {.cost = 0.01 + 0.4 * uniform()};
    double sum = 0;

    for (int i = 0; i < bins; i++) {
        b.share[i] = uniform() < 0.2 && i ? 0 : uniform();
        b.p[i] = uniform();
        sum += b.share[i];
    }
    for (int i = 0; i < bins; i++)
        b.share[i] /= sum;
    return b;
}

static void an_index_solves_its_equation(void **state)
{
    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct pandora_box b = random_box(1 + round % PANDORA_BINS);
        double v = 0.1 + 3 * uniform(), sigma = pandora_index(&b, v), gain = 0;
        for (int i = 0; i < PANDORA_BINS; i++)
            gain += b.share[i] * fmax(0, v * b.p[i] - sigma);
        assert_true(fabs(gain - b.cost) < 1e-9);
        double chance, h = 1e-7;
        assert_true(pandora_index_of(&b, v, &chance) == sigma);
        assert_true(fabs((pandora_index(&b, v + h) - sigma) / h - chance) < 1e-5);
    }
}

/* The value of the best of all ways to go on, by trying them all. */
static double best_way(const struct pandora_box *boxes, int count, unsigned asked, double v,
                       double best_p)
{
    double value = best_p < 0 ? -INFINITY : v * best_p;

    for (int j = 0; j < count; j++) {
        double way = -boxes[j].cost;
        if (asked & (1u << j))
            continue;
        for (int b = 0; b < PANDORA_BINS; b++)
            if (boxes[j].share[b] > 0)
                way += boxes[j].share[b] *
                       best_way(boxes, count, asked | 1u << j, v, fmax(best_p, boxes[j].p[b]));
        value = fmax(value, way);
    }
    return value;
}

/* The rule: the next box among those whose bit is in allowed and not in asked, given the best
 * chance so far (best_p < 0: no answer yet). -1: stop. */
static int next_box(const double *index, int boxes, unsigned allowed, unsigned asked, double v,
                    double best_p)
{
    int next = -1;

    for (int i = 0; i < boxes; i++)
        if (allowed & ~asked & (1u << i) && (next < 0 || index[i] > index[next]))
            next = i;
    return next >= 0 && best_p >= 0 && v * best_p >= index[next] ? -1 : next;
}

static double rules_way(const struct pandora_box *boxes, const double *index, int count,
                        unsigned asked, double v, double best_p)
{
    int j = next_box(index, count, ~0u, asked, v, best_p);
    double way;

    if (j < 0)
        return v * best_p;
    way = -boxes[j].cost;
    for (int b = 0; b < PANDORA_BINS; b++)
        if (boxes[j].share[b] > 0)
            way += boxes[j].share[b] *
                   rules_way(boxes, index, count, asked | 1u << j, v, fmax(best_p, boxes[j].p[b]));
    return way;
}

static void the_rule_is_the_best_of_all_ways(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct pandora_box boxes[3];
        double index[3], v = 0.5 + 2 * uniform();
        struct pandora_outlook o;
        for (int j = 0; j < 3; j++) {
            boxes[j] = random_box(3);
            index[j] = pandora_index(&boxes[j], v);
        }
        double best = best_way(boxes, 3, 0, v, -1), ours = rules_way(boxes, index, 3, 0, v, -1);
        assert_true(fabs(best - ours) < 1e-9);
        pandora_expect(boxes, 3, v, &o);
        assert_true(fabs(o.utility - ours) < 1e-9);
    }
}

static void success_and_cost_are_those_of_the_rule(void **state)
{
    (void)state;
    enum { RUNS = 60000 };
    struct pandora_box boxes[4];
    double index[4], v = 1.3, success = 0, cost = 0;
    struct pandora_outlook o;

    for (int j = 0; j < 4; j++) {
        boxes[j] = random_box(PANDORA_BINS);
        index[j] = pandora_index(&boxes[j], v);
    }
    for (int run = 0; run < RUNS; run++) {
        unsigned asked = 0;
        double best = -1;
        for (int j; (j = next_box(index, 4, ~0u, asked, v, best)) >= 0;) {
            double u = uniform();
            int b = 0;
            while (b + 1 < PANDORA_BINS && (u -= boxes[j].share[b]) >= 0)
                b++;
            best = fmax(best, boxes[j].p[b]);
            cost += boxes[j].cost;
            asked |= 1u << j;
        }
        success += best;
    }
    pandora_expect(boxes, 4, v, &o);
    assert_true(fabs(o.success - success / RUNS) < 0.01);
    assert_true(fabs(o.cost - cost / RUNS) < 0.01);
}

static void special_cases(void **state)
{
    (void)state;
    /* A sure thing: its index is what it is worth less what it costs. */
    struct pandora_box sure = {.cost = 0.25, .share = {1}, .p = {0.9}};
    assert_true(fabs(pandora_index(&sure, 1) - 0.65) < 1e-12);
    /* Too dear to be asked for its worth: asked all the same when nothing else is there. */
    struct pandora_box dear = {.cost = 5, .share = {1}, .p = {1}};
    double index[2] = {pandora_index(&dear, 1), pandora_index(&sure, 1)};
    assert_true(index[0] < 0);
    assert_int_equal(next_box(index, 1, 1, 0, 1, -1), 0);
    assert_int_equal(next_box(index, 2, 3, 0, 1, -1), 1);
    assert_int_equal(next_box(index, 2, 3, 2, 1, 0.1), -1);
    /* Not allowed, or all asked. */
    assert_int_equal(next_box(index, 2, 1, 1, 1, 0.1), -1);
    assert_int_equal(next_box(index, 2, 0, 0, 1, -1), -1);
}

/* What success hangs on: of boxes that tell nothing all on the one that is asked; of others no less
 * than what a run of the rule serves. */
static void what_is_served_is_at_stake(void **state)
{
    (void)state;
    enum { RUNS = 40000 };
    struct pandora_box boxes[3] = {{.cost = 1, .share = {1}, .p = {0.6}},
                                   {.cost = 2, .share = {1}, .p = {0.8}}};
    struct pandora_outlook o;
    double index[3], v = 100, served[3] = {0};

    pandora_expect(boxes, 2, v, &o);
    assert_float_equal(o.at_stake[0], 0, 1e-12);
    assert_float_equal(o.at_stake[1], 0.8 * 0.2, 1e-12);
    for (int j = 0; j < 3; j++) {
        boxes[j] = random_box(PANDORA_BINS);
        index[j] = pandora_index(&boxes[j], v = 1.3);
    }
    for (int run = 0; run < RUNS; run++) {
        unsigned asked = 0;
        double best = -1;
        int of = 0;
        for (int j; (j = next_box(index, 3, ~0u, asked, v, best)) >= 0;) {
            double u = uniform();
            int b = 0;
            while (b + 1 < PANDORA_BINS && (u -= boxes[j].share[b]) >= 0)
                b++;
            of = boxes[j].p[b] > best ? j : of;
            best = fmax(best, boxes[j].p[b]);
            asked |= 1u << j;
        }
        served[of] += best * (1 - best) / RUNS;
    }
    pandora_expect(boxes, 3, v, &o);
    for (int j = 0; j < 3; j++)
        assert_true(o.at_stake[j] > served[j] - 0.005 && o.at_stake[j] <= 0.25);
}

int main(void)
{
    rng_seed(&random_numbers, 42);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_solves_its_equation),
        cmocka_unit_test(the_rule_is_the_best_of_all_ways),
        cmocka_unit_test(success_and_cost_are_those_of_the_rule),
        cmocka_unit_test(what_is_served_is_at_stake),
        cmocka_unit_test(special_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
