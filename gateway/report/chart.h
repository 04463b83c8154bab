/* Pictures of a report as SVG elements that take the page's colours (currentColor). Pure. */
#ifndef GATEWAY_REPORT_CHART_H
#define GATEWAY_REPORT_CHART_H

#include <stdbool.h>
#include "base/buf.h"
#include "router/decide/evaluate.h"

struct chart_point {
    struct evaluate_point at; /* cost in nano-dollars, success 0..1 */
    const char *name;         /* any text */
    bool special;             /* what the chart is about */
};
/* Success over cost, with the line of what mixing at random gives. Nothing for n = 0. */
enum err chart_frontier(const struct chart_point *p, int n, struct buf *out) MUST_CHECK;

struct chart_bar {
    const char *name;
    double value;
    const char *label;
};
/* Horizontal bars from 0. */
enum err chart_bars(const char *title, const struct chart_bar *b, int n,
                    struct buf *out) MUST_CHECK;

#endif
