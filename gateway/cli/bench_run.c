/* Replays. Called by cmd_bench. */
#include "gateway/cli/bench_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/decide/logistic.h"

const char *bench_family_name(enum bench_family f)
{
    static const char *const names[BENCH_FAMILIES] = {
        [BENCH_WEIR] = "weir",
        [BENCH_CLASS_MEAN] = "class mean",
        [BENCH_PROMPT_LENGTH] = "prompt length",
    };
    return names[f];
}

void bench_results_init(struct bench_results *r, const struct bench_options *o, size_t rows)
{
    *r = (struct bench_results){.prices = o->prices, .seeds = o->seeds, .rows = rows};
    r->at = mem_zalloc((size_t)BENCH_FAMILIES * (size_t)o->prices * (size_t)o->seeds * rows,
                       sizeof *r->at);
}

void bench_results_clear(struct bench_results *r)
{
    free(r->at);
}

/* ---- one request ---- */

/* Answers a step of the plan from the record, and notes it where it is to be learnt from. */
static void give_answer(struct bench_learner *l, const struct bench_ask *q, struct plan *p, int arm,
                        double *score, struct bench_result *out)
{
    const struct bench_cell *c = bench_cell(l->set, q->row, arm);
    float feature[CONFIDENCE_FEATURES];
    int stage = p->log.choice[p->log.count - 1].stage, earlier = p->best;

    bench_features(l, q->row, arm, earlier, earlier >= 0 ? score[earlier] : 0, feature);
    score[arm] = scorer_score(&l->scorer[arm], feature);
    plan_answer(p, score[arm], PLAN_UNCHECKED, c->cost_nanousd);
    out->cost_nanousd += c->cost_nanousd;
    out->asked |= 1u << arm;
    if (!q->remember)
        return;
    struct bench_answer *a = bench_learner_add(l);
    a->row = q->row;
    a->arm = arm;
    a->stage = stage;
    a->first = stage == 0;
    a->when_us = q->now_us;
    for (int i = 0; i < CONFIDENCE_FEATURES; i++)
        a->feature[i] = feature[i];
}

void bench_ask(struct bench_learner *l, const struct bench_ask *q, struct bench_result *out)
{
    const struct bench_set *s = l->set;
    double score[PANDORA_BOXES];
    struct plan p;
    struct plan_question ask = {
        .mode = PLAN_OBJECTIVE,
        .arms = s->arms,
        .allowed = (1u << s->arms) - 1,
        .beliefs = bench_context(s, q->beliefs, q->row),
        .shift = q->shift,
        .budget_nanousd = -1,
        .pin = -1,
        .final = q->once ? ~0u : 0,
        .explore = q->explore,
        .seed = q->seed,
    };

    *out = (struct bench_result){.first = -1};
    struct plan_step step = plan_begin(&p, &ask);
    for (; step.verb == PLAN_ASK; step = plan_next(&p, q->once ? 0 : ~0u)) {
        if (out->first < 0)
            out->first = step.arm;
        give_answer(l, q, &p, step.arm, score, out);
    }
    out->served = step.arm;
    out->success = bench_cell(s, q->row, step.arm)->success;
    for (size_t i = l->answers; q->remember && i-- > 0 && l->answer[i].when_us == q->now_us;)
        if (l->answer[i].arm == step.arm && l->answer[i].row == q->row) {
            l->answer[i].served = true;
            l->answer[i].expected = p.log.expected >= 0 ? p.log.expected : (double)NAN;
        }
}

/* ---- straw men ---- */

/* Success and cost of an arm as a straw man sees them. */
struct guess {
    double success, cost;
};

static int best_guess(const struct guess *g, int arms, double v)
{
    int best = 0;

    for (int j = 1; j < arms; j++)
        if (v * g[j].success - g[j].cost > v * g[best].success - g[best].cost)
            best = j;
    return best;
}

