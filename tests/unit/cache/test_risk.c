/* The risk budget on worlds whose truth is known: it must keep its bound, find the hits that are
 * there, notice when the world changes, and remember across a restart. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include "base/rng.h"
#include "cache/risk.h"

/* A world: P(right) of a neighbour is a logistic function of its cosine; cosines are uniform
 * between low and 1. */
struct world {
    struct risk *risk;
    struct rng random;
    double slope, middle, low;
    double wrong_labels; /* share of labels that the judge gets wrong */
    int answers;
    uint64_t requests, hits, wrong, audits;
};

static double uniform(struct world *w)
{
    return rng_unit(&w->random);
}

static struct risk_label label_of(const struct risk_neighbour *n, const struct risk_verdict *v,
                                  bool right)
{
    struct risk_label l = {.answer = n->answer, .p = v->p, .weight = 1, .right = right};

    l.audit_share = v->audit ? v->audit_share : v->would_serve && !v->serve ? 1 : 0;
    memcpy(l.features, v->features, sizeof l.features);
    return l;
}

static void one_request(struct world *w)
{
    struct risk_neighbour n = {
        .answer = 1 + (uint64_t)(uniform(w) * w->answers),
        .cosine = (float)(w->low + (1 - w->low) * uniform(w)),
        .rival = 0.5f,
        .votes = 0.25f,
        .keys = 1,
        .like = {.jaccard = 0.5f, .length = 1, .order = 1, .proper = 1, .question = 1}};
    double p = 1 / (1 + exp(-w->slope * ((double)n.cosine - w->middle)));
    struct risk_verdict v;
    bool right = uniform(w) < p, told = right;

    risk_consider(w->risk, &n, 1, uniform(w), &v);
    w->requests++;
    w->hits += v.serve;
    w->wrong += v.serve && !right;
    w->audits += v.audit;
    if (uniform(w) < w->wrong_labels)
        told = !told;
    if (v.choice == 0 && (!v.serve || v.audit)) {
        struct risk_label l = label_of(&n, &v, told);
        risk_learn(w->risk, &l);
    }
}

static struct world world_new(double max_error)
{
    struct risk_options opt = {.max_error = max_error, .audit_min = 0.02, .max_answers = 5000};

    struct world w = {
        .risk = risk_new(&opt, NULL), .slope = 40, .middle = 0.85, .low = 0.6, .answers = 4000};
    rng_seed(&w.random, 1);
    return w;
}

static void run(struct world *w, int requests)
{
    w->requests = w->hits = w->wrong = w->audits = 0;
    for (int i = 0; i < requests; i++)
        one_request(w);
}

static double error_of(const struct world *w)
{
    return (double)w->wrong / (double)w->requests;
}

static void the_bound_holds_and_hits_are_found(void **state)
{
    (void)state;
    static const double bounds[] = {0.005, 0.01, 0.02, 0.05};
    /* Serving from cosine c up has an error of (integral of 1 - p) / 0.4: the best rule, had one
     * known, would serve these shares of the requests. The cold start is in what is counted. */
    static const double best[] = {0.222, 0.267, 0.315, 0.388};

    for (size_t b = 0; b < 4; b++) {
        struct world w = world_new(bounds[b]);
        rng_seed(&w.random, b);
        run(&w, 12000);
        if (error_of(&w) > bounds[b] || (double)w.hits / 12000 < 0.5 * best[b])
            fail_msg("bound %g: error %g, %g hits", bounds[b], error_of(&w),
                     (double)w.hits / 12000);
        risk_free(w.risk);
    }
}

static void wrong_labels_cost_hits_not_the_bound(void **state)
{
    (void)state;
    struct world w = world_new(0.02);

    w.wrong_labels = 0.1;
    run(&w, 10000);
    assert_true(error_of(&w) <= 0.02);
    risk_free(w.risk);
}

static void nothing_is_served_before_it_is_warm(void **state)
{
    (void)state;
    struct world w = world_new(0.05);
    struct risk_facts f;

    run(&w, RISK_WARM_LABELS);
    assert_int_equal(w.hits, 0);
    risk_facts(w.risk, &f);
    assert_false(f.warm);
    assert_int_equal(f.labels, RISK_WARM_LABELS);
    run(&w, 5000);
    risk_facts(w.risk, &f);
    assert_true(f.warm);
    assert_true(w.hits > 0);
    risk_free(w.risk);
}

/* What was near is suddenly wrong: audits must see it, and the alarm must end what the slower
 * correction does not. */
