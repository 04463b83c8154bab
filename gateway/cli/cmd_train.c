/* weir train: heads over an encoder's features, from labelled prompts and recorded successes. */
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/progress.h"
#include "gateway/cli/training.h"
#include "router/encoder/train/split.h"
#include "router/encoder/train/trainer.h"

#define DEFAULT_SPLIT 0.2
#define DEFAULT_FOLDS 5

struct settings {
    double split, folds, seed, l2;
    bool classes, success;
};

static int complain(const char *what, int code)
{
    fprintf(stderr, "weir train: %s\n", what);
    return code;
}

static bool read_settings(const struct cli_args *a, struct settings *s)
{
    const char *only = cli_value(a, "only"), *l2 = cli_value(a, "l2");
    *s = (struct settings){DEFAULT_SPLIT, DEFAULT_FOLDS, 1, -1, true, true};
    if (!training_number(a, "split", 0, 0.9, &s->split) ||
        !training_whole(a, "folds", 2, 20, &s->folds) ||
        !training_whole(a, "seed", 0, 9e15, &s->seed) ||
        (l2 && strcmp(l2, "auto") != 0 && !training_number(a, "l2", 0, 1000, &s->l2)))
        return false;
    if (only) {
        s->classes = strcmp(only, "classes") == 0;
        s->success = strcmp(only, "scores") == 0;
        if (!s->classes && !s->success) {
            fprintf(stderr, "weir train: --only %s: 'classes' or 'scores' is wanted\n", only);
            return false;
        }
    }
    if (cli_value(a, "test") && cli_value(a, "split")) {
        fprintf(stderr, "weir train: give either --test or --split\n");
        return false;
    }
    return true;
}

/* ---- rows to sets ---- */

/* The rows' data as arrays, in the order of the rows. */
struct table {
    int *label;
    float *target; /* [rows][models] */
    bool *held;
    int *fold;
};

static void table_init(struct table *b, const struct training *w, const struct settings *s)
{
    const struct rows *r = &w->rows;
    b->label = mem_alloc((r->count + 1) * sizeof *b->label);
    b->target = mem_alloc((r->count * r->models + 1) * sizeof *b->target);
    b->held = mem_zalloc(r->count + 1, sizeof *b->held);
    b->fold = mem_zalloc(r->count + 1, sizeof *b->fold);
    for (size_t i = 0; i < r->count; i++) {
        b->label[i] = s->classes ? r->row[i].label : ROWS_NO_CLASS;
        for (size_t m = 0; m < r->models; m++)
            b->target[i * r->models + m] = rows_score(&r->row[i], m);
    }
}

static void table_clear(struct table *b)
{
    free(b->label);
    free(b->target);
    free(b->held);
    free(b->fold);
}

/* first_test: the first row of --test, or the number of rows. What is out of scope never trains. */
static void divide(struct table *b, const struct rows *r, const struct settings *s, bool tests,
                   size_t first_test)
{
    struct split_row *split = mem_alloc((r->count + 1) * sizeof *split);
    for (size_t i = 0; i < r->count; i++)
        split[i] = (struct split_row){r->row[i].text, b->label[i]};
    if (!tests)
        split_held_out(split, r->count, s->split, (uint64_t)s->seed, b->held);
    for (size_t i = 0; i < r->count; i++)
        b->held[i] = b->held[i] || i >= first_test || b->label[i] == ROWS_OUT_OF_SCOPE;
    split_folds(split, r->count, (int)s->folds, (uint64_t)s->seed, b->fold);
    free(split);
}

/* The rows that are held out, or those that are not, one behind the other. */
struct subset {
    size_t rows;
    float *x, *target;
    int *label, *fold;
};

static void subset_init(struct subset *u, const struct training *w, const struct table *b,
                        bool held)
{
    const struct rows *r = &w->rows;
    size_t F = w->features, M = r->models, n = 0;
    for (size_t i = 0; i < r->count; i++)
        u->rows += b->held[i] == held;
    u->x = mem_alloc((u->rows * F + 1) * sizeof *u->x);
    u->target = mem_alloc((u->rows * M + 1) * sizeof *u->target);
    u->label = mem_alloc((u->rows + 1) * sizeof *u->label);
    u->fold = mem_alloc((u->rows + 1) * sizeof *u->fold);
    for (size_t i = 0; i < r->count; i++) {
        if (b->held[i] != held)
            continue;
        memcpy(u->x + n * F, w->x + i * F, F * sizeof *u->x);
        memcpy(u->target + n * M, b->target + i * M, M * sizeof *u->target);
        u->label[n] = b->label[i];
        u->fold[n++] = b->fold[i];
    }
}

