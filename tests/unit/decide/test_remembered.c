/* What neighbours see of answers: told outcomes, and what scores say where nobody spoke or where
 * the model has changed since. */
#include <cmocka.h>
#include <math.h>
#include "router/decide/remembered.h"

enum { BIN = 3 };

static struct beliefs_arm arm(void)
{
    struct beliefs_arm a = {.success = 0.6, .labels = 11, .changed_us = CHANGE_NONE};

    a.p[0][BIN] = 0.7;
    a.p[1][BIN] = 0.4;
    a.share[1][BIN] = 1;
    return a;
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-6;
}

static void what_was_said_is_told(void **state)
{
    struct beliefs_arm a = arm();
    struct exante_outcome o;

    (void)state;
    assert_true(
        remembered_outcome(&a, &(struct remembered){.bin = BIN, .value = 1, .weight = 3}, &o));
    assert_true(o.told && near(o.value, 1) && near(o.weight, 1)); /* of several who said so, too */
    assert_true(near(o.base, (0.6 * 11 - 1) / 10));               /* without this one */
    assert_true(
        remembered_outcome(&a, &(struct remembered){.bin = -1, .value = 0, .weight = 0.5}, &o));
    assert_true(o.told && near(o.value, 0) && near(o.weight, 0.5));
}

static void where_nobody_spoke_the_score_does(void **state)
{
    struct beliefs_arm a = arm();
    struct exante_outcome o;

    (void)state;
    assert_true(remembered_outcome(&a, &(struct remembered){.bin = BIN, .value = -1}, &o));
    assert_true(!o.told && near(o.value, 0.7) && near(o.weight, 1) && near(o.base, 0.6));
    assert_true(
        remembered_outcome(&a, &(struct remembered){.stage = 1, .bin = BIN, .value = -1}, &o));
    assert_true(!o.told && near(o.value, 0.6) && near(o.base, 0.6)); /* after another answer */
    assert_false(remembered_outcome(&a, &(struct remembered){.bin = -1, .value = -1}, &o));
}

static void later_answers_had_the_harder_queries(void **state)
{
    struct beliefs_arm a = arm();
    struct exante_outcome o;

    (void)state;
    assert_true(remembered_outcome(
        &a, &(struct remembered){.stage = 1, .bin = -1, .value = 1, .weight = 1}, &o));
    assert_true(o.told && near(o.value, 1.2) && near(o.base, (0.6 * 11 - 1.2) / 10));
}

static void what_a_model_did_before_it_changed_is_not_told(void **state)
{
    struct beliefs_arm a = arm();
    struct remembered r = {.bin = BIN, .value = 1, .weight = 1, .decided_us = 999};
    struct exante_outcome o;

    (void)state;
    a.changed_us = 1000;
    assert_true(remembered_outcome(&a, &r, &o));
    assert_true(!o.told && near(o.value, 0.7) && near(o.base, 0.6));
    r.bin = -1;
    assert_false(remembered_outcome(&a, &r, &o)); /* and without a score nothing is known */
    r.decided_us = 1000;
    assert_true(remembered_outcome(&a, &r, &o) && o.told && near(o.value, 1));
}

static void heads_are_expected_as_far_as_they_are_trusted(void **state)
{
    struct beliefs_arm a = arm();
    struct remembered r = {.bin = BIN, .value = -1, .believed_milli = 600, .foreseen_milli = 900};
    struct exante_outcome o;

    (void)state;
    assert_true(remembered_outcome(&a, &r, &o) && near(o.base, 0.6));
    a.foresight.trust = 1;
    assert_true(remembered_outcome(&a, &r, &o) && near(o.base, 0.9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_said_is_told),
        cmocka_unit_test(where_nobody_spoke_the_score_does),
        cmocka_unit_test(later_answers_had_the_harder_queries),
        cmocka_unit_test(what_a_model_did_before_it_changed_is_not_told),
        cmocka_unit_test(heads_are_expected_as_far_as_they_are_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
