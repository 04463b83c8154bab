/* Measures of classifiers and of probabilities. Called by evaluate.c. */
#include "router/encoder/train/metrics.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"

struct ranked {
    float score;
    unsigned char yes;
};

static int by_score(const void *a, const void *b)
{
    const struct ranked *p = a, *q = b;
    return (p->score > q->score) - (p->score < q->score);
}

static struct ranked *rank(const float *score, const unsigned char *yes, size_t rows)
{
    struct ranked *r = mem_alloc((rows + 1) * sizeof *r);
    for (size_t i = 0; i < rows; i++)
        r[i] = (struct ranked){score[i], yes[i] != 0};
    qsort(r, rows, sizeof *r, by_score);
    return r;
}

double metrics_auroc(const float *score, const unsigned char *positive, size_t rows)
{
    struct ranked *r = rank(score, positive, rows);
    double below = 0, won = 0, positives = 0;
    for (size_t i = 0; i < rows;) {
        size_t end = i;
        double yes = 0, no = 0;
        for (; end < rows && r[end].score == r[i].score; end++)
            r[end].yes ? yes++ : no++;
        won += yes * (below + no / 2);
        below += no;
        positives += yes;
        i = end;
    }
    free(r);
    return positives > 0 && below > 0 ? won / (positives * below) : (double)NAN;
}

struct metrics_reliability metrics_reliability(const float *said, const float *came_true,
                                               size_t rows)
{
    struct metrics_reliability m = {.ece = 0};
    for (size_t i = 0; i < rows; i++) {
        double p = (double)said[i], y = (double)came_true[i], d = p - y;
        size_t b = (size_t)fmin(fmax(p, 0) * METRICS_BINS, METRICS_BINS - 1);
        m.bin[b].rows++;
        m.bin[b].said += p;
        m.bin[b].was += y;
        m.brier += d * d / (double)rows;
        double safe = fmin(fmax(p, 1e-12), 1 - 1e-7);
        m.log_loss -= (y * log(safe) + (1 - y) * log1p(-safe)) / (double)rows;
    }
    for (size_t b = 0; b < METRICS_BINS; b++) {
        struct metrics_bin *bin = &m.bin[b];
        if (bin->rows == 0)
            continue;
        bin->said /= (double)bin->rows;
        bin->was /= (double)bin->rows;
        m.ece += fabs(bin->said - bin->was) * (double)bin->rows / (double)rows;
    }
    return m;
}

struct metrics_coverage metrics_coverage(const float *confidence, const unsigned char *right,
                                         size_t rows)
{
    struct metrics_coverage m = {.aurc = 0};
    struct ranked *r = rank(confidence, right, rows);
    double wrong = 0;
    size_t next = 0;
    for (size_t taken = 1; taken <= rows; taken++) {
        wrong += !r[rows - taken].yes;
        m.aurc += wrong / (double)taken / (double)rows;
        while (next < METRICS_COVERAGES && taken * METRICS_COVERAGES >= (next + 1) * rows)
            m.error[next++] = wrong / (double)taken;
    }
    free(r);
    return m;
}

/* ---- classes ---- */

static size_t best_of(const float *p, size_t n)
{
    size_t best = 0;
    for (size_t c = 1; c < n; c++)
        if (p[c] > p[best])
            best = c;
    return best;
}

static void count_rows(struct metrics_classes *m, const float *p, const int *label,
                       float *confidence, float *is_right, unsigned char *right)
{
    for (size_t i = 0; i < m->rows; i++, p += m->classes) {
        size_t chosen = best_of(p, m->classes), truth = (size_t)label[i];
        m->confusion[truth * m->classes + chosen]++;
        m->class[truth].rows++;
        m->class[chosen].chosen++;
        confidence[i] = p[chosen];
        right[i] = chosen == truth;
        is_right[i] = right[i];
        m->class[truth].right += right[i];
        m->accuracy += (double)right[i] / (double)m->rows;
        m->log_loss -= log(fmax((double)p[truth], 1e-12)) / (double)m->rows;
        for (size_t c = 0; c < m->classes; c++) {
            double d = (double)p[c] - (c == truth);
            m->brier += d * d / (double)m->rows;
        }
    }
}

static double ratio(size_t a, size_t b)
{
    return b ? (double)a / (double)b : 0;
}

static void sum_up_classes(struct metrics_classes *m, const float *p, const int *label)
{
    float *score = mem_alloc(m->rows * sizeof *score);
    unsigned char *is = mem_alloc(m->rows);
    size_t present = 0, ranked = 0;
    for (size_t c = 0; c < m->classes; c++) {
        struct metrics_class *k = &m->class[c];
        k->precision = ratio(k->right, k->chosen);
        k->recall = ratio(k->right, k->rows);
        k->f1 = ratio(2 * k->right, k->rows + k->chosen);
        for (size_t i = 0; i < m->rows; i++) {
            score[i] = p[i * m->classes + c];
            is[i] = (size_t)label[i] == c;
        }
        k->auroc = metrics_auroc(score, is, m->rows);
        present += k->rows > 0;
        m->macro_f1 += k->rows > 0 ? k->f1 : 0;
        ranked += !isnan(k->auroc);
        m->auroc += isnan(k->auroc) ? 0 : k->auroc;
    }
    m->macro_f1 /= (double)(present ? present : 1);
    m->auroc = ranked ? m->auroc / (double)ranked : (double)NAN;
    free(is);
    free(score);
}

void metrics_classes_init(struct metrics_classes *m, const float *p, const int *label, size_t rows,
                          size_t classes)
{
    *m = (struct metrics_classes){.rows = rows, .classes = classes};
    m->confusion = mem_zalloc(classes * classes, sizeof *m->confusion);
    m->class = mem_zalloc(classes, sizeof *m->class);
    float *confidence = mem_alloc(rows * sizeof *confidence);
    float *is_right = mem_alloc(rows * sizeof *is_right);
    unsigned char *right = mem_alloc(rows);
    count_rows(m, p, label, confidence, is_right, right);
    sum_up_classes(m, p, label);
    m->top = metrics_reliability(confidence, is_right, rows);
    m->coverage = metrics_coverage(confidence, right, rows);
    free(right);
    free(is_right);
    free(confidence);
}

void metrics_classes_clear(struct metrics_classes *m)
{
    free(m->confusion);
    free(m->class);
    *m = (struct metrics_classes){0};
}
