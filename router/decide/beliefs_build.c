/* Counters become beliefs. Runs on the learner's thread; pure.
 *
 *   pool_models    the counters of a model over all contexts, and its curve
 *   believe_arm    one arm in one context: shares, curve, cost
 *   shift_models   what the last hours say, first for the model, then for the context
 *   set_price      v of a route or of each class
 *   beliefs_draw   what the first choice's propensities are made from */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/decide/beliefs_int.h"
#include "router/decide/logistic.h"

/* How strongly a curve's level is drawn to the one above it (inverse variances of log-odds): models
 * differ a lot from each other, contexts of one model less. */
#define MODEL_LEVEL   0.5
#define CONTEXT_LEVEL 2.0
/* Answers' worth of the shares above, and of the price list. */
#define SHARE_PSEUDO 8.0
#define COST_PSEUDO  5.0
/* And of a factor's: one answer's charge is easily off by its own size. */
#define FACTOR_PSEUDO 20.0
/* Information that a shift of the last hours must outweigh. */
#define MODEL_SHIFT   4.0
#define CONTEXT_SHIFT 16.0
/* Labels that a bias must outweigh: none, that of the last days, that of the route. */
#define BIAS_PSEUDO       50.0
#define FAST_BIAS_PSEUDO  100.0
#define CLASS_BIAS_PSEUDO 200.0
/* Success that is expected of the cheapest and of the dearest arm before anything was seen. */
#define PRIOR_CHEAPEST 0.6
#define PRIOR_DEAREST  0.85
/* How far differences between answers of one arm are believed where answers are compared. */
#define TEMPER 0.5
/* One model is best when a cascade gains less than this share of its cost. */
#define SINGLE_GAIN 0.01

/* A model over all contexts. */
struct pool {
    const char *model;
    double prior_success; /* on the first route that has it */
    struct tally_view slow;
    struct curve curve[2]; /* of first and of later answers */
    struct curve_residual residual;
};

/* Work on one context that its result does not keep. */
struct work {
    struct pool *pool[PANDORA_BOXES];
    struct curve curve[PANDORA_BOXES][2];
    double cost_error[PANDORA_BOXES];
    struct price_doubt doubt[PANDORA_BOXES];
};

struct builder {
    const struct beliefs_in *in;
    struct pool *pool; /* owned: [pools] */
    int pools;
    struct work *work; /* owned: [contexts] */
    struct beliefs *out;
};

static const struct tally_view nothing;

static const struct tally_view *view_or_nothing(const struct tally_view *const *views, int arm)
{
    return views && views[arm] ? views[arm] : &nothing;
}

/* ---- models over all contexts ---- */

/* Where the arm stands among the route's by price, as an expected success. */
static double prior_success(const struct beliefs_route_in *route, int arm)
{
    int cheaper = 0;

    for (int j = 0; j < route->arms; j++)
        cheaper += route->arm[j].cost_nanousd < route->arm[arm].cost_nanousd;
    return route->arms < 2
               ? PRIOR_DEAREST
               : PRIOR_CHEAPEST + (PRIOR_DEAREST - PRIOR_CHEAPEST) * cheaper / (route->arms - 1);
}

/* Answers by bin: of one stage, or of all (stage -1). Returns their number. */
static double answers(const struct tally_view *v, int stage, double n[TALLY_BINS])
{
    double all = 0;

    for (int b = 0; b < TALLY_BINS; b++) {
        n[b] = 0;
        for (int s = 0; s < TALLY_STAGES; s++)
            if (stage < 0 || s == stage)
                n[b] += v->x[tally_answers(s, b)];
        all += n[b];
    }
    return all;
}

/* What is believed of a model's scores before it has labels: that they are right, if they differ;
 * if all are nearly alike they say nothing, and it stands where its price puts it. */
