/* Heads from file to probability: written and read back, applied by hand, the built-in sets, and
 * files that must not be believed. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "router/encoder/features.h"
#include "router/encoder/heads.h"
#include "router/encoder/heads_parts.h"
#include "router/encoder/static_table.h"

#define F 10 /* a vector of 4 and the scalars */

static const float class_weight[3 * F] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
                                          0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
static const float class_bias[3] = {0, 0, 0.5f};
static const float scope_score[4] = {-1, 0, 1, 2};
static const float center[3 * 4] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
static const float success_weight[2 * F] = {2, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                            0, 0, 0, 1, 0, 0, 0, 0, 0, 0};
static const float success_bias[2] = {0, -1};
static const float platt[4] = {1, 0, 1, 0};
static const float knot_x[6] = {0, 0, 0, -1, 0, 2}, knot_y[6] = {0, 0, 0, 0.1f, 0.4f, 0.9f};

static struct heads_parts parts(void)
{
    static const struct slice label[3] = {
        {"one", 3}, {"two \"quoted\"", 12}, {"\xc3\xa9t\xc3\xa9", 5}};
    static const struct slice model[2] = {{"small", 5}, {"large", 5}};
    return (struct heads_parts){
        .encoder = SLICE("some-encoder"),
        .space = {{1, 2, 3}},
        .layout = SLICE(FEATURES_LAYOUT_STATIC),
        .features = F,
        .classes = 3,
        .label = label,
        .class_weight = class_weight,
        .class_bias = class_bias,
        .temperature = 2,
        .scope_count = 4,
        .scope_score = scope_score,
        .scope = {3, 4, center, {1, 0}},
        .models = 2,
        .model = model,
        .success_weight = success_weight,
        .success_bias = success_bias,
        .platt = platt,
        .knots = 3,
        .knot_x = knot_x,
        .knot_y = knot_y,
        .report = SLICE("{\"accuracy\":0.9}"),
    };
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-5;
}

/* The numbers of parts(), worked out by hand. */
static void check_numbers(const struct heads *h)
{
    const float x[F] = {1, 2, 0.5f, 0};
    float p[3], s[2];
    float scope = heads_classify(h, x, p);
    /* Scores are 1, 2, 1: over the temperature 0.5, 1, 0.5. */
    double sum = exp(0.5) + exp(1) + exp(0.5);
    assert_true(near((double)p[0], exp(0.5) / sum) && near((double)p[1], exp(1) / sum));
    assert_true(near((double)(p[0] + p[1] + p[2]), 1));
    /* Its energy log(e + e^2 + e) = 2.55 lies above all four scores. */
    assert_true(near((double)scope, 1));
    const float strange[F] = {-3, -3, -3, 0};
    scope = heads_classify(h, strange, p); /* log(2 e^-3 + e^-2.5) = -1.69 lies below all */
    assert_true(near((double)scope, 0));
    heads_success(h, x, s);
    assert_true(near((double)s[0], 1 / (1 + exp(-2))));
    /* The second model's logit is -1 + 0: its map says 0.1 there. */
    assert_true(near((double)s[1], 0.1));
    const float more[F] = {0, 0, 0, 2};
    heads_success(h, more, s); /* logit 1: between the knots at 0 and 2 */
    assert_true(near((double)s[1], 0.65));
}

static const char *temporary(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/weir-heads-%d.safetensors", (int)getpid());
    return path;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct heads_parts p = parts();
    struct heads *made = heads_new(&p), *read;
    struct err_text t = {""};
    check_numbers(made);
    assert_int_equal(heads_write(temporary(), &p, &t), ERR_OK);
    assert_int_equal(heads_open(temporary(), &read, &t), ERR_OK);
    check_numbers(read);
    assert_int_equal(heads_features(read), F);
    assert_int_equal(heads_class_count(read), 3);
    assert_true(slice_eq(heads_class_label(read, 1), SLICE("two \"quoted\"")));
    assert_true(slice_eq(heads_class_label(read, 2), SLICE("\xc3\xa9t\xc3\xa9")));
    assert_true(slice_eq(heads_model_name(read, 1), SLICE("large")));
    assert_true(slice_eq(heads_encoder(read), SLICE("some-encoder")));
    assert_true(slice_eq(heads_report(read), SLICE("{\"accuracy\":0.9}")));
    assert_true(fingerprint_eq(heads_space(read), p.space));
    heads_free(made);
    heads_free(read);
    unlink(temporary());
}