static void a_world_that_changes_raises_the_alarm(void **state)
{
    (void)state;
    struct world w = world_new(0.01);
    struct risk_facts f;
    uint64_t before;

    run(&w, 8000);
    before = w.hits;
    assert_true(before > 800);
    w.middle = 1.05; /* now hardly anything is right */
    run(&w, 8000);
    risk_facts(w.risk, &f);
    assert_true(f.audited_wrong > 0);
    assert_true(w.hits < before / 4);
    w.requests = w.wrong = 0;
    run(&w, 5000);
    assert_true(error_of(&w) <= 0.01);
    w.middle = 0.85; /* and right again */
    run(&w, 20000);
    assert_true(w.hits > 500);
    risk_free(w.risk);
}

static void an_answer_that_is_often_wrong_is_not_served_again(void **state)
{
    (void)state;
    struct world w = world_new(0.02);
    struct risk_label l = {
        .answer = 77, .p = 0.99, .audit_share = 0.02, .weight = 1, .right = false};

    run(&w, 6000);
    l.features[0] = 1;
    assert_false(risk_quarantined(w.risk, 77));
    for (int i = 0; i < RISK_QUARANTINE; i++)
        risk_learn(w.risk, &l);
    assert_true(risk_quarantined(w.risk, 77));
    struct risk_neighbour n = {.answer = 77, .cosine = 1, .votes = 1, .keys = 9};
    struct risk_verdict v;
    risk_consider(w.risk, &n, 1, 0, &v);
    assert_int_equal(v.choice, -1);
    assert_false(v.serve);
    risk_free(w.risk);
}

/* They speak when they like, so that no share of the hits can be told from it; but two who say that
 * an answer was wrong are heard. */
static void users_words_are_no_audits(void **state)
{
    (void)state;
    struct world w = world_new(0.02);
    struct risk_label l = {.answer = 77, .p = 0.99, .weight = 0.5, .word = true};
    struct risk_facts before, after;

    run(&w, 6000);
    l.features[0] = 1;
    risk_facts(w.risk, &before);
    for (int i = 0; i < RISK_QUARANTINE; i++) {
        assert_false(risk_quarantined(w.risk, 77));
        risk_learn(w.risk, &l);
    }
    assert_true(risk_quarantined(w.risk, 77));
    l.answer = 78;
    l.word = false; /* as where a scope is shared */
    for (int i = 0; i < 2 * RISK_QUARANTINE; i++)
        risk_learn(w.risk, &l);
    assert_false(risk_quarantined(w.risk, 78));
    risk_facts(w.risk, &after);
    assert_int_equal(after.audits, before.audits);
    assert_int_equal(after.audited_wrong, before.audited_wrong);
    assert_true(after.labels > before.labels && after.correction == before.correction);
    risk_free(w.risk);
}

static void answers_are_bounded(void **state)
{
    (void)state;
    struct risk_options opt = {.max_error = 0.02, .audit_min = 0.02, .max_answers = 100};
    struct world w = world_new(0.02);
    struct risk_facts f;

    risk_free(w.risk);
    w.risk = risk_new(&opt, NULL);
    run(&w, 5000);
    risk_facts(w.risk, &f);
    assert_true(f.answers <= 100);
    risk_free(w.risk);
}

/* Ids that lie anywhere in the table, so that forgetting some must leave all others to be found. */
static uint64_t scattered(uint64_t i)
{
    return i * UINT64_C(0x9e3779b97f4a7c15);
}

/* Those in quarantine outlive all others, and when there is no room for anything else the newest of
 * them. */
static void quarantine_is_forgotten_last(void **state)
{
    (void)state;
    struct risk_options opt = {.max_error = 0.02, .audit_min = 0.02, .max_answers = 100};
    struct risk *r = risk_new(&opt, NULL);
    struct risk_label wrong = {.p = 0.9, .weight = 1, .word = true},
                      right = {.p = 0.9, .weight = 1, .right = true};
    struct risk_facts f;

    for (uint64_t i = 1; i <= 50; i++) {
        wrong.answer = scattered(i);
        for (int k = 0; k < RISK_QUARANTINE; k++)
            risk_learn(r, &wrong);
    }
    for (uint64_t i = 51; i <= 2000; i++) {
        right.answer = scattered(i);
        risk_learn(r, &right);
    }
    for (uint64_t i = 1; i <= 50; i++)
        assert_true(risk_quarantined(r, scattered(i)));
    for (uint64_t i = 2001; i <= 2300; i++) {
        wrong.answer = scattered(i);
        for (int k = 0; k < RISK_QUARANTINE; k++)
            risk_learn(r, &wrong);
        assert_true(risk_quarantined(r, scattered(i)));
        risk_facts(r, &f);
        assert_true(f.answers <= 100);
    }
    for (uint64_t i = 2221; i <= 2300; i++)
        assert_true(risk_quarantined(r, scattered(i)));
    assert_false(risk_quarantined(r, scattered(1)));
    risk_free(r);
}