static void believe_nothing(const struct pool *p, struct curve *out)
{
    double share[TALLY_BINS], all = answers(&p->slow, -1, share), mean = 0;

    curve_identity(out);
    if (all <= 0)
        return;
    for (int b = 0; b < TALLY_BINS; b++) {
        share[b] /= all;
        mean += share[b] * out->p[b];
    }
    if (curve_auroc(out, share) < CURVE_INFORMATIVE)
        curve_shift(out, logit(p->prior_success) - logit(mean));
}

static struct pool *pool_of(const struct builder *k, const char *model)
{
    for (int i = 0; i < k->pools; i++)
        if (strcmp(k->pool[i].model, model) == 0)
            return &k->pool[i];
    return NULL;
}

static void pool_models(struct builder *k)
{
    struct curve prior;
    double good[TALLY_BINS], bad[TALLY_BINS];
    int most = 0;

    for (int r = 0; r < k->in->routes; r++)
        most += k->in->route[r].arms;
    k->pool = mem_zalloc((size_t)most + 1, sizeof *k->pool);
    for (int r = 0; r < k->in->routes; r++) {
        const struct beliefs_route_in *route = &k->in->route[r];
        for (int j = 0; j < route->arms; j++) {
            struct pool *p = pool_of(k, route->arm[j].model);
            if (!p) {
                p = &k->pool[k->pools++];
                *p = (struct pool){.model = route->arm[j].model,
                                   .prior_success = prior_success(route, j)};
            }
            for (int g = 0; g < route->classes; g++)
                tally_view_merge(&p->slow, view_or_nothing(route->class[g].slow, j), 1);
        }
    }
    for (int i = 0; i < k->pools; i++) {
        believe_nothing(&k->pool[i], &prior);
        for (int later = 0; later < 2; later++) {
            tally_view_labels(&k->pool[i].slow, &k->in->trust, later, good, bad);
            curve_fit(&k->pool[i].curve[later], &prior, good, bad, MODEL_LEVEL);
        }
    }
}

/* ---- one arm in one context ---- */

/* Shares that rise by a constant factor from bin to bin, with that mean score. */
static void rising_shares(double success, double share[TALLY_BINS])
{
    double low = 0.2, high = 5;

    for (int step = 0; step < 40; step++) {
        double factor = sqrt(low * high), all = 0, mean = 0, here = 1;
        for (int b = 0; b < TALLY_BINS; b++, here *= factor) {
            share[b] = here;
            all += here;
            mean += here * curve_middle(b);
        }
        for (int b = 0; b < TALLY_BINS; b++)
            share[b] /= all;
        if (mean / all < success)
            low = factor;
        else
            high = factor;
    }
}

/* (counts + pseudo x prior), to sum 1. */
static void shrink_shares(const struct tally_view *v, int stage, const double *prior,
                          double share[TALLY_BINS])
{
    double n[TALLY_BINS], all = answers(v, stage, n);

    for (int b = 0; b < TALLY_BINS; b++)
        share[b] = (n[b] + SHARE_PSEUDO * prior[b]) / (all + SHARE_PSEUDO);
}

/* The context's shares; of each stage, first as the model's differ by stage over all contexts. */
static void believe_shares(struct beliefs_arm *a, const struct pool *pool,
                           const struct tally_view *slow, double prior_mean)
{
    double prior[TALLY_BINS], model[TALLY_BINS], here[TALLY_BINS], model_stage[TALLY_BINS],
        expected[TALLY_BINS];

    rising_shares(prior_mean, prior);
    shrink_shares(&pool->slow, -1, prior, model);
    shrink_shares(slow, -1, model, here);
    for (int s = 0; s < TALLY_STAGES; s++) {
        double all = 0;
        shrink_shares(&pool->slow, s, model, model_stage);
        for (int b = 0; b < TALLY_BINS; b++) {
            expected[b] = here[b] * model_stage[b] / fmax(model[b], 1e-12);
            all += expected[b];
        }
        for (int b = 0; b < TALLY_BINS; b++)
            expected[b] /= all;
        shrink_shares(slow, s, expected, a->share[s]);
    }
}

