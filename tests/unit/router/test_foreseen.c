/* router/foreseen: whose chances are taken for which arm, and what moves a plan. The classifier is
 * weir's own of the static tier, whose heads know `small`, `medium` and `large`. */
#include <cmocka.h>
#include <math.h>
#include "router/foreseen.h"
#include "router/request_int.h"

struct fixture {
    struct request r;
    struct snapshot snap;
    struct policy policy;
    struct policy_route route;
    struct policy_model models[3];
    struct policy_step steps[3];
    struct beliefs_context b;
    struct classifier *classifier;
};

static void setup(struct fixture *f, const char *first, const char *upstream)
{
    static const struct policy_encoder encoder = {
        .model = POLICY_ENCODER_STATIC, .max_tokens = POLICY_NONE, .static_first = POLICY_OFF};
    struct err_text t = {""};

    memset(f, 0, sizeof *f);
    assert_int_equal(
        classifier_new(&(struct classifier_options){.encoder = &encoder}, &f->classifier, &t),
        ERR_OK);
    f->models[0] = (struct policy_model){.name = first, .upstream_name = upstream};
    f->models[1] = (struct policy_model){.name = "large", .upstream_name = "large-2"};
    f->models[2] = (struct policy_model){.name = "other", .upstream_name = "other"};
    f->b.arms = 3;
    for (size_t j = 0; j < 3; j++) {
        f->steps[j].model = j;
        f->b.arm[j].success = 0.5;
        f->b.arm[j].foresight.trust = 1;
    }
    f->policy.models = f->models;
    f->policy.routes = &f->route;
    f->policy.route_count = 1;
    f->route.decide.mode = POLICY_DECIDE_OBJECTIVE;
    f->route.steps = f->steps;
    f->route.cascade_count = 3;
    f->snap.policy = &f->policy;
    f->snap.classifier = f->classifier;
    f->r.snap = &f->snap;
    f->r.route = &f->route;
    arena_init(&f->r.arena, 1024);
}

static void teardown(struct fixture *f)
{
    arena_clear(&f->r.arena);
    classifier_unref(f->classifier);
}

static void arms_are_found_by_either_name(void **state)
{
    float success[] = {0.9F, 0.9F, 0.1F}; /* small, medium, large */
    struct fixture f;

    (void)state;
    setup(&f, "cheap", "small");
    f.r.class.success = success;
    const struct foreseen *is = foreseen_find(&f.r, &f.b, NULL);
    assert_non_null(is);
    assert_true(is->shift[0] > 2.1 && is->shift[0] < 2.3);
    assert_true(is->shift[1] < -2.1 && is->shift[1] > -2.3);
    assert_true(is->shift[2] == 0);
    assert_int_equal(is->believed_milli[0], 500);
    assert_int_equal(is->foreseen_milli[0], 900);
    assert_int_equal(is->foreseen_milli[1], 100);
    assert_int_equal(is->foreseen_milli[2], 0);
    teardown(&f);
}

static void trust_scales_what_moves_and_not_what_is_counted(void **state)
{
    float success[] = {0.9999999F, 0, (float)NAN};
    struct fixture f;

    (void)state;
    setup(&f, "small", "s");
    f.r.class.success = success;
    f.b.arm[0].foresight.trust = 0.5;
    const struct foreseen *is = foreseen_find(&f.r, &f.b, NULL);
    assert_true(fabs(is->shift[0] - 1.5) < 1e-9);
    assert_int_equal(is->foreseen_milli[0], 953); /* of 3 log-odds above 0.5 */
    assert_true(is->shift[1] == 0 && is->foreseen_milli[1] == 0);
    f.b.arm[0].foresight.trust = 0;
    is = foreseen_find(&f.r, &f.b, NULL);
    assert_true(is->shift[0] == 0);
    assert_int_equal(is->foreseen_milli[0], 953);
    f.b.arm[0].success = 1; /* nothing is counted as certain */
    assert_int_equal(foreseen_find(&f.r, &f.b, NULL)->believed_milli[0], 999);
    teardown(&f);
}

static void nothing_is_foreseen(void **state)
{
    float success[] = {0.9F, 0.9F, 0.1F};
    struct fixture f;

    (void)state;
    setup(&f, "small", "s");
    assert_null(foreseen_find(&f.r, &f.b, NULL)); /* nothing was said */
    assert_null(f.r.class.success);
    f.r.class.success = success;
    assert_non_null(foreseen_find(&f.r, &f.b, NULL));
    assert_null(foreseen_find(&f.r, NULL, NULL));
    f.route.decide.mode = POLICY_DECIDE_ACCEPT;
    assert_null(foreseen_find(&f.r, &f.b, NULL));
    f.route.decide.mode = POLICY_DECIDE_OBJECTIVE;
    f.r.class.is.tier = CLASSIFIER_FULL; /* which has no heads here */
    assert_null(foreseen_find(&f.r, &f.b, NULL));
    f.r.class.is.tier = CLASSIFIER_STATIC;
    f.models[0].name = f.models[1].name = "unheard of";
    assert_null(foreseen_find(&f.r, &f.b, NULL));
    f.models[0].name = "small";
    f.snap.classifier = NULL;
    assert_null(foreseen_find(&f.r, &f.b, NULL));
    teardown(&f);
}

static void the_static_tier_is_asked_when_it_classified(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, "small", "s");
    f.r.class.text = SLICE("prove that the square root of two is irrational");
    const struct foreseen *is = foreseen_find(&f.r, &f.b, NULL);
    assert_non_null(is);
    assert_non_null(f.r.class.success);
    assert_true(is->foreseen_milli[0] > 0 && is->foreseen_milli[0] < is->foreseen_milli[1]);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arms_are_found_by_either_name),
        cmocka_unit_test(trust_scales_what_moves_and_not_what_is_counted),
        cmocka_unit_test(nothing_is_foreseen),
        cmocka_unit_test(the_static_tier_is_asked_when_it_classified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
