/* router/decide/foresight: which way a query shifts its class, and when that is believed. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "router/decide/foresight.h"
#include "router/decide/logistic.h"

static void signs_and_bounds(void **state)
{
    (void)state;
    assert_true(foresight_shift(0.9, 0.5) > 2 && foresight_shift(0.9, 0.5) < 2.3);
    assert_true(foresight_shift(0.1, 0.5) < -2);
    assert_true(foresight_shift(0.5, 0.5) == 0);
    assert_true(foresight_shift(1, 0) == FORESIGHT_MAX_SHIFT);
    assert_true(foresight_shift(0, 1) == -FORESIGHT_MAX_SHIFT);
    assert_true(foresight_shift((double)NAN, 0.5) == 0);
    assert_true(foresight_shift(-0.1, 0.5) == 0);
    assert_true(foresight_shift(1.1, 0.5) == 0);
    assert_true(foresight_shift((double)INFINITY, 0.5) == 0);
}

/* Of n queries, half of them hard: heads that say `easy` and `hard`; the small model answers the
 * first kind well in nine of ten, the other in one of ten. */
static struct foresight after(int n, int easy, int hard)
{
    struct tally t = {{0}};
    struct tally_view v = {{0}};
    struct foresight f = {0};
    struct rng rng;

    rng_seed(&rng, 7);
    for (int i = 0; i < n; i++) {
        double p = i % 2 ? 0.9 : 0.1;
        foresight_count(&t, 500, i % 2 ? easy : hard, rng_unit(&rng) < p ? 1000 : 0, 1);
    }
    for (int i = 0; i < TALLY_FIELDS; i++)
        tally_view_add(&v, i, t.count[i], 1);
    assert_int_equal(tally_view_check(&v), 0);
    foresight_add(&f, &v);
    return f;
}

static double trust(struct foresight slow, struct foresight fast)
{
    return foresight_trust(&slow, &fast);
}

static void trust_is_earned(void **state)
{
    struct foresight none = {0};

    (void)state;
    assert_true(trust(none, none) == 0);
    assert_true(after(200, 900, 100).lead > 30);
    assert_true(trust(after(99, 900, 100), none) == 0);
    assert_true(trust(after(100, 900, 100), none) == 1);
    /* those that lie, and those that know nothing */
    assert_true(trust(after(4000, 100, 900), none) == 0);
    assert_true(trust(after(4000, 500, 500), none) == 0);
    assert_true(trust(after(4000, 900, 900), none) == 0);
}

static void trust_is_lost(void **state)
{
    struct foresight slow = after(2000, 900, 100), few = after(20, 100, 900),
                     fast = after(60, 100, 900);

    (void)state;
    assert_true(trust(slow, few) == 1);
    assert_true(trust(slow, fast) == 0);
    assert_true(trust(slow, after(60, 900, 100)) == 1);
    fast.lead = -1.5 * fast.error;
    assert_true(fabs(trust(slow, fast) - 0.5) < 1e-9);
}

/* Heads that guess: what they win is chance, and hardly ever enough. */
static void guesses_are_seldom_trusted(void **state)
{
    struct foresight none = {0};
    struct rng rng;
    int trusted = 0;

    (void)state;
    rng_seed(&rng, 3);
    for (int run = 0; run < 200; run++) {
        struct foresight f = {.labels = 400};
        double square = 0;
        for (int i = 0; i < 400; i++) {
            double p = rng_unit(&rng) < 0.5 ? 0.4 : 0.6, y = rng_unit(&rng) < 0.5;
            double gain = y * log(p / 0.5) + (1 - y) * log((1 - p) / 0.5);
            f.lead += gain;
            square += gain * gain;
        }
        f.error = sqrt(square);
        trusted += foresight_trust(&f, &none) > 0;
    }
    assert_true(trusted <= 10);
}

static void labels_are_taken_back(void **state)
{
    struct tally t = {{0}}, nothing = {{0}};

    (void)state;
    for (int value = 0; value <= 1000; value += 125) {
        foresight_count(&t, 1, 999, value, 1);
        foresight_count(&t, 640, 333, value, 1);
    }
    assert_int_equal(t.count[TALLY_FORESEEN], 18);
    for (int value = 1000; value >= 0; value -= 125) {
        foresight_count(&t, 640, 333, value, -1);
        foresight_count(&t, 1, 999, value, -1);
    }
    assert_memory_equal(&t, &nothing, sizeof t);
}

static void sums_are_of_all_classes(void **state)
{
    struct tally_view v = {{0}};
    struct foresight f = {0};

    (void)state;
    v.x[TALLY_FORESEEN] = 10;
    v.x[TALLY_BELIEVED_LOSS] = 7e6;
    v.x[TALLY_FORESEEN_LOSS] = 4e6;
    v.x[TALLY_LEAD_SQUARE] = 2e6;
    foresight_add(&f, &v);
    foresight_add(&f, &v);
    assert_true(f.labels == 20 && fabs(f.lead - 6) < 1e-12 && fabs(f.error - 2) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_and_bounds),      cmocka_unit_test(trust_is_earned),
        cmocka_unit_test(trust_is_lost),         cmocka_unit_test(guesses_are_seldom_trusted),
        cmocka_unit_test(labels_are_taken_back), cmocka_unit_test(sums_are_of_all_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
