/* Estimates from labelled neighbours, and when they are trusted. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "router/decide/exante.h"

enum { DIM = 8, ARMS = 2 };

struct memory {
    size_t rows;
    float vector[EXANTE_ROWS][DIM];
    struct exante_outcome outcome[EXANTE_ROWS][ARMS];
};
static struct memory memory;

static float dot(const float *a, const float *b)
{
    float sum = 0;

    for (int i = 0; i < DIM; i++)
        sum += a[i] * b[i];
    return sum;
}

static void cosines(void *ctx, size_t row, float *out)
{
    const struct memory *m = ctx;

    for (size_t i = 0; i < m->rows; i++)
        out[i] = dot(m->vector[row], m->vector[i]);
}

static void add(struct memory *m, int direction, double value, bool told)
{
    m->vector[m->rows][direction] = 1;
    for (int j = 0; j < ARMS; j++)
        m->outcome[m->rows][j] = (struct exante_outcome){
            .value = (float)value, .weight = j == 0, .base = 0.5F, .told = told};
    m->rows++;
}

static struct exante *make(struct memory *m)
{
    return exante_new(&(struct exante_in){
        .arms = ARMS, .rows = m->rows, .outcome = &m->outcome[0][0], .cosines = cosines, .ctx = m});
}

static double lift(const struct exante *e, const float *query, double believed)
{
    float cosine[EXANTE_ROWS];
    double both[ARMS];

    for (size_t i = 0; i < memory.rows; i++)
        cosine[i] = dot(query, memory.vector[i]);
    exante_lift(e, cosine, (double[]){believed, believed}, EXANTE_NONE, both);
    assert_true(both[1] == 0); /* nothing is known of that arm */
    return both[0];
}

static int each(void **state)
{
    (void)state;
    memset(&memory, 0, sizeof memory);
    return 0;
}

static const float easy[DIM] = {1}, hard[DIM] = {0, 1}, opposite[DIM] = {-1, -1},
                   nothing[DIM] = {0}, broken[DIM] = {(float)NAN};

static void neighbours_tell(void **state)
{
    (void)state;
    struct exante *e = make(&memory);
    assert_true(lift(e, easy, 0.5) == 0 && exante_trust(e) == 0); /* an empty memory */
    exante_free(e);
    for (int i = 0; i < 40; i++) {
        add(&memory, 0, 1, true);
        add(&memory, 1, 0, true);
    }
    e = make(&memory);
    assert_true(lift(e, easy, 0.5) > 0.8 && lift(e, hard, 0.5) < -0.8);
    assert_true(lift(e, easy, 1) <= 0 && lift(e, easy, 0) <= EXANTE_MAX_LIFT);
    assert_true(lift(e, opposite, 0.5) == 0 && lift(e, nothing, 0.5) == 0);
    assert_true(lift(e, broken, 0.5) == 0);
    assert_true(exante_trust(e) == 0); /* 80 labels are too few */
    exante_free(e);
    exante_free(NULL);
}

/* The share of successes that a direction has. */
static double trust_of(double first, double second, bool told, int rows, uint64_t seed)
{
    struct rng r;

    rng_seed(&r, seed);
    memset(&memory, 0, sizeof memory);
    for (int i = 0; i < rows; i++)
        add(&memory, i % 2, rng_unit(&r) < (i % 2 ? second : first), told);
    struct exante *e = make(&memory);
    double trust = exante_trust(e);
    exante_free(e);
    return trust;
}

static void trust_is_earned(void **state)
{
    double idle = 0;

    (void)state;
    assert_true(trust_of(0.9, 0.1, true, 400, 1) == 1);
    assert_true(trust_of(0.9, 0.1, false, 400, 1) == 0); /* guesses prove nothing */
    for (uint64_t seed = 0; seed < 40; seed++)
        idle += trust_of(0.5, 0.5, true, 400, seed);
    assert_true(idle < 6); /* of 40; beyond one standard error lie 16 %, beyond two 2 % */
}

/* Families that differ hardly more than a hundred labels of each do by chance. */
static void who_says_too_much_is_followed_in_part(void **state)
{
    enum { SEEDS = 10 };
    double sum = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rng r;
        rng_seed(&r, seed);
        memset(&memory, 0, sizeof memory);
        while (memory.rows < EXANTE_ROWS) {
            int family = (int)memory.rows % DIM;
            add(&memory, family, rng_unit(&r) < (family % 2 ? 0.55 : 0.45), true);
        }
        struct exante *e = make(&memory);
        sum += exante_trust(e);
        exante_free(e);
    }
    assert_true(sum > 0.25 * SEEDS && sum < 0.75 * SEEDS);
}

static void a_word_that_is_half_believed_counts_half(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        add(&memory, 0, 1, true);
    struct exante *whole = make(&memory);
    for (size_t i = 0; i < memory.rows; i++)
        memory.outcome[i][0].weight = 0.5F;
    struct exante *half = make(&memory);
    assert_true(lift(half, easy, 0.5) > 0.2 && lift(half, easy, 0.5) < lift(whole, easy, 0.5));
    exante_free(half);
    exante_free(whole);
}

static void only_the_nearest_count_however_many_there_are(void **state)
{
    (void)state;
    while (memory.rows < EXANTE_ROWS)
        add(&memory, memory.rows < EXANTE_NEIGHBOURS ? 0 : 1, memory.rows < EXANTE_NEIGHBOURS,
            true);
    struct exante *e = make(&memory);
    assert_true(lift(e, easy, 0.5) > 1 && lift(e, hard, 0.5) < -1);
    exante_free(e);
}

static void a_query_is_not_its_own_neighbour(void **state)
{
    float cosine[EXANTE_ROWS] = {0};
    const double believed[ARMS] = {0.5, 0.5};
    double with[ARMS], without[ARMS];

    (void)state;
    add(&memory, 0, 1, true);
    add(&memory, 1, 0, true);
    struct exante *e = make(&memory);
    cosine[0] = 1;
    exante_lift(e, cosine, believed, EXANTE_NONE, with);
    exante_lift(e, cosine, believed, 0, without);
    assert_true(with[0] > 0 && without[0] == 0); /* what is left is like nothing */
    cosine[1] = 0.5F;
    exante_lift(e, cosine, believed, 0, without);
    assert_true(without[0] < 0);
    exante_free(e);
}

static void an_outcome_is_left_out_of_its_mean(void **state)
{
    (void)state;
    assert_true(fabs(exante_without(0.5, 4, 1, 1) - 1.0 / 3) < 1e-9);
    assert_true(fabs(exante_without(0.5, 4, 0, 1) - 2.0 / 3) < 1e-9);
    assert_true(exante_without(0.5, 1, 1, 1) == 0.5); /* nothing would be left */
    assert_true(exante_without(0.1, 3, 1, 1) == 0 && exante_without(0.9, 3, 0, 1) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(neighbours_tell, each),
        cmocka_unit_test_setup(trust_is_earned, each),
        cmocka_unit_test_setup(who_says_too_much_is_followed_in_part, each),
        cmocka_unit_test_setup(a_word_that_is_half_believed_counts_half, each),
        cmocka_unit_test_setup(only_the_nearest_count_however_many_there_are, each),
        cmocka_unit_test_setup(a_query_is_not_its_own_neighbour, each),
        cmocka_unit_test_setup(an_outcome_is_left_out_of_its_mean, each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