static void a_new_scope_begins_with_its_parents_weights(void **state)
{
    (void)state;
    struct risk_options opt = {.max_error = 0.02, .audit_min = 0.02, .max_answers = 5000};
    struct world parent = world_new(0.02), child = world_new(0.02);
    struct risk_facts pf, cf;

    run(&parent, 5000);
    risk_free(child.risk);
    child.risk = risk_new(&opt, parent.risk);
    run(&child, 1000);
    risk_facts(parent.risk, &pf);
    risk_facts(child.risk, &cf);
    assert_true(cf.warm); /* its own labels alone would barely do */
    assert_true(child.hits > 0);
    assert_memory_equal(pf.weights, cf.weights, sizeof pf.weights);
    run(&child, 4000);
    assert_true(error_of(&child) <= 0.02);
    risk_facts(parent.risk, &pf);
    risk_facts(child.risk, &cf);
    assert_true(cf.labels >= RISK_OWN_LABELS);
    assert_memory_not_equal(pf.weights, cf.weights, sizeof pf.weights);
    risk_free(child.risk);
    risk_free(parent.risk);
}

static void a_restart_forgets_nothing(void **state)
{
    (void)state;
    struct world w = world_new(0.02), copy = world_new(0.02);
    struct risk_facts a, b;
    size_t n;
    char *saved;

    run(&w, 4000);
    n = risk_save_bytes(w.risk);
    saved = malloc(n);
    assert_non_null(saved);
    risk_save(w.risk, saved);
    assert_int_equal(risk_load(copy.risk, slice_make(saved, n)), ERR_OK);
    copy.random = w.random;
    run(&w, 1000);
    run(&copy, 1000);
    assert_int_equal(w.hits, copy.hits);
    risk_facts(w.risk, &a);
    risk_facts(copy.risk, &b);
    assert_memory_equal(&a, &b, sizeof a);

    /* torn and changed saves are refused, and change nothing */
    risk_save(w.risk, saved = realloc(saved, n = risk_save_bytes(w.risk)));
    for (size_t cut = 0; cut < n; cut += 1 + cut / 7)
        assert_int_equal(risk_load(copy.risk, slice_make(saved, cut)), ERR_BAD_CACHE_ENTRY);
    for (size_t at = 0; at < n; at += 1 + n / 97) {
        saved[at] ^= 0x20;
        assert_int_equal(risk_load(copy.risk, slice_make(saved, n)), ERR_BAD_CACHE_ENTRY);
        saved[at] ^= 0x20;
    }
    risk_facts(copy.risk, &b);
    assert_memory_equal(&a, &b, sizeof a);
    free(saved);
    risk_free(w.risk);
    risk_free(copy.risk);
}

/* Labels of one kind, equal neighbours, features at their ends: the fit must stay finite. */
static void degenerate_labels(void **state)
{
    (void)state;
    struct risk_options opt = {.max_error = 0.02, .audit_min = 0, .max_answers = 10};
    struct risk *r = risk_new(&opt, NULL);
    struct risk_facts f;

    for (int kind = 0; kind < 3; kind++)
        for (int i = 0; i < 1000; i++) {
            struct risk_neighbour n = {
                .answer = 1, .cosine = 1, .rival = -1, .votes = 1, .keys = 1 << 20};
            struct risk_verdict v;
            risk_consider(r, &n, 1, 0.5, &v);
            assert_true(v.p >= 0 && v.p <= 1);
            struct risk_label l = {
                .answer = 1, .p = v.p, .weight = 1, .right = kind == 0 || (kind == 2 && i % 2)};
            memcpy(l.features, v.features, sizeof l.features);
            risk_learn(r, &l);
        }
    risk_consider(r, NULL, 0, 0.5, &(struct risk_verdict){0});
    risk_facts(r, &f);
    for (int i = 0; i < RISK_FEATURES; i++)
        assert_true(isfinite(f.weights[i]));
    risk_free(r);
}

/* Two that tell each other what they counted estimate what one would that saw it all; what a parent
 * is given for its weights is no audit of its own. */
