/* The learner of weir bench. Called by bench_run. */
#include "gateway/cli/bench_learner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/answer_signals.h"
#include "base/mem.h"
#include "base/rng.h"
#include "router/decide/change.h"

#define PARTS   5 /* of rows, for scores by scorers that have not seen them */
#define HOUR_MS INT64_C(3600000)

void bench_learner_init(struct bench_learner *l, const struct bench_set *set)
{
    double prior[CONFIDENCE_FEATURES];

    *l = (struct bench_learner){
        .set = set, .half_life_ms = 7 * 24 * HOUR_MS, .fast_half_life_ms = 2 * HOUR_MS};
    for (int i = 0; i < CONFIDENCE_FEATURES; i++)
        prior[i] = (double)confidence_prior()[i];
    for (int j = 0; j < set->arms; j++)
        scorer_set(&l->scorer[j], prior, CONFIDENCE_FEATURES, 0);
    l->signals = mem_zalloc(1, sizeof *l->signals);
    answer_signals_init(l->signals, 64);
    /* an answer that came whole and says something */
    l->signals->finished = true;
    l->signals->finish = CHAT_FINISH_STOP;
    if (buf_append_slice(&l->signals->text, SLICE("answer")) != ERR_OK)
        mem_need(NULL);
}

void bench_learner_clear(struct bench_learner *l)
{
    answer_signals_clear(l->signals);
    free(l->signals);
    free(l->answer);
}

/* 1 the same, -1 another answer, 0 not known (or no earlier one). */
static double agreement(const struct bench_set *s, size_t row, int arm, int earlier)
{
    int own = bench_cell(s, row, arm)->answer, other;

    if (earlier < 0 || own < 0)
        return 0;
    other = bench_cell(s, row, earlier)->answer;
    return other < 0 ? 0 : own == other ? 1 : -1;
}

void bench_features(struct bench_learner *l, size_t row, int arm, int earlier, double earlier_score,
                    float out[CONFIDENCE_FEATURES])
{
    const struct bench_cell *c = bench_cell(l->set, row, arm);
    struct confidence_context x = {.has_earlier = earlier >= 0,
                                   .earlier_score = earlier_score,
                                   .samples = c->samples,
                                   .repeats = c->repeats};

    if (l->blind) {
        confidence_features(l->signals, &(struct confidence_context){.samples = 0}, out);
        return;
    }
    l->signals->tokens = (struct token_logprobs){0};
    if (!isnan(c->confidence))
        token_logprobs_add(&l->signals->tokens, log(c->confidence), NULL, 0);
    x.agreement = agreement(l->set, row, arm, earlier);
    confidence_features(l->signals, &x, out);
}

struct bench_answer *bench_learner_add(struct bench_learner *l)
{
    if (l->answers == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 4096;
        l->answer = mem_resize(l->answer, l->cap, sizeof *l->answer);
    }
    struct bench_answer *a = &l->answer[l->answers++];
    *a = (struct bench_answer){
        .score = (double)NAN, .label = (double)NAN, .expected = (double)NAN, .weight = 1};
    return a;
}

/* ---- labels to scorers ---- */

bool bench_learner_knows(const struct bench_answer *a, int64_t now_us)
{
    return !isnan(a->label) && a->known_us <= now_us;
}

/* From labels that were known from the beginning. part: answers whose row falls into it are left
 * out; -1: none. */
static bool fit_scorer(const struct bench_learner *l, int arm, int part, struct scorer *out)
{
    enum { F = CONFIDENCE_FEATURES };
    float *x = mem_zalloc(SCORER_MAX_ROWS, F * sizeof *x);
    float *y = mem_zalloc(SCORER_MAX_ROWS, sizeof *y), *w = mem_zalloc(SCORER_MAX_ROWS, sizeof *w);
    size_t n = 0;

    for (size_t i = l->answers; i-- > 0 && n < SCORER_MAX_ROWS;) {
        const struct bench_answer *a = &l->answer[i];
        if (a->arm != arm || !bench_learner_knows(a, 0) ||
            (part >= 0 && a->row % PARTS == (size_t)part))
            continue;
        memcpy(x + n * F, a->feature, sizeof a->feature);
        y[n] = (float)a->label;
        w[n++] = (float)a->weight;
    }
    struct scorer_rows rows = {x, y, w, n, F};
    bool fitted = scorer_fit(out, &rows);
    free(w);
    free(y);
    free(x);
    return fitted;
}

