/* weir bench: recorded results of many models through the decision code. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "gateway/cli/bench_figures.h"
#include "gateway/cli/bench_run.h"
#include "gateway/cli/bench_svg.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "gateway/cli/training.h"

struct bench {
    const struct cli_args *args;
    struct policy *policy; /* NULL: none */
    struct rows rows;
    struct bench_set set;
    struct bench_options options;
};

static enum err read_rows(struct bench *k, struct err_text *t)
{
    for (int i = 0; i < k->args->operand_count; i++) {
        const char *file = k->args->operands[i], *slash = strrchr(file, '/');
        const struct rows_options opt = {
            .class_key = cli_value(k->args, "class-key"),
            .class_name = cli_flag(k->args, "class-by-file") ? (slash ? slash + 1 : file) : NULL,
            .outcomes = true,
        };
        enum err e = rows_read(&k->rows, file, &opt, t);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* "a,b,c"; the names stay in the text, which is cut at the commas. */
static enum err named_arms(char *text, struct bench_arms *arms, struct err_text *t)
{
    for (char *at = text; at;) {
        char *comma = strchr(at, ',');
        if (comma)
            *comma++ = '\0';
        if (arms->count == PANDORA_BOXES) {
            err_say(t, "--models: more than %d", PANDORA_BOXES);
            return ERR_BAD_REQUEST;
        }
        arms->model[arms->count++] = at;
        at = comma;
    }
    return ERR_OK;
}

/* Prices from "never worth it" to "whatever it costs", evenly in logarithms, around the dearest
 * arm's cost. */
static void spread_prices(struct bench *k)
{
    double dearest = 1;

    for (int j = 0; j < k->set.arms; j++)
        dearest = fmax(dearest, k->set.mean_cost[j]);
    k->options.prices = BENCH_PRICES;
    for (int i = 1; i < BENCH_PRICES; i++)
        k->options.price[i] = dearest * pow(10, -2.5 + 5.0 * (i - 1) / (BENCH_PRICES - 2));
}

/* ---- printing ---- */

static void put_figure(const struct bench_figure *f, double scale)
{
    if (isnan(f->value))
        printf("  %-18s", "never");
    else if (isnan(f->high))
        printf("  %5.1f [%5.1f, never]", scale * f->value, scale * f->low);
    else
        printf("  %5.1f [%5.1f, %5.1f]", scale * f->value, scale * f->low, scale * f->high);
}

static void put_singles(const struct bench *k, const struct bench_figures *f)
{
    printf("%-34s %12s  %s\n", "single models", "USD/1,000", "success %, 95 % interval");
    for (int j = 0; j < k->set.arms; j++) {
        printf("  %-32.32s %12.4g", k->set.arm[j], f->single[j].cost / 1e6);
        put_figure(&f->success[j], 100);
        printf("%s%s%s\n", j == f->best ? "  best" : "", j == f->cheapest ? "  cheapest" : "",
               j == f->dearest ? "  dearest" : "");
    }
    printf("  %-32s %12.4g  %5.1f\n\n", "oracle (cheapest that succeeds)", f->oracle.cost / 1e6,
           100 * f->oracle.success);
}

static void put_row(const char *name, const struct bench_figure share[BENCH_TARGETS])
{
    printf("  %-14s", name);
    for (int t = 0; t < BENCH_TARGETS; t++)
        put_figure(&share[t], 100);
    putchar('\n');
}

static void put_shares(const struct bench_figures *f)
{
    printf("%-16s", "cost, % of best's");
    for (int t = 0; t < BENCH_TARGETS; t++)
        printf("  at %2.0f %% of its success", 100 * bench_targets[t]);
    putchar('\n');
    for (int i = 0; i < BENCH_FAMILIES; i++)
        put_row(bench_family_name((enum bench_family)i), f->family[i].cost_share);
    put_row("random mix", f->mix_share);
    printf("\n%-16s  %-20s  %-20s  %-20s  %s\n", "", "APGR", "CPT50 %", "CPT80 %", "AIQ");
    for (int i = 0; i < BENCH_FAMILIES; i++) {
        printf("  %-14s", bench_family_name((enum bench_family)i));
        put_figure(&f->family[i].apgr, 100);
        put_figure(&f->family[i].cpt50, 100);
        put_figure(&f->family[i].cpt80, 100);
        put_figure(&f->family[i].aiq, 100);
        putchar('\n');
    }
    printf("  %-14s  %5.1f%57s%5.1f\n\n", "random mix", 50.0, "", 100 * f->mix_aiq);
}

/* ---- running ---- */

static enum err cross_validate(struct bench *k, struct err_text *t)
{
    struct bench_results r;
    struct bench_figures f;
    const char *svg = cli_value(k->args, "svg");

    bench_results_init(&r, &k->options, k->set.rows);
    bench_cv(&k->set, &k->options, &r);
    bench_figures(&k->set, &r, &f);
    put_singles(k, &f);
    put_shares(&f);
    bench_results_clear(&r);
    return svg ? bench_svg(svg, &k->set, &f, t) : ERR_OK;
}

static enum err open_set(struct bench *k, struct err_text *t)
{
    struct bench_arms arms = {.count = 0};
    const char *models = cli_value(k->args, "models");
    char *names = models ? mem_strdup(slice_str(models)) : NULL;
    enum err e = names ? named_arms(names, &arms, t) : ERR_OK;

    if (e == ERR_OK)
        e = bench_set_init(&k->set, &k->rows, &arms, t);
    free(names);
    return e;
}

static enum err bench(struct bench *k, struct err_text *t)
{
    double seeds = 5, folds = 5, labels = 0;
    enum err e = read_rows(k, t);

    if (e != ERR_OK || (e = open_set(k, t)) != ERR_OK)
        return e;
    if (!training_number(k->args, "seeds", 1, 100, &seeds) ||
        !training_number(k->args, "folds", 2, 20, &folds) ||
        !training_number(k->args, "labels", 0, 1e6, &labels))
        return ERR_BAD_REQUEST;
    k->options.objective = beliefs_objective_default;
    k->options.seeds = (int)seeds;
    k->options.folds = (int)folds;
    k->options.labels = (size_t)labels;
    spread_prices(k);
    printf("%zu rows, %d arms, %d classes; %zu rows left out\n\n", k->set.rows, k->set.arms,
           k->set.classes - 1, k->set.dropped);
    return cross_validate(k, t);
}

static int run(const struct cli_args *a)
{
    struct bench k = {.args = a};
    struct err_text t = {""};

    rows_init(&k.rows);
    enum err e = bench(&k, &t);
    bench_set_clear(&k.set);
    rows_clear(&k.rows);
    if (e == ERR_OK)
        return out_finish(EXIT_CODE_OK);
    fprintf(stderr, "weir bench: %s\n", t.s);
    return EXIT_CODE_RUNTIME;
}

const struct cli_command cmd_bench = {
    .name = "bench",
    .operands = "FILE...",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "replay recorded results of many models through the decision code",
    .description =
        "Reads queries with each model's recorded success, cost, confidence and answer "
        "(routing-rows/1, as 'weir train' does) and decides about each as the gateway would: which "
        "model first, whether its answer is good enough, which next.",
    .options =
        (const struct cli_option[]){
            {.name = "models",
             .argument = "NAME,NAME...",
             .help = "The models that take part. Default: all of the rows."},
            {.name = "folds", .argument = "N", .help = "Of cross-validation. Default: 5."},
            {.name = "seeds", .argument = "N", .help = "Repetitions. Default: 5."},
            {.name = "labels",
             .argument = "N",
             .help = "Rows of each class that are learnt from at most. Default: all."},
            {.name = "class-key",
             .argument = "KEY",
             .help = "The member that holds the class. Default: class, or label."},
            {.name = "class-by-file", .help = "Each file is a class of its own."},
            {.name = "svg", .argument = "FILE", .help = "Draw the quality-cost frontier there."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir bench rows.jsonl.gz --models small,mid,big", "What would a cascade save?"},
            {0},
        },
    .run = run,
};
