/* Bars of weir bench's streams. Called by bench_stream; owns nothing. */
#include "gateway/cli/bench_hindsight.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"

/* [classes][arms], shares of all requests: summed over one arm of each class they are what that
 * choice costs and succeeds with. */
static struct evaluate_point *class_parts(const struct bench_set *s, const double *kept)
{
    struct evaluate_point *part = mem_zalloc((size_t)s->classes * (size_t)s->arms, sizeof *part);
    double n = (double)s->rows;

    for (size_t i = 0; i < s->rows; i++)
        for (int j = 0; j < s->arms; j++) {
            struct evaluate_point *p = &part[s->class_of[i] * s->arms + j];
            p->cost += bench_cell(s, i, j)->cost_nanousd / n;
            p->success += bench_cell(s, i, j)->success * kept[j] / n;
        }
    return part;
}

static struct evaluate_point at_price(const struct bench_set *s, const struct evaluate_point *part,
                                      double v)
{
    struct evaluate_point sum = {0, 0};

    for (int g = 0; g < s->classes; g++) {
        const struct evaluate_point *here = &part[g * s->arms], *best = here;
        for (int j = 1; j < s->arms; j++)
            if (v * here[j].success - here[j].cost > v * best->success - best->cost)
                best = &here[j];
        sum.cost += best->cost;
        sum.success += best->success;
    }
    return sum;
}

void bench_hindsight_classes(const struct bench_set *s, const double *kept,
                             struct bench_hindsight *out)
{
    struct evaluate_point *part = class_parts(s, kept);
    double dearest = 1;

    for (int j = 0; j < s->arms; j++)
        dearest = fmax(dearest, s->mean_cost[j]);
    /* six powers of ten around the dearest model's cost */
    for (int i = 0; i < BENCH_HINDSIGHT_POINTS; i++)
        out->point[i] =
            at_price(s, part, dearest * pow(10, -3 + 6.0 * i / (BENCH_HINDSIGHT_POINTS - 1)));
    out->points = evaluate_hull(out->point, BENCH_HINDSIGHT_POINTS);
    free(part);
}

double bench_hindsight_cost(const struct bench_hindsight *h, double success)
{
    return evaluate_cost_at(h->point, h->points, success);
}