static void tiers_do_not_fall_after_calibration(void **state)
{
    (void)state;
    struct heads_parts p = parts();
    static const float against[4] = {1, 3, 1, -3};
    p.tiers = true;
    p.platt = against;
    p.knots = 0;
    struct heads *h = heads_new(&p);
    const float x[F] = {0.3f};
    float s[2];
    heads_success(h, x, s);
    assert_true(s[1] >= s[0]);
    heads_free(h);
}

static void a_foreign_encoder_is_refused_by_name(void **state)
{
    (void)state;
    struct heads_parts p = parts();
    struct heads *h = heads_new(&p);
    struct err_text t = {""};
    struct fingerprint other = {{9}};
    assert_int_equal(heads_check_space(h, p.space, "some-encoder", F, &t), ERR_OK);
    assert_int_equal(heads_check_space(h, other, "other-model", F, &t), ERR_INVALID_POLICY);
    assert_non_null(strstr(t.s, "some-encoder"));
    assert_non_null(strstr(t.s, "other-model"));
    assert_non_null(strstr(t.s, "09000000"));
    assert_int_equal(heads_check_space(h, p.space, "some-encoder", 774, &t), ERR_INVALID_POLICY);
    assert_non_null(strstr(t.s, "expect 10 features"));
    heads_free(h);
}

/* Writes what change makes of the parts and says why it was refused. */
static void refused(void (*change)(struct heads_parts *p), const char *why)
{
    struct heads_parts p = parts();
    struct heads *h = NULL;
    struct err_text t = {""};
    change(&p);
    assert_int_equal(heads_write(temporary(), &p, &t), ERR_OK);
    assert_int_equal(heads_open(temporary(), &h, &t), ERR_BAD_WEIGHTS);
    if (!strstr(t.s, why) || !strstr(t.s, temporary()))
        fail_msg("'%s' does not say '%s' of the file", t.s, why);
    unlink(temporary());
}

static void unknown_layout(struct heads_parts *p)
{
    p->layout = SLICE("mean+cls+7");
}
static void zero_temperature(struct heads_parts *p)
{
    p->temperature = 0;
}
static void no_temperature(struct heads_parts *p)
{
    p->temperature = NAN;
}
static void same_labels(struct heads_parts *p)
{
    static const struct slice label[3] = {{"one", 3}, {"two", 3}, {"one", 3}};
    p->label = label;
}
static void empty_label(struct heads_parts *p)
{
    static const struct slice label[3] = {{"one", 3}, {"", 0}, {"two", 3}};
    p->label = label;
}
static void infinite_weight(struct heads_parts *p)
{
    static float bias[3] = {0, INFINITY, 0};
    p->class_bias = bias;
}
static void falling_scores(struct heads_parts *p)
{
    static const float falling[4] = {0, 1, 0.5f, 2};
    p->scope_score = falling;
}
static void wide_centers(struct heads_parts *p)
{
    static const float wide[3 * 11];
    p->scope.center = wide;
    p->scope.dim = 11;
}
static void falling_map(struct heads_parts *p)
{
    static const float y[6] = {0, 0, 0, 0.5f, 0.4f, 0.9f};
    p->knot_y = y;
}
static void impossible_map(struct heads_parts *p)
{
    static const float y[6] = {0, 0, 0, 0.5f, 0.6f, 1.1f};
    p->knot_y = y;
}
static void bad_report(struct heads_parts *p)
{
    p->report = SLICE("[1]");
}
static void nothing_in_it(struct heads_parts *p)
{
    p->classes = p->models = 0;
    p->scope_count = 0;
}
static void one_class(struct heads_parts *p)
{
    p->classes = 1;
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    refused(unknown_layout, "layout");
    refused(zero_temperature, "class.temperature");
    refused(no_temperature, "class.temperature");
    refused(same_labels, "stands twice");
    refused(empty_label, "empty");
    refused(infinite_weight, "class.bias");
    refused(falling_scores, "scope.score");
    refused(wide_centers, "scope");
    refused(falling_map, "falls");
    refused(impossible_map, "not a probability");
    refused(bad_report, "report");
    refused(nothing_in_it, "neither two classes nor a model");
    refused(one_class, "neither two classes nor a model");
    struct heads *h;
    struct err_text t = {""};
    assert_int_equal(heads_parse(SLICE(""), &h, &t), ERR_BAD_WEIGHTS);
    assert_int_equal(heads_open("/no/such/file", &h, &t), ERR_BAD_WEIGHTS);
}