/* The arm's scorer on all labels; its labelled answers are counted by scorers that did not see
 * them: what was fitted on a label is too sure of it. */
static void fit_arm(struct bench_learner *l, int arm)
{
    for (int part = 0; part < PARTS; part++) {
        struct scorer other = l->scorer[arm];
        if (!fit_scorer(l, arm, part, &other))
            continue;
        for (size_t i = 0; i < l->answers; i++) {
            struct bench_answer *a = &l->answer[i];
            if (a->arm == arm && a->row % PARTS == (size_t)part && bench_learner_knows(a, 0))
                a->score = scorer_score(&other, a->feature);
        }
    }
    fit_scorer(l, arm, -1, &l->scorer[arm]);
}

static void fit_arms(struct bench_learner *l)
{
    for (int j = 0; j < l->set->arms; j++)
        fit_arm(l, j);
}

/* ---- a new scorer on trial ---- */

/* Labelled answers of one arm, the newest, as a trial takes them. */
struct tried_rows {
    float x[SCORER_MAX_ROWS][CONFIDENCE_FEATURES], y[SCORER_MAX_ROWS], score[SCORER_MAX_ROWS];
    bool held[SCORER_MAX_ROWS];
    size_t rows, fresh;
};

/* What is held out is so with all its answers: a query comes again and again here. */
static bool is_held_out(size_t row)
{
    struct rng r;

    rng_seed(&r, row);
    return rng_below(&r, SCORER_HELD_OUT_OF) == 0;
}

static void collect_rows(const struct bench_learner *l, int arm, int64_t now_us,
                         struct tried_rows *out)
{
    out->rows = out->fresh = 0;
    for (size_t i = l->answers; i-- > 0 && out->rows < SCORER_MAX_ROWS;) {
        const struct bench_answer *a = &l->answer[i];
        size_t k = out->rows;
        if (a->arm != arm || !bench_learner_knows(a, now_us))
            continue;
        memcpy(out->x[k], a->feature, sizeof a->feature);
        out->y[k] = (float)a->label;
        out->score[k] = (float)scorer_score(&l->scorer[arm], a->feature);
        out->held[k] = is_held_out(a->row);
        out->fresh += a->known_us > l->tried_us[arm];
        out->rows++;
    }
}

static void try_arm(struct bench_learner *l, int arm, int64_t now_us, struct tried_rows *t)
{
    struct scorer_record record = {.rows = 0};
    unsigned version = l->scorer[arm].version + 1;

    collect_rows(l, arm, now_us, t);
    if (!scorer_is_worth_trying(t->rows, t->fresh))
        return;
    l->tried_us[arm] = now_us;
    if (scorer_try(
            &(struct scorer_trial){t->x[0], t->y, t->score, t->held, t->rows, CONFIDENCE_FEATURES},
            version, &record) == SCORER_BETTER)
        l->scorer[arm] = record.scorer;
}

void bench_learner_try(struct bench_learner *l, int64_t now_us)
{
    struct tried_rows *t = mem_zalloc(1, sizeof *t);

    for (int j = 0; !l->blind && j < l->set->arms; j++)
        try_arm(l, j, now_us, t);
    free(t);
}

/* ---- everything known ---- */

/* earlier: an arm whose scorer is fitted, or -1; its score goes into the features, the chance
 * behind it decides the stage once there are curves: the score is near enough. */