static void send_to(const struct bench_set *s, size_t row, int arm, struct bench_result *out)
{
    const struct bench_cell *c = bench_cell(s, row, arm);

    *out = (struct bench_result){c->cost_nanousd, c->success, 1u << arm, arm, arm};
}

/* Means per class, drawn to the arm's over all by a few rows. */
static void class_means(const struct bench_set *s, const size_t *rows, size_t n,
                        struct guess *out /* [classes][arms] */)
{
    enum { PSEUDO = 4 };
    double *seen = mem_zalloc((size_t)s->classes, sizeof *seen);

    for (int j = 0; j < s->arms; j++) {
        struct guess all = {0};
        for (size_t i = 0; i < n; i++) {
            all.success += bench_cell(s, rows[i], j)->success / (double)n;
            all.cost += bench_cell(s, rows[i], j)->cost_nanousd / (double)n;
        }
        for (int g = 0; g < s->classes; g++) {
            out[g * s->arms + j] = (struct guess){PSEUDO * all.success, PSEUDO * all.cost};
            seen[g] = PSEUDO;
        }
        for (size_t i = 0; i < n; i++) {
            struct guess *here = &out[s->class_of[rows[i]] * s->arms + j];
            here->success += bench_cell(s, rows[i], j)->success;
            here->cost += bench_cell(s, rows[i], j)->cost_nanousd;
            seen[s->class_of[rows[i]]]++;
        }
        for (int g = 0; g < s->classes; g++) {
            out[g * s->arms + j].success /= seen[g];
            out[g * s->arms + j].cost /= seen[g];
        }
    }
    free(seen);
}

static void length_features(const struct bench_set *s, size_t row, float out[2])
{
    out[0] = 1;
    out[1] = (float)(log1p((double)s->text[row].n) - 5);
}

/* coef[arms][2] of a logistic on the logarithm of a prompt's length. */
static void length_fit(const struct bench_set *s, const size_t *rows, size_t n, double (*coef)[2])
{
    float *x = mem_zalloc(n, 2 * sizeof *x), *y = mem_zalloc(n, sizeof *y);
    const double strength[2] = {0.01, 0.5};

    for (int j = 0; j < s->arms; j++) {
        for (size_t i = 0; i < n; i++) {
            length_features(s, rows[i], x + 2 * i);
            y[i] = (float)bench_cell(s, rows[i], j)->success;
        }
        struct logistic_problem p = {x, y, NULL, n, 2, NULL, strength};
        logistic_fit(&p, coef[j], NULL);
    }
    free(y);
    free(x);
}

/* ---- cross-validation ---- */

struct fold {
    const struct bench_set *s;
    const struct bench_options *o;
    const struct bench_results *out;
    int seed;
    size_t *train, trains, *test, tests; /* owned */
};

static void shuffle(size_t *order, size_t n, struct rng *r)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)rng_below(r, i), kept = order[i - 1];
        order[i - 1] = order[k];
        order[k] = kept;
    }
}

static size_t *shuffled(size_t n, uint64_t seed)
{
    struct rng r;
    size_t *order = mem_zalloc(n + 1, sizeof *order);

    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    shuffle(order, n, &r);
    return order;
}

void bench_folds(const struct bench_set *s, int folds, uint64_t seed, int *fold)
{
    size_t *order = shuffled(s->rows, seed);
    int *next = mem_zalloc((size_t)s->classes, sizeof *next);

    for (size_t i = 0; i < s->rows; i++)
        fold[order[i]] = next[s->class_of[order[i]]]++ % folds;
    free(next);
    free(order);
}

static void split_rows(struct fold *f, const int *fold, int held_out)
{
    size_t *order = shuffled(f->s->rows, (uint64_t)f->seed + 1);
    size_t *taken = mem_zalloc((size_t)f->s->classes, sizeof *taken);

    f->train = mem_zalloc(f->s->rows, sizeof *f->train);
    f->test = mem_zalloc(f->s->rows, sizeof *f->test);
    for (size_t i = 0; i < f->s->rows; i++) {
        size_t row = order[i];
        if (fold[row] == held_out)
            f->test[f->tests++] = row;
        else if (f->o->labels == 0 || taken[f->s->class_of[row]]++ < f->o->labels)
            f->train[f->trains++] = row;
    }
    free(taken);
    free(order);
}