/* The file cut off at each length, and each byte of its header flipped: an error or heads, never
 * more. */
static void broken_files_do_no_harm(void **state)
{
    (void)state;
    struct heads_parts p = parts();
    struct err_text t = {""};
    struct heads *h;
    static char bytes[1 << 16];
    assert_int_equal(heads_write(temporary(), &p, &t), ERR_OK);
    FILE *f = fopen(temporary(), "rb");
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    unlink(temporary());
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(heads_parse(slice_make(bytes, cut), &h, &t), ERR_BAD_WEIGHTS);
    for (size_t i = 0; i < n; i++) {
        char keep = bytes[i];
        bytes[i] = (char)(keep ^ (1 << (i % 8)));
        if (heads_parse(slice_make(bytes, n), &h, &t) == ERR_OK) {
            float probs[HEADS_MAX_CLASSES], x[F] = {1};
            if (heads_features(h) == F)
                heads_classify(h, x, probs);
            heads_free(h);
        }
        bytes[i] = keep;
    }
}

static int class_of(const struct heads *h, const struct static_table *table, const char *text)
{
    float x[1024], p[256];
    int dim = static_table_dim(table), best = 0;
    assert_int_equal(heads_features(h), dim + FEATURES_SCALARS);
    static_table_embed(table, slice_str(text), x, NULL);
    features_scalars(slice_str(text), x + dim);
    heads_classify(h, x, p);
    for (size_t c = 1; c < heads_class_count(h); c++)
        if (p[c] > p[best])
            best = (int)c;
    return best;
}

/* Prompts that stand in no training file. */
static void the_built_in_heads_fit_the_built_in_table(void **state)
{
    (void)state;
    static const struct {
        const char *text, *label;
    } prompts[] = {
        {"Write a Python function that counts the words in a file.", "code"},
        {"Solve 4x - 3 = 21 for x.", "math"},
        {"Translate to Spanish: Where is the railway station?", "translation"},
        {"Write a poem about the moon over the sea.", "creative_writing"},
        {"I was charged a fee on my card, can I get a refund?", "customer_support"},
        {"Set an alarm for six in the morning.", "assistant_command"},
        {"hello, how are you?", "chat"},
        {"What is the molarity of a solution of 4 g NaOH in 500 ml of water?", "chemistry"},
    };
    const struct static_table *table = static_table_builtin();
    const struct heads *h = heads_builtin(static_table_space(table));
    struct fingerprint nobody = {{42}};
    assert_non_null(h);
    assert_null(heads_builtin(nobody));
    assert_true(heads_report(h).n > 2);
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        struct slice got = heads_class_label(h, (size_t)class_of(h, table, prompts[i].text));
        if (!slice_eq(got, slice_str(prompts[i].label)))
            fail_msg("'%s' is taken for %.*s, not %s", prompts[i].text, SLICE_ARG(got),
                     prompts[i].label);
    }
    float x[1024] = {0}, s[8];
    assert_int_equal(heads_model_count(h), 3);
    heads_success(h, x, s);
    assert_true(s[0] <= s[1] && s[1] <= s[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(tiers_do_not_fall_after_calibration),
        cmocka_unit_test(a_foreign_encoder_is_refused_by_name),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(broken_files_do_no_harm),
        cmocka_unit_test(the_built_in_heads_fit_the_built_in_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
