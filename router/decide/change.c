#include "router/decide/change.h"

#include <math.h>
#include "router/decide/tally.h"

/* Standard errors beyond which it is no chance: the largest of a day's differences, looked for
 * again with every snapshot. Streams with a broken model are the same from 3.8 to 7
 * (tests/bench/decide). */
#define FAR 5.0
/* Labels on either side below which nothing is said. */
#define LEAST 8

void change_labels_init(struct change_labels *l, int64_t now_us)
{
    int64_t width_us = tally_bucket_us(TALLY_QUICK);
    int64_t first_us = tally_bucket_start(TALLY_QUICK, now_us) - (CHANGE_BUCKETS - 1) * width_us;

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

/* ln of how likely the best share makes the labels. */
static double likelihood(double good, double bad)
{
    double n = good + bad;

    return (good > 0 ? good * log(good / n) : 0) + (bad > 0 ? bad * log(bad / n) : 0);
}

/* The root of twice the logarithm of the likelihood ratio of two shares against one: in standard
 * errors where labels are many, and honest where they are few. */
static double difference(const struct change_bucket *before, const struct change_bucket *after)
{
    if (before->good + before->bad < LEAST || after->good + after->bad < LEAST)
        return 0;
    double gain = likelihood(before->good, before->bad) + likelihood(after->good, after->bad) -
                  likelihood(before->good + after->good, before->bad + after->bad);
    return sqrt(2 * fmax(gain, 0));
}

int64_t change_since(const struct change_labels *l)
{
    struct change_bucket before = l->older, after = {0, 0, 0};
    double largest = FAR;
    int64_t since_us = CHANGE_NONE;

    for (int i = 0; i < CHANGE_BUCKETS; i++) {
        before.good += l->bucket[i].good;
        before.bad += l->bucket[i].bad;
    }
    for (int i = CHANGE_BUCKETS - 1; i >= 0; i--) {
        const struct change_bucket *b = &l->bucket[i];

        after.good += b->good;
        after.bad += b->bad;
        before.good -= b->good;
        before.bad -= b->bad;
        double z = difference(&before, &after);
        if (z > largest) {
            largest = z;
            since_us = b->start_us;
        }
    }
    return since_us;
}
