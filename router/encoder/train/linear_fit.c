/* Fitting linear heads. One evaluation goes over all rows in blocks: scores = X W, then each row's
 * loss and its derivative by the scores (in place), then the gradient X^T d. Scores are single
 * precision, sums over rows double. Called by trainer.c. */
#include "router/encoder/train/linear_fit.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/link.h"
#include "router/encoder/train/panel.h"
#include "router/encoder/train/parallel.h"

#define BLOCK_ROWS ((size_t)192)

/* ---- the model ---- */

void linear_model_init(struct linear_model *m, size_t features, size_t outputs)
{
    m->features = features;
    m->outputs = outputs;
    m->weight = mem_zalloc(features * outputs + 1, sizeof *m->weight);
    m->bias = mem_zalloc(outputs + 1, sizeof *m->bias);
}

void linear_model_clear(struct linear_model *m)
{
    free(m->weight);
    free(m->bias);
    *m = (struct linear_model){0};
}

struct apply {
    const float *panel, *bias, *x;
    float *z;
    size_t rows, features, outputs, width;
};

static void apply_part(void *ctx, int part, int parts)
{
    const struct apply *a = ctx;
    float *block = mem_alloc(BLOCK_ROWS * a->width * sizeof *block);
    size_t end = a->rows * (size_t)(part + 1) / (size_t)parts;
    for (size_t r = a->rows * (size_t)part / (size_t)parts; r < end; r += BLOCK_ROWS) {
        size_t n = end - r < BLOCK_ROWS ? end - r : BLOCK_ROWS;
        memset(block, 0, n * a->width * sizeof *block);
        panel_multiply(block, a->x + r * a->features, a->features, 1, a->panel, n, a->features,
                       a->width);
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < a->outputs; c++)
                a->z[(r + i) * a->outputs + c] = block[i * a->width + c] + a->bias[c];
    }
    free(block);
}

void linear_apply(const struct linear_model *m, const float *x, size_t rows, float *z, int threads)
{
    size_t width = panel_width(m->outputs);
    float *panel = mem_zalloc(m->features * width + 1, sizeof *panel);
    for (size_t f = 0; f < m->features; f++)
        for (size_t c = 0; c < m->outputs; c++)
            panel[f * width + c] = m->weight[c * m->features + f];
    struct apply a = {panel, m->bias, x, z, rows, m->features, m->outputs, width};
    parallel_run(apply_part, &a, threads);
    free(panel);
}

/* log(1 + e^z) without overflow. */
static float softplus(float z)
{
    return z > 0 ? z + log1pf(expf(-z)) : log1pf(expf(z));
}

void linear_probabilities(enum linear_loss loss, const float *z, size_t outputs, float *p)
{
    switch (loss) {
    case LINEAR_SOFTMAX:
        link_softmax(z, outputs, 1, p);
        return;
    case LINEAR_LOGISTIC:
        for (size_t c = 0; c < outputs; c++)
            p[c] = link_sigmoid(z[c]);
        return;
    case LINEAR_TIERS:
        link_tiers(z, outputs, p);
        return;
    }
}

/* ---- the losses of one row: z[outputs] becomes the derivative by z ---- */

/* What an evaluation is made with. */
struct linear_objective {
    struct linear_problem p;
    size_t width;
    double total;        /* LINEAR_SOFTMAX: the sum of the rows' weights */
    float *share;        /* else: 1 / the sum of weights that know the output */
    float *panel, *bias; /* the parameters in single precision, [features][width], [width] */
    /* one per thread */
    double *loss, *gradient; /* [threads], [threads][features + 1][outputs] */
};

static double softmax_row(const struct linear_objective *o, size_t row, float *z)
{
    size_t n = o->p.outputs, label = (size_t)o->p.label[row];
    float weight = o->p.weight ? o->p.weight[row] : 1;
    float scale = (float)(weight / o->total), max = z[0], sum = 0;
    for (size_t c = 1; c < n; c++)
        max = fmaxf(max, z[c]);
    float at_label = z[label] - max;
    for (size_t c = 0; c < n; c++)
        sum += z[c] = expf(z[c] - max);
    for (size_t c = 0; c < n; c++)
        z[c] *= scale / sum;
    z[label] -= scale;
    return (double)scale * ((double)logf(sum) - (double)at_label);
}

