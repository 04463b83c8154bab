/* The expected way of a class. Called by the admin API. */
#include "router/decide/beliefs_way.h"

#include <math.h>
#include <string.h>

/* The best chance in hand, and how likely it is. */
struct hand {
    double p, share;
};

struct hands {
    struct hand of[PANDORA_BOXES * TALLY_BINS];
    int count;
};

static void order_by_index(const struct beliefs_context *c, struct beliefs_way_step *out)
{
    for (int j = 0; j < c->arms; j++) {
        int at = j;
        for (; at > 0 && c->arm[out[at - 1].arm].index < c->arm[j].index; at--)
            out[at].arm = out[at - 1].arm;
        out[at].arm = j;
    }
}

/* The arm's index in each stage, at its mean cost. */
static void indices_of(const struct beliefs_context *c, int arm, double out[TALLY_STAGES])
{
    const struct beliefs_arm *a = &c->arm[arm];

    for (int s = 0; s < TALLY_STAGES; s++) {
        struct pandora_box box;
        beliefs_box(a, s, a->cost_nanousd + c->latency_nanousd_per_s * a->latency_ms / 1000,
                    c->price.v, &box);
        out[s] = pandora_index(&box, c->price.v);
    }
}

/* Those that are good enough are served. Returns the share of the others. */
static double keep_asking(struct hands *h, double v, const double index[TALLY_STAGES])
{
    double share = 0;
    int left = 0;

    for (int i = 0; i < h->count; i++)
        if (v * h->of[i].p < index[tally_stage(h->of[i].p)]) {
            share += h->of[i].share;
            h->of[left++] = h->of[i];
        }
    h->count = left;
    return share;
}

/* Another answer: the better of it and what is in hand. */
static void add_answer(struct hands *h, const struct beliefs_arm *a)
{
    struct hand better[TALLY_BINS];

    for (int b = 0; b < TALLY_BINS; b++)
        better[b] = (struct hand){a->tempered[1][b], 0};
    for (int i = 0; i < h->count; i++) {
        struct hand was = h->of[i];
        const double *share = a->share[tally_stage(was.p)];
        for (int b = 0; b < TALLY_BINS; b++)
            if (better[b].p > was.p) {
                better[b].share += was.share * share[b];
                h->of[i].share -= was.share * share[b];
            }
    }
    memcpy(&h->of[h->count], better, sizeof better);
    h->count += TALLY_BINS;
}

static void first_answer(struct hands *h, const struct beliefs_arm *a)
{
    h->count = TALLY_BINS;
    for (int b = 0; b < TALLY_BINS; b++)
        h->of[b] = (struct hand){a->tempered[0][b], a->share[0][b]};
}

/* By hundredths. */
static double enough_for(double v, const double next[TALLY_STAGES])
{
    for (int i = 0; i < 100; i++)
        if (v * i / 100 >= next[tally_stage(i / 100.0)])
            return i / 100.0;
    return 1;
}

int beliefs_way(const struct beliefs_context *c, struct beliefs_way_step out[PANDORA_BOXES])
{
    struct hands h;
    double index[TALLY_STAGES];

    order_by_index(c, out);
    first_answer(&h, &c->arm[out[0].arm]);
    out[0].asked = 1;
    for (int i = 0; i < c->arms; i++) {
        out[i].first = (double)c->propensity[out[i].arm] / BELIEFS_UNIT;
        out[i].enough = 0;
        if (i == 0)
            continue;
        indices_of(c, out[i].arm, index);
        out[i - 1].enough = enough_for(c->price.v, index);
        out[i].asked = keep_asking(&h, c->price.v, index);
        add_answer(&h, &c->arm[out[i].arm]);
    }
    return c->arms;
}
