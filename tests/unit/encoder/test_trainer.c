/* The trainer on rows whose truth is known: what it finds, that its probabilities mean what they
 * say, and what it refuses. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json_scan.h"
#include "base/rng.h"
#include "router/encoder/features.h"
#include "router/encoder/train/evaluation.h"
#include "router/encoder/train/report.h"
#include "router/encoder/train/rows.h"
#include "router/encoder/train/trainer.h"

#define ROWS    1200
#define VECTOR  12
#define F       (VECTOR + FEATURES_SCALARS)
#define CLASSES 3
#define MODELS  3

static float x[ROWS * F], target[ROWS * MODELS];
static int label[ROWS], fold[ROWS];

/* Three clouds, some of them overlapping; model 1 is strong, 2 middling, 0 weak, all of them worse
 * where the fourth feature is large. Rows 0..99 have no class, 100..199 no score of model 2. */
static struct train_set make_set(void)
{
    struct rng r;
    rng_seed(&r, 11);
    for (int i = 0; i < ROWS; i++) {
        label[i] = i < 100 ? ROWS_NO_CLASS : (int)rng_below(&r, CLASSES);
        fold[i] = i % 4;
        for (int f = 0; f < F; f++)
            x[i * F + f] = (float)(rng_unit(&r) + rng_unit(&r) - 1) + (f == label[i] ? 0.9f : 0);
        x[i * F + F - 1] = 0.25f; /* never changes */
        static const double ease[MODELS] = {-0.5, 1.5, 0.5};
        for (int m = 0; m < MODELS; m++) {
            double p = 1 / (1 + exp(3 * (double)x[i * F + 3] - ease[m]));
            target[i * MODELS + m] = rng_unit(&r) < p;
            if (m == 2 && i >= 100 && i < 200)
                target[i * MODELS + m] = NAN;
        }
    }
    return (struct train_set){x, ROWS, F, VECTOR, label, CLASSES, target, MODELS, fold, 4};
}

static const struct train_options automatic = {.class_l2 = -1, .success_l2 = -1, .threads = 2};

static struct heads *heads_of(const struct trained *m, const struct train_set *set, bool tiers)
{
    static const struct slice labels[CLASSES] = {{"a", 1}, {"b|\n", 3}, {"<c>", 3}};
    static const struct slice models[MODELS] = {{"x", 1}, {"y\"", 2}, {"z", 1}};
    struct heads_parts parts = {
        .encoder = SLICE("clouds"),
        .layout = SLICE(FEATURES_LAYOUT_STATIC),
        .label = labels,
        .model = models,
        .report = SLICE("{}"),
    };
    trained_parts(m, set, tiers, &parts);
    return heads_new(&parts);
}

static void heads_find_what_is_there(void **state)
{
    (void)state;
    const struct train_set set = make_set();
    struct err_text t = {""};
    struct trained m;
    assert_int_equal(train_heads(&set, &automatic, &m, &t), ERR_OK);
    const struct predictions crossed = {ROWS,       CLASSES,     MODELS, m.class_p,
                                        m.in_scope, m.success_p, label,  target};
    struct evaluation e;
    evaluation_init(&e, &crossed);
    assert_int_equal(e.classes.rows, ROWS - 100); /* rows without a class take no part */
    assert_true(e.classes.accuracy > 0.8 && e.classes.auroc > 0.9);
    assert_true(e.classes.top.ece < 0.06);
    assert_int_equal(e.model[2].rows, ROWS - 100);
    for (int k = 0; k < MODELS; k++)
        assert_true(e.model[k].auroc > 0.7 && e.model[k].reliability.ece < 0.08);
    /* Of the rows in scope themselves a twentieth lies below 0.05. */
    assert_true(fabs(e.cut_in - 0.05) < 0.01);
    evaluation_clear(&e);
    assert_true(m.class_choice.tried >= 3);
    for (size_t c = 0; c < CLASSES; c++)
        assert_true(m.class_model.weight[c * F + F - 1] == 0);
    trained_clear(&m);
}

static void the_set_gives_what_the_trainer_promised(void **state)
{
    (void)state;
    const struct train_set set = make_set();
    struct train_options opt = automatic;
    struct trained m;
    opt.tiers = true;
    assert_int_equal(train_heads(&set, &opt, &m, NULL), ERR_OK);
    assert_int_equal(m.model_order[0], 0); /* weakest first */
    assert_int_equal(m.model_order[1], 2);
    assert_int_equal(m.model_order[2], 1);
    struct heads *h = heads_of(&m, &set, true);
    static float p[ROWS * CLASSES], scope[ROWS], s[ROWS * MODELS];
    evaluation_predict(h, x, ROWS, p, scope, s, 2);
    for (int i = 0; i < ROWS; i++) {
        double sum = 0;
        for (int c = 0; c < CLASSES; c++)
            sum += (double)p[i * CLASSES + c];
        assert_true(fabs(sum - 1) < 1e-5 && scope[i] >= 0 && scope[i] <= 1);
        for (int k = 1; k < MODELS; k++)
            assert_true(s[i * MODELS + k] >= s[i * MODELS + k - 1]);
    }
    /* Nothing that was trained on points this way. */
    float strange[F], q[CLASSES];
    for (int f = 0; f < F; f++)
        strange[f] = f < CLASSES ? -2 : 0;
    assert_true(heads_classify(h, strange, q) < 0.05f);
    heads_free(h);
    trained_clear(&m);
}