static void subset_clear(struct subset *u)
{
    free(u->x);
    free(u->target);
    free(u->label);
    free(u->fold);
}

static enum err check_classes(const struct rows *r, const struct subset *train, struct err_text *t)
{
    size_t *rows = mem_zalloc(r->classes + 1, sizeof *rows);
    enum err e = ERR_OK;
    for (size_t i = 0; i < train->rows; i++)
        if (train->label[i] >= 0)
            rows[train->label[i]]++;
    for (size_t c = 0; e == ERR_OK && c < r->classes; c++)
        if (rows[c] < 2) {
            err_say(t, "class '%.*s' has %zu rows to train on; two are the least",
                    SLICE_ARG(r->class_name[c]), rows[c]);
            e = ERR_BAD_REQUEST;
        }
    free(rows);
    return e;
}

/* ---- training ---- */

struct shown {
    struct progress progress;
    const char *what;
};

static void on_progress(void *ctx, const char *what, double share)
{
    struct shown *s = ctx;
    char label[64];
    if (s->what != what) {
        if (s->what)
            progress_end(&s->progress);
        snprintf(label, sizeof label, "training %s", what);
        progress_begin(&s->progress, label, PROGRESS_COUNT);
        s->what = what;
    }
    progress_update(&s->progress, (uint64_t)(1000 * share), 1000);
}

/* "12345 rows, 5 folds, seed 1, l2 0.003 (classes) ..." */
static void describe(const struct trained *m, const struct subset *train, const struct settings *s,
                     bool balanced, char *out, size_t out_bytes)
{
    size_t n =
        (size_t)snprintf(out, out_bytes, "trained on %zu rows, %d folds, seed %.0f%s", train->rows,
                         (int)s->folds, s->seed, balanced ? ", classes weighed alike" : "");
    if (m->class_model.outputs && n < out_bytes)
        n += (size_t)snprintf(out + n, out_bytes - n, "; classes: l2 %g, temperature %.3f",
                              m->class_choice.l2[m->class_choice.best], (double)m->temperature);
    if (m->success_model.outputs && n < out_bytes)
        snprintf(out + n, out_bytes - n, "; successes: l2 %g",
                 m->success_choice.l2[m->success_choice.best]);
}

/* Probabilities of the rows that the figures are about. */
struct asked {
    float *class_p, *in_scope, *success;
};

static void ask(struct asked *k, const struct heads *h, const struct subset *u, int threads)
{
    k->class_p = mem_alloc((u->rows * heads_class_count(h) + 1) * sizeof *k->class_p);
    k->in_scope = mem_alloc((u->rows + 1) * sizeof *k->in_scope);
    k->success = mem_alloc((u->rows * heads_model_count(h) + 1) * sizeof *k->success);
    evaluation_predict(h, u->x, u->rows, k->class_p, k->in_scope, k->success, threads);
}

static void asked_clear(struct asked *k)
{
    free(k->class_p);
    free(k->in_scope);
    free(k->success);
}

/* Targets in the order of the heads' models. */
static float *ordered_targets(const struct subset *u, const struct trained *m, size_t models)
{
    float *out = mem_alloc((u->rows * models + 1) * sizeof *out);
    for (size_t i = 0; i < u->rows; i++)
        for (size_t k = 0; k < models; k++)
            out[i * models + k] = u->target[i * models + m->model_order[k]];
    return out;
}

