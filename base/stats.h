/* Counters, gauges and histograms with labels. One table per thread that writes, summed when read.
 * A cell is looked up once (stats_cell) and kept by the caller; updating it is one relaxed atomic
 * store, no lock. The families are one X-macro table (stats.def), which also is the reference for
 * docs and for /metrics HELP and TYPE. threads: one writer per table; any thread may read through
 * stats_write_prometheus. */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/buf.h"

enum stats_kind { STATS_COUNTER, STATS_GAUGE, STATS_HISTOGRAM };

enum stats_family {
#define STAT(id, kind, name, labels, help) STAT_##id,
#include "base/stats.def"
#undef STAT
    STAT_FAMILIES
};

#define STATS_BUCKETS                                                                              \
    24 /* histograms of microseconds: bucket i holds values <= 100us * 2^i; the last is +Inf */

struct stats_cell {
    enum stats_family family;
    char *labels;             /* owned: 'model="x",code="200"' already escaped, or "" */
    _Atomic int64_t value;    /* counter, gauge, or sum (us) of a histogram */
    _Atomic int64_t *buckets; /* owned: STATS_BUCKETS counts, NULL unless histogram */
};

struct stats; /* opaque: append-only table of cells */

struct stats *stats_new(void);
void stats_free(struct stats *s);
/* Finds or makes the cell for these label values (as many as the family's label list names, in its
 * order). Above 4096 cells a table folds further label sets into one whose values are all "other".
 * Writer thread only. */
struct stats_cell *stats_cell(struct stats *s, enum stats_family f,
                              const char *const *label_values);

/* Stops at the ends of the range: costs and tokens come from what servers report. */
static inline int64_t stats_sum(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? (a < 0 ? INT64_MIN : INT64_MAX) : sum;
}
static inline void stats_add(struct stats_cell *c, int64_t n)
{
    int64_t before = atomic_load_explicit(&c->value, memory_order_relaxed);

    atomic_store_explicit(&c->value, stats_sum(before, n), memory_order_relaxed);
}
static inline void stats_set(struct stats_cell *c, int64_t v)
{
    atomic_store_explicit(&c->value, v, memory_order_relaxed);
}
void stats_observe_us(struct stats_cell *c, int64_t us);

/* Sums the tables (n of them) family by family and label set by label set into Prometheus text
 * format 0.0.4. */
enum err stats_write_prometheus(struct stats *const *tables, size_t n, struct buf *out) MUST_CHECK;
/* The families as a Markdown table: name, type, labels, help. */
enum err stats_write_reference(struct buf *out) MUST_CHECK;

#endif
