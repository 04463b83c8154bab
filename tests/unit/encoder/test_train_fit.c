/* The fit of linear heads: the gradient by finite differences, the optimum by its gradient and by
 * values that scikit-learn found (train_fit_oracle.py), and what input is refused. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "router/encoder/train/linear_fit.h"

#define ROWS     60
#define FEATURES 7
#define OUTPUTS  4

/* Of train_fit_oracle.py. */
#define ORACLE_LOSS  1.246659615
#define ORACLE_FIRST 0.33824186f, 0.02697261f, 0.37171779f, 0.26306775f

struct set {
    float x[ROWS * FEATURES], target[ROWS * OUTPUTS], weight[ROWS];
    int label[ROWS];
};

/* Numbers that Python makes alike: the high half of xorshift64*. */
static double draw(uint64_t *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return (double)((*s * 2685821657736338717ULL) >> 32) / 4294967296.0;
}

static void fill(struct set *d, uint64_t seed)
{
    for (size_t i = 0; i < ROWS * FEATURES; i++)
        d->x[i] = (float)(4 * draw(&seed) - 2);
    for (size_t i = 0; i < ROWS; i++)
        d->label[i] = (int)(OUTPUTS * draw(&seed));
    for (size_t i = 0; i < ROWS * OUTPUTS; i++)
        d->target[i] = draw(&seed) < 0.4;
    for (size_t i = 0; i < ROWS; i++)
        d->weight[i] = (float)(0.5 + draw(&seed));
}

static struct linear_problem problem(const struct set *d, enum linear_loss loss)
{
    return (struct linear_problem){
        .loss = loss,
        .x = d->x,
        .rows = ROWS,
        .features = FEATURES,
        .outputs = OUTPUTS,
        .label = d->label,
        .target = d->target,
        .l2 = 0.02,
        .threads = 2,
    };
}

static void check_gradient(struct linear_problem p)
{
    enum { N = (FEATURES + 1) * OUTPUTS };
    double at[N], gradient[N], ignored[N];
    uint64_t seed = 5;
    struct linear_objective *o = linear_objective_new(&p);
    for (size_t i = 0; i < N; i++)
        at[i] = draw(&seed) - 0.5;
    linear_objective_value(at, gradient, o);
    for (size_t i = 0; i < N; i++) {
        double keep = at[i], h = 1e-2;
        at[i] = keep + h;
        double up = linear_objective_value(at, ignored, o);
        at[i] = keep - h;
        double down = linear_objective_value(at, ignored, o);
        at[i] = keep;
        /* Scores are single precision: central differences are good to about 1e-5 at this step. */
        assert_true(fabs((up - down) / (2 * h) - gradient[i]) < 1e-4);
    }
    linear_objective_free(o);
}

static void gradients_are_those_of_the_loss(void **state)
{
    (void)state;
    static struct set d;
    fill(&d, 1);
    for (int loss = LINEAR_SOFTMAX; loss <= LINEAR_TIERS; loss++) {
        struct linear_problem p = problem(&d, (enum linear_loss)loss);
        check_gradient(p);
        p.weight = d.weight;
        check_gradient(p);
        d.target[3] = d.target[17] = NAN; /* rows that do not know an output */
        check_gradient(p);
    }
}

static void fit(const struct linear_problem *p, struct linear_model *m)
{
    struct lbfgs_result r;
    struct err_text t = {""};
    linear_model_init(m, p->features, p->outputs);
    assert_int_equal(linear_fit(p, 500, 1e-6, m, &r, &t), ERR_OK);
    assert_true(r.gradient < 1e-5);
}

/* What scikit-learn's LogisticRegression finds for set 1, on standardised features: its mean
 * log-loss and the probabilities of the first row (train_fit_oracle.py prints them). */
static void the_optimum_is_scikit_learns(void **state)
{
    (void)state;
    static struct set d;
    fill(&d, 1);
    struct linear_problem p = problem(&d, LINEAR_SOFTMAX);
    struct linear_model m;
    float z[ROWS * OUTPUTS];
    fit(&p, &m);
    linear_apply(&m, d.x, ROWS, z, 1);
    double loss = 0;
    for (size_t i = 0; i < ROWS; i++) {
        float *row = z + i * OUTPUTS;
        linear_probabilities(LINEAR_SOFTMAX, row, OUTPUTS, row);
        loss -= log((double)row[d.label[i]]) / ROWS;
    }
    static const float first[] = {ORACLE_FIRST};
    assert_true(fabs(loss - ORACLE_LOSS) < 1e-5);
    for (size_t c = 0; c < OUTPUTS; c++)
        assert_true(fabsf(z[c] - first[c]) < 1e-4f);
    linear_model_clear(&m);
}

