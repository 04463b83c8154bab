/* A page of /metrics, taken apart: samples with their labels, sums over them, and quantiles of
 * histograms. Single-threaded. */
#ifndef GATEWAY_CLI_SAMPLES_H
#define GATEWAY_CLI_SAMPLES_H

#include <stddef.h>
#include "base/slice.h"

struct sample {
    struct slice name, labels; /* labels as they are written, without the braces */
    double value;
};
struct samples {
    char *text; /* owned: what samples point into */
    struct sample *at;
    size_t count, room;
};

/* Prometheus text format 0.0.4; lines that are none are left out. */
void samples_init(struct samples *s, struct slice page);
void samples_clear(struct samples *s);

/* A label's value as it is escaped; empty when the sample has none of that name. */
struct slice samples_label(const struct sample *s, const char *label);
/* Sum of a family over samples whose label has that value; label NULL: all. */
double samples_sum(const struct samples *s, const char *name, const char *label,
                   struct slice value);
/* Quantile q of what a histogram saw between two pages (before NULL: ever), in its unit, by its
 * buckets' upper ends; NAN when it saw nothing. name without "_bucket". */
double samples_quantile(const struct samples *now, const struct samples *before, const char *name,
                        const char *label, struct slice value, double q);

#endif
