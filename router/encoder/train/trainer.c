/* From features to heads. Everything that is not a weight (penalty, temperature, the scope's
 * scores, the maps of the success heads) is fitted on scores of rows that the scoring model had not
 * seen: those each fold left out. The weights are then fitted once more on all rows.
 * Called by cmd_train. */
#include "router/encoder/train/trainer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/link.h"

#define SCOPE_SCORES    1000 /* quantiles kept: a step of 0.1 % */
#define ISOTONIC_ROWS   1000 /* rows of each outcome from which on isotonic regression is used */
#define TOLERANCE       1e-4 /* of the gradient; what is below does not change a decision */
#define TOLERANCE_FINAL 1e-5
#define MAX_ITERATIONS  300

/* From strong to weak: each fit starts where the one before it ended. */
static const double penalties[TRAIN_PENALTIES] = {3, 1, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4};

/* One head's view of the set: the rows that it may use. */
struct view {
    const struct train_set *set;
    const struct train_options *opt;
    enum linear_loss loss;
    size_t outputs;
    const int *label;    /* LINEAR_SOFTMAX: of the set's rows */
    const float *target; /* else: [set rows][outputs] in output order */
    float *class_weight; /* [classes] or NULL */
    size_t *use;         /* rows of the set, ascending; owned */
    size_t rows;
    float *z; /* [rows][outputs]: scores by the folds; owned */
    const char *what;
    size_t steps, step; /* fits to do and done, for progress */
    struct err_text *t;
};

static void report(const struct view *v)
{
    if (v->opt->progress)
        v->opt->progress(v->opt->progress_ctx, v->what,
                         fmin(1, (double)v->step / (double)v->steps));
}

/* ---- one fit ---- */

/* The rows of the view that are in the fold, or those that are not. */
struct part {
    float *x, *target, *weight;
    int *label;
    size_t *at; /* their places in the view */
    size_t rows;
};

static void part_init(struct part *p, const struct view *v, int fold, bool inside)
{
    size_t F = v->set->features, M = v->outputs;
    *p = (struct part){.at = mem_alloc((v->rows + 1) * sizeof *p->at)};
    for (size_t i = 0; i < v->rows; i++)
        if ((v->set->fold[v->use[i]] == fold) == inside)
            p->at[p->rows++] = i;
    p->x = mem_alloc((p->rows * F + 1) * sizeof *p->x);
    p->label = v->label ? mem_alloc((p->rows + 1) * sizeof *p->label) : NULL;
    p->target = v->target ? mem_alloc((p->rows * M + 1) * sizeof *p->target) : NULL;
    p->weight = v->class_weight ? mem_alloc((p->rows + 1) * sizeof *p->weight) : NULL;
    for (size_t i = 0; i < p->rows; i++) {
        size_t row = v->use[p->at[i]];
        memcpy(p->x + i * F, v->set->x + row * F, F * sizeof *p->x);
        if (p->label)
            p->label[i] = v->label[row];
        if (p->target)
            memcpy(p->target + i * M, v->target + row * M, M * sizeof *p->target);
        if (p->weight)
            p->weight[i] = v->class_weight[v->label[row]];
    }
}

static void part_clear(struct part *p)
{
    free(p->x);
    free(p->target);
    free(p->weight);
    free(p->label);
    free(p->at);
}

static enum err fit(const struct view *v, const struct part *p, double l2, double tolerance,
                    struct linear_model *m, int *iterations)
{
    const struct linear_problem problem = {
        .loss = v->loss,
        .x = p->x,
        .rows = p->rows,
        .features = v->set->features,
        .outputs = v->outputs,
        .label = p->label,
        .target = p->target,
        .weight = p->weight,
        .l2 = l2,
        .threads = v->opt->threads,
    };
    struct lbfgs_result r;
    enum err e = linear_fit(&problem, MAX_ITERATIONS, tolerance, m, &r, v->t);
    *iterations = r.iterations;
    return e;
}

/* ---- cross-validation ---- */

