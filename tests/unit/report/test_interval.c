/* Intervals: figures of the literature, coverage at every look, and the ends of the range. */
#include <cmocka.h>
#include <math.h>
#include "base/rng.h"
#include "router/report/bootstrap.h"
#include "router/report/interval.h"

static void near(double a, double b, double by)
{
    if (!(fabs(a - b) <= by))
        fail_msg("%g is not %g", a, b);
}

/* 95 % at a rate of .85: .71-.94 of 100, .806-.888 of 1,000, .836-.864 of 10,000. */
static void a_rate_is_as_wide_as_it_should_be(void **state)
{
    static const double want[][3] = {{100, .71, .94}, {1000, .806, .888}, {10000, .836, .864}};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct interval r = interval_rate(.85 * want[i][0], .15 * want[i][0], 0.05);
        near(r.value, .85, 1e-9);
        near(r.low, want[i][1], i ? 0.0015 : 0.006);
        near(r.high, want[i][2], i ? 0.0015 : 0.006);
    }
}

static void a_rate_at_the_ends(void **state)
{
    struct interval none = interval_rate(0, 0, 0.05), all = interval_rate(10, 0, 0.05),
                    nothing = interval_rate(0, 10, 0.05), part = interval_rate(0.25, 0.5, 0.05);

    (void)state;
    assert_true(isnan(none.value));
    near(none.low, 0, 0), near(none.high, 1, 0);
    near(all.high, 1, 0), near(nothing.low, 0, 0);
    assert_true(all.low > 0.3 && all.low < 1);
    near(all.low, 1 - nothing.high, 1e-9);
    assert_true(part.low < part.value && part.value < part.high);
}

/* 400 streams looked at after every observation: at most one in twenty ever leaves. */
static void a_rate_holds_at_every_look(void **state)
{
    struct rng rng;
    int left = 0;

    (void)state;
    rng_seed(&rng, 7);
    for (int stream = 0; stream < 400; stream++) {
        int s = 0, n;
        for (n = 1; n <= 400; n++) {
            s += rng_unit(&rng) < 0.7;
            struct interval r = interval_rate(s, n - s, 0.05);
            if (r.low > 0.7 || r.high < 0.7)
                break;
        }
        left += n <= 400;
    }
    assert_true(left <= 20);
    assert_true(left >= 1); /* it is no idle bound */
}

static void means_hold_at_every_look(void **state)
{
    struct rng rng;
    int mean_left = 0, ratio_left = 0;

    (void)state;
    rng_seed(&rng, 8);
    for (int stream = 0; stream < 200; stream++) {
        struct interval_sums cost = {0};
        struct interval_pairs pairs = {0};
        bool mean_out = false, ratio_out = false;
        for (int n = 1; n <= 2000; n++) {
            double x = -1000 * log1p(-rng_unit(&rng)), y = rng_unit(&rng) < 0.8;
            interval_add(&cost, x);
            interval_pairs_add(&pairs, x, y);
            if (n < 200)
                continue; /* asymptotic */
            struct interval m = interval_mean(&cost, 0.05), r = interval_ratio(&pairs, 0.05);
            mean_out |= m.low > 1000 || m.high < 1000;
            ratio_out |= r.low > 1250 || r.high < 1250;
        }
        mean_left += mean_out;
        ratio_left += ratio_out;
    }
    if (mean_left > 16 || ratio_left > 16 /* 5 % and two errors */)
        fail_msg("%d means and %d ratios of 200 left", mean_left, ratio_left);
}

static void ratios_without_successes(void **state)
{
    struct interval_pairs p = {0};
    struct interval r = interval_ratio(&p, 0.05);

    (void)state;
    assert_true(isnan(r.value) && isinf(r.high) && r.low >= 0);
    interval_pairs_add(&p, 5, 0);
    interval_pairs_add(&p, 6, 0);
    r = interval_ratio(&p, 0.05);
    assert_true(isnan(r.value) && isinf(r.high) && r.low >= 0);
    interval_pairs_add(&p, 1, 1);
    r = interval_ratio(&p, 0.05);
    near(r.value, 12, 1e-9);
    assert_true(r.low >= 0 && r.high > 12);
}

