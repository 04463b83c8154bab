/* Reports of heads: a summary, Markdown and JSON. report_svg.c draws. Called by cmd_train and
 * cmd_eval. */
#include "router/encoder/train/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/json_scan.h"
#include "base/mem.h"

#define WORST_PAIRS 20

/* Appends until the first failure, which is kept. */
struct writer {
    struct buf *out;
    enum err err;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (w->err == ERR_OK)
        w->err = buf_append(w->out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void put_text(struct writer *w, const char *text)
{
    if (w->err == ERR_OK)
        w->err = buf_append_slice(w->out, slice_str(text));
}

/* ---- the figures that matter ---- */

enum err report_summary(const struct report_facts *f, struct buf *out)
{
    const struct evaluation *e = f->e;
    const struct metrics_classes *c = &e->classes;
    struct writer w = {out, ERR_OK};
    if (c->rows)
        put(&w,
            "classes: %zu %s of %zu classes: accuracy %.2f %%, macro F1 %.3f, AUROC %.4f, log-loss "
            "%.3f, Brier %.3f, ECE %.3f\n",
            c->rows, f->rows_are, c->classes, 100 * c->accuracy, c->macro_f1, c->auroc, c->log_loss,
            c->brier, c->top.ece);
    if (c->rows)
        put(&w, "         wrong among the surest 50 %% %.2f %%, 80 %% %.2f %%, all %.2f %%\n",
            100 * c->coverage.error[4], 100 * c->coverage.error[7], 100 * c->coverage.error[9]);
    if (e->scope_out)
        put(&w,
            "scope:   %zu rows out of it: AUROC %.4f; below %.2f lie %.1f %% of them and %.1f %% "
            "of "
            "the others\n",
            e->scope_out, e->scope_auroc, (double)EVALUATION_SCOPE_CUT, 100 * e->cut_out,
            100 * e->cut_in);
    for (size_t i = 0; i < e->models; i++) {
        const struct evaluation_model *m = &e->model[i];
        struct slice name = heads_model_name(f->heads, i);
        put(&w, "success: %-28.*s %zu rows, %.1f %% succeed, AUROC %.3f, Brier %.3f, ECE %.3f\n",
            SLICE_ARG(name), m->rows, 100 * m->success, m->auroc, m->reliability.brier,
            m->reliability.ece);
    }
    return w.err;
}

/* ---- Markdown ---- */

/* A name inside a table: a bar would end the cell. */
static void put_cell(struct writer *w, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        put(w, "%s%c", s.p[i] == '|' ? "\\" : "", (unsigned char)s.p[i] < ' ' ? ' ' : s.p[i]);
}

static void put_classes(struct writer *w, const struct report_facts *f)
{
    const struct metrics_classes *c = &f->e->classes;
    put(w,
        "\n## Classes\n\n| class | rows | precision | recall | F1 | AUROC |\n|---|---|---|---|---|"
        "---|\n");
    for (size_t i = 0; i < c->classes; i++) {
        const struct metrics_class *k = &c->class[i];
        put(w, "| ");
        put_cell(w, heads_class_label(f->heads, i));
        put(w, " | %zu | %.3f | %.3f | %.3f | %.4f |\n", k->rows, k->precision, k->recall, k->f1,
            k->auroc);
    }
}

struct pair {
    size_t rows, truth, chosen;
};

static int most_first(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return (x->rows < y->rows) - (x->rows > y->rows);
}

/* The pairs that are confused, most first; freed by the caller. */
static struct pair *confused(const struct metrics_classes *c, size_t *count)
{
    struct pair *p = mem_alloc((c->classes * c->classes + 1) * sizeof *p);
    *count = 0;
    for (size_t i = 0; i < c->classes; i++)
        for (size_t j = 0; j < c->classes; j++)
            if (i != j && c->confusion[i * c->classes + j])
                p[(*count)++] = (struct pair){c->confusion[i * c->classes + j], i, j};
    qsort(p, *count, sizeof *p, most_first);
    if (*count > WORST_PAIRS)
        *count = WORST_PAIRS;
    return p;
}

static void put_confusion(struct writer *w, const struct report_facts *f)
{
    const struct metrics_classes *c = &f->e->classes;
    size_t count;
    struct pair *p = confused(c, &count);
    put(w,
        "\n## Confused most\n\n| is | was taken for | rows | of the class |\n|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        put(w, "| ");
        put_cell(w, heads_class_label(f->heads, p[i].truth));
        put(w, " | ");
        put_cell(w, heads_class_label(f->heads, p[i].chosen));
        put(w, " | %zu | %.1f %% |\n", p[i].rows,
            100 * (double)p[i].rows / (double)c->class[p[i].truth].rows);
    }
    free(p);
}

static void put_coverage(struct writer *w, const struct metrics_coverage *c)
{
    put(w, "\n## Wrong answers by coverage\n\nAmong the surest share of the rows.\n\n| share |");
    for (int i = 1; i <= METRICS_COVERAGES; i++)
        put(w, " %d %% |", i * 100 / METRICS_COVERAGES);
    put(w, "\n|---|");
    for (int i = 0; i < METRICS_COVERAGES; i++)
        put(w, "---|");
    put(w, "\n| wrong |");
    for (int i = 0; i < METRICS_COVERAGES; i++)
        put(w, " %.2f %% |", 100 * c->error[i]);
    put(w, "\n\nMean over all coverages (AURC): %.4f\n", c->aurc);
}

static void put_reliability(struct writer *w, const char *title,
                            const struct metrics_reliability *r)
{
    put(w, "\n## Reliability: %s\n\n| said | rows | mean said | came true |\n|---|---|---|---|\n",
        title);
    for (size_t i = 0; i < METRICS_BINS; i++)
        if (r->bin[i].rows)
            put(w, "| %.2f to %.2f | %zu | %.3f | %.3f |\n", (double)i / METRICS_BINS,
                (double)(i + 1) / METRICS_BINS, r->bin[i].rows, r->bin[i].said, r->bin[i].was);
}

static void put_models(struct writer *w, const struct report_facts *f)
{
    put(w, "\n## Chances of success\n\n| model | rows | succeed | AUROC | Brier | ECE | log-loss "
           "|\n|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < f->e->models; i++) {
        const struct evaluation_model *m = &f->e->model[i];
        put(w, "| ");
        put_cell(w, heads_model_name(f->heads, i));
        put(w, " | %zu | %.3f | %.4f | %.4f | %.4f | %.4f |\n", m->rows, m->success, m->auroc,
            m->reliability.brier, m->reliability.ece, m->reliability.log_loss);
    }
}

enum err report_markdown(const struct report_facts *f, struct buf *out)
{
    struct writer w = {out, ERR_OK};
    char space[FINGERPRINT_TEXT_BYTES];
    fingerprint_text(heads_space(f->heads), space);
    put(&w, "# Heads on %.*s\n\nSpace `%s`, %zu features, %zu %s",
        SLICE_ARG(heads_encoder(f->heads)), space, heads_features(f->heads), f->e->rows,
        f->rows_are);
    put(&w, f->data[0] ? " of " : "");
    put_text(&w, f->data);
    put(&w, ".\n");
    if (f->training[0])
        put(&w, "\n");
    put_text(&w, f->training);
    put(&w, "\n\n```\n");
    if (w.err == ERR_OK)
        w.err = report_summary(f, out);
    put(&w, "```\n");
    if (f->e->classes.rows) {
        put(&w, "\n![reliability](reliability.svg)\n");
        put_classes(&w, f);
        put_confusion(&w, f);
        put_coverage(&w, &f->e->classes.coverage);
        put_reliability(&w, "the chosen class", &f->e->classes.top);
    }
    if (f->e->models)
        put_models(&w, f);
    return w.err;
}

/* ---- JSON ---- */

static void put_string(struct writer *w, struct slice s)
{
    size_t n = 6 * s.n + 3;
    char *text = mem_alloc(n);
    size_t used = json_string_encode(s, text, n);
    if (w->err == ERR_OK)
        w->err = buf_append(w->out, text, used);
    free(text);
}

/* "name": value; a figure that does not exist is null. */
static void put_number(struct writer *w, const char *before, const char *name, double v)
{
    if (isfinite(v))
        put(w, "%s\"%s\":%.6g", before, name, v);
    else
        put(w, "%s\"%s\":null", before, name);
}

static void put_class_list(struct writer *w, const struct report_facts *f)
{
    const struct metrics_classes *c = &f->e->classes;
    put(w, ",\"classes\":[");
    for (size_t i = 0; i < c->classes; i++) {
        const struct metrics_class *k = &c->class[i];
        put(w, "%s{\"class\":", i ? "," : "");
        put_string(w, heads_class_label(f->heads, i));
        put(w, ",\"rows\":%zu,\"chosen\":%zu,\"right\":%zu", k->rows, k->chosen, k->right);
        put_number(w, ",", "f1", k->f1);
        put_number(w, ",", "auroc", k->auroc);
        put(w, "}");
    }
    size_t count;
    struct pair *p = confused(c, &count);
    put(w, "],\"confused\":[");
    for (size_t i = 0; i < count; i++) {
        put(w, "%s{\"is\":", i ? "," : "");
        put_string(w, heads_class_label(f->heads, p[i].truth));
        put(w, ",\"taken_for\":");
        put_string(w, heads_class_label(f->heads, p[i].chosen));
        put(w, ",\"rows\":%zu}", p[i].rows);
    }
    put(w, "],\"wrong_by_coverage\":[");
    for (size_t i = 0; i < METRICS_COVERAGES; i++)
        put(w, "%s%.6g", i ? "," : "", c->coverage.error[i]);
    put(w, "]");
    free(p);
}

static void put_class_json(struct writer *w, const struct report_facts *f, bool compact)
{
    const struct metrics_classes *c = &f->e->classes;
    put(w, ",\"class\":{\"rows\":%zu", c->rows);
    put_number(w, ",", "accuracy", c->accuracy);
    put_number(w, ",", "macro_f1", c->macro_f1);
    put_number(w, ",", "auroc", c->auroc);
    put_number(w, ",", "log_loss", c->log_loss);
    put_number(w, ",", "brier", c->brier);
    put_number(w, ",", "ece", c->top.ece);
    put_number(w, ",", "aurc", c->coverage.aurc);
    if (!compact)
        put_class_list(w, f);
    put(w, "}");
}

enum err report_json(const struct report_facts *f, bool compact, struct buf *out)
{
    const struct evaluation *e = f->e;
    struct writer w = {out, ERR_OK};
    char space[FINGERPRINT_TEXT_BYTES];
    fingerprint_text(heads_space(f->heads), space);
    put(&w, "{\"encoder\":");
    put_string(&w, heads_encoder(f->heads));
    put(&w, ",\"space\":\"%s\",\"rows\":%zu,\"rows_are\":", space, e->rows);
    put_string(&w, slice_str(f->rows_are));
    put(&w, ",\"data\":");
    put_string(&w, slice_str(f->data));
    if (f->training[0]) {
        put(&w, ",\"training\":");
        put_string(&w, slice_str(f->training));
    }
    if (e->classes.rows)
        put_class_json(&w, f, compact);
    if (e->scope_out) {
        put(&w, ",\"scope\":{\"rows_in\":%zu,\"rows_out\":%zu", e->scope_in, e->scope_out);
        put_number(&w, ",", "auroc", e->scope_auroc);
        put_number(&w, ",", "cut", (double)EVALUATION_SCOPE_CUT);
        put_number(&w, ",", "below_in", e->cut_in);
        put_number(&w, ",", "below_out", e->cut_out);
        put(&w, "}");
    }
    for (size_t i = 0; i < e->models; i++) {
        const struct evaluation_model *m = &e->model[i];
        put(&w, "%s{\"model\":", i ? "," : ",\"success\":[");
        put_string(&w, heads_model_name(f->heads, i));
        put(&w, ",\"rows\":%zu", m->rows);
        put_number(&w, ",", "succeed", m->success);
        put_number(&w, ",", "auroc", m->auroc);
        put_number(&w, ",", "brier", m->reliability.brier);
        put_number(&w, ",", "ece", m->reliability.ece);
        put(&w, "}");
    }
    put(&w, e->models ? "]}" : "}");
    return w.err;
}
