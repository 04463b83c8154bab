/* Reservation indices, and what the rule comes to. Called for each class when a snapshot of what
 * was learned is made, and (the indices) at each step of a request. */
#include "router/decide/pandora.h"

#include <math.h>
#include <stdlib.h>

struct bin {
    double p, share;
};

/* Surest first. Calibrated curves ascend, so that the insertion finds each in its place. */
static void surest_first(const struct pandora_box *b, struct bin bins[PANDORA_BINS])
{
    for (int i = 0; i < PANDORA_BINS; i++) {
        struct bin next = {b->p[PANDORA_BINS - 1 - i], b->share[PANDORA_BINS - 1 - i]};
        int at = i;
        for (; at > 0 && bins[at - 1].p < next.p; at--)
            bins[at] = bins[at - 1];
        bins[at] = next;
    }
}

/* E[(v p - sigma)+] = cost is linear in sigma between two bins: with the k surest bins above sigma
 * it is solved by (v sum(d p) - cost) / sum(d); the true k gives the largest of these. */
double pandora_index_of(const struct pandora_box *b, double v, double *chance)
{
    struct bin bins[PANDORA_BINS];
    double won = 0, share = 0, best = -INFINITY;

    surest_first(b, bins);
    for (int i = 0; i < PANDORA_BINS; i++) {
        won += bins[i].share * bins[i].p;
        share += bins[i].share;
        if (share > 0 && (v * won - b->cost) / share > best) {
            best = (v * won - b->cost) / share;
            *chance = won / share;
        }
    }
    return best;
}

double pandora_index(const struct pandora_box *b, double v)
{
    double chance;

    return pandora_index_of(b, v, &chance);
}

/* ---- in expectation ---- */

/* A value that min(v p_j, sigma_j) may take, how it grows with v, and how likely it is. */
struct point {
    double value, slope, share;
    int box;
};

static int by_value_down(const void *a, const void *b)
{
    const struct point *x = a, *y = b;

    return (x->value < y->value) - (x->value > y->value);
}

/* E[max over the boxes] and its derivative in v: from the largest value downwards; each point is
 * the maximum with the chance that its box takes it and no other box took a larger one (or an equal
 * one seen before it). */
static void expect_maximum(struct point *points, int n, int boxes, struct pandora_outlook *out)
{
    double below[PANDORA_BOXES], all = 1;

    for (int j = 0; j < boxes; j++)
        below[j] = 1; /* chance that box j takes none of the values seen so far */
    qsort(points, (size_t)n, sizeof *points, by_value_down);
    for (int i = 0; i < n && all > 0; i++) {
        double before = all, *own = &below[points[i].box];
        *own = fmax(0, *own - points[i].share);
        all = 1;
        for (int j = 0; j < boxes; j++)
            all *= below[j];
        out->utility += points[i].value * (before - all);
        out->success += points[i].slope * (before - all);
        out->at_stake[points[i].box] += points[i].slope * (1 - points[i].slope) * (before - all);
    }
}

void pandora_expect(const struct pandora_box *boxes, int count, double v,
                    struct pandora_outlook *out)
{
    struct point points[PANDORA_BOXES * PANDORA_BINS];
    double index[PANDORA_BOXES], slope[PANDORA_BOXES], best = -INFINITY;
    int n = 0;

    for (int j = 0; j < count; j++) {
        index[j] = pandora_index_of(&boxes[j], v, &slope[j]);
        best = fmax(best, index[j]);
    }
    for (int j = 0; j < count; j++) {
        if (index[j] < 0 && index[j] < best)
            continue; /* never opened: the first answer, whatever it is, is worth more than nothing
                       */
        for (int b = 0; b < PANDORA_BINS; b++) {
            double share = boxes[j].share[b], worth = v * boxes[j].p[b];
            if (share > 0)
                points[n++] = worth < index[j] ? (struct point){worth, boxes[j].p[b], share, j}
                                               : (struct point){index[j], slope[j], share, j};
        }
    }
    *out = (struct pandora_outlook){0};
    expect_maximum(points, n, count, out);
    out->cost = v * out->success - out->utility;
}

static double blend(double a, double b, double share)
{
    return a + share * (b - a);
}

void pandora_blend(struct pandora_outlook *o, const struct pandora_outlook *other, double share)
{
    o->utility = blend(o->utility, other->utility, share);
    o->success = blend(o->success, other->success, share);
    o->cost = blend(o->cost, other->cost, share);
    for (int j = 0; j < PANDORA_BOXES; j++)
        o->at_stake[j] = blend(o->at_stake[j], other->at_stake[j], share);
}
