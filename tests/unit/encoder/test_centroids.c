/* Few-shot classes on made-up directions: which class, when none, and what is refused. What they do
 * on real prompts is in the README of the room. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "router/encoder/background.h"
#include "router/encoder/centroids.h"

#define DIM        64
#define BACKGROUND 200

static float background[BACKGROUND * DIM];

/* A unit vector: along axis (none if < 0), with noise. */
static void direction(struct rng *r, int axis, double noise, float *out)
{
    double length = 0;
    for (int d = 0; d < DIM; d++) {
        out[d] = (float)(noise * (rng_unit(r) - 0.5) + (d == axis));
        length += (double)out[d] * (double)out[d];
    }
    for (int d = 0; d < DIM; d++)
        out[d] /= (float)sqrt(length);
}

static struct centroids_options options(double strictness)
{
    struct rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < BACKGROUND; i++)
        direction(&r, -1, 1, background + i * DIM);
    return (struct centroids_options){DIM, background, BACKGROUND, strictness};
}

static struct centroids *two_classes(double strictness)
{
    static float examples[10 * DIM];
    struct rng r;
    rng_seed(&r, 2);
    for (int i = 0; i < 10; i++)
        direction(&r, i < 5 ? 3 : 9, 0.3, examples + i * DIM);
    const struct centroids_class classes[] = {{SLICE("three"), examples, 5},
                                              {SLICE("nine"), examples + 5 * DIM, 5}};
    const struct centroids_options opt = options(strictness);
    struct centroids *c;
    assert_int_equal(centroids_new(classes, 2, &opt, &c, NULL), ERR_OK);
    return c;
}

static void near_queries_are_taken_others_not(void **state)
{
    (void)state;
    struct centroids *c = two_classes(1);
    struct centroids_match m;
    struct rng r;
    float x[DIM];
    rng_seed(&r, 3);
    for (int i = 0; i < 50; i++) {
        direction(&r, i % 2 ? 9 : 3, 0.3, x);
        centroids_decide(c, x, &m);
        assert_int_equal(m.chosen, i % 2);
        assert_true(m.confidence >= 0.5f && m.confidence <= 1 && m.example < 5);
        direction(&r, -1, 1, x);
        centroids_decide(c, x, &m);
        assert_int_equal(m.chosen, -1);
        assert_true(m.confidence < 0.5f && m.similarity < m.threshold && m.nearest >= 0);
    }
    memset(x, 0, sizeof x);
    centroids_decide(c, x, &m);
    assert_true(m.chosen == -1 && m.nearest == -1);
    centroids_free(c);
}

static void strictness_moves_the_threshold(void **state)
{
    (void)state;
    struct centroids_match usual, strict, always;
    struct centroids *c[3] = {two_classes(1), two_classes(1.5), two_classes(0)};
    struct rng r;
    float x[DIM];
    rng_seed(&r, 4);
    direction(&r, -1, 1, x);
    centroids_decide(c[0], x, &usual);
    centroids_decide(c[1], x, &strict);
    centroids_decide(c[2], x, &always);
    assert_true(strict.threshold > usual.threshold);
    assert_int_equal(usual.chosen, -1);
    assert_int_equal(always.chosen, always.nearest);
    assert_true(always.confidence == usual.confidence);
    for (int i = 0; i < 3; i++)
        centroids_free(c[i]);
}

/* A third of the background belongs to the class: it is taken all the same. */
static void the_background_may_hold_the_class(void **state)
{
    (void)state;
    static float examples[5 * DIM];
    struct centroids_options opt = options(1);
    struct centroids_match m;
    struct centroids *c;
    struct rng r;
    float x[DIM];
    rng_seed(&r, 5);
    for (int i = 0; i < 5; i++)
        direction(&r, 7, 0.3, examples + i * DIM);
    for (int i = 0; i < BACKGROUND / 3; i++)
        direction(&r, 7, 0.3, background + i * DIM);
    const struct centroids_class one = {SLICE("seven"), examples, 5};
    assert_int_equal(centroids_new(&one, 1, &opt, &c, NULL), ERR_OK);
    for (int i = 0; i < 20; i++) {
        direction(&r, 7, 0.3, x);
        centroids_decide(c, x, &m);
        assert_int_equal(m.chosen, 0);
    }
    centroids_free(c);
}

static void refused(const struct centroids_class *classes, size_t count, const char *why)
{
    const struct centroids_options opt = options(1);
    struct centroids *c;
    struct err_text t = {""};
    assert_int_equal(centroids_new(classes, count, &opt, &c, &t), ERR_INVALID_POLICY);
    if (!strstr(t.s, why))
        fail_msg("'%s' does not say '%s'", t.s, why);
}

static void bad_classes_are_refused(void **state)
{
    (void)state;
    static float a[2 * DIM], zero[DIM], broken[DIM];
    struct rng r;
    rng_seed(&r, 6);
    direction(&r, 1, 0.1, a);
    direction(&r, 2, 0.1, a + DIM);
    for (int d = 0; d < DIM; d++)
        broken[d] = NAN;
    refused((struct centroids_class[]){{SLICE("x"), a, 0}}, 1, "no examples");
    refused((struct centroids_class[]){{SLICE("x"), a, 1}, {SLICE("x"), a + DIM, 1}}, 2, "twice");
    refused((struct centroids_class[]){{SLICE("x"), a, 2}, {SLICE("y"), a + DIM, 1}}, 2,
            "also example 2 of class 'x'");
    refused((struct centroids_class[]){{SLICE("x"), zero, 1}}, 1, "example 1 of class 'x'");
    refused((struct centroids_class[]){{SLICE("x"), broken, 1}}, 1, "example 1 of class 'x'");
}

static void one_example_is_enough(void **state)
{
    (void)state;
    float x[DIM];
    struct rng r;
    struct centroids_match m;
    struct centroids *c;
    rng_seed(&r, 7);
    direction(&r, 5, 0.1, x);
    const struct centroids_class one = {SLICE("five"), x, 1};
    const struct centroids_options opt = options(1);
    assert_int_equal(centroids_new(&one, 1, &opt, &c, NULL), ERR_OK);
    centroids_decide(c, x, &m);
    assert_true(m.chosen == 0 && m.example == 0 && m.similarity > 0.99f);
    centroids_free(c);
    assert_int_equal(centroids_new(NULL, 0, &opt, &c, NULL), ERR_OK);
    centroids_decide(c, x, &m);
    assert_int_equal(m.chosen, -1);
    centroids_free(c);
}

static void the_background_is_there(void **state)
{
    (void)state;
    size_t n = background_count();
    assert_true(n >= CENTROIDS_MIN_BACKGROUND);
    for (size_t i = 0; i < n; i++) {
        struct slice s = background_prompt(i);
        assert_true(s.n > 0 && !memchr(s.p, '\n', s.n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_queries_are_taken_others_not),
        cmocka_unit_test(strictness_moves_the_threshold),
        cmocka_unit_test(the_background_may_hold_the_class),
        cmocka_unit_test(bad_classes_are_refused),
        cmocka_unit_test(one_example_is_enough),
        cmocka_unit_test(the_background_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