static void evaluate(struct evaluation *e, const struct heads *h, const struct trained *m,
                     const struct subset *rows, bool crossed, int threads)
{
    struct asked k = {NULL, NULL, NULL};
    size_t models = heads_model_count(h);
    float *target = models ? ordered_targets(rows, m, models) : NULL;
    if (!crossed)
        ask(&k, h, rows, threads);
    const struct predictions p = {
        .rows = rows->rows,
        .classes = heads_class_count(h),
        .models = models,
        .class_p = !heads_class_count(h) ? NULL
                   : crossed             ? m->class_p
                                         : k.class_p,
        .in_scope = !heads_class_count(h) ? NULL
                    : crossed             ? m->in_scope
                                          : k.in_scope,
        .success = !models   ? NULL
                   : crossed ? m->success_p
                             : k.success,
        .label = rows->label,
        .target = target,
    };
    evaluation_init(e, &p);
    asked_clear(&k);
    free(target);
}

/* Writes the heads with their figures, and says those. */
static enum err finish(const struct cli_args *a, const struct heads_parts *parts,
                       const struct trained *m, const struct subset *train,
                       const struct subset *held, const struct settings *s, struct err_text *t)
{
    char training[512], *data = training_file_names(a, "data");
    bool crossed = held->rows == 0;
    struct heads_parts with = *parts;
    struct heads *h = heads_new(parts);
    struct evaluation e;
    struct buf figures;
    evaluate(&e, h, m, crossed ? train : held, crossed, 1);
    describe(m, train, s, cli_flag(a, "balanced"), training, sizeof training);
    const struct report_facts f = {
        .heads = h,
        .e = &e,
        .rows_are = crossed ? "rows of the cross-validation" : "held-out rows",
        .data = data,
        .training = training,
    };
    buf_init(&figures, REPORT_MAX_BYTES);
    enum err err = report_json(&f, true, &figures);
    with.report = buf_slice(&figures);
    if (err == ERR_OK)
        err = heads_write(cli_value(a, "heads"), &with, t);
    if (err == ERR_OK && !cli_flag(a, "json"))
        printf("%s: %s\n", cli_value(a, "heads"), training);
    if (err == ERR_OK)
        err = training_report(a, &f, t);
    buf_clear(&figures);
    evaluation_clear(&e);
    heads_free(h);
    free(data);
    return err;
}

static enum err train(const struct cli_args *a, const struct settings *s, const struct training *w,
                      const struct subset *rows, const struct subset *held, struct err_text *t)
{
    const struct train_set set = {
        .x = rows->x,
        .rows = rows->rows,
        .features = w->features,
        .vector = w->encoder ? (size_t)encoder_facts(w->encoder).dim
                             : (size_t)static_table_dim(w->source.table),
        .label = rows->label,
        .classes = s->classes ? w->rows.classes : 0,
        .target = rows->target,
        .models = s->success ? w->rows.models : 0,
        .fold = rows->fold,
        .folds = (int)s->folds,
    };
    struct shown shown = {.what = NULL};
    const struct train_options opt = {
        .class_l2 = s->l2,
        .success_l2 = s->l2,
        .balanced = cli_flag(a, "balanced"),
        .tiers = cli_flag(a, "tiers"),
        .threads = w->threads,
        .progress = on_progress,
        .progress_ctx = &shown,
    };
    struct trained m;
    enum err e = set.classes ? check_classes(&w->rows, rows, t) : ERR_OK;
    if (e != ERR_OK)
        return e;
    e = train_heads(&set, &opt, &m, t);
    if (shown.what)
        progress_end(&shown.progress);
    if (e != ERR_OK)
        return e;
    struct slice *models = mem_zalloc(set.models + 1, sizeof *models);
    for (size_t i = 0; i < set.models; i++)
        models[i] = w->rows.model_name[m.model_order[i]];
    struct heads_parts parts = {
        .encoder = slice_str(feature_source_name(&w->source)),
        .space = feature_source_space(&w->source),
        .layout = slice_str(feature_source_layout(&w->source)),
        .label = w->rows.class_name,
        .model = models,
        .report = SLICE("{}"),
    };
    trained_parts(&m, &set, opt.tiers, &parts);
    e = finish(a, &parts, &m, rows, held, s, t);
    free(models);
    trained_clear(&m);
    return e;
}

