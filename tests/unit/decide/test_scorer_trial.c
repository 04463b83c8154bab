/* Scorers on trial: one that knows more is better, by what was held out; one that knows the same is
 * not; too few rows are no trial; records survive a round trip and hostile text. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/rng.h"
#include "router/decide/curve.h"
#include "router/decide/scorer_trial.h"

enum { ROWS = 4000, FEATURES = 20 };

static float x[ROWS][FEATURES], y[ROWS], score[ROWS], truth[ROWS];
static bool held[ROWS];

/* Features 0 and 1 tell; the scorer in force sees what `seen` says. */
static struct scorer_trial rows_of(size_t n, float (*seen)(size_t))
{
    struct rng r;

    rng_seed(&r, 9);
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < FEATURES; k++)
            x[i][k] = (float)(4 * rng_unit(&r) - 2);
        truth[i] = (float)logistic(0.5 + 1.5 * (double)x[i][0] - 2 * (double)x[i][1]);
        y[i] = rng_unit(&r) < (double)truth[i];
        held[i] = i % 5 == 0;
        score[i] = seen(i);
    }
    return (struct scorer_trial){&x[0][0], y, score, held, n, FEATURES};
}

static float sees_one(size_t i)
{
    return (float)logistic((double)x[i][0]);
}

static float sees_all(size_t i)
{
    return truth[i];
}

static float sees_nothing(size_t i)
{
    return 0.5F + 0 * (float)i;
}

/* Share of pairs in the right order, of the held out ones. */
static double auroc(const float *s)
{
    double right = 0, pairs = 0;

    for (size_t i = 0; i < ROWS; i += 5)
        for (size_t j = 0; j < ROWS; j += 5)
            if (y[i] > 0.5F && y[j] < 0.5F) {
                pairs += 1;
                right += s[i] > s[j] ? 1 : s[i] < s[j] ? 0 : 0.5;
            }
    return right / pairs;
}

static void one_that_knows_more(void **state)
{
    struct scorer_record r = {.features_version = 1};
    struct scorer_trial t = rows_of(ROWS, sees_one);
    static float fresh[ROWS];
    double off = 0, off_before = 0;

    (void)state;
    clock_t begun = clock();
    assert_int_equal(scorer_try(&t, 7, &r), SCORER_BETTER);
    print_message("%d rows of %d features: %.1f ms\n", ROWS, FEATURES,
                  1000 * (double)(clock() - begun) / CLOCKS_PER_SEC);
    assert_int_equal(r.scorer.version, 7);
    assert_int_equal(r.held_rows, ROWS / 5);
    assert_int_equal(r.rows, ROWS - ROWS / 5);
    assert_true(r.loss < r.loss_before - 0.1);
    for (size_t i = 0; i < ROWS; i++) {
        fresh[i] = (float)scorer_score(&r.scorer, x[i]);
        off += fabs((double)fresh[i] - (double)truth[i]) / ROWS;
        off_before += fabs((double)score[i] - (double)truth[i]) / ROWS;
    }
    assert_true(auroc(fresh) > auroc(score) + 0.1);
    assert_true(off < 0.03 && off < off_before / 4); /* calibrated */
}

static void one_that_does_not(void **state)
{
    struct scorer_record r;
    struct scorer_trial t = rows_of(ROWS, sees_all);

    (void)state;
    assert_int_equal(scorer_try(&t, 7, &r), SCORER_NOT_BETTER);
    t = rows_of(ROWS, sees_nothing);
    assert_int_equal(scorer_try(&t, 7, &r), SCORER_BETTER);
    for (size_t i = 0; i < ROWS; i++) /* nothing to be known */
        y[i] = (float)(i * 2654435761U >> 7 & 1);
    assert_int_equal(scorer_try(&t, 7, &r), SCORER_NOT_BETTER);
}

static void too_few(void **state)
{
    struct scorer_record r;
    struct scorer_trial t = rows_of(90, sees_nothing); /* 18 held out */

    (void)state;
    assert_int_equal(scorer_try(&t, 7, &r), SCORER_TOO_FEW);
    t = rows_of(0, sees_nothing);
    assert_int_equal(scorer_try(&t, 7, &r), SCORER_TOO_FEW);
}

static void records_as_text(void **state)
{
    struct scorer_record r = {.features_version = 1, .fitted_wall_us = 1795000000000000}, back;
    struct scorer_trial t = rows_of(ROWS, sees_one);
    char text[SCORER_RECORD_BYTES];
    struct err_text why = {""};

    (void)state;
    assert_int_equal(scorer_try(&t, 4000000000U, &r), SCORER_BETTER);
    scorer_record_write(&r, text);
    assert_int_equal(scorer_record_read(&back, slice_str(text), &why), ERR_OK);
    assert_int_equal(back.features_version, 1);
    assert_int_equal(back.rows, r.rows);
    assert_int_equal(back.fitted_wall_us, r.fitted_wall_us);
    assert_true(back.loss == r.loss && back.loss_before == r.loss_before);
    assert_int_equal(back.scorer.version, 4000000000U);
    assert_true(scorer_score(&back.scorer, x[5]) == scorer_score(&r.scorer, x[5]));
    for (size_t n = 0; n < strlen(text) - 20; n++)
        assert_int_equal(scorer_record_read(&back, slice_make(text, n), &why), ERR_BAD_REQUEST);
    static const char *const bad[] = {"",
                                      "x",
                                      "1 2 3 4 nan 1 scorer/1 1 0 0",
                                      "1 -2 3 4 1 1 scorer/1 1 0 0",
                                      "1 2 3 4 1 1 scorer/1 1 99 0",
                                      "1 2 3 4 1 1 scorer/2 1 0 0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(scorer_record_read(&back, slice_str(bad[i]), &why), ERR_BAD_REQUEST);
    assert_int_equal(scorer_record_read(&back, SLICE("1 2 3 4 1 1 scorer/1 1 0 0"), &why), ERR_OK);
}

static void enough_of_them_must_be_new(void **state)
{
    (void)state;
    assert_false(scorer_is_worth_trying(99, 99));
    assert_true(scorer_is_worth_trying(100, 25));
    assert_false(scorer_is_worth_trying(100, 24));
    assert_false(scorer_is_worth_trying(4000, 999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enough_of_them_must_be_new),
        cmocka_unit_test(one_that_knows_more),
        cmocka_unit_test(one_that_does_not),
        cmocka_unit_test(too_few),
        cmocka_unit_test(records_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