static double answered(const struct tally_view *v)
{
    return fmax(0, v->x[TALLY_ASKED] - v->x[TALLY_FAILED]);
}

/* The context's mean drawn to the model's over all contexts, as costs are; 0: nothing was seen. */
static double drawn_mean(const struct tally_view *slow, const struct tally_view *all, int field)
{
    double elsewhere = answered(all);

    return elsewhere > 0 ? (slow->x[field] + COST_PSEUDO * all->x[field] / elsewhere) /
                               (answered(slow) + COST_PSEUDO)
                         : 0;
}

/* What answers were charged for each nano-dollar that was foretold of them; the ratio of two sums,
 * so that the mean cost comes out right, whichever share of the difference is the prompt's. */
static double believe_factor(const struct tally_view *v, double expected,
                             const struct beliefs_arm *a)
{
    double pseudo = FACTOR_PSEUDO * a->cost_nanousd;

    return (v->x[TALLY_FORETOLD_COST] + pseudo * expected) / (v->x[TALLY_FORETOLD] + pseudo);
}

/* Mean cost drawn to the model's over all contexts, that to the price list; and its standard error
 * as a share of it. */
static double believe_cost(struct beliefs_arm *a, const struct pool *pool,
                           const struct tally_view *slow, double listed)
{
    double n = answered(slow), elsewhere = answered(&pool->slow);
    double sum = slow->x[TALLY_COST_NANOUSD], squares = slow->x[TALLY_COST_SQUARE] * 1e6;
    double model =
        (pool->slow.x[TALLY_COST_NANOUSD] + COST_PSEUDO * listed) / (elsewhere + COST_PSEUDO);

    a->cost_nanousd = fmax((sum + COST_PSEUDO * model) / (n + COST_PSEUDO), 1);
    a->cost_factor = believe_factor(slow, believe_factor(&pool->slow, 1, a), a);
    a->tokens_out = drawn_mean(slow, &pool->slow, TALLY_TOKENS_OUT);
    a->latency_ms = drawn_mean(slow, &pool->slow, TALLY_LATENCY_MS);
    double variance = n > 1 ? fmax(0, squares / n - sum / n * (sum / n)) : 0;
    double drawn = 0.5 * model * COST_PSEUDO / (n + COST_PSEUDO); /* means are off by half */
    return sqrt(variance / (n + 1) + drawn * drawn) / a->cost_nanousd;
}

static const struct tally_trust *trust_of(const struct builder *k,
                                          const struct beliefs_route_in *route)
{
    return route->trust ? route->trust : &k->in->trust;
}

/* One of the arm's curves, and what the last hours say about it. Returns what is not known of its
 * level. */
static struct price_doubt believe_curve(const struct tally_trust *trust,
                                        const struct tally_view *slow,
                                        const struct tally_view *fast, struct pool *pool, int later,
                                        struct curve *out)
{
    double good[TALLY_BINS], bad[TALLY_BINS], drawn;
    struct price_doubt doubt;

    tally_view_labels(slow, trust, later, good, bad);
    curve_fit(out, &pool->curve[later], good, bad, CONTEXT_LEVEL);
    /* what is not known of the model is not known here, as far as the level hangs on it */
    drawn = CONTEXT_LEVEL * out->level_var;
    doubt = (struct price_doubt){out->level_var, drawn * drawn * pool->curve[later].level_var};
    out->level_var += doubt.shared;
    tally_view_labels(fast, trust, later, good, bad);
    curve_residual_add(&pool->residual, out, good, bad);
    return doubt;
}

static const struct scorer_record *copy_record(struct builder *k, const struct scorer_record *r)
{
    struct scorer_record *copy = r ? ARENA_NEW(&k->out->names, struct scorer_record) : NULL;

    if (copy)
        *copy = *r;
    return copy;
}

