/* Pages of /metrics: labels with what may stand in them, quantiles between two looks, and text that
 * is none. */
#include <cmocka.h>
#include <math.h>
#include "gateway/cli/samples.h"

static const char page[] = "# HELP a_total Things.\n# TYPE a_total counter\n"
                           "a_total{model=\"x\",outcome=\"ok\"} 3\n"
                           "a_total{model=\"x\",outcome=\"bad \\\"one\\\", really\"} 2\n"
                           "a_total{model=\"y z\",outcome=\"ok\"} 5\n"
                           "plain 7.5\n"
                           "d_seconds_bucket{model=\"x\",le=\"0.1\"} 1\n"
                           "d_seconds_bucket{model=\"x\",le=\"1\"} 9\n"
                           "d_seconds_bucket{model=\"x\",le=\"+Inf\"} 10\n";

static void sums_and_labels(void **state)
{
    struct samples s;

    (void)state;
    samples_init(&s, slice_str(page));
    assert_int_equal(s.count, 7);
    assert_true(fabs(samples_sum(&s, "a_total", NULL, SLICE("")) - 10) < 1e-9);
    assert_true(fabs(samples_sum(&s, "a_total", "model", SLICE("x")) - 5) < 1e-9);
    assert_true(fabs(samples_sum(&s, "a_total", "model", SLICE("y z")) - 5) < 1e-9);
    assert_true(fabs(samples_sum(&s, "plain", NULL, SLICE("")) - 7.5) < 1e-9);
    assert_true(samples_sum(&s, "a", NULL, SLICE("")) < 1e-9);
    assert_true(slice_eq(samples_label(&s.at[1], "outcome"), SLICE("bad \\\"one\\\", really")));
    assert_int_equal(samples_label(&s.at[1], "out").n, 0);
    samples_clear(&s);
}

static void quantiles_between_looks(void **state)
{
    struct samples now, before;

    (void)state;
    samples_init(&now, slice_str(page));
    samples_init(&before, SLICE("d_seconds_bucket{model=\"x\",le=\"1\"} 9\n"
                                "d_seconds_bucket{model=\"x\",le=\"0.1\"} 1\n"
                                "d_seconds_bucket{model=\"x\",le=\"+Inf\"} 9\n"));
    assert_true(fabs(samples_quantile(&now, NULL, "d_seconds", "model", SLICE("x"), 0.1) - 0.1) <
                1e-9);
    assert_true(fabs(samples_quantile(&now, NULL, "d_seconds", NULL, SLICE(""), 0.5) - 1) < 1e-9);
    assert_true(fabs(samples_quantile(&now, &before, "d_seconds", "model", SLICE("x"), 0.5) - 1) <
                1e-9); /* beyond the last end: at least that */
    assert_true(isnan(samples_quantile(&now, &now, "d_seconds", "model", SLICE("x"), 0.5)));
    assert_true(isnan(samples_quantile(&now, NULL, "d_seconds", "model", SLICE("y"), 0.5)));
    samples_clear(&now);
    samples_clear(&before);
}

/* Every beginning of the page, and bytes in its middle turned into others. */
static void text_that_is_none(void **state)
{
    static const char odd[] = "\"{}= \n\\,x";
    struct samples s;

    (void)state;
    for (size_t n = 0; n <= sizeof page - 1; n++)
        for (size_t k = 0; k < sizeof odd; k++) {
            char text[sizeof page];
            memcpy(text, page, sizeof page);
            text[n] = odd[k];
            samples_init(&s, slice_make(text, n));
            samples_clear(&s);
            samples_init(&s, slice_make(text, sizeof page));
            for (size_t i = 0; i < s.count; i++)
                assert_true(samples_label(&s.at[i], "model").n < sizeof page);
            (void)samples_quantile(&s, NULL, "d_seconds", "model", SLICE("x"), 0.5);
            samples_clear(&s);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_labels),
        cmocka_unit_test(quantiles_between_looks),
        cmocka_unit_test(text_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