static double logistic_row(const struct linear_objective *o, size_t row, float *z)
{
    const float *target = o->p.target + row * o->p.outputs;
    float weight = o->p.weight ? o->p.weight[row] : 1;
    double loss = 0;
    for (size_t c = 0; c < o->p.outputs; c++) {
        float scale = weight * o->share[c], at = z[c];
        bool known = !isnan(target[c]);
        z[c] = known ? scale * (link_sigmoid(at) - target[c]) : 0;
        loss += known ? (double)(scale * (softplus(at) - target[c] * at)) : 0;
    }
    return loss;
}

/* With q[k] = 1 - p[k] = product of (1 - sigmoid(z[j])), j <= k:
 * -log q[k] = sum of softplus(z[j]), and d p[k] / d z[j] = q[k] sigmoid(z[j]). */
static double tiers_row(const struct linear_objective *o, size_t row, float *z)
{
    const float *target = o->p.target + row * o->p.outputs;
    float weight = o->p.weight ? o->p.weight[row] : 1;
    double loss = 0, fail_log = 0, later = 0;
    size_t n = o->p.outputs;
    for (size_t k = 0; k < n; k++) {
        fail_log += (double)softplus(z[k]);
        if (isnan(target[k]))
            continue;
        double p = -expm1(-fail_log), t = (double)target[k];
        double scale = (double)(weight * o->share[k]);
        loss += scale * ((1 - t) * fail_log - (t > 0 ? t * log(fmax(p, 1e-30)) : 0));
    }
    /* Back again: an output pulls on its own score and on all before it. */
    for (size_t k = n; k-- > 0;) {
        if (!isnan(target[k])) {
            double p = -expm1(-fail_log), t = (double)target[k];
            double scale = (double)(weight * o->share[k]);
            later += scale * ((1 - t) - (t > 0 ? t * exp(-fail_log) / fmax(p, 1e-30) : 0));
        }
        fail_log -= (double)softplus(z[k]);
        z[k] = (float)(later * (double)link_sigmoid(z[k]));
    }
    return loss;
}

static double row_loss(const struct linear_objective *o, size_t row, float *z)
{
    switch (o->p.loss) {
    case LINEAR_SOFTMAX:
        return softmax_row(o, row, z);
    case LINEAR_LOGISTIC:
        return logistic_row(o, row, z);
    case LINEAR_TIERS:
        return tiers_row(o, row, z);
    }
    return 0;
}

/* ---- the objective ---- */

static void find_shares(struct linear_objective *o)
{
    for (size_t i = 0; i < o->p.rows; i++)
        o->total += o->p.weight ? (double)o->p.weight[i] : 1;
    if (o->p.loss == LINEAR_SOFTMAX)
        return;
    o->share = mem_zalloc(o->p.outputs, sizeof *o->share);
    for (size_t c = 0; c < o->p.outputs; c++) {
        double known = 0;
        for (size_t i = 0; i < o->p.rows; i++)
            if (!isnan(o->p.target[i * o->p.outputs + c]))
                known += o->p.weight ? (double)o->p.weight[i] : 1;
        o->share[c] = known > 0 ? (float)(1 / known) : 0;
    }
}

struct linear_objective *linear_objective_new(const struct linear_problem *p)
{
    struct linear_objective *o = mem_zalloc(1, sizeof *o);
    o->p = *p;
    o->width = panel_width(p->outputs);
    find_shares(o);
    o->panel = mem_zalloc((p->features + 1) * o->width, sizeof *o->panel);
    o->bias = o->panel + p->features * o->width;
    o->loss = mem_zalloc((size_t)p->threads, sizeof *o->loss);
    o->gradient =
        mem_zalloc((size_t)p->threads * (p->features + 1) * p->outputs, sizeof *o->gradient);
    return o;
}

void linear_objective_free(struct linear_objective *o)
{
    if (!o)
        return;
    free(o->share);
    free(o->panel);
    free(o->loss);
    free(o->gradient);
    free(o);
}