/* The mean log-loss of scores, for classes at their best temperature. */
static double loss_of(const struct view *v, const float *z)
{
    double loss = 0, count = 0, temperature = 1;
    int *label = mem_alloc((v->rows + 1) * sizeof *label);
    float *p = mem_alloc(v->outputs * sizeof *p);
    if (v->loss == LINEAR_SOFTMAX) {
        for (size_t i = 0; i < v->rows; i++)
            label[i] = v->label[v->use[i]];
        temperature = calibrate_temperature(z, label, v->rows, v->outputs);
    }
    for (size_t i = 0; i < v->rows; i++, z += v->outputs) {
        if (v->loss == LINEAR_SOFTMAX) {
            link_softmax(z, v->outputs, (float)temperature, p);
            double weight = v->class_weight ? (double)v->class_weight[label[i]] : 1;
            loss -= weight * log(fmax((double)p[label[i]], 1e-12));
            count += weight;
            continue;
        }
        linear_probabilities(v->loss, z, v->outputs, p);
        for (size_t k = 0; k < v->outputs; k++) {
            float y = v->target[v->use[i] * v->outputs + k];
            if (isnan(y))
                continue;
            double q = fmin(fmax((double)p[k], 1e-7), 1 - 1e-7);
            loss -= (double)y * log(q) + (1 - (double)y) * log(1 - q);
            count++;
        }
    }
    free(p);
    free(label);
    return loss / fmax(count, 1);
}

/* Fits each fold's model at l2, starting from where it is, and scores what it left out. */
static enum err fit_folds(struct view *v, struct linear_model *models, const struct part *inside,
                          const struct part *outside, double l2, float *z)
{
    enum err e = ERR_OK;
    for (int k = 0; e == ERR_OK && k < v->set->folds; k++) {
        int ignored;
        e = fit(v, &outside[k], l2, TOLERANCE, &models[k], &ignored);
        float *own = mem_alloc((inside[k].rows * v->outputs + 1) * sizeof *own);
        if (e == ERR_OK)
            linear_apply(&models[k], inside[k].x, inside[k].rows, own, v->opt->threads);
        for (size_t i = 0; e == ERR_OK && i < inside[k].rows; i++)
            memcpy(z + inside[k].at[i] * v->outputs, own + i * v->outputs, v->outputs * sizeof *z);
        free(own);
        v->step++;
        report(v);
    }
    return e;
}

/* Tries the penalties from the strongest on until the loss has risen twice in a row. */
static enum err try_penalties(struct view *v, double fixed, struct linear_model *models,
                              const struct part *inside, const struct part *outside,
                              struct train_choice *c)
{
    float *z = mem_alloc((v->rows * v->outputs + 1) * sizeof *z);
    size_t count = fixed >= 0 ? 1 : TRAIN_PENALTIES;
    enum err e = ERR_OK;
    v->steps = count * (size_t)v->set->folds + 1;
    for (size_t i = 0; e == ERR_OK && i < count && i < c->best + 3; i++) {
        c->l2[i] = fixed >= 0 ? fixed : penalties[i];
        e = fit_folds(v, models, inside, outside, c->l2[i], z);
        if (e != ERR_OK)
            break;
        c->loss[i] = loss_of(v, z);
        c->tried = i + 1;
        if (i == 0 || c->loss[i] < c->loss[c->best]) {
            c->best = i;
            memcpy(v->z, z, v->rows * v->outputs * sizeof *z);
        }
    }
    free(z);
    return e;
}

static enum err cross_validate(struct view *v, double fixed, struct train_choice *c)
{
    size_t folds = (size_t)v->set->folds;
    struct linear_model *models = mem_zalloc(folds, sizeof *models);
    struct part *inside = mem_zalloc(folds, sizeof *inside);
    struct part *outside = mem_zalloc(folds, sizeof *outside);
    v->z = mem_zalloc(v->rows * v->outputs + 1, sizeof *v->z);
    for (size_t k = 0; k < folds; k++) {
        linear_model_init(&models[k], v->set->features, v->outputs);
        part_init(&inside[k], v, (int)k, true);
        part_init(&outside[k], v, (int)k, false);
    }
    *c = (struct train_choice){.tried = 0};
    enum err e = try_penalties(v, fixed, models, inside, outside, c);
    for (size_t k = 0; k < folds; k++) {
        linear_model_clear(&models[k]);
        part_clear(&inside[k]);
        part_clear(&outside[k]);
    }
    free(outside);
    free(inside);
    free(models);
    return e;
}

static enum err fit_all(struct view *v, double l2, struct linear_model *m, int *iterations)
{
    struct part all;
    part_init(&all, v, -1, false);
    linear_model_init(m, v->set->features, v->outputs);
    enum err e = fit(v, &all, l2, TOLERANCE_FINAL, m, iterations);
    part_clear(&all);
    v->step = v->steps;
    report(v);
    return e;
}

/* ---- scope ---- */

/* Adds each row's vector, at unit length, to its class's center, then brings those to unit length.
 */