static void believe_arm(struct builder *k, const struct beliefs_route_in *route, int g, int j,
                        struct beliefs_context *c, struct work *w)
{
    const struct tally_view *slow = view_or_nothing(route->class[g].slow, j);
    const struct tally_view *fast = view_or_nothing(route->class[g].fast, j);
    const struct beliefs_arm_in *in = &route->arm[j];
    struct beliefs_arm *a = &c->arm[j];

    a->model = arena_strdup(&k->out->names, slice_str(in->model));
    a->cap = in->cap;
    a->explorable = in->explorable;
    a->changed_us = in->changed_us;
    a->scored_by = g ? (c - g)->arm[j].scored_by : copy_record(k, in->scored_by);
    a->asked = slow->x[TALLY_ASKED];
    w->pool[j] = pool_of(k, in->model);
    w->cost_error[j] = believe_cost(a, w->pool[j], slow, in->cost_nanousd);
    believe_shares(a, w->pool[j], slow, prior_success(route, j));
    for (int later = 0; later < 2; later++) {
        struct price_doubt doubt =
            believe_curve(trust_of(k, route), slow, fast, w->pool[j], later, &w->curve[j][later]);
        if (!later)
            w->doubt[j] = doubt;
        a->labels += w->curve[j][later].labels;
    }
    c->traffic += slow->x[TALLY_FIRST];
}

/* ---- the last hours ---- */

static void shift_arm(const struct tally_trust *trust, const struct tally_view *fast,
                      struct beliefs_arm *a, const struct pool *pool, struct curve curve[2])
{
    struct curve_residual own = {0};
    double good[TALLY_BINS], bad[TALLY_BINS], model = curve_shift_of(&pool->residual, MODEL_SHIFT);

    for (int later = 0; later < 2; later++) {
        curve_shift(&curve[later], model);
        tally_view_labels(fast, trust, later, good, bad);
        curve_residual_add(&own, &curve[later], good, bad);
    }
    double here = curve_shift_of(&own, CONTEXT_SHIFT);
    for (int later = 0; later < 2; later++)
        curve_shift(&curve[later], here);
    a->shift = model + here;
}

static void finish_arm(struct beliefs_arm *a, struct curve curve[2])
{
    double mean = 0, sd = sqrt(curve[0].level_var), after[TALLY_BINS] = {0};

    for (int stage = 1; stage < TALLY_STAGES; stage++)
        for (int b = 0; b < TALLY_BINS; b++)
            after[b] += a->share[stage][b] / (TALLY_STAGES - 1);

    a->auroc = curve_auroc(&curve[0], a->share[0]);
    a->informative = a->auroc >= CURVE_INFORMATIVE;
    for (int later = 0; later < 2; later++) {
        if (!a->informative)
            curve_flatten(&curve[later], a->share[later]);
        memcpy(a->p[later], curve[later].p, sizeof a->p[later]);
        curve_temper(&curve[later], TEMPER, later ? after : a->share[0], a->tempered[later]);
    }
    for (int b = 0; b < TALLY_BINS; b++)
        mean += a->share[0][b] * a->p[0][b];
    a->success = mean;
    a->low = logistic(logit(mean) - 1.2816 * sd); /* the 10 % and 90 % points of a normal */
    a->high = logistic(logit(mean) + 1.2816 * sd);
}

/* What decisions expected beyond what came true, and how many labels say so. */
struct surplus {
    double over, labels;
};

static void add_surplus(struct surplus *s, const struct beliefs_route_in *route,
                        const struct tally_view *const *views)
{
    for (int j = 0; j < route->arms; j++) {
        const struct tally_view *v = view_or_nothing(views, j);
        s->over += (v->x[TALLY_PREDICTED_MILLI] - v->x[TALLY_REALISED_MILLI]) / 1000;
        s->labels += v->x[TALLY_RESOLVED];
    }
}

