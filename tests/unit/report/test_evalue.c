/* e-values: few false alarms at any number of looks, and alarms where there is something. */
#include <cmocka.h>
#include <math.h>
#include "base/rng.h"
#include "router/report/evalue.h"

enum { STREAMS = 300, LENGTH = 1500 };

static int draw(struct rng *rng, const double *p, int arms)
{
    double at = rng_unit(rng);

    for (int i = 0; i < arms - 1; i++)
        if ((at -= p[i]) < 0)
            return i;
    return arms - 1;
}

/* How many streams ever alarm when choices come from `is` and `said` is claimed. */
static int alarms(const double *is, const double *said, int arms)
{
    struct rng rng;
    int found = 0;

    rng_seed(&rng, 11);
    for (int s = 0; s < STREAMS; s++) {
        double count[4] = {0};
        for (int i = 0; i < LENGTH; i++) {
            count[draw(&rng, is, arms)]++;
            if (evalue_alarms(evalue_split(count, said, arms, EVALUE_STRENGTH), 0.01)) {
                found++;
                break;
            }
        }
    }
    return found;
}

static void a_split_as_it_was_meant(void **state)
{
    static const double said[] = {0.9, 0.07, 0.03}, other[] = {0.85, 0.12, 0.03};

    (void)state;
    assert_true(alarms(said, said, 3) <= 3);
    assert_true(alarms(other, said, 3) > STREAMS / 2);
}

static void the_order_does_not_matter_and_nothing_is_no_evidence(void **state)
{
    static const double share[] = {0.5, 0.5, 0}, none[] = {0, 0, 0}, some[] = {3, 9, 0},
                        outside[] = {3, 9, 1};

    (void)state;
    assert_true(fabs(evalue_split(none, share, 3, EVALUE_STRENGTH)) < 1e-9);
    assert_true(evalue_split(some, share, 3, EVALUE_STRENGTH) < 5);
    assert_true(isinf(evalue_split(outside, share, 3, EVALUE_STRENGTH)));
}

/* Propensities that change with every request, and choices from them or from others. */
static int drawn_alarms(double tilt)
{
    struct rng rng;
    int found = 0;

    rng_seed(&rng, 12);
    for (int s = 0; s < STREAMS; s++) {
        struct evalue_drawn e = {0};
        bool alarmed = false;
        for (int i = 0; i < LENGTH; i++) {
            double first = 0.02 + 0.9 * rng_unit(&rng), said[2] = {first, 1 - first};
            double is[2] = {fmin(1, first * tilt), 1 - fmin(1, first * tilt)};
            evalue_drawn_add(&e, said, 2, draw(&rng, is, 2));
            alarmed |= evalue_alarms(e.log_e, 0.01);
        }
        found += alarmed;
    }
    return found;
}

static void choices_with_their_propensities(void **state)
{
    static const double said[] = {0, 1};
    struct evalue_drawn e = {0};

    (void)state;
    assert_true(drawn_alarms(1) <= 3);
    assert_true(drawn_alarms(0.8) > STREAMS / 2);
    evalue_drawn_add(&e, said, 2, 0);
    assert_true(evalue_alarms(e.log_e, 1e-9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_split_as_it_was_meant),
        cmocka_unit_test(the_order_does_not_matter_and_nothing_is_no_evidence),
        cmocka_unit_test(choices_with_their_propensities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
