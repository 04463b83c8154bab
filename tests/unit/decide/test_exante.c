/* Estimates from labelled neighbours. */
#include <cmocka.h>
#include <math.h>
#include "router/decide/exante.h"

/* Two directions: the weak arm manages only the first. */
static void neighbours_tell(void **state)
{
    struct exante *e = exante_new(2, 2, 64);
    const float easy[2] = {1, 0}, hard[2] = {0, 1}, opposite[2] = {-1, 0}, nothing[2] = {0, 0};
    const double half[2] = {0.5, 0.5};
    double lift[2];

    (void)state;
    exante_lift(e, easy, half, lift);
    assert_true(lift[0] == 0 && lift[1] == 0);
    for (int i = 0; i < 20; i++) {
        exante_add(e, easy, (double[]){1, 1});
        exante_add(e, hard, (double[]){0, (double)NAN});
    }
    exante_lift(e, easy, half, lift);
    assert_true(lift[0] > 1 && lift[1] > 1);
    exante_lift(e, hard, half, lift);
    assert_true(lift[0] < -1 && fabs(lift[1]) < 0.5);
    exante_lift(e, opposite, half, lift);
    assert_true(lift[0] == 0);
    exante_lift(e, nothing, half, lift);
    assert_true(lift[0] == 0);
    /* the oldest give way: now the first direction is the hard one */
    for (int i = 0; i < 64; i++)
        exante_add(e, i % 2 ? easy : hard, (double[]){i % 2 ? 0 : 1, 1});
    exante_lift(e, easy, half, lift);
    assert_true(lift[0] < -1);
    exante_free(e);
    exante_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(neighbours_tell)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
