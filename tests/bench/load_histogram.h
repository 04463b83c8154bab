/* Counts of microseconds in log-linear buckets: 64 per power of two, so a quantile is right to 1.6
 * %. Plain data. */
#ifndef BENCH_LOAD_HISTOGRAM_H
#define BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

#define LOAD_SUB_BITS 6
#define LOAD_BUCKETS  ((36 - LOAD_SUB_BITS) << LOAD_SUB_BITS)

struct load_histogram {
    uint64_t count, buckets[LOAD_BUCKETS];
    int64_t sum_us, max_us;
};

void load_histogram_add(struct load_histogram *h, int64_t us);
/* The value below which the share q (0..1) of the counts lies; 0 when empty. */
int64_t load_histogram_quantile_us(const struct load_histogram *h, double q);

#endif
