/* Precision against hit rate: by hand, against counting, and at its ends. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include "base/rng.h"
#include "gateway/cli/pchr.h"

static void same(double a, double b)
{
    assert_true(fabs(a - b) < 1e-12);
}

static void by_hand(void **state)
{
    struct pchr_pair pairs[] = {{0.5, true, false},  {0.9, true, false}, {0.8, false, false},
                                {0.9, true, false},  {0.7, true, true},  {0.1, false, false},
                                {0.95, false, true}, {0.6, true, false}};
    struct pchr p;

    (void)state;
    pchr_init(&p, pairs, 8);
    assert_int_equal(p.count, 6); /* 0.9 twice; nothing is served at 0.95 */
    same(pchr_at(&p, 0.96).hits, 0);
    same(pchr_at(&p, 0.96).precision, 1);
    same(pchr_at(&p, 0.9).hits, 2.0 / 8);
    same(pchr_at(&p, 0.9).precision, 1);
    same(pchr_at(&p, 0.75).hits, 3.0 / 8);
    same(pchr_at(&p, 0.75).precision, 2.0 / 3);
    same(pchr_at(&p, 0).hits, 6.0 / 8);
    same(pchr_at(&p, 0).precision, 4.0 / 6);
    same(pchr_best(&p, 0).hits, 2.0 / 8);
    same(pchr_best(&p, 1.0 / 8).hits, 5.0 / 8);
    same(pchr_best(&p, 1).hits, 6.0 / 8);
    same(p.area, 2.0 / 8 + (2.0 / 3 + 3.0 / 4 + 4.0 / 5 + 4.0 / 6) / 8);
    pchr_clear(&p);
}

static void as_counting_says(void **state)
{
    enum { N = 500 };
    struct pchr_pair pairs[N];
    struct pchr p;
    struct rng r;

    (void)state;
    rng_seed(&r, 7);
    for (int i = 0; i < N; i++)
        pairs[i] = (struct pchr_pair){floor(rng_unit(&r) * 50) / 50, rng_unit(&r) < 0.6,
                                      rng_unit(&r) < 0.2};
    pchr_init(&p, pairs, N);
    for (int c = 0; c <= 50; c++) {
        double cut = c / 50.0;
        int served = 0, right = 0;
        for (int i = 0; i < N; i++) {
            bool hit = pairs[i].score >= cut && !pairs[i].refused;
            served += hit;
            right += hit && pairs[i].right;
        }
        struct pchr_point at = pchr_at(&p, cut);
        same(at.hits, (double)served / N);
        same(at.precision, served ? (double)right / served : 1);
    }
    pchr_clear(&p);
}

static void ends(void **state)
{
    struct pchr_pair one = {0.3, false, true};
    struct pchr p;
    struct buf out;

    (void)state;
    pchr_init(&p, NULL, 0);
    same(pchr_at(&p, 0).precision, 1);
    same(p.area, 0);
    pchr_clear(&p);
    pchr_init(&p, &one, 1);
    assert_int_equal(p.count, 0);
    buf_init(&out, 100);
    assert_int_equal(pchr_svg(&(struct pchr_series){"x", &p}, 1, "t", &out), ERR_TOO_LARGE);
    buf_clear(&out);
    buf_init(&out, 100000);
    assert_int_equal(pchr_svg(&(struct pchr_series){"x", &p}, 1, "<script>&", &out), ERR_OK);
    assert_null(memmem(buf_slice(&out).p, buf_len(&out), "<script", 7));
    assert_true(slice_starts(buf_slice(&out), SLICE("<svg ")));
    buf_clear(&out);
    pchr_clear(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand),
                                       cmocka_unit_test(as_counting_says), cmocka_unit_test(ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