static void find_centers(const struct view *v, int left_out, float *center)
{
    size_t D = v->set->vector, C = v->outputs;
    memset(center, 0, C * D * sizeof *center);
    for (size_t i = 0; i < v->rows; i++) {
        const float *x = v->set->x + v->use[i] * v->set->features;
        double length = 0;
        if (v->set->fold[v->use[i]] == left_out)
            continue;
        for (size_t d = 0; d < D; d++)
            length += (double)x[d] * (double)x[d];
        for (size_t d = 0; length > 0 && d < D; d++)
            center[(size_t)v->label[v->use[i]] * D + d] += x[d] / (float)sqrt(length);
    }
    for (size_t c = 0; c < C; c++) {
        double length = 0;
        for (size_t d = 0; d < D; d++)
            length += (double)center[c * D + d] * (double)center[c * D + d];
        for (size_t d = 0; length > 0 && d < D; d++)
            center[c * D + d] /= (float)sqrt(length);
    }
}

/* The scope's score of each row, by the centers of the folds that left it out. */
static void score_rows(const struct view *v, const float scale[2], float *center, float *score)
{
    for (int k = 0; k < v->set->folds; k++) {
        const struct heads_scope s = {v->outputs, v->set->vector, center, {scale[0], scale[1]}};
        find_centers(v, k, center);
        for (size_t i = 0; i < v->rows; i++)
            if (v->set->fold[v->use[i]] == k)
                score[i] = heads_scope_score(&s, v->set->x + v->use[i] * v->set->features,
                                             v->z + i * v->outputs, v->outputs);
    }
}

static float deviation(const float *v, size_t n)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; i++)
        mean += (double)v[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        square += ((double)v[i] - mean) * ((double)v[i] - mean) / (double)n;
    return (float)sqrt(square);
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The share of scores (ascending) that are at most s. */
static float share_below(const float *sorted, size_t n, float s)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (sorted[mid] <= s)
            low = mid + 1;
        else
            high = mid;
    }
    return (float)low / (float)n;
}

static void fit_scope(const struct view *v, struct trained *out)
{
    float *score = mem_alloc((v->rows + 1) * sizeof *score);
    float *sorted = mem_alloc((v->rows + 1) * sizeof *sorted);
    out->center = mem_alloc((v->outputs * v->set->vector + 1) * sizeof *out->center);
    for (int i = 0; i < 2; i++) {
        const float only[2] = {i == 0, i == 1};
        score_rows(v, only, out->center, score);
        float d = deviation(score, v->rows);
        out->scope_scale[i] = d > 1e-6f ? 1 / d : 0;
    }
    score_rows(v, out->scope_scale, out->center, score);
    memcpy(sorted, score, v->rows * sizeof *sorted);
    qsort(sorted, v->rows, sizeof *sorted, ascending);
    for (size_t i = 0; i < v->rows; i++)
        out->in_scope[v->use[i]] = share_below(sorted, v->rows, score[i]);
    size_t n = out->scope_count = v->rows < SCOPE_SCORES ? v->rows : SCOPE_SCORES;
    out->scope_score = mem_alloc(n * sizeof *out->scope_score);
    for (size_t i = 0; i < n; i++)
        out->scope_score[i] = sorted[i * v->rows / n];
    find_centers(v, -1, out->center);
    free(sorted);
    free(score);
}

/* ---- the class head ---- */

static enum err check_classes(const struct view *v)
{
    size_t *rows = mem_zalloc(v->outputs + 1, sizeof *rows), seen = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; i < v->rows; i++)
        seen += rows[v->label[v->use[i]]]++ == 0;
    free(rows);
    if (seen < 2) {
        err_say(v->t, seen ? "all rows are of one class: there is nothing to tell apart"
                           : "no row has a class");
        e = ERR_BAD_REQUEST;
    }
    return e;
}

static void weigh_classes(struct view *v)
{
    size_t *rows = mem_zalloc(v->outputs, sizeof *rows);
    v->class_weight = mem_zalloc(v->outputs, sizeof *v->class_weight);
    for (size_t i = 0; i < v->rows; i++)
        rows[v->label[v->use[i]]]++;
    for (size_t c = 0; c < v->outputs; c++)
        v->class_weight[c] = rows[c] ? (float)v->rows / ((float)v->outputs * (float)rows[c]) : 1;
    free(rows);
}

static void calibrate_classes(const struct view *v, struct trained *out)
{
    size_t C = v->outputs;
    int *label = mem_alloc((v->rows + 1) * sizeof *label);
    for (size_t i = 0; i < v->rows; i++)
        label[i] = v->label[v->use[i]];
    out->temperature = (float)calibrate_temperature(v->z, label, v->rows, C);
    for (size_t i = 0; i < v->set->rows * C; i++)
        out->class_p[i] = NAN;
    for (size_t i = 0; i < v->rows; i++)
        link_softmax(v->z + i * C, C, out->temperature, out->class_p + v->use[i] * C);
    free(label);
}