/* The derivatives of one block, z[n][width], into the gradient; biases are its last row. */
static void add_block(const struct linear_objective *o, const float *x, const float *z, size_t n,
                      float *scratch, double *gradient)
{
    size_t F = o->p.features, C = o->p.outputs;
    memset(scratch, 0, F * o->width * sizeof *scratch);
    panel_multiply(scratch, x, 1, F, z, F, n, o->width);
    for (size_t f = 0; f < F; f++)
        for (size_t c = 0; c < C; c++)
            gradient[f * C + c] += (double)scratch[f * o->width + c];
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < C; c++)
            gradient[F * C + c] += (double)z[i * o->width + c];
}

static void evaluate_part(void *ctx, int part, int parts)
{
    struct linear_objective *o = ctx;
    size_t F = o->p.features, n, size = (F + 1) * o->p.outputs;
    float *z = mem_zalloc((BLOCK_ROWS + F) * o->width, sizeof *z),
          *scratch = z + BLOCK_ROWS * o->width;
    double *gradient = o->gradient + (size_t)part * size, loss = 0;
    memset(gradient, 0, size * sizeof *gradient);
    size_t end = o->p.rows * (size_t)(part + 1) / (size_t)parts;
    for (size_t r = o->p.rows * (size_t)part / (size_t)parts; r < end; r += n) {
        n = end - r < BLOCK_ROWS ? end - r : BLOCK_ROWS;
        const float *x = o->p.x + r * F;
        for (size_t i = 0; i < n; i++)
            memcpy(z + i * o->width, o->bias, o->width * sizeof *z);
        panel_multiply(z, x, F, 1, o->panel, n, F, o->width);
        for (size_t i = 0; i < n; i++)
            loss += row_loss(o, r + i, z + i * o->width);
        /* The padding columns are zero and stay so: their weights are. */
        add_block(o, x, z, n, scratch, gradient);
    }
    o->loss[part] = loss;
    free(z);
}

double linear_objective_value(const double *params, double *gradient, void *objective)
{
    struct linear_objective *o = objective;
    size_t F = o->p.features, C = o->p.outputs, size = (F + 1) * C;
    for (size_t f = 0; f <= F; f++)
        for (size_t c = 0; c < C; c++)
            o->panel[f * o->width + c] = (float)params[f * C + c];
    parallel_run(evaluate_part, o, o->p.threads);
    double value = 0;
    memcpy(gradient, o->gradient, size * sizeof *gradient);
    for (int i = 0; i < o->p.threads; i++) {
        value += o->loss[i];
        for (size_t j = 0; i > 0 && j < size; j++)
            gradient[j] += o->gradient[(size_t)i * size + j];
    }
    for (size_t j = 0; j < F * C; j++) {
        value += 0.5 * o->p.l2 * params[j] * params[j];
        gradient[j] += o->p.l2 * params[j];
    }
    if (o->p.tick)
        o->p.tick(o->p.tick_ctx);
    return value;
}

/* ---- fitting ---- */

static enum err check_problem(const struct linear_problem *p, struct err_text *t)
{
    enum err e = ERR_BAD_REQUEST;
    if (p->rows == 0 || p->outputs == 0)
        return err_say(t, "there are no rows to train on"), e;
    if (p->loss == LINEAR_SOFTMAX && p->outputs < 2)
        return err_say(t, "all rows are of one class: there is nothing to tell apart"), e;
    if (!(p->l2 >= 0) || !isfinite(p->l2))
        return err_say(t, "the penalty must be a number of at least 0"), e;
    for (size_t i = 0; i < p->rows * p->features; i++)
        if (!isfinite(p->x[i]))
            return err_say(t, "feature %zu of row %zu is not a finite number", i % p->features,
                           i / p->features + 1),
                   e;
    for (size_t i = 0; p->weight && i < p->rows; i++)
        if (!(p->weight[i] > 0) || !isfinite(p->weight[i]))
            return err_say(t, "the weight of row %zu is not a positive number", i + 1), e;
    if (p->loss == LINEAR_SOFTMAX)
        return ERR_OK;
    for (size_t c = 0; c < p->outputs; c++) {
        size_t known = 0;
        for (size_t i = 0; i < p->rows; i++) {
            float y = p->target[i * p->outputs + c];
            if (y < 0 || y > 1)
                return err_say(t, "score %zu of row %zu is not in 0..1", c + 1, i + 1), e;
            known += !isnan(y);
        }
        if (known == 0)
            return err_say(t, "no row knows how output %zu does", c + 1), e;
    }
    return ERR_OK;
}

