/* What may be served, by four rules, replayed over a stream from cold: ours (cache/risk.h behind
 * cache/guard.h), a static cut on the cosine, vCache's algorithm, GPTCache's default. Each is told
 * the truth about what it asks a judge, but for a stated share of wrong labels. */
#ifndef BENCH_CACHE_QUALITY_POLICIES_H
#define BENCH_CACHE_QUALITY_POLICIES_H

#include "stream.h"

struct outcome {
    double hits, wrong; /* shares of all requests */
    double audits,
        judged; /* likewise: hits answered afresh as well; comparisons asked of a judge */
    double late_hits, late_wrong; /* of the second half of the stream alone */
};

struct replay {
    struct stream *stream;
    uint64_t seed;
    double max_error, wrong_labels;
    unsigned guards;
};

void policy_risk(const struct replay *r, struct outcome *out);
/* The cut with the most hits among those whose error is at most max_error: chosen in hindsight. */
void policy_static(const struct replay *r, struct outcome *out);
void policy_cut(const struct replay *r, double cut, struct outcome *out);
/* arXiv 2502.03771, from its description: even grid of 50 values of epsilon as in its program, or a
 * logarithmic one. */
void policy_vcache(const struct replay *r, bool log_grid, struct outcome *out);

#endif
