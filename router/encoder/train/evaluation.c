/* Figures of heads on rows. Called by cmd_train and cmd_eval. */
#include "router/encoder/train/evaluation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/train/parallel.h"
#include "router/encoder/train/rows.h"

static void evaluate_classes(struct evaluation *e, const struct predictions *p)
{
    size_t C = p->classes, n = 0;
    float *probs = mem_alloc((p->rows * C + 1) * sizeof *probs);
    int *label = mem_alloc((p->rows + 1) * sizeof *label);
    for (size_t i = 0; i < p->rows; i++) {
        if (p->label[i] < 0 || isnan(p->class_p[i * C]))
            continue;
        memcpy(probs + n * C, p->class_p + i * C, C * sizeof *probs);
        label[n++] = p->label[i];
    }
    if (n > 0)
        metrics_classes_init(&e->classes, probs, label, n, C);
    free(label);
    free(probs);
}

static void evaluate_scope(struct evaluation *e, const struct predictions *p)
{
    float *score = mem_alloc((p->rows + 1) * sizeof *score);
    unsigned char *in = mem_alloc(p->rows + 1);
    size_t n = 0, cut_in = 0, cut_out = 0;
    for (size_t i = 0; i < p->rows; i++) {
        if (p->label[i] == ROWS_NO_CLASS || isnan(p->in_scope[i]))
            continue;
        bool below = p->in_scope[i] < EVALUATION_SCOPE_CUT;
        in[n] = p->label[i] >= 0;
        score[n] = p->in_scope[i];
        cut_in += in[n] && below;
        cut_out += !in[n] && below;
        e->scope_in += in[n] == 1;
        e->scope_out += in[n] == 0;
        n++;
    }
    e->scope_auroc = metrics_auroc(score, in, n);
    e->cut_in = (double)cut_in / fmax((double)e->scope_in, 1);
    e->cut_out = (double)cut_out / fmax((double)e->scope_out, 1);
    free(in);
    free(score);
}

static void evaluate_model(struct evaluation_model *m, const struct predictions *p, size_t k)
{
    float *said = mem_alloc((p->rows + 1) * sizeof *said);
    float *was = mem_alloc((p->rows + 1) * sizeof *was);
    unsigned char *yes = mem_alloc(p->rows + 1);
    for (size_t i = 0; i < p->rows; i++) {
        float y = p->target[i * p->models + k], q = p->success[i * p->models + k];
        if (isnan(y) || isnan(q))
            continue;
        said[m->rows] = q;
        was[m->rows] = y;
        yes[m->rows++] = y >= 0.5f;
        m->success += (double)y;
    }
    m->success /= fmax((double)m->rows, 1);
    m->auroc = metrics_auroc(said, yes, m->rows);
    m->reliability = metrics_reliability(said, was, m->rows);
    free(yes);
    free(was);
    free(said);
}

void evaluation_init(struct evaluation *e, const struct predictions *p)
{
    *e = (struct evaluation){.rows = p->rows, .scope_auroc = (double)NAN};
    if (p->class_p)
        evaluate_classes(e, p);
    if (p->in_scope)
        evaluate_scope(e, p);
    e->models = p->success ? p->models : 0;
    e->model = mem_zalloc(e->models + 1, sizeof *e->model);
    for (size_t k = 0; k < e->models; k++)
        evaluate_model(&e->model[k], p, k);
}

void evaluation_clear(struct evaluation *e)
{
    metrics_classes_clear(&e->classes);
    free(e->model);
    *e = (struct evaluation){0};
}

struct asking {
    const struct heads *h;
    const float *x;
    size_t rows;
    float *class_p, *in_scope, *success;
};

static void ask_part(void *ctx, int part, int parts)
{
    const struct asking *a = ctx;
    size_t C = heads_class_count(a->h), M = heads_model_count(a->h), F = heads_features(a->h);
    size_t end = a->rows * (size_t)(part + 1) / (size_t)parts;
    for (size_t i = a->rows * (size_t)part / (size_t)parts; i < end; i++) {
        if (C)
            a->in_scope[i] = heads_classify(a->h, a->x + i * F, a->class_p + i * C);
        if (M)
            heads_success(a->h, a->x + i * F, a->success + i * M);
    }
}

void evaluation_predict(const struct heads *h, const float *x, size_t rows, float *class_p,
                        float *in_scope, float *success, int threads)
{
    struct asking a = {h, x, rows, class_p, in_scope, success};
    parallel_run(ask_part, &a, threads);
}
