/* router/neighbours: vectors as bytes in the kernels' order find whom floats would find, routes and
 * models by their names. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/neighbours.h"

enum { DIM = 192, ROWS = 500 };

static const char *const models[] = {"small", "big"};

/* Two families about two directions; the small model fails in the second. */
static void fill(float *vector, struct exante_outcome *outcome)
{
    struct rng r;

    rng_seed(&r, 7);
    for (int i = 0; i < ROWS; i++) {
        double square = 0;
        for (int k = 0; k < DIM; k++) {
            double x = rng_unit(&r) - 0.5 + (k == i % 2 ? 8 : 0);
            vector[i * DIM + k] = (float)x;
            square += x * x;
        }
        for (int k = 0; k < DIM; k++)
            vector[i * DIM + k] /= (float)sqrt(square);
        outcome[2 * i] = (struct exante_outcome){i % 2 ? 0.0F : 1.0F, 1, 0.5F, true};
        outcome[2 * i + 1] = (struct exante_outcome){1, 1, 0.9F, true};
    }
}

static void families_are_found(void **state)
{
    float *vector = mem_zalloc(ROWS * DIM, sizeof *vector), zero[DIM] = {0};
    struct exante_outcome *outcome = mem_zalloc(2 * ROWS, sizeof *outcome);
    const double believed[2] = {0.5, 0.9};
    double lift[2];

    (void)state;
    fill(vector, outcome);
    struct neighbours_route_in in[2] = {{.name = "empty", .model = models, .arms = 2},
                                        {.name = "chat",
                                         .model = models,
                                         .arms = 2,
                                         .rows = ROWS,
                                         .vector = vector,
                                         .outcome = outcome}};
    struct neighbours *n = neighbours_new(in, 2, DIM);
    const struct neighbours_route *chat = neighbours_find(n, SLICE("chat"));
    const struct neighbours_route *empty = neighbours_find(n, SLICE("empty"));
    assert_null(neighbours_find(n, SLICE("other")));
    assert_null(neighbours_find(NULL, SLICE("chat")));
    assert_int_equal(neighbours_rows(chat), ROWS);
    assert_int_equal(neighbours_arms(chat), 2);
    assert_true(slice_eq(neighbours_model(chat, 1), SLICE("big")));
    assert_true(neighbours_trust(chat) == 1 && neighbours_trust(empty) == 0);
    for (int i = 0; i < 4; i++) {
        neighbours_lift(chat, vector + i * DIM, believed, NEIGHBOURS_NONE, lift);
        assert_true(i % 2 ? lift[0] < -1 : lift[0] > 1);
        assert_true(lift[1] > 0);
    }
    neighbours_lift(chat, zero, believed, NEIGHBOURS_NONE, lift);
    assert_true(lift[0] == 0 && lift[1] == 0);
    neighbours_lift(empty, vector, believed, NEIGHBOURS_NONE, lift);
    assert_true(lift[0] == 0 && lift[1] == 0);
    assert_ptr_equal(neighbours_ref(n), n);
    neighbours_unref(n);
    neighbours_lift(chat, vector, believed, NEIGHBOURS_NONE, lift); /* still held */
    assert_true(lift[0] > 1);
    neighbours_unref(n);
    neighbours_unref(NULL);
    assert_null(neighbours_ref(NULL));
    free(outcome);
    free(vector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(families_are_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
