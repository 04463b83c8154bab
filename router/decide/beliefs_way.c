/* The expected way of a class. Called by the admin API. */
#include "router/decide/beliefs_way.h"

#include <math.h>
#include <string.h>
#include "router/decide/plan.h"

/* The best chance in hand, and how likely it is. */
struct hand {
    double p, share;
};

struct hands {
    struct hand of[PANDORA_BOXES * TALLY_BINS];
    int count;
};

/* The arm in that stage, at its mean cost. */
static void box_of(const struct beliefs_context *c, int arm, int stage, double v,
                   struct pandora_box *out)
{
    const struct beliefs_arm *a = &c->arm[arm];

    beliefs_box(a, stage, a->cost_nanousd + c->latency_nanousd_per_s * a->latency_ms / 1000, v,
                out);
}

/* Its index in each stage. */
static void indices_of(const struct beliefs_context *c, int arm, double v, double out[TALLY_STAGES])
{
    for (int s = 0; s < TALLY_STAGES; s++) {
        struct pandora_box box;
        box_of(c, arm, s, v, &box);
        out[s] = pandora_index(&box, v);
    }
}

static double first_index(const struct beliefs_arm *a, bool bold)
{
    return bold ? a->bold_index : a->index;
}

static void order_by_index(const struct beliefs_context *c, bool bold, struct beliefs_way_step *out)
{
    for (int j = 0; j < c->arms; j++) {
        double index = first_index(&c->arm[j], bold);
        int at = j;
        for (; at > 0 && first_index(&c->arm[out[at - 1].arm], bold) < index; at--)
            out[at].arm = out[at - 1].arm;
        out[at].arm = j;
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

/* What comes of it at v, in the order that is there. */
static void follow(const struct beliefs_context *c, double v, struct beliefs_way_step *step)
{
    struct hands h;
    double index[TALLY_STAGES];

    first_answer(&h, &c->arm[step[0].arm]);
    step[0].asked = 1;
    for (int i = 1; i < c->arms; i++) {
        indices_of(c, step[i].arm, v, index);
        step[i - 1].enough = enough_for(v, index);
        step[i].asked = keep_asking(&h, v, index);
        add_answer(&h, &c->arm[step[i].arm]);
    }
    step[c->arms - 1].enough = 0;
}

static void go_carefully(const struct beliefs_context *c, struct beliefs_way *out)
{
    order_by_index(c, false, out->step);
    follow(c, c->price.v, out->step);
    out->success = c->outlook.success;
    out->cost_nanousd = c->outlook.cost;
}

/* The first of the bold ones has no cap (plan.c). Returns whether there is such an arm. */
static bool order_boldly(const struct beliefs_context *c, struct beliefs_way_step *out)
{
    struct beliefs_way_step best;
    int first = 0;

    order_by_index(c, true, out);
    while (first < c->arms && c->arm[out[first].arm].cap < 1)
        first++;
    if (first == c->arms)
        return false;
    best = out[first];
    memmove(out + 1, out, (size_t)first * sizeof *out);
    out[0] = best;
    return true;
}

static void go_boldly(const struct beliefs_context *c, struct beliefs_way *out)
{
    double v = c->price.bold, share = c->price.bold_share;
    struct pandora_box boxes[PANDORA_BOXES];
    struct pandora_outlook all = c->outlook, bold;

    follow(c, v, out->bold);
    for (int i = 0; i < c->arms; i++)
        for (int k = 0; k < c->arms; k++)
            if (out->bold[k].arm == out->step[i].arm)
                out->step[i].asked += share * (out->bold[k].asked - out->step[i].asked);
    for (int j = 0; j < c->arms; j++)
        box_of(c, j, 0, v, &boxes[j]);
    pandora_expect(boxes, c->arms, v, &bold);
    pandora_blend(&all, &bold, share);
    out->success = all.success;
    out->cost_nanousd = all.cost;
    out->bold_share = share;
}

/* A plan is asked, so that what is shown is what is done. Its propensities leave nothing to its
 * seed. */
static void choose_first(const struct beliefs_context *c, double first[PANDORA_BOXES])
{
    const struct plan_question q = {.mode = PLAN_OBJECTIVE,
                                    .arms = c->arms,
                                    .allowed = ~0u,
                                    .beliefs = c,
                                    .budget_nanousd = -1,
                                    .pin = -1,
                                    .explore = true};
    struct plan p;

    (void)plan_begin(&p, &q);
    for (int j = 0; j < c->arms; j++)
        first[j] = (double)p.log.choice[0].propensity[j] / BELIEFS_UNIT;
}

void beliefs_way(const struct beliefs_context *c, struct beliefs_way *out)
{
    *out = (struct beliefs_way){0};
    choose_first(c, out->first);
    go_carefully(c, out);
    if (c->price.bold_share > 0 && order_boldly(c, out->bold))
        go_boldly(c, out);
}