static void two_count_as_one(void **state)
{
    (void)state;
    struct risk_options opt = {.max_error = 0.02, .audit_min = 0.02, .max_answers = 10};
    struct risk *two[] = {risk_new(&opt, NULL), risk_new(&opt, NULL)}, *one = risk_new(&opt, NULL);
    struct risk_label wrong = {.answer = 1, .p = 0.9, .audit_share = 0.5, .weight = 1};
    struct risk_facts f, whole;

    for (int i = 0; i < 3000; i++) {
        struct risk_verdict v;
        risk_consider(two[i % 3 == 0], NULL, 0, 0.5, &v);
        risk_consider(one, NULL, 0, 0.5, &v);
        if (i % 250)
            continue;
        struct risk_counts counts[] = {risk_take_counts(two[0]), risk_take_counts(two[1])};
        risk_count(two[0], &counts[1]);
        risk_count(two[1], &counts[0]);
        for (int k = 0; k < 2; k++)
            risk_learn(two[k], &wrong);
        risk_learn(one, &wrong);
    }
    risk_facts(one, &whole);
    for (int k = 0; k < 2; k++) {
        risk_facts(two[k], &f);
        uint64_t untold = risk_untold(two[k]);
        assert_true(untold > 0 && untold < 250);
        assert_int_equal(f.audits, whole.audits);
        assert_true(fabs(f.error - whole.error) < 0.1 * whole.error);
        assert_int_equal(risk_take_counts(two[k]).requests, untold);
        assert_int_equal(risk_take_counts(two[k]).requests, 0);
    }
    uint64_t audits = whole.audits, labels = whole.labels;
    risk_pool(one, &wrong);
    risk_facts(one, &whole);
    assert_int_equal(whole.audits, audits);
    assert_int_equal(whole.labels, labels + 1);
    for (int k = 0; k < 2; k++)
        risk_free(two[k]);
    risk_free(one);
}

/* Hardly any neighbour is right, and one that is shows it clearly. */
static struct risk_neighbour rare_neighbour(struct world *w, int i, bool sure)
{
    return (struct risk_neighbour){
        .answer = 1 + (uint64_t)i,
        .cosine = (float)(sure ? 0.85 + 0.1 * uniform(w) : 0.2 + 0.6 * uniform(w)),
        .rival = (float)(0.2 + 0.3 * uniform(w)),
        .votes = (float)rng_below(&w->random, 4) / RISK_NEIGHBOURS,
        .keys = 1,
        .like = {.jaccard = (float)(sure ? 0.5 + 0.5 * uniform(w) : 0),
                 .length = (float)uniform(w),
                 .order = (float)uniform(w),
                 .proper = uniform(w) < 0.8f,
                 .question = uniform(w) < 0.5f}};
}

/* There a whole step of Newton's may overshoot, and the next ones go further still, until all is
 * taken for right. It happened to one such world in two hundred, here to the last seven. */
static void rare_hits_do_not_throw_the_fit(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {0, 1, 2, 233, 245, 702, 713, 1007, 1103, 1143};

    for (size_t k = 0; k < sizeof seeds / sizeof seeds[0]; k++) {
        struct world w = world_new(0.05);
        double believed = 0;
        int wrong = 0;
        rng_seed(&w.random, seeds[k]);
        for (int i = 0; i < 1500; i++) {
            bool sure = uniform(&w) < 0.01, right = sure && uniform(&w) < 0.8;
            struct risk_neighbour n = rare_neighbour(&w, i, sure);
            struct risk_verdict v;
            risk_consider(w.risk, &n, 1, 0.5, &v);
            if (i >= RISK_WARM_LABELS && !sure) {
                believed += v.p;
                wrong++;
            }
            struct risk_label l = label_of(&n, &v, right);
            risk_learn(w.risk, &l);
        }
        if (believed / wrong > 0.2)
            fail_msg("seed %d: what is never right is right to %g", (int)seeds[k],
                     believed / wrong);
        risk_free(w.risk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bound_holds_and_hits_are_found),
        cmocka_unit_test(wrong_labels_cost_hits_not_the_bound),
        cmocka_unit_test(nothing_is_served_before_it_is_warm),
        cmocka_unit_test(a_world_that_changes_raises_the_alarm),
        cmocka_unit_test(an_answer_that_is_often_wrong_is_not_served_again),
        cmocka_unit_test(users_words_are_no_audits),
        cmocka_unit_test(two_count_as_one),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(quarantine_is_forgotten_last),
        cmocka_unit_test(a_new_scope_begins_with_its_parents_weights),
        cmocka_unit_test(a_restart_forgets_nothing),
        cmocka_unit_test(degenerate_labels),
        cmocka_unit_test(rare_hits_do_not_throw_the_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
