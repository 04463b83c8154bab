/* See load_histogram.h. Values below 64 have a bucket each; above, the top 6 bits after the leading
 * one choose. */
#include "tests/bench/load_histogram.h"

#define SUB (1u << LOAD_SUB_BITS)

static unsigned bucket_of(uint64_t us)
{
    if (us < SUB)
        return (unsigned)us;
    unsigned shift = 63u - (unsigned)__builtin_clzll(us) - LOAD_SUB_BITS;
    unsigned i = ((shift + 1) << LOAD_SUB_BITS) + (unsigned)((us >> shift) - SUB);
    return i < LOAD_BUCKETS ? i : LOAD_BUCKETS - 1;
}

/* The middle of a bucket's range. */
static int64_t value_of(unsigned i)
{
    if (i < SUB)
        return i;
    unsigned shift = (i >> LOAD_SUB_BITS) - 1;
    return (int64_t)((((uint64_t)SUB + (i & (SUB - 1))) << shift) + ((UINT64_C(1) << shift) >> 1));
}

void load_histogram_add(struct load_histogram *h, int64_t us)
{
    us = us > 0 ? us : 0;
    h->buckets[bucket_of((uint64_t)us)]++;
    h->count++;
    h->sum_us += us;
    h->max_us = us > h->max_us ? us : h->max_us;
}

int64_t load_histogram_quantile_us(const struct load_histogram *h, double q)
{
    uint64_t seen = 0, want = (uint64_t)(q * (double)h->count);
    for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > want || (seen && seen == h->count))
            return value_of(i) < h->max_us ? value_of(i) : h->max_us;
    }
    return 0;
}