static double bias_of(const struct surplus *s, double pseudo, double prior)
{
    return (s->over + pseudo * prior) / (s->labels + pseudo);
}

/* By how much success is over-estimated: closed forms take answers' chances for independent, and
 * the best of several for as good as it was thought. The last days of the route, moved by its last
 * hours; a class's own by its own labels. */
static double find_biases(const struct beliefs_route_in *route, struct beliefs_context *c)
{
    struct surplus slow = {0}, fast = {0};
    double all;

    for (int g = 0; g < route->classes; g++) {
        add_surplus(&slow, route, route->class[g].slow);
        add_surplus(&fast, route, route->class[g].fast);
    }
    all = bias_of(&fast, FAST_BIAS_PSEUDO, bias_of(&slow, BIAS_PSEUDO, 0));
    for (int g = 0; g < route->classes; g++) {
        struct surplus own = {0};
        add_surplus(&own, route, route->class[g].slow);
        c[g].bias = bias_of(&own, CLASS_BIAS_PSEUDO, all);
    }
    return all;
}

/* ---- the objective ---- */

static void box_arms(const struct beliefs_context *c, struct pandora_box *boxes)
{
    for (int j = 0; j < c->arms; j++)
        beliefs_box(&c->arm[j], 0,
                    c->arm[j].cost_nanousd + c->latency_nanousd_per_s * c->arm[j].latency_ms / 1000,
                    c->price.v, &boxes[j]);
}

/* v of the route's contexts c[0..classes). */
static void set_prices(const struct beliefs_route_in *route, double bias, const struct work *w,
                       struct beliefs_context *c)
{
    const struct beliefs_objective *o = &route->objective;
    size_t n = (size_t)route->classes;
    struct pandora_box *boxes = mem_zalloc(n * PANDORA_BOXES, sizeof *boxes);
    const struct pandora_box **of = mem_zalloc(n, sizeof *of);
    const struct price_doubt **doubt = mem_zalloc(n, sizeof *doubt);
    double *traffic = mem_zalloc(n, sizeof *traffic);

    for (size_t g = 0; g < n; g++) {
        box_arms(&c[g], boxes + g * PANDORA_BOXES);
        of[g] = boxes + g * PANDORA_BOXES;
        doubt[g] = w[g].doubt;
        traffic[g] = c[g].traffic;
    }
    struct price_traffic whole = {of, doubt, traffic, route->classes, route->arms, bias};
    struct price price;
    if (!o->per_class)
        price_solve(&whole, &o->price, &price);
    for (size_t g = 0; g < n; g++) {
        struct price_traffic one = {&of[g], &doubt[g], &traffic[g], 1, route->arms, c[g].bias};
        struct price_objective least = o->price;
        if (o->per_class) {
            price_solve(&one, &o->price, &price);
        } else if (o->class_floor >= 0) {
            struct price own;
            least.floor = o->class_floor;
            least.floor_of_best = PRICE_NONE;
            price_solve(&one, &least, &own);
            if (own.v > price.v) {
                c[g].price = own;
                continue;
            }
        }
        c[g].price = price;
    }
    free(traffic);
    free(doubt);
    free(of);
    free(boxes);
}

/* The arm whose answers are best taken as they come, if a cascade gains hardly anything on it. */
static int single_best(const struct beliefs_context *c, const struct pandora_box *boxes)
{
    int best = 0;
    double most = -INFINITY;

    for (int j = 0; j < c->arms; j++) {
        double worth = c->price.v * c->arm[j].success - boxes[j].cost;
        if (worth > most) {
            most = worth;
            best = j;
        }
    }
    return c->arm[best].labels >= BELIEFS_LITTLE_KNOWN &&
                   c->outlook.utility - most <= SINGLE_GAIN * boxes[best].cost
               ? best
               : -1;
}