/* shift[tests][arms]; what is believed of classes does not hang on the price. */
static double *estimate(const struct fold *f, const struct beliefs *b)
{
    size_t arms = (size_t)f->s->arms;
    double one[PANDORA_BOXES];

    if (!f->o->vectors.of)
        return NULL;
    double *shift = mem_zalloc(f->tests + 1, arms * sizeof *shift);
    struct bench_near *near = bench_near_of_rows(f->s, &f->o->vectors, b, f->train, f->trains);
    for (size_t i = 0; i < f->tests; i++) {
        bench_near_shift(near, b, f->test[i], one);
        memcpy(shift + i * arms, one, arms * sizeof *shift);
    }
    bench_near_free(near);
    return shift;
}

static void run_weir(struct fold *f)
{
    struct bench_learner l;
    struct bench_counts counts;
    struct beliefs_objective o = f->o->objective;
    double *shift = NULL;

    o.price.floor = o.price.floor_of_best = o.price.budget_nanousd = PRICE_NONE;
    o.class_floor = PRICE_NONE;
    bench_learner_init(&l, f->s);
    bench_learner_study(&l, f->train, f->trains);
    bench_learner_count(&l, 0, &counts);
    for (int k = 0; k < f->o->prices; k++) {
        o.price.failure_price_nanousd = f->o->price[k];
        struct beliefs *b = bench_believe(f->s, &counts, &o, (uint64_t)f->seed);
        if (k == 0)
            shift = estimate(f, b);
        for (size_t i = 0; i < f->tests; i++)
            bench_ask(&l,
                      &(struct bench_ask){.beliefs = b,
                                          .row = f->test[i],
                                          .shift = shift ? shift + i * (size_t)f->s->arms : NULL},
                      &bench_results_of(f->out, BENCH_WEIR, k, f->seed)[f->test[i]]);
        beliefs_unref(b);
    }
    bench_counts_clear(&counts);
    bench_learner_clear(&l);
    free(shift);
}

static void run_class_mean(struct fold *f)
{
    const struct bench_set *s = f->s;
    struct guess *means = mem_zalloc((size_t)(s->classes * s->arms), sizeof *means);

    class_means(s, f->train, f->trains, means);
    for (int k = 0; k < f->o->prices; k++)
        for (size_t i = 0; i < f->tests; i++) {
            size_t row = f->test[i];
            const struct guess *g = &means[s->class_of[row] * s->arms];
            send_to(s, row, best_guess(g, s->arms, f->o->price[k]),
                    &bench_results_of(f->out, BENCH_CLASS_MEAN, k, f->seed)[row]);
        }
    free(means);
}

static void run_prompt_length(struct fold *f)
{
    const struct bench_set *s = f->s;
    double coef[PANDORA_BOXES][2];

    length_fit(s, f->train, f->trains, coef);
    for (int k = 0; k < f->o->prices; k++)
        for (size_t i = 0; i < f->tests; i++) {
            struct guess g[PANDORA_BOXES];
            float x[2];
            size_t row = f->test[i];
            length_features(s, row, x);
            for (int j = 0; j < s->arms; j++)
                g[j] = (struct guess){logistic(coef[j][0] + coef[j][1] * (double)x[1]),
                                      s->mean_cost[j]};
            send_to(s, row, best_guess(g, s->arms, f->o->price[k]),
                    &bench_results_of(f->out, BENCH_PROMPT_LENGTH, k, f->seed)[row]);
        }
}