static enum err read_and_train(const struct cli_args *a, const struct settings *s,
                               struct training *w, struct err_text *t)
{
    const char *model = cli_value(a, "model");
    enum err e = training_read(w, a, "data", t);
    size_t first_test = w->rows.count;
    if (e != ERR_OK || (e = training_read(w, a, "test", t)) != ERR_OK ||
        (e = training_open(w, model ? model : TRAINING_DEFAULT_MODEL, cli_value(a, "precision"),
                           t)) != ERR_OK ||
        (e = training_encode(w, t)) != ERR_OK)
        return e;
    struct table table;
    struct subset rows = {0}, held = {0};
    table_init(&table, w, s);
    divide(&table, &w->rows, s, cli_value(a, "test") != NULL, first_test);
    subset_init(&rows, w, &table, false);
    subset_init(&held, w, &table, true);
    free(w->x);
    w->x = NULL;
    e = train(a, s, w, &rows, &held, t);
    subset_clear(&rows);
    subset_clear(&held);
    table_clear(&table);
    return e;
}

static int run(const struct cli_args *a)
{
    struct settings s;
    struct training w;
    struct err_text t = {""};
    if (!read_settings(a, &s))
        return EXIT_CODE_USAGE;
    training_init(&w);
    enum err e = read_and_train(a, &s, &w, &t);
    training_clear(&w);
    return e == ERR_OK ? EXIT_CODE_OK : complain(t.s, EXIT_CODE_RUNTIME);
}

const struct cli_command cmd_train = {
    .name = "train",
    .operands = "",
    .summary = "train heads: classes of queries, chances of models",
    .description =
        "Reads prompts with their class, or with each model's success on them, and writes heads "
        "for the encoder: what the policy's encoder.heads names. Rows are JSON Lines: "
        "{\"text\": ..., \"label\": ...}, or routing rows with a header that names the models and "
        "\"s\" with a score of 0..1 for each (null: not run). Errors name file and line.\n\n"
        "The penalty is chosen by cross-validation, probabilities are calibrated on the rows that "
        "each fold left out, and the figures are of rows that nothing was fitted to: --split of "
        "each class, chosen by the texts' digests and the seed, or the files of --test. With "
        "--split 0 all rows train and the figures are those of the cross-validation.",
    .options =
        (const struct cli_option[]){
            {.name = "data",
             .argument = "FILE",
             .help = "Rows to train on, compressed by gzip or not.",
             .required = true,
             .repeats = true},
            {.name = "heads",
             .argument = "FILE",
             .help = "The heads, safetensors.",
             .required = true},
            {.name = "model",
             .argument = "NAME|FOLDER|static",
             .help = "The encoder. static: the table inside weir. Default: " TRAINING_DEFAULT_MODEL
                     "."},
            {.name = "precision",
             .argument = "int8|fp32",
             .help = "What the encoder computes with. Heads serve all precisions."},
            {.name = "test",
             .argument = "FILE",
             .help = "Rows that the figures are taken from, in place of --split.",
             .repeats = true},
            {.name = "split",
             .argument = "SHARE",
             .help = "How much of --data is held out for the figures. Default: 0.2."},
            TRAINING_OPTION_CLASS_KEY,
            {.name = "out-of-scope",
             .argument = "CLASS",
             .help = "A class whose rows belong to none: they do not train, and the figures say "
                     "how well they are told apart."},
            {.name = "only",
             .argument = "classes|scores",
             .help = "Leave the rows' other half aside."},
            {.name = "tiers",
             .help = "The models are tiers: one that is stronger over all rows never has a smaller "
                     "chance on one of them."},
            {.name = "balanced", .help = "Classes weigh alike, however many rows they have."},
            {.name = "l2",
             .argument = "X|auto",
             .help = "The penalty on weights of standardised features. Default: auto."},
            {.name = "folds", .argument = "N", .help = "Of the cross-validation. Default: 5."},
            {.name = "seed", .argument = "N", .help = "Of the split and the folds. Default: 1."},
            TRAINING_REPORT_OPTIONS,
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir train --data tickets.jsonl.gz --heads tickets.safetensors --report tickets",
             "Classes of support tickets, with a report."},
            {"weir train --data rows.jsonl.gz --model static --only scores --tiers --heads "
             "tiers.safetensors",
             "Each model's chance of success, on the microsecond tier."},
            {0},
        },
    .run = run,
};
