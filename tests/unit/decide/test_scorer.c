/* Scorers: they find weights, refuse too little, survive a round trip and hostile text. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "router/decide/scorer.h"

enum { ROWS = 2000, FEATURES = 4 };

static float x[ROWS][FEATURES], y[ROWS];

/* Feature 0 helps, 1 harms, 2 is noise, 3 never changes. */
static void make_rows(void)
{
    struct rng r;

    rng_seed(&r, 5);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < 3; k++)
            x[i][k] = (float)(4 * rng_unit(&r) - 2);
        x[i][3] = 7;
        y[i] = rng_unit(&r) < logistic(0.5 + 2 * (double)x[i][0] - (double)x[i][1]);
    }
}

static void weights_are_found(void **state)
{
    struct scorer s = {.version = 3};
    struct scorer_rows rows = {&x[0][0], y, NULL, ROWS, FEATURES};
    float even[FEATURES] = {0, 0, 0, 7}, good[FEATURES] = {1, -1, 0, 7},
          unknown[FEATURES] = {NAN, NAN, NAN, NAN};

    (void)state;
    make_rows();
    assert_true(scorer_fit(&s, &rows));
    assert_int_equal(s.version, 4);
    assert_true(fabs(scorer_score(&s, even) - logistic(0.5)) < 0.05);
    assert_true(fabs(scorer_score(&s, good) - logistic(3.5)) < 0.03);
    assert_true(isfinite(scorer_score(&s, unknown)));
}

static void too_little_leaves_it_alone(void **state)
{
    double coef[FEATURES] = {1, 0, 0, 0};
    struct scorer s, before;
    float all_right[ROWS];

    (void)state;
    make_rows();
    scorer_set(&s, coef, FEATURES, -1);
    before = s;
    struct scorer_rows few = {&x[0][0], y, NULL, 19, FEATURES};
    assert_false(scorer_fit(&s, &few));
    for (int i = 0; i < ROWS; i++)
        all_right[i] = 1;
    struct scorer_rows one_kind = {&x[0][0], all_right, NULL, ROWS, FEATURES};
    assert_false(scorer_fit(&s, &one_kind));
    assert_memory_equal(&s, &before, sizeof s);
    assert_true(fabs(scorer_score(&s, (float[]){2, 0, 0, 0}) - logistic(1)) < 1e-12);
}

static void text_gives_the_same_scorer_back(void **state)
{
    struct scorer s = {0}, back;
    struct scorer_rows rows = {&x[0][0], y, NULL, ROWS, FEATURES};
    char text[SCORER_TEXT_BYTES];
    struct err_text t;

    (void)state;
    make_rows();
    assert_true(scorer_fit(&s, &rows));
    scorer_write(&s, text);
    assert_int_equal(scorer_read(&back, slice_str(text), &t), ERR_OK);
    for (int i = 0; i < ROWS; i++)
        assert_true(scorer_score(&s, x[i]) == scorer_score(&back, x[i]));
    /* every cut of it is refused, but for one inside the last number */
    size_t last = (size_t)(strrchr(text, ' ') - text) + 1;
    for (size_t n = 0; n <= last; n++) {
        struct scorer cut;
        assert_int_equal(scorer_read(&cut, slice_make(text, n), &t), ERR_BAD_REQUEST);
    }
    assert_int_equal(scorer_read(&back, SLICE("scorer/1 0 64 1"), &t), ERR_BAD_REQUEST);
    assert_int_equal(scorer_read(&back, SLICE("scorer/1 0 -1 1"), &t), ERR_BAD_REQUEST);
    assert_int_equal(scorer_read(&back, SLICE("scorer/1 0 0 nan"), &t), ERR_BAD_REQUEST);
    assert_int_equal(scorer_read(&back, SLICE("scorer/1 0 0 1 2"), &t), ERR_BAD_REQUEST);
    assert_int_equal(scorer_read(&back, SLICE(""), &t), ERR_BAD_REQUEST);
    assert_int_equal(scorer_read(&back, SLICE("scorer/1 0 0 1"), &t), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_found),
        cmocka_unit_test(too_little_leaves_it_alone),
        cmocka_unit_test(text_gives_the_same_scorer_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