void bench_cv(const struct bench_set *s, const struct bench_options *o, struct bench_results *out)
{
    int *fold = mem_zalloc(s->rows, sizeof *fold);

    for (int seed = 0; seed < o->seeds; seed++) {
        bench_folds(s, o->folds, (uint64_t)seed, fold);
        for (int k = 0; k < o->folds; k++) {
            struct fold f = {.s = s, .o = o, .out = out, .seed = seed};
            split_rows(&f, fold, k);
            run_weir(&f);
            run_class_mean(&f);
            run_prompt_length(&f);
            free(f.test);
            free(f.train);
        }
    }
    free(fold);
}

/* ---- a stream ---- */

/* What befalls one request, whoever answers it. */
struct fate {
    size_t row;
    uint64_t seed;
    bool told, turned; /* its answer gets a label; that says the contrary */
    bool unlucky;      /* a broken arm's success is none */
};

static struct fate draw_fate(const struct bench_set *s, const struct bench_stream *how,
                             struct rng *asked, struct rng *spoilt)
{
    struct fate f = {.row = (size_t)rng_below(asked, s->rows), .seed = rng_u64(asked)};

    f.told = rng_unit(asked) < how->feedback;
    f.turned = rng_unit(spoilt) < how->noise;
    f.unlucky = rng_unit(spoilt) < how->broken_share;
    return f;
}

static void give_feedback(struct bench_learner *l, const struct bench_stream *how, double success,
                          const struct fate *f, int64_t now_us)
{
    for (size_t i = l->answers; f->told && i-- > 0 && l->answer[i].when_us == now_us;)
        if (l->answer[i].served) {
            l->answer[i].label = f->turned ? 1 - success : success;
            l->answer[i].known_us = now_us + (int64_t)((double)how->delay * how->request_s * 1e6);
        }
}

/* What is known when a request comes. */
struct knowledge {
    struct bench_learner learner;
    struct beliefs *beliefs; /* owned reference */
    struct bench_near *near; /* owned; NULL: nobody asks it */
};

static void renew(struct knowledge *k, const struct beliefs_objective *o,
                  const struct bench_stream *how, int64_t now_us)
{
    bench_learner_try(&k->learner, now_us);
    beliefs_unref(k->beliefs);
    k->beliefs = bench_learner_believe(&k->learner, o, now_us, how->seed);
    bench_near_free(k->near);
    k->near = how->vectors.of && !how->by_class
                  ? bench_near_of_answers(&k->learner, &how->vectors, k->beliefs, now_us)
                  : NULL;
}

void bench_stream(const struct bench_set *s, const struct beliefs_objective *o,
                  const struct bench_stream *how, struct bench_result *out)
{
    struct knowledge k = {.near = NULL};
    struct rng asked, spoilt;
    double shift[PANDORA_BOXES];

    rng_seed(&asked, how->seed);
    rng_seed(&spoilt, ~how->seed);
    bench_learner_init(&k.learner, s);
    k.learner.blind = how->by_class;
    for (size_t i = 0; i < how->requests; i++) {
        int64_t now_us = (int64_t)((double)(i + 1) * how->request_s * 1e6);
        if (i % how->believe_every == 0)
            renew(&k, o, how, now_us);
        struct fate f = draw_fate(s, how, &asked, &spoilt);
        bench_near_shift(k.near, k.beliefs, f.row, shift);
        bench_ask(&k.learner,
                  &(struct bench_ask){.beliefs = k.beliefs,
                                      .row = f.row,
                                      .explore = true,
                                      .remember = true,
                                      .once = how->by_class,
                                      .seed = f.seed,
                                      .now_us = now_us,
                                      .shift = k.near ? shift : NULL},
                  &out[i]);
        if (out[i].served == how->broken && i >= how->broken_from && f.unlucky)
            out[i].success = 0;
        give_feedback(&k.learner, how, out[i].success, &f, now_us);
    }
    bench_near_free(k.near);
    beliefs_unref(k.beliefs);
    bench_learner_clear(&k.learner);
}