/* Each output of a logistic problem is its own regression: also where rows do not know it. */
static void outputs_are_independent(void **state)
{
    (void)state;
    static struct set d;
    fill(&d, 2);
    for (size_t i = 0; i < ROWS; i += 3)
        d.target[i * OUTPUTS + 1] = NAN;
    struct linear_problem all = problem(&d, LINEAR_LOGISTIC), one = all;
    struct linear_model m, single;
    static float x[ROWS * FEATURES], target[ROWS];
    one.rows = 0;
    for (size_t i = 0; i < ROWS; i++)
        if (!isnan(d.target[i * OUTPUTS + 1])) {
            for (size_t f = 0; f < FEATURES; f++)
                x[one.rows * FEATURES + f] = d.x[i * FEATURES + f];
            target[one.rows++] = d.target[i * OUTPUTS + 1];
        }
    one.x = x;
    one.target = target;
    one.outputs = 1;
    all.l2 = one.l2 = 0; /* the scale of the features differs between the two sets of rows */
    fit(&all, &m);
    fit(&one, &single);
    for (size_t f = 0; f < FEATURES; f++)
        assert_true(fabsf(m.weight[FEATURES + f] - single.weight[f]) < 2e-3f);
    linear_model_clear(&m);
    linear_model_clear(&single);
}

static void tiers_never_fall(void **state)
{
    (void)state;
    static struct set d;
    fill(&d, 3);
    struct linear_problem p = problem(&d, LINEAR_TIERS);
    struct linear_model m;
    float z[ROWS * OUTPUTS];
    fit(&p, &m);
    linear_apply(&m, d.x, ROWS, z, 2);
    for (size_t i = 0; i < ROWS; i++) {
        float *row = z + i * OUTPUTS;
        linear_probabilities(LINEAR_TIERS, row, OUTPUTS, row);
        for (size_t k = 1; k < OUTPUTS; k++)
            assert_true(row[k] >= row[k - 1] && row[k] <= 1);
    }
    linear_model_clear(&m);
}

/* A weight of 2 is a row that stands twice. */
static void weights_count_rows(void **state)
{
    (void)state;
    static struct set d;
    static float x[2 * ROWS * FEATURES], weight[ROWS];
    static int label[2 * ROWS];
    fill(&d, 4);
    size_t n = 0;
    for (size_t i = 0; i < ROWS; i++) {
        weight[i] = i % 3 ? 1 : 2;
        for (float k = 0; k < weight[i]; k++, n++) {
            memcpy(x + n * FEATURES, d.x + i * FEATURES, FEATURES * sizeof *x);
            label[n] = d.label[i];
        }
    }
    struct linear_problem weighted = problem(&d, LINEAR_SOFTMAX), twice = weighted;
    weighted.weight = weight;
    twice.x = x;
    twice.label = label;
    twice.rows = n;
    weighted.l2 = twice.l2 = 1e-6; /* the scale is that of unweighted rows */
    struct linear_model a, b;
    fit(&weighted, &a);
    fit(&twice, &b);
    float za[ROWS * OUTPUTS], zb[ROWS * OUTPUTS];
    linear_apply(&a, d.x, ROWS, za, 1);
    linear_apply(&b, d.x, ROWS, zb, 1);
    for (size_t i = 0; i < ROWS; i++) {
        linear_probabilities(LINEAR_SOFTMAX, za + i * OUTPUTS, OUTPUTS, za + i * OUTPUTS);
        linear_probabilities(LINEAR_SOFTMAX, zb + i * OUTPUTS, OUTPUTS, zb + i * OUTPUTS);
        for (size_t c = 0; c < OUTPUTS; c++)
            assert_true(fabsf(za[i * OUTPUTS + c] - zb[i * OUTPUTS + c]) < 2e-3f);
    }
    linear_model_clear(&a);
    linear_model_clear(&b);
}