/* Each request a cluster of its own, and the same in clusters of 20 that are all alike. */
static struct interval_arms arms(double now, double then, int per_cluster)
{
    struct interval_arms a = {.cluster = 0};

    for (int i = 0; i < 4000; i++) {
        uint64_t cluster = (uint64_t)(i / per_cluster);
        interval_arms_add(&a, cluster, ARM_NOW, now > 0 ? now + (double)(cluster % 10) : 0, 1);
        interval_arms_add(&a, cluster, ARM_THEN, then > 0 ? then + (double)(cluster % 7) : 0, 1);
    }
    return a;
}

static void savings(void **state)
{
    struct interval_arms a = arms(20, 95, 1), none = {.cluster = 0};
    struct interval s = interval_saving(&a, 0.05), wide;

    (void)state;
    near(s.value, 1 - 24.5 / 98, 1e-4);
    assert_true(s.low < s.value && s.value < s.high && s.high - s.low < 0.02);
    a = arms(20, 95, 20);
    wide = interval_saving(&a, 0.05);
    assert_true(wide.high - wide.low > 2.5 * (s.high - s.low));
    a = arms(20, 95, 400); /* too few clusters: requests */
    s = interval_saving(&a, 0.05);
    assert_true(s.high - s.low < 0.02);
    a = arms(20, 0, 1);
    assert_true(isnan(interval_saving(&a, 0.05).value));
    a = arms(0, 95, 1);
    near(interval_saving(&a, 0.05).value, 1, 0);
    a = arms(95, 20, 1);
    assert_true(interval_saving(&a, 0.05).value < 0);
    assert_true(isnan(interval_saving(&none, 0.05).value));
}

/* Of 200 conversations of 10 requests each, whose answers are all good or all bad. */
static void a_cluster_is_one_observation(void **state)
{
    struct interval_clusters c = {.open = 0}, alone = {.open = 0}, none = {.open = 0};
    struct interval wide, narrow;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 5);
    for (uint64_t g = 0; g < 200; g++) {
        bool good = rng_unit(&rng) < 0.5;
        for (uint64_t i = 0; i < 10; i++) {
            interval_clusters_add(&c, g, good, 1);
            interval_clusters_add(&alone, 10 * g + i, good, 1);
        }
    }
    wide = interval_ratio(interval_clusters_end(&c), 0.05);
    narrow = interval_ratio(interval_clusters_end(&alone), 0.05);
    near(wide.value, narrow.value, 1e-12);
    assert_true(wide.high - wide.low > 2 * (narrow.high - narrow.low));
    near(interval_clusters_effect(&c), 10, 1e-9);
    near(interval_clusters_effect(&alone), 1, 1e-9);
    assert_true(interval_clusters_end(&none)->n < 1);
    near(interval_clusters_effect(&none), 1, 0);
}

static void clusters_that_hang_together_make_it_wider(void **state)
{
    struct bootstrap_cluster alone[2000], together[100];
    struct interval narrow, wide;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 3);
    for (int g = 0; g < 100; g++) {
        bool good = rng_unit(&rng) < 0.5;
        together[g] = (struct bootstrap_cluster){20 * good, 20};
        for (int i = 0; i < 20; i++)
            alone[20 * g + i] = (struct bootstrap_cluster){good, 1};
    }
    narrow = bootstrap_ratio(alone, 2000, 500, 0.05, 1);
    wide = bootstrap_ratio(together, 100, 500, 0.05, 1);
    near(narrow.value, wide.value, 1e-12);
    assert_true(wide.high - wide.low > 3 * (narrow.high - narrow.low));
    assert_true(wide.low < wide.value && wide.value < wide.high);
    near(bootstrap_ratio(together, 100, 500, 0.05, 1).low, wide.low, 0);
    assert_true(isnan(bootstrap_ratio(NULL, 0, 100, 0.05, 1).value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_as_wide_as_it_should_be),
        cmocka_unit_test(a_rate_at_the_ends),
        cmocka_unit_test(a_rate_holds_at_every_look),
        cmocka_unit_test(means_hold_at_every_look),
        cmocka_unit_test(ratios_without_successes),
        cmocka_unit_test(savings),
        cmocka_unit_test(a_cluster_is_one_observation),
        cmocka_unit_test(clusters_that_hang_together_make_it_wider),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
