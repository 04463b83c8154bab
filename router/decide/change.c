#include "router/decide/change.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "router/decide/tally.h"

/* ln of the odds against chance from which on it is none: with some fifty moments of a day that are
 * looked at on their own, one false alarm in a year or two. */
#define EVIDENCE 10
/* Labels on either side below which nothing is said. */
#define LEAST 8

int64_t change_first_us(int64_t now_us)
{
    return tally_bucket_start(TALLY_QUICK, now_us) -
           (CHANGE_BUCKETS - 1) * tally_bucket_us(TALLY_QUICK);
}

void change_labels_init(struct change_labels *l, int64_t now_us)
{
    int64_t width_us = tally_bucket_us(TALLY_QUICK), first_us = change_first_us(now_us);

    l->older = (struct change_bucket){0, 0, 0};
    for (int i = 0; i < CHANGE_BUCKETS; i++)
        l->bucket[i] = (struct change_bucket){first_us + i * width_us, 0, 0};
}

void change_labels_add(struct change_labels *l, int64_t when_us, double good, double bad)
{
    int64_t age_us = when_us - l->bucket[0].start_us;
    struct change_bucket *b = &l->older;

    if (age_us >= 0) {
        int64_t i = age_us / tally_bucket_us(TALLY_QUICK);
        if (i >= CHANGE_BUCKETS)
            return;
        b = &l->bucket[i];
    }
    b->good += good;
    b->bad += bad;
}

/* Successes after a moment beyond what their classes' shares let expect, and their variance when
 * labels are dealt out by chance. */
struct excess {
    double good, variance, before, after; /* labels on either side */
};

static void add_class(struct excess *x, const struct change_bucket *before,
                      const struct change_bucket *after)
{
    double n = before->good + before->bad, m = after->good + after->bad;
    double p = n + m > 0 ? (before->good + after->good) / (n + m) : 0;

    x->before += n;
    x->after += m;
    if (n + m <= 1)
        return;
    x->good += after->good - m * p;
    x->variance += m * n * p * (1 - p) / (n + m - 1);
}

/* Bennett: -ln of a bound on the chance of sums of such variance, of terms of at most 1. */
static double evidence_of(const struct excess *x)
{
    double u = x->variance > 0 ? fabs(x->good) / x->variance : 0;

    return x->before < LEAST || x->after < LEAST ? 0 : x->variance * ((1 + u) * log1p(u) - u);
}

static void move(struct change_bucket *from, struct change_bucket *to,
                 const struct change_bucket *b)
{
    from->good -= b->good;
    from->bad -= b->bad;
    to->good += b->good;
    to->bad += b->bad;
}

int64_t change_since(const struct change_labels *of, int classes)
{
    struct change_bucket *before = mem_zalloc((size_t)classes, sizeof *before);
    struct change_bucket *after = mem_zalloc((size_t)classes, sizeof *after);
    double largest = EVIDENCE;
    int64_t since_us = CHANGE_NONE;

    for (int g = 0; g < classes; g++) {
        struct change_bucket none = {0, 0, 0};
        before[g] = of[g].older;
        for (int i = 0; i < CHANGE_BUCKETS; i++)
            move(&none, &before[g], &of[g].bucket[i]);
    }
    for (int i = CHANGE_BUCKETS - 1; i >= 0; i--) {
        struct excess x = {0, 0, 0, 0};

        for (int g = 0; g < classes; g++) {
            move(&before[g], &after[g], &of[g].bucket[i]);
            add_class(&x, &before[g], &after[g]);
        }
        if (evidence_of(&x) > largest) {
            largest = evidence_of(&x);
            since_us = of[0].bucket[i].start_us;
        }
    }
    free(after);
    free(before);
    return since_us;
}