static void constant_features_get_no_weight(void **state)
{
    (void)state;
    static struct set d;
    fill(&d, 6);
    for (size_t i = 0; i < ROWS; i++)
        d.x[i * FEATURES + 2] = 0.7f;
    struct linear_problem p = problem(&d, LINEAR_SOFTMAX);
    struct linear_model m;
    fit(&p, &m);
    for (size_t c = 0; c < OUTPUTS; c++)
        assert_true(m.weight[c * FEATURES + 2] == 0);
    linear_model_clear(&m);
}

static void refused(struct linear_problem p, const char *why)
{
    struct linear_model m;
    struct lbfgs_result r;
    struct err_text t = {""};
    linear_model_init(&m, p.features, p.outputs);
    assert_int_equal(linear_fit(&p, 10, 1e-6, &m, &r, &t), ERR_BAD_REQUEST);
    if (!strstr(t.s, why))
        fail_msg("'%s' does not say '%s'", t.s, why);
    linear_model_clear(&m);
}

static void what_cannot_be_fitted_is_refused(void **state)
{
    (void)state;
    static struct set d, bad;
    fill(&d, 7);
    struct linear_problem p = problem(&d, LINEAR_SOFTMAX);
    p.outputs = 1;
    refused(p, "one class");
    p = problem(&d, LINEAR_SOFTMAX);
    p.rows = 0;
    refused(p, "no rows");
    bad = d;
    bad.x[3 * FEATURES + 1] = NAN;
    refused(problem(&bad, LINEAR_SOFTMAX), "feature 1 of row 4");
    bad.x[3 * FEATURES + 1] = INFINITY;
    refused(problem(&bad, LINEAR_LOGISTIC), "feature 1 of row 4");
    bad = d;
    bad.target[2 * OUTPUTS + 3] = 1.5f;
    refused(problem(&bad, LINEAR_LOGISTIC), "score 4 of row 3");
    for (size_t i = 0; i < ROWS; i++)
        bad.target[i * OUTPUTS + 3] = NAN;
    refused(problem(&bad, LINEAR_TIERS), "output 4");
    p = problem(&d, LINEAR_SOFTMAX);
    p.l2 = NAN;
    refused(p, "penalty");
    bad.weight[5] = 0;
    p.weight = bad.weight;
    p.l2 = 1;
    refused(p, "weight of row 6");
}

/* Rosenbrock's valley: a hard case for every line search. */
static double valley(const double *x, double *g, void *ctx)
{
    (void)ctx;
    double a = 1 - x[0], b = x[1] - x[0] * x[0];
    g[0] = -2 * a - 400 * x[0] * b;
    g[1] = 200 * b;
    return a * a + 100 * b * b;
}

static double cliff(const double *x, double *g, void *ctx)
{
    (void)ctx;
    g[0] = 1 - 1 / x[0];
    return x[0] > 0 ? x[0] - log(x[0]) : NAN;
}

static void the_optimiser_finds_the_bottom(void **state)
{
    (void)state;
    const struct lbfgs_options opt = {.max_iterations = 200, .tolerance = 1e-8, .noise = 1e-14};
    double x[2] = {-1.2, 1};
    struct lbfgs_result r = lbfgs_minimize(valley, NULL, x, 2, &opt);
    assert_int_equal(r.end, LBFGS_CONVERGED);
    assert_true(fabs(x[0] - 1) < 1e-6 && fabs(x[1] - 1) < 1e-6);
    assert_true(r.evaluations < 100);
    double far[1] = {50}; /* steps that leave the domain are taken back */
    r = lbfgs_minimize(cliff, NULL, far, 1, &opt);
    assert_int_equal(r.end, LBFGS_CONVERGED);
    assert_true(fabs(far[0] - 1) < 1e-6);
    double nowhere[1] = {-1};
    assert_int_equal(lbfgs_minimize(cliff, NULL, nowhere, 1, &opt).end, LBFGS_NOT_FINITE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(the_optimum_is_scikit_learns),
        cmocka_unit_test(outputs_are_independent),
        cmocka_unit_test(tiers_never_fall),
        cmocka_unit_test(weights_count_rows),
        cmocka_unit_test(constant_features_get_no_weight),
        cmocka_unit_test(what_cannot_be_fitted_is_refused),
        cmocka_unit_test(the_optimiser_finds_the_bottom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