static void decide_context(struct builder *k, const struct beliefs_route_in *route,
                           struct beliefs_context *c, struct work *w)
{
    struct pandora_box boxes[PANDORA_BOXES];
    struct curve first[PANDORA_BOXES];

    box_arms(c, boxes);
    for (int j = 0; j < c->arms; j++) {
        c->arm[j].index = pandora_index_of(&boxes[j], c->price.v, &c->arm[j].chance);
        c->arm[j].bold_index = pandora_index(&boxes[j], c->price.bold);
    }
    pandora_expect(boxes, c->arms, c->price.v, &c->outlook);
    c->single = single_best(c, boxes);
    for (int j = 0; j < c->arms; j++)
        first[j] = w->curve[j][0];
    beliefs_draw(c, first, w->cost_error, &route->objective, k->in->seed);
}

/* ---- all of it ---- */

static void begin_context(struct builder *k, const struct beliefs_route_in *route, int g,
                          struct beliefs_context *c, struct work *w)
{
    assert(route->arms >= 1 && route->arms <= PANDORA_BOXES);
    c->route = arena_strdup(&k->out->names, slice_str(route->name));
    c->label = arena_strdup(&k->out->names, slice_str(route->class[g].label));
    c->arms = route->arms;
    c->latency_nanousd_per_s = route->objective.latency_nanousd_per_s;
    c->flip = route->objective.flip;
    for (int j = 0; j < route->arms; j++)
        believe_arm(k, route, g, j, c, w);
}

/* Heads are judged over all classes of the route: they know nothing of classes. */
static void judge_foresight(const struct beliefs_route_in *route, struct beliefs_context *c)
{
    for (int j = 0; j < route->arms; j++) {
        struct foresight slow = {0}, fast = {0};

        for (int g = 0; g < route->classes; g++) {
            foresight_add(&slow, view_or_nothing(route->class[g].slow, j));
            foresight_add(&fast, view_or_nothing(route->class[g].fast, j));
        }
        slow.trust = foresight_trust(&slow, &fast);
        for (int g = 0; g < route->classes; g++)
            c[g].arm[j].foresight = slow;
    }
}

static void finish_route(struct builder *k, const struct beliefs_route_in *route,
                         struct beliefs_context *c, struct work *w)
{
    for (int g = 0; g < route->classes; g++)
        for (int j = 0; j < route->arms; j++) {
            shift_arm(trust_of(k, route), view_or_nothing(route->class[g].fast, j), &c[g].arm[j],
                      w[g].pool[j], w[g].curve[j]);
            finish_arm(&c[g].arm[j], w[g].curve[j]);
        }
    judge_foresight(route, c);
    set_prices(route, find_biases(route, c), w, c);
    for (int g = 0; g < route->classes; g++)
        decide_context(k, route, &c[g], &w[g]);
}

struct beliefs *beliefs_build(const struct beliefs_in *in)
{
    struct builder k = {.in = in, .out = mem_zalloc(1, sizeof *k.out)};
    struct beliefs *out = k.out;
    size_t at = 0;

    atomic_init(&out->refs, 1);
    arena_init(&out->names, 1024);
    out->version = in->version;
    for (int r = 0; r < in->routes; r++)
        out->count += (size_t)in->route[r].classes;
    out->context = mem_zalloc(out->count + 1, sizeof *out->context);
    k.work = mem_zalloc(out->count + 1, sizeof *k.work);
    pool_models(&k);
    for (int r = 0; r < in->routes; r++)
        for (int g = 0; g < in->route[r].classes; g++, at++)
            begin_context(&k, &in->route[r], g, &out->context[at], &k.work[at]);
    at = 0;
    for (int r = 0; r < in->routes; r++) {
        finish_route(&k, &in->route[r], &out->context[at], &k.work[at]);
        at += (size_t)in->route[r].classes;
    }
    free(k.work);
    free(k.pool);
    return out;
}