static void the_same_rows_give_the_same_heads(void **state)
{
    (void)state;
    const struct train_set set = make_set();
    struct trained a, b;
    assert_int_equal(train_heads(&set, &automatic, &a, NULL), ERR_OK);
    assert_int_equal(train_heads(&set, &automatic, &b, NULL), ERR_OK);
    assert_memory_equal(a.class_model.weight, b.class_model.weight, CLASSES * F * sizeof(float));
    assert_memory_equal(a.success_p, b.success_p, ROWS * MODELS * sizeof(float));
    trained_clear(&a);
    trained_clear(&b);
}

/* Nine rows in ten are of one class: weighed alike, the others are found more often. */
static void balance_helps_small_classes(void **state)
{
    (void)state;
    struct train_set set = make_set();
    struct train_options opt = automatic;
    set.models = 0;
    struct rng r;
    rng_seed(&r, 12);
    for (int i = 0; i < ROWS; i++)
        if (label[i] > 0 && rng_unit(&r) < 0.9)
            label[i] = ROWS_NO_CLASS;
    double recall[2] = {0, 0};
    for (int balanced = 0; balanced < 2; balanced++) {
        struct trained m;
        struct evaluation e;
        opt.balanced = balanced;
        assert_int_equal(train_heads(&set, &opt, &m, NULL), ERR_OK);
        const struct predictions p = {ROWS, CLASSES, 0, m.class_p, NULL, NULL, label, NULL};
        evaluation_init(&e, &p);
        recall[balanced] = e.classes.class[1].recall + e.classes.class[2].recall;
        evaluation_clear(&e);
        trained_clear(&m);
    }
    assert_true(recall[1] > recall[0]);
}

static void refused(const struct train_set *set, const char *why)
{
    struct err_text t = {""};
    struct trained m;
    assert_int_equal(train_heads(set, &automatic, &m, &t), ERR_BAD_REQUEST);
    if (!strstr(t.s, why))
        fail_msg("'%s' does not say '%s'", t.s, why);
}

static void sets_without_an_answer_are_refused(void **state)
{
    (void)state;
    struct train_set set = make_set();
    set.classes = set.models = 0;
    refused(&set, "no row has a class or a score");
    set = make_set();
    for (int i = 0; i < ROWS; i++)
        label[i] = 1;
    refused(&set, "one class");
    for (int i = 0; i < ROWS; i++)
        label[i] = ROWS_OUT_OF_SCOPE;
    refused(&set, "no row has a class");
    set = make_set();
    x[500 * F + 2] = NAN;
    refused(&set, "not a finite number");
    set = make_set();
    for (int i = 0; i < ROWS; i++)
        target[i * MODELS] = NAN;
    refused(&set, "output 1");
}

static size_t count_of(struct slice s, const char *what)
{
    size_t n = 0;
    for (size_t i = 0; i + strlen(what) <= s.n; i++)
        n += memcmp(s.p + i, what, strlen(what)) == 0;
    return n;
}

/* Names with every kind of special character in a report of each form. */
static void reports_are_well_formed(void **state)
{
    (void)state;
    const struct train_set set = make_set();
    struct trained m;
    struct evaluation e;
    struct buf b;
    assert_int_equal(train_heads(&set, &automatic, &m, NULL), ERR_OK);
    struct heads *h = heads_of(&m, &set, false);
    const struct predictions p = {ROWS,       CLASSES,     MODELS, m.class_p,
                                  m.in_scope, m.success_p, label,  target};
    evaluation_init(&e, &p);
    const struct report_facts f = {h, &e, "rows", "data \"x\".jsonl", "trained on rows"};
    buf_init(&b, REPORT_MAX_BYTES);
    assert_int_equal(report_json(&f, false, &b), ERR_OK);
    assert_true(json_validate(buf_slice(&b), NULL));
    buf_reset(&b);
    assert_int_equal(report_markdown(&f, &b), ERR_OK);
    assert_true(count_of(buf_slice(&b), "| b\\|  | ") > 0); /* the bar does not end the cell */
    assert_int_equal(count_of(buf_slice(&b), "## Chances of success"), 1);
    buf_reset(&b);
    assert_int_equal(report_svg(&f, 1, &b), ERR_OK);
    assert_int_equal(count_of(buf_slice(&b), "<svg"), 1);
    assert_int_equal(count_of(buf_slice(&b), "</svg>"), 1);
    assert_int_equal(count_of(buf_slice(&b), "y\""), 0);
    struct buf small;
    buf_init(&small, 100);
    assert_int_equal(report_markdown(&f, &small), ERR_TOO_LARGE);
    buf_clear(&small);
    buf_clear(&b);
    evaluation_clear(&e);
    heads_free(h);
    trained_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_find_what_is_there),
        cmocka_unit_test(the_set_gives_what_the_trainer_promised),
        cmocka_unit_test(the_same_rows_give_the_same_heads),
        cmocka_unit_test(balance_helps_small_classes),
        cmocka_unit_test(sets_without_an_answer_are_refused),
        cmocka_unit_test(reports_are_well_formed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