static void view_clear(struct view *v)
{
    free(v->use);
    free(v->z);
    free(v->class_weight);
}

static enum err train_class(const struct train_set *set, const struct train_options *opt,
                            struct trained *out, struct err_text *t)
{
    struct view v = {
        .set = set,
        .opt = opt,
        .loss = LINEAR_SOFTMAX,
        .outputs = set->classes,
        .label = set->label,
        .use = mem_alloc((set->rows + 1) * sizeof *v.use),
        .what = "classes",
        .t = t,
    };
    for (size_t i = 0; i < set->rows; i++)
        if (set->label[i] >= 0)
            v.use[v.rows++] = i;
    out->class_p = mem_alloc((set->rows * set->classes + 1) * sizeof *out->class_p);
    out->in_scope = mem_alloc((set->rows + 1) * sizeof *out->in_scope);
    for (size_t i = 0; i < set->rows; i++)
        out->in_scope[i] = NAN;
    enum err e = check_classes(&v);
    if (e == ERR_OK && opt->balanced)
        weigh_classes(&v);
    if (e == ERR_OK)
        e = cross_validate(&v, opt->class_l2, &out->class_choice);
    if (e == ERR_OK) {
        calibrate_classes(&v, out);
        fit_scope(&v, out);
        e = fit_all(&v, out->class_choice.l2[out->class_choice.best], &out->class_model,
                    &out->iterations);
    }
    view_clear(&v);
    return e;
}

/* ---- success heads ---- */

struct strength {
    double mean;
    size_t model;
};

static int weakest_first(const void *a, const void *b)
{
    const struct strength *x = a, *y = b;
    if (x->mean != y->mean)
        return x->mean < y->mean ? -1 : 1;
    return (x->model > y->model) - (x->model < y->model);
}

static void order_models(const struct train_set *set, bool tiers, size_t *order)
{
    struct strength *s = mem_zalloc(set->models + 1, sizeof *s);
    for (size_t m = 0; m < set->models; m++) {
        double sum = 0, known = 0;
        for (size_t i = 0; i < set->rows; i++) {
            float y = set->target[i * set->models + m];
            sum += isnan(y) ? 0 : (double)y;
            known += !isnan(y);
        }
        s[m] = (struct strength){sum / fmax(known, 1), m};
    }
    if (tiers)
        qsort(s, set->models, sizeof *s, weakest_first);
    for (size_t m = 0; m < set->models; m++)
        order[m] = s[m].model;
    free(s);
}

/* The scores and outcomes of one output where they are known; returns their number. The scores are
 * logits of the uncalibrated probability, as the maps of heads.c take them. */
static size_t known_rows(const struct view *v, size_t k, float *at, float *success, size_t *row)
{
    size_t n = 0, M = v->outputs;
    float *p = mem_alloc(M * sizeof *p);
    for (size_t i = 0; i < v->rows; i++) {
        float y = v->target[v->use[i] * M + k];
        if (isnan(y))
            continue;
        linear_probabilities(v->loss, v->z + i * M, M, p);
        at[n] = link_logit(p[k]);
        success[n] = y;
        row[n++] = v->use[i];
    }
    free(p);
    return n;
}

/* Isotonic where there are rows enough of both outcomes, else Platt's line, which needs few. */
static void calibrate_model(size_t k, const float *at, const float *success, size_t n,
                            struct trained *out)
{
    struct knot knots[HEADS_MAX_KNOTS];
    size_t count = 0;
    double good = 0;
    for (size_t i = 0; i < n; i++)
        good += (double)success[i];
    if (fmin(good, (double)n - good) >= ISOTONIC_ROWS)
        count = calibrate_isotonic(at, success, n, knots, HEADS_MAX_KNOTS);
    struct platt line = calibrate_platt(at, success, n);
    out->platt[2 * k] = (float)line.a;
    out->platt[2 * k + 1] = (float)line.b;
    for (size_t j = 0; j < HEADS_MAX_KNOTS; j++) {
        struct knot last = {0, 0};
        if (count > 1)
            last = knots[j < count ? j : count - 1];
        out->knot_x[k * HEADS_MAX_KNOTS + j] = last.x;
        out->knot_y[k * HEADS_MAX_KNOTS + j] = last.y;
    }
    if (count > 1)
        out->knots = HEADS_MAX_KNOTS;
}

