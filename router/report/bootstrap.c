/* Called by replays. */
#include "router/report/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/decide/evaluate.h"

static double ratio_of(double over, double under)
{
    return under > 0 ? over / under : (double)INFINITY;
}

static double resample(const struct bootstrap_cluster *c, size_t n, struct rng *rng)
{
    double over = 0, under = 0;

    for (size_t i = 0; i < n; i++) {
        const struct bootstrap_cluster *drawn = &c[rng_below(rng, n)];
        over += drawn->over;
        under += drawn->under;
    }
    return ratio_of(over, under);
}

struct interval bootstrap_ratio(const struct bootstrap_cluster *c, size_t n, int rounds,
                                double alpha, uint64_t seed)
{
    double *values = mem_zalloc((size_t)rounds, sizeof *values), over = 0, under = 0;
    struct interval out = {(double)NAN, (double)NAN, (double)NAN};
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        over += c[i].over;
        under += c[i].under;
    }
    if (n > 0 && under > 0) {
        for (int i = 0; i < rounds; i++)
            values[i] = resample(c, n, &rng);
        out.value = over / under;
        out.low = evaluate_quantile(values, (size_t)rounds, alpha / 2);
        out.high = evaluate_quantile(values, (size_t)rounds, 1 - alpha / 2);
    }
    free(values);
    return out;
}