static void study_one(struct bench_learner *l, size_t row, int arm, int earlier, double weight)
{
    float before[CONFIDENCE_FEATURES];
    struct bench_answer *a = bench_learner_add(l);
    double score = 0;

    if (earlier >= 0) {
        bench_features(l, row, earlier, -1, 0, before);
        score = scorer_score(&l->scorer[earlier], before);
    }
    a->row = row;
    a->arm = arm;
    a->first = a->served = earlier < 0;
    a->stage = tally_stage(earlier < 0 ? -1 : score);
    a->label = bench_cell(l->set, row, arm)->success;
    a->weight = weight;
    bench_features(l, row, arm, earlier, score, a->feature);
}

void bench_learner_study(struct bench_learner *l, const size_t *rows, size_t count)
{
    int arms = l->set->arms;
    double alone = arms > 1 ? 0.5 : 1;

    for (int j = 0; j < arms; j++)
        for (size_t i = 0; i < count; i++)
            study_one(l, rows[i], j, -1, alone);
    fit_arms(l);
    for (int j = 0; j < arms; j++)
        for (int e = 0; e < arms; e++)
            for (size_t i = 0; e != j && i < count; i++)
                study_one(l, rows[i], j, e, (1 - alone) / (arms - 1));
    fit_arms(l);
}

/* ---- answers to counters to beliefs ---- */

static void count_label(const struct bench_answer *a, int bin, double weight,
                        struct tally_view *slow, struct tally_view *fast, double fast_weight)
{
    struct tally t = {{0}};

    tally_add_label(&t, TALLY_EXPLICIT, a->stage, bin, (int)lround(1000 * a->label), 1);
    for (int good = 0; good < 2; good++) {
        int field = tally_label(TALLY_EXPLICIT, good, a->stage > 0, bin);
        tally_view_add(slow, field, t.count[field], weight);
        tally_view_add(fast, field, t.count[field], fast_weight);
    }
}

/* Since when each arm succeeds as it does now. */
static void find_changes(const struct bench_learner *l, int64_t now_us, int64_t *since_us)
{
    const struct bench_set *s = l->set;
    size_t classes = (size_t)s->classes, n = classes * (size_t)s->arms;
    struct change_labels *by_time = mem_zalloc(n, sizeof *by_time); /* [arms][classes] */

    for (size_t i = 0; i < n; i++)
        change_labels_init(&by_time[i], now_us);
    for (size_t i = 0; i < l->answers; i++) {
        const struct bench_answer *a = &l->answer[i];
        if (bench_learner_knows(a, now_us))
            change_labels_add(&by_time[(size_t)a->arm * classes + (size_t)s->class_of[a->row]],
                              a->when_us, a->weight * a->label, a->weight * (1 - a->label));
    }
    for (int j = 0; j < s->arms; j++)
        since_us[j] = change_since(&by_time[(size_t)j * classes], s->classes);
    free(by_time);
}

