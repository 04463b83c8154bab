/* weir eval: frozen heads on rows with known classes and successes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/training.h"

/* The index of a name, or -1. */
static int find(struct slice name, struct slice (*at)(const struct heads *, size_t), size_t count,
                const struct heads *h)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq(at(h, i), name))
            return (int)i;
    return -1;
}

/* The rows' labels as the heads count them. */
static enum err map_labels(const struct rows *r, const struct heads *h, int *label,
                           struct err_text *t)
{
    for (size_t i = 0; i < r->count; i++) {
        label[i] = r->row[i].label;
        if (label[i] < 0)
            continue;
        struct slice name = r->class_name[label[i]];
        label[i] = find(name, heads_class_label, heads_class_count(h), h);
        if (label[i] < 0 && heads_class_count(h)) {
            err_say(t,
                    "the heads do not know the class '%.*s' of the rows; --out-of-scope %.*s "
                    "counts it as none of theirs",
                    SLICE_ARG(name), SLICE_ARG(name));
            return ERR_BAD_REQUEST;
        }
    }
    return ERR_OK;
}

static void map_targets(const struct rows *r, const struct heads *h, float *target)
{
    size_t models = heads_model_count(h);
    for (size_t i = 0; i < r->count * models; i++)
        target[i] = NAN;
    for (size_t m = 0; m < r->models; m++) {
        int k = find(r->model_name[m], heads_model_name, models, h);
        for (size_t i = 0; k >= 0 && i < r->count; i++)
            target[i * models + (size_t)k] = rows_score(&r->row[i], m);
    }
}

static enum err evaluate(const struct cli_args *a, const struct training *w, const struct heads *h,
                         struct err_text *t)
{
    size_t n = w->rows.count, C = heads_class_count(h), M = heads_model_count(h);
    int *label = mem_alloc((n + 1) * sizeof *label);
    float *target = mem_alloc((n * M + 1) * sizeof *target);
    float *class_p = mem_alloc((n * C + 1) * sizeof *class_p);
    float *in_scope = mem_alloc((n + 1) * sizeof *in_scope);
    float *success = mem_alloc((n * M + 1) * sizeof *success);
    char *data = training_file_names(a, "data");
    struct evaluation e;
    map_targets(&w->rows, h, target);
    enum err err = map_labels(&w->rows, h, label, t);
    if (err == ERR_OK) {
        evaluation_predict(h, w->x, n, class_p, in_scope, success, w->threads);
        const struct predictions p = {
            .rows = n,
            .classes = C,
            .models = M,
            .class_p = C ? class_p : NULL,
            .in_scope = C ? in_scope : NULL,
            .success = M ? success : NULL,
            .label = label,
            .target = target,
        };
        const struct report_facts f = {h, &e, "rows", data, ""};
        evaluation_init(&e, &p);
        err = training_report(a, &f, t);
        evaluation_clear(&e);
    }
    free(data);
    free(success);
    free(in_scope);
    free(class_p);
    free(target);
    free(label);
    return err;
}

/* The encoder that the heads name, unless another is asked for. */
static enum err open_and_evaluate(const struct cli_args *a, struct training *w, struct heads *h,
                                  struct err_text *t)
{
    char name[300];
    const char *model = cli_value(a, "model");
    snprintf(name, sizeof name, "%.*s", SLICE_ARG(heads_encoder(h)));
    enum err e = training_read(w, a, "data", t);
    if (e != ERR_OK ||
        (e = training_open(w, model ? model : name, cli_value(a, "precision"), t)) != ERR_OK ||
        (e = heads_check_space(h, feature_source_space(&w->source), feature_source_name(&w->source),
                               w->features, t)) != ERR_OK ||
        (e = training_encode(w, t)) != ERR_OK)
        return e;
    return evaluate(a, w, h, t);
}

static int run(const struct cli_args *a)
{
    struct err_text t = {""};
    struct training w;
    struct heads *h = NULL;
    training_init(&w);
    enum err e = heads_open(cli_value(a, "heads"), &h, &t);
    if (e == ERR_OK)
        e = open_and_evaluate(a, &w, h, &t);
    heads_free(h);
    training_clear(&w);
    if (e == ERR_OK)
        return EXIT_CODE_OK;
    fprintf(stderr, "weir eval: %s\n", t.s);
    return EXIT_CODE_RUNTIME;
}

const struct cli_command cmd_eval = {
    .name = "eval",
    .operands = "",
    .summary = "say how good heads are on other rows",
    .description =
        "Asks frozen heads about every row and compares with its class and its models' scores: "
        "accuracy, macro F1, the classes that are confused, calibration, out-of-scope detection, "
        "each model's AUROC and Brier score. Rows are those of 'weir train'. Heads refuse an "
        "encoder that they were not trained on.",
    .options =
        (const struct cli_option[]){
            {.name = "data",
             .argument = "FILE",
             .help = "Rows, compressed by gzip or not.",
             .required = true,
             .repeats = true},
            {.name = "heads", .argument = "FILE", .help = "The heads.", .required = true},
            {.name = "model",
             .argument = "NAME|FOLDER|static",
             .help = "The encoder. Default: the one that the heads name."},
            {.name = "precision",
             .argument = "int8|fp32",
             .help = "What the encoder computes with."},
            TRAINING_OPTION_CLASS_KEY,
            {.name = "out-of-scope",
             .argument = "CLASS",
             .help = "A class of the rows that is none of the heads'."},
            TRAINING_REPORT_OPTIONS,
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir eval --data new-tickets.jsonl --heads tickets.safetensors",
             "Are last month's heads still good?"},
            {0},
        },
    .run = run,
};
