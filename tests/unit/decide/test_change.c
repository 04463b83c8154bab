/* Since when a model succeeds as it does now: a drop and a rise are found where they are, chance is
 * left alone, and few labels say nothing. */
#include <cmocka.h>
#include "base/rng.h"
#include "router/decide/change.h"
#include "router/decide/tally.h"

#define HOUR_US (INT64_C(3600) * 1000000)
#define NOW     (INT64_C(1000000) * HOUR_US + 17)

/* n labels, evenly over the hours from..to before NOW (from > to), of that share of successes. */
static void add(struct change_labels *l, double from, double to, int n, double share)
{
    for (int i = 0; i < n; i++) {
        double ago = from - (from - to) * (i + 0.5) / n;

        change_labels_add(l, NOW - (int64_t)(ago * (double)HOUR_US), share, 1 - share);
    }
}

static double hours_ago(int64_t since_us)
{
    return (double)(NOW - since_us) / (double)HOUR_US;
}

static void test_a_drop_and_a_rise(void **state)
{
    struct change_labels l;

    (void)state;
    change_labels_init(&l, NOW);
    add(&l, 72, 5, 400, 0.84);
    add(&l, 5, 0, 40, 0.42);
    assert_in_range((int)(1000 * hours_ago(change_since(&l, 1))), 4900, 5100);
    change_labels_init(&l, NOW);
    add(&l, 20, 12, 100, 0.3);
    add(&l, 12, 0, 100, 0.8);
    assert_in_range((int)(1000 * hours_ago(change_since(&l, 1))), 11900, 12100);
}

static void test_what_is_no_change(void **state)
{
    struct change_labels l;

    (void)state;
    change_labels_init(&l, NOW);
    assert_true(change_since(&l, 1) == CHANGE_NONE);
    add(&l, 72, 0, 500, 0.8);
    assert_true(change_since(&l, 1) == CHANGE_NONE);
    for (int all = 0; all < 2; all++) { /* no error to measure by */
        change_labels_init(&l, NOW);
        add(&l, 72, 0, 500, all);
        assert_true(change_since(&l, 1) == CHANGE_NONE);
    }
    change_labels_init(&l, NOW); /* as bad as can be, but few */
    add(&l, 72, 5, 400, 0.99);
    add(&l, 5, 0, 3, 0);
    assert_true(change_since(&l, 1) == CHANGE_NONE);
    change_labels_init(&l, NOW); /* nothing to compare with */
    add(&l, 5, 0, 400, 0.2);
    assert_true(change_since(&l, 1) == CHANGE_NONE);
    change_labels_init(&l, NOW); /* of a clock that is ahead */
    add(&l, 72, 1, 400, 0.9);
    add(&l, -2, -3, 400, 0.1);
    assert_true(change_since(&l, 1) == CHANGE_NONE);
}

/* Another mix of an easy and a hard class is no change; a change in one of them is. */
static void test_the_mix_of_classes(void **state)
{
    struct change_labels l[2];

    (void)state;
    for (int falls = 0; falls < 2; falls++) {
        change_labels_init(&l[0], NOW);
        change_labels_init(&l[1], NOW);
        add(&l[0], 72, 6, 900, 0.95);
        add(&l[1], 72, 6, 100, 0.3);
        add(&l[0], 6, 0, 60, falls ? 0.4 : 0.95);
        add(&l[1], 6, 0, 240, 0.3);
        if (falls)
            assert_in_range((int)(1000 * hours_ago(change_since(l, 2))), 5900, 6200);
        else
            assert_true(change_since(l, 2) == CHANGE_NONE);
    }
}

/* Days of 300 labels each, looked at every half hour: runs in which something was seen. */
static int seen(double then, int *late_hours, uint64_t seed)
{
    struct rng rng;
    int found = 0;

    rng_seed(&rng, seed);
    for (int run = 0; run < 40; run++) {
        bool here = false;

        for (int half = 48; half <= 48 * 3 && !here; half++) {
            struct change_labels l;
            struct rng same = rng;

            change_labels_init(&l, NOW + half * HOUR_US / 2);
            for (int i = 0; i < half * 300 / 48; i++) {
                double share = i < 600 ? 0.8 : then;
                double good = rng_unit(&same) < share;
                change_labels_add(&l, NOW + (int64_t)(i * 24.0 / 300 * (double)HOUR_US), good,
                                  1 - good);
            }
            here = change_since(&l, 1) != CHANGE_NONE;
            if (here && half > 96)
                *late_hours += (half - 96) / 2;
        }
        for (int i = 0; i < 900; i++)
            (void)rng_unit(&rng);
        found += here;
    }
    return found;
}

static void test_rates(void **state)
{
    int late = 0;

    (void)state;
    assert_true(seen(0.8, &late, 1) <= 1);
    late = 0;
    assert_int_equal(seen(0.3, &late, 2), 40);
    assert_true(late < 40 * 6); /* within 75 labels, on average */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_drop_and_a_rise),
        cmocka_unit_test(test_what_is_no_change),
        cmocka_unit_test(test_the_mix_of_classes),
        cmocka_unit_test(test_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
