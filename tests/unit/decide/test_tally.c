/* Counters: names that read back, bounds, labels that can be taken back, decay. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "router/decide/tally.h"

static void every_field_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < TALLY_FIELDS; i++) {
        char name[TALLY_NAME_BYTES];
        int back = -1;
        tally_field_name(i, name);
        assert_true(tally_field_parse(slice_str(name), &back));
        assert_int_equal(back, i);
    }
}

static void other_names_are_none(void **state)
{
    static const char *const bad[] = {
        "",
        "n",
        "n.",
        "n.0",
        "n.0.12",
        "n.6.0",
        "n.-1.0",
        "n.0.01",
        "n.0.0.0",
        "n.00.0",
        "cost",
        "good",
        "good.explicit",
        "good.nobody.1",
        "good.explicit.12",
        "bad.judge.later",
        "bad.judge.later.",
        "bad.judge.later.12",
        "bad.judge.sooner.1",
        "worse.judge.1",
        "good.explicit.1 ",
        "N.0.0",
        "good.explicit.99999999999999999999",
    };
    int field;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tally_field_parse(slice_str(bad[i]), &field));
    assert_false(tally_field_parse(slice_make("n.0.0\0", 6), &field));
}

static void sums_saturate(void **state)
{
    struct tally t = {{0}};

    (void)state;
    tally_add(&t, TALLY_COST_NANOUSD, INT64_MAX);
    assert_true(t.count[TALLY_COST_NANOUSD] == TALLY_LIMIT);
    tally_add(&t, TALLY_COST_NANOUSD, INT64_MAX);
    assert_true(t.count[TALLY_COST_NANOUSD] == TALLY_LIMIT);
    for (int i = 0; i < 5; i++)
        tally_add(&t, TALLY_COST_NANOUSD, INT64_MIN);
    assert_true(t.count[TALLY_COST_NANOUSD] == -TALLY_LIMIT);
}

static void a_label_taken_back_leaves_nothing(void **state)
{
    struct tally t = {{0}}, empty = {{0}};

    (void)state;
    tally_add_label(&t, TALLY_JUDGE, 2, 7, 333, 1);
    assert_int_equal(t.count[tally_label(TALLY_JUDGE, true, true, 7)], 333);
    assert_int_equal(t.count[tally_label(TALLY_JUDGE, false, true, 7)], 667);
    assert_int_equal(t.count[tally_label(TALLY_JUDGE, true, false, 7)], 0);
    tally_add_label(&t, TALLY_JUDGE, 2, 7, 333, -1);
    assert_memory_equal(&t, &empty, sizeof t);
}

static void weights_halve_and_end(void **state)
{
    int64_t day_us = INT64_C(86400) * 1000000, now = 1000 * day_us;
    int64_t start = tally_bucket_start(TALLY_SLOW, now - 7 * day_us);

    (void)state;
    assert_true(fabs(tally_weight(TALLY_SLOW, start, now, 7 * 86400000) - 0.5) < 1e-9);
    assert_true(tally_weight(TALLY_SLOW, tally_bucket_start(TALLY_SLOW, now), now, 1000) == 1);
    assert_true(tally_weight(TALLY_SLOW, now + day_us, now, 1000) ==
                1); /* another clock is ahead */
    assert_true(tally_weight(TALLY_SLOW, now - 61 * day_us, now, 7 * 86400000) == 0);
    /* equal within a bucket, so that replicas agree */
    assert_true(tally_weight(TALLY_SLOW, start, now, 1000) ==
                tally_weight(TALLY_SLOW, start, now + tally_bucket_us(TALLY_SLOW) - 1, 1000));
    assert_int_equal(tally_bucket_start(TALLY_QUICK, -1), -tally_bucket_us(TALLY_QUICK));
}

static void views_weigh_sources_and_refuse_what_is_negative(void **state)
{
    struct tally_view v = {{0}};
    double good[TALLY_BINS], bad[TALLY_BINS];

    (void)state;
    tally_view_add(&v, tally_label(TALLY_EXPLICIT, true, false, 3), 2000, 0.5);
    tally_view_add(&v, tally_label(TALLY_IMPLICIT, false, false, 3), 1000, 1);
    tally_view_add(&v, tally_label(TALLY_SILENCE, true, false, 3), 50000, 1);
    tally_view_add(&v, tally_label(TALLY_EXPLICIT, true, true, 3), 9000, 1);
    tally_view_add(&v, TALLY_ASKED, -4, 1);
    assert_int_equal(tally_view_check(&v), 1);
    assert_true(v.x[TALLY_ASKED] == 0);
    tally_view_labels(&v, &tally_trust_default, false, good, bad);
    assert_true(fabs(good[3] - 1) < 1e-12 && fabs(bad[3] - 0.3) < 1e-12);
    tally_view_labels(&v, &tally_trust_default, true, good, bad);
    assert_true(fabs(good[3] - 9) < 1e-12 && bad[3] == 0);
}

static void stages_follow_the_best_chance(void **state)
{
    (void)state;
    assert_int_equal(tally_stage(-1), 0);
    assert_int_equal(tally_stage(0), 1);
    assert_int_equal(tally_stage(0.6), 3);
    assert_int_equal(tally_stage(1), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_has_a_name_of_its_own),
        cmocka_unit_test(other_names_are_none),
        cmocka_unit_test(sums_saturate),
        cmocka_unit_test(a_label_taken_back_leaves_nothing),
        cmocka_unit_test(weights_halve_and_end),
        cmocka_unit_test(views_weigh_sources_and_refuse_what_is_negative),
        cmocka_unit_test(stages_follow_the_best_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