/* mean[features] and 1/deviation[features]; 0 for a feature that does not vary. */
static void find_scale(const struct linear_problem *p, double *mean, double *inverse)
{
    size_t F = p->features;
    for (size_t i = 0; i < p->rows; i++)
        for (size_t f = 0; f < F; f++)
            mean[f] += (double)p->x[i * F + f] / (double)p->rows;
    for (size_t i = 0; i < p->rows; i++)
        for (size_t f = 0; f < F; f++) {
            double d = (double)p->x[i * F + f] - mean[f];
            inverse[f] += d * d / (double)p->rows;
        }
    for (size_t f = 0; f < F; f++) {
        double deviation = sqrt(inverse[f]);
        inverse[f] = deviation > 1e-6 * (fabs(mean[f]) + 1e-3) ? 1 / deviation : 0;
    }
}

static float *standardised(const struct linear_problem *p, const double *mean,
                           const double *inverse)
{
    size_t F = p->features;
    float *x = mem_alloc((p->rows * F + 1) * sizeof *x);
    for (size_t i = 0; i < p->rows; i++)
        for (size_t f = 0; f < F; f++)
            x[i * F + f] = (float)(((double)p->x[i * F + f] - mean[f]) * inverse[f]);
    return x;
}

/* m's weights as parameters of standardised features, and back. */
static void to_params(const struct linear_model *m, const double *mean, const double *inverse,
                      double *params)
{
    size_t F = m->features, C = m->outputs;
    for (size_t c = 0; c < C; c++) {
        params[F * C + c] = (double)m->bias[c];
        for (size_t f = 0; f < F; f++) {
            double w = inverse[f] > 0 ? (double)m->weight[c * F + f] : 0;
            params[f * C + c] = inverse[f] > 0 ? w / inverse[f] : 0;
            params[F * C + c] += w * mean[f];
        }
    }
}

static void from_params(const double *params, const double *mean, const double *inverse,
                        struct linear_model *m)
{
    size_t F = m->features, C = m->outputs;
    for (size_t c = 0; c < C; c++) {
        double bias = params[F * C + c];
        for (size_t f = 0; f < F; f++) {
            double w = params[f * C + c] * inverse[f];
            m->weight[c * F + f] = (float)w;
            bias -= w * mean[f];
        }
        m->bias[c] = (float)bias;
    }
}

enum err linear_fit(const struct linear_problem *p, int max_iterations, double tolerance,
                    struct linear_model *m, struct lbfgs_result *result, struct err_text *t)
{
    assert(m->features == p->features && m->outputs == p->outputs && p->threads >= 1);
    enum err e = check_problem(p, t);
    if (e != ERR_OK)
        return e;
    double *mean = mem_zalloc(p->features + 1, sizeof *mean);
    double *inverse = mem_zalloc(p->features + 1, sizeof *inverse);
    double *params = mem_zalloc((p->features + 1) * p->outputs, sizeof *params);
    struct linear_problem scaled = *p;
    find_scale(p, mean, inverse);
    float *x = standardised(p, mean, inverse);
    scaled.x = x;
    to_params(m, mean, inverse, params);
    struct linear_objective *o = linear_objective_new(&scaled);
    const struct lbfgs_options opt = {
        .max_iterations = max_iterations, .tolerance = tolerance, .noise = 1e-7};
    *result =
        lbfgs_minimize(linear_objective_value, o, params, (p->features + 1) * p->outputs, &opt);
    linear_objective_free(o);
    if (result->end == LBFGS_NOT_FINITE) {
        err_say(t, "the fit left the range of numbers after %d iterations", result->iterations);
        e = ERR_BAD_REQUEST;
    } else {
        from_params(params, mean, inverse, m);
    }
    free(x);
    free(params);
    free(inverse);
    free(mean);
    return e;
}
