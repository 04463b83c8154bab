/* What is foreseen after what was measured. */
#include <cmocka.h>

#include "router/encoder/encoder_pace.h"

#define SECOND_US 1000000

static void test_nothing_is_known_at_first(void **state)
{
    struct encoder_pace p = {0};

    (void)state;
    assert_int_equal(encoder_pace_us(&p, 256, 0), 0);
    assert_int_equal(encoder_pace_us(&p, 256, 5 * SECOND_US), 0);
}

static void test_proportional(void **state)
{
    struct encoder_pace p = {0};

    (void)state;
    encoder_pace_measured(&p, 10, 700, 100);
    assert_int_equal(encoder_pace_us(&p, 10, 200), 700);
    assert_int_equal(encoder_pace_us(&p, 256, 200), 17920);
    assert_int_equal(encoder_pace_us(&p, 0, 200), 0);
}

/* One pass that was held up for a second does not shut the door. */
static void test_rises_slowly_and_falls_fast(void **state)
{
    struct encoder_pace p = {0};

    (void)state;
    encoder_pace_measured(&p, 10, 1000, 0);
    encoder_pace_measured(&p, 10, SECOND_US, 0);
    assert_int_equal(encoder_pace_us(&p, 10, 0), 1125);
    for (int i = 0; i < 60; i++)
        encoder_pace_measured(&p, 10, 8000, 0);
    assert_in_range(encoder_pace_us(&p, 10, 0), 7500, 8000); /* but a slow machine is one */
    for (int i = 0; i < 8; i++)
        encoder_pace_measured(&p, 10, 1000, 0);
    assert_in_range(encoder_pace_us(&p, 10, 0), 1000, 1100);
}

static void test_forgets(void **state)
{
    struct encoder_pace p = {0};

    (void)state;
    encoder_pace_measured(&p, 10, 700, 7 * SECOND_US);
    assert_int_equal(encoder_pace_us(&p, 10, 8 * SECOND_US), 700);
    assert_int_equal(encoder_pace_us(&p, 10, 8 * SECOND_US + 1), 0);
    encoder_pace_measured(&p, 10, 700, 9 * SECOND_US);
    assert_int_equal(encoder_pace_us(&p, 10, 9 * SECOND_US), 700);
}

static void test_odd_measures(void **state)
{
    struct encoder_pace p = {0};

    (void)state;
    encoder_pace_measured(&p, 0, 50, 0); /* no tokens: as one */
    assert_int_equal(encoder_pace_us(&p, 2, 0), 100);
    encoder_pace_measured(&p, 10, 0, 0); /* a clock too coarse to see it */
    encoder_pace_measured(&p, 10, 0, 0);
    assert_in_range(encoder_pace_us(&p, 2, 0), 0, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_known_at_first),
        cmocka_unit_test(test_proportional),
        cmocka_unit_test(test_rises_slowly_and_falls_fast),
        cmocka_unit_test(test_forgets),
        cmocka_unit_test(test_odd_measures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
