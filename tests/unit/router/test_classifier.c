/* Declared classes on the static tier: who is taken in, who is not, what is refused, when the same
 * classifier may be kept. The transformer's tier is tested with processes: tests/integration. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "router/classifier.h"

static const char *refunds[] = {"I want my money back", "How do I return these shoes?",
                                "Please refund my last order",
                                "The parcel arrived broken, can I get a refund?"};
static const char *cooking[] = {"How long do I boil an egg?", "Give me a recipe for lentil soup",
                                "Which oven temperature is right for bread?",
                                "How do I make pancakes without milk?"};
static struct policy_class classes[] = {{"refunds", refunds, 4}, {"cooking", cooking, 4}};

static struct policy_encoder encoder(const char *heads)
{
    return (struct policy_encoder){.model = POLICY_ENCODER_STATIC,
                                   .max_tokens = POLICY_NONE,
                                   .static_first = POLICY_OFF,
                                   .heads = heads};
}

static struct classifier *build(const struct policy_class *k, size_t n)
{
    struct policy_encoder e = encoder(NULL);
    struct classifier_options opt = {.encoder = &e, .classes = k, .class_count = n};
    struct classifier *c;
    struct err_text t = {""};

    if (classifier_new(&opt, &c, &t) != ERR_OK)
        fail_msg("%s", t.s);
    return c;
}

static void test_declared_classes(void **state)
{
    static const struct {
        const char *text, *label;
    } cases[] = {
        {"Can I get my money back for the shoes?", "refunds"},
        {"please refund the order I returned", "refunds"},
        {"a recipe for egg soup", "cooking"},
        {"bake bread in the oven", "cooking"},
        {"What is the capital of France?", ""},
        {"Prove that the square root of two is irrational", ""},
    };
    struct classifier *c = build(classes, 2);
    struct classification is;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        classifier_static(c, slice_str(cases[i].text), &is);
        if (is.by == CLASSIFIED_BY_HEAD) /* of weir's own: a declared class did not take it */
            is.label = SLICE("");
        if (!slice_eq(is.label, slice_str(cases[i].label)))
            fail_msg("'%s': '%.*s', similarity %f of %f", cases[i].text, SLICE_ARG(is.label),
                     (double)is.similarity, (double)is.threshold);
        assert_true(is.nearest.n > 0 && is.nearest_example);
        if (cases[i].label[0])
            assert_true(is.confidence >= 0.5f && is.confidence <= 1);
    }
    classifier_unref(c);
}

static void test_an_example_is_its_own_nearest(void **state)
{
    struct classifier *c = build(classes, 2);
    struct classification is;

    (void)state;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < classes[k].example_count; i++) {
            classifier_static(c, slice_str(classes[k].examples[i]), &is);
            assert_int_equal(is.by, CLASSIFIED_BY_EXAMPLES);
            assert_true(slice_eq(is.label, slice_str(classes[k].name)));
            assert_string_equal(is.nearest_example, classes[k].examples[i]);
        }
    classifier_unref(c);
}

static void test_texts_that_say_nothing(void **state)
{
    static const char *const texts[] = {"", " ", "\xff\xfe\xfd", "\n\n\n", "\xe2\x80\x8b"};
    struct classifier *c = build(classes, 2);
    struct classification is;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        classifier_static(c, slice_str(texts[i]), &is);
        assert_int_equal(is.by, CLASSIFIED_NOT);
        assert_int_equal(is.label.n, 0);
        assert_true(is.confidence == 0);
    }
    classifier_unref(c);
}

/* Examples that the static tier cannot read are left out; a class of nothing else is refused. */
static void test_examples_without_known_words(void **state)
{
    static const char *some[] = {"\xe2\x80\x8b", "Please refund my last order"};
    static const char *none[] = {"\xe2\x80\x8b", "\xe2\x80\x8c"};
    struct policy_class half = {"half", some, 2}, empty = {"empty", none, 2};
    struct policy_encoder e = encoder(NULL);
    struct classifier_options opt = {.encoder = &e, .classes = &empty, .class_count = 1};
    struct classifier *c = build(&half, 1);
    struct classification is;
    struct err_text t = {""};

    (void)state;
    classifier_static(c, slice_str(some[1]), &is);
    assert_true(slice_eq(is.label, SLICE("half")));
    assert_string_equal(is.nearest_example, some[1]); /* not the one that was left out */
    classifier_unref(c);
    assert_int_equal(classifier_new(&opt, &c, &t), ERR_INVALID_POLICY);
    assert_null(c);
    assert_non_null(strstr(t.s, "'empty'"));
}

static void test_kept_when_nothing_changes(void **state)
{
    static const char *other[] = {"I want my money back", "Another example"};
    struct policy_class copies[] = {classes[0], classes[1]}, fewer[] = {{"refunds", other, 2}},
                        renamed[] = {classes[0], {"kitchen", cooking, 4}};
    struct policy_encoder e = encoder(NULL), with_heads = encoder("heads.safetensors");
    struct classifier *c = build(classes, 2);
    struct classifier_options opt = {.encoder = &e, .classes = copies, .class_count = 2};

    (void)state;
    assert_true(classifier_suits(c, &opt));
    opt.encoder = &with_heads;
    assert_false(classifier_suits(c, &opt));
    opt.encoder = &e;
    opt.class_count = 1;
    assert_false(classifier_suits(c, &opt));
    opt.classes = fewer;
    assert_false(classifier_suits(c, &opt));
    opt.classes = renamed;
    opt.class_count = 2;
    assert_false(classifier_suits(c, &opt));
    assert_ptr_equal(classifier_ref(c), c);
    classifier_unref(c);
    classifier_unref(c);
}

static void test_faults_of_files(void **state)
{
    char path[] = "/tmp/weir-heads-XXXXXX";
    int fd = mkstemp(path);
    struct policy_encoder e = encoder(path);
    struct classifier_options opt = {.encoder = &e};
    struct policy_labels labels;
    struct classifier *c;
    struct arena a;
    const char *key = NULL;
    struct err_text t = {""};

    (void)state;
    assert_true(fd >= 0 && write(fd, "nonsense", 8) == 8);
    close(fd);
    arena_init(&a, 1024);
    assert_int_equal(classifier_new(&opt, &c, &t), ERR_BAD_WEIGHTS);
    assert_non_null(strstr(t.s, path));
    assert_int_equal(classifier_labels(NULL, &e, &a, &labels, &key, &t), ERR_BAD_WEIGHTS);
    assert_string_equal(key, "heads");
    e.heads = NULL;
    assert_int_equal(classifier_labels(NULL, &e, &a, &labels, &key, &t), ERR_OK);
    e.model = "/no/such/folder";
    assert_int_not_equal(classifier_labels(NULL, &e, &a, &labels, &key, &t), ERR_OK);
    assert_string_equal(key, "model");
    setenv("WEIR_MODELS", "/no/such/store", 1);
    e.model = "no-such-model";
    assert_int_equal(classifier_labels(NULL, &e, &a, &labels, &key, &t), ERR_NOT_FOUND);
    assert_non_null(strstr(t.s, "no-such-model"));
    arena_clear(&a);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declared_classes),
        cmocka_unit_test(test_an_example_is_its_own_nearest),
        cmocka_unit_test(test_texts_that_say_nothing),
        cmocka_unit_test(test_examples_without_known_words),
        cmocka_unit_test(test_kept_when_nothing_changes),
        cmocka_unit_test(test_faults_of_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