/* since_us: of its arm. */
static void count_answer(const struct bench_learner *l, const struct bench_answer *a,
                         int64_t now_us, int64_t since_us, const struct bench_counts *out)
{
    const struct bench_set *s = l->set;
    const struct bench_cell *c = bench_cell(s, a->row, a->arm);
    size_t at = (size_t)s->class_of[a->row] * (size_t)s->arms + (size_t)a->arm;
    struct tally_view *slow = &out->slow[at];
    int bin = curve_bin(isnan(a->score) ? scorer_score(&l->scorer[a->arm], a->feature) : a->score);
    double w = a->weight * tally_weight(TALLY_SLOW, tally_bucket_start(TALLY_SLOW, a->when_us),
                                        now_us, l->half_life_ms);
    double quick =
        a->weight * tally_weight(TALLY_QUICK, tally_bucket_start(TALLY_QUICK, a->when_us), now_us,
                                 l->fast_half_life_ms);
    double whole = a->when_us >= since_us ? a->weight : 0, micro = c->cost_nanousd / 1000;

    tally_view_add(slow, TALLY_FIRST, a->first, w);
    tally_view_add(slow, TALLY_ASKED, 1, w);
    tally_view_add(slow, TALLY_SERVED, a->served, w);
    tally_view_add(slow, TALLY_COST_NANOUSD, (int64_t)c->cost_nanousd, w);
    tally_view_add(slow, TALLY_COST_SQUARE, (int64_t)fmin(micro * micro, (double)TALLY_LIMIT), w);
    tally_view_add(slow, tally_answers(a->stage, bin), 1, w);
    if (!bench_learner_knows(a, now_us))
        return;
    count_label(a, bin, w, slow, &out->fast[at], since_us == CHANGE_NONE ? quick : whole);
    if (isnan(a->expected))
        return;
    for (int recent = 0; recent < 2; recent++) {
        struct tally_view *v = recent ? &out->fast[at] : slow;
        double weight = recent ? quick : w;
        tally_view_add(v, TALLY_RESOLVED, 1, weight);
        tally_view_add(v, TALLY_PREDICTED_MILLI, lround(1000 * a->expected), weight);
        tally_view_add(v, TALLY_REALISED_MILLI, lround(1000 * a->label), weight);
    }
}

void bench_learner_count(const struct bench_learner *l, int64_t now_us, struct bench_counts *out)
{
    size_t n = (size_t)l->set->classes * (size_t)l->set->arms;

    find_changes(l, now_us, out->changed_us);
    out->slow = mem_zalloc(n, sizeof *out->slow);
    out->fast = mem_zalloc(n, sizeof *out->fast);
    for (size_t i = 0; i < l->answers; i++)
        count_answer(l, &l->answer[i], now_us, out->changed_us[l->answer[i].arm], out);
}

void bench_counts_clear(struct bench_counts *c)
{
    free(c->slow);
    free(c->fast);
}

struct beliefs *bench_believe(const struct bench_set *s, const struct bench_counts *c,
                              const struct beliefs_objective *o, uint64_t seed)
{
    size_t n = (size_t)s->classes * (size_t)s->arms;
    const struct tally_view **slow = mem_zalloc(n, sizeof *slow);
    const struct tally_view **fast = mem_zalloc(n, sizeof *fast);
    struct beliefs_class_in *class = mem_zalloc((size_t)s->classes, sizeof *class);
    struct beliefs_arm_in arm[PANDORA_BOXES];

    for (size_t i = 0; i < n; i++) {
        slow[i] = &c->slow[i];
        fast[i] = &c->fast[i];
    }
    for (int g = 0; g < s->classes; g++)
        class[g] = (struct beliefs_class_in){s->label[g], slow + (size_t)(g * s->arms),
                                             fast + (size_t)(g * s->arms)};
    for (int j = 0; j < s->arms; j++) /* listed prices: a mean that operators know */
        arm[j] = (struct beliefs_arm_in){s->arm[j], fmax(s->mean_cost[j], 1), 1, true,
                                         NULL,      c->changed_us[j]};
    struct beliefs_route_in route = {BENCH_ROUTE, *o, arm, s->arms, class, s->classes, NULL};
    struct beliefs *b =
        beliefs_build(&(struct beliefs_in){&route, 1, tally_trust_default, seed, 0});
    free(class);
    free(fast);
    free(slow);
    return b;
}

struct beliefs *bench_learner_believe(const struct bench_learner *l,
                                      const struct beliefs_objective *o, int64_t now_us,
                                      uint64_t seed)
{
    struct bench_counts c;

    bench_learner_count(l, now_us, &c);
    struct beliefs *b = bench_believe(l->set, &c, o, seed);
    bench_counts_clear(&c);
    return b;
}

const struct beliefs_context *bench_context(const struct bench_set *s, const struct beliefs *b,
                                            size_t row)
{
    return beliefs_find(b, SLICE(BENCH_ROUTE), slice_str(s->label[s->class_of[row]]));
}