static void calibrate_models(const struct view *v, struct trained *out)
{
    size_t M = v->outputs;
    float *at = mem_alloc((v->rows + 1) * sizeof *at);
    float *success = mem_alloc((v->rows + 1) * sizeof *success);
    size_t *row = mem_alloc((v->rows + 1) * sizeof *row);
    out->platt = mem_zalloc(2 * M, sizeof *out->platt);
    out->knot_x = mem_zalloc(M * HEADS_MAX_KNOTS, sizeof *out->knot_x);
    out->knot_y = mem_zalloc(M * HEADS_MAX_KNOTS, sizeof *out->knot_y);
    for (size_t i = 0; i < v->set->rows * M; i++)
        out->success_p[i] = NAN;
    for (size_t k = 0; k < M; k++) {
        size_t n = known_rows(v, k, at, success, row);
        calibrate_model(k, at, success, n, out);
        for (size_t i = 0; i < n; i++)
            out->success_p[row[i] * M + k] =
                link_sigmoid(out->platt[2 * k] * at[i] + out->platt[2 * k + 1]);
    }
    free(row);
    free(success);
    free(at);
}

static enum err train_success(const struct train_set *set, const struct train_options *opt,
                              struct trained *out, struct err_text *t)
{
    size_t M = set->models;
    float *target = mem_alloc((set->rows * M + 1) * sizeof *target);
    struct view v = {
        .set = set,
        .opt = opt,
        .loss = opt->tiers ? LINEAR_TIERS : LINEAR_LOGISTIC,
        .outputs = M,
        .target = target,
        .use = mem_alloc((set->rows + 1) * sizeof *v.use),
        .what = "successes",
        .t = t,
    };
    out->model_order = mem_alloc((M + 1) * sizeof *out->model_order);
    out->success_p = mem_alloc((set->rows * M + 1) * sizeof *out->success_p);
    order_models(set, opt->tiers, out->model_order);
    for (size_t i = 0; i < set->rows; i++) {
        bool known = false;
        for (size_t k = 0; k < M; k++) {
            target[i * M + k] = set->target[i * M + out->model_order[k]];
            known = known || !isnan(target[i * M + k]);
        }
        if (known)
            v.use[v.rows++] = i;
    }
    int iterations = 0;
    enum err e = cross_validate(&v, opt->success_l2, &out->success_choice);
    if (e == ERR_OK) {
        calibrate_models(&v, out);
        e = fit_all(&v, out->success_choice.l2[out->success_choice.best], &out->success_model,
                    &iterations);
        out->iterations += iterations;
    }
    view_clear(&v);
    free(target);
    return e;
}

/* ---- the whole set ---- */

enum err train_heads(const struct train_set *set, const struct train_options *opt,
                     struct trained *out, struct err_text *t)
{
    assert(set->folds >= 2 && opt->threads >= 1 && set->vector <= set->features);
    *out = (struct trained){.temperature = 1};
    enum err e = ERR_OK;
    if (set->classes + set->models == 0) {
        err_say(t, "no row has a class or a score");
        e = ERR_BAD_REQUEST;
    }
    if (e == ERR_OK && set->classes)
        e = train_class(set, opt, out, t);
    if (e == ERR_OK && set->models)
        e = train_success(set, opt, out, t);
    if (e != ERR_OK)
        trained_clear(out);
    return e;
}

void trained_clear(struct trained *m)
{
    linear_model_clear(&m->class_model);
    linear_model_clear(&m->success_model);
    free(m->class_p);
    free(m->in_scope);
    free(m->center);
    free(m->scope_score);
    free(m->model_order);
    free(m->success_p);
    free(m->platt);
    free(m->knot_x);
    free(m->knot_y);
    *m = (struct trained){0};
}

void trained_parts(const struct trained *m, const struct train_set *set, bool tiers,
                   struct heads_parts *out)
{
    out->features = set->features;
    out->classes = m->class_model.outputs;
    out->class_weight = m->class_model.weight;
    out->class_bias = m->class_model.bias;
    out->temperature = m->temperature;
    out->scope_count = m->scope_count;
    out->scope_score = m->scope_score;
    out->scope = (struct heads_scope){m->scope_count ? out->classes : 0,
                                      set->vector,
                                      m->center,
                                      {m->scope_scale[0], m->scope_scale[1]}};
    out->models = m->success_model.outputs;
    out->success_weight = m->success_model.weight;
    out->success_bias = m->success_model.bias;
    out->tiers = tiers && out->models;
    out->platt = m->platt;
    out->knots = m->knots;
    out->knot_x = m->knot_x;
    out->knot_y = m->knot_y;
}
