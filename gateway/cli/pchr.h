/* Precision against hit rate: what a cut on a score would serve, and how much of that would be
 * right. The shape in which encoders and gates for caches are compared (arXiv 2606.19719), because
 * a fixed cut says nothing about another encoder. Pure. */
#ifndef GATEWAY_CLI_PCHR_H
#define GATEWAY_CLI_PCHR_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

struct pchr_pair {
    double score;
    bool right;   /* serving it would be right */
    bool refused; /* a gate keeps it from being served, whatever its score */
};

struct pchr_point {
    double cut, hits, precision; /* served: score >= cut; hits: their share of all pairs */
};

struct pchr {
    struct pchr_point *points; /* owned; by falling cut, one for each score that occurs */
    size_t count;
    double area; /* under precision over hits, 0..1 */
};

/* Sorts the pairs. */
void pchr_init(struct pchr *p, struct pchr_pair *pairs, size_t n);
void pchr_clear(struct pchr *p);
/* The point of that cut; hits 0 and precision 1 when nothing is served. */
struct pchr_point pchr_at(const struct pchr *p, double cut);
/* The most hits whose wrong ones are at most that share of all pairs. */
struct pchr_point pchr_best(const struct pchr *p, double max_error);

/* Curves with their names, as SVG 1.1. ERR_TOO_LARGE. */
struct pchr_series {
    const char *name;
    const struct pchr *curve;
};
enum err pchr_svg(const struct pchr_series *series, size_t n, const char *title,
                  struct buf *out) MUST_CHECK;

#endif
