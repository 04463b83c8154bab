/* weir distil: a transformer's knowledge in a table of token vectors, the encoder's fast tier. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/progress.h"
#include "router/encoder/model_store.h"
#include "router/encoder/static_table.h"
#include "router/encoder/train/distil.h"
#include "router/encoder/train/parallel.h"
#include "router/encoder/train/rows.h"

#define DEFAULT_MODEL "all-minilm-l6-v2"

static int complain(const struct err_text *t, int code)
{
    fprintf(stderr, "weir distil: %s\n", t->s);
    return code;
}

static bool read_int(const struct cli_args *a, const char *name, int least, int most, int *out)
{
    const char *text = cli_value(a, name);
    char *end;
    if (!text)
        return true;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (end == text || *end || errno || n < least || n > most) {
        fprintf(stderr, "weir distil: --%s %s: a number from %d to %d is wanted\n", name, text,
                least, most);
        return false;
    }
    *out = (int)n;
    return true;
}

static bool read_ridge(const struct cli_args *a, double *out)
{
    const char *text = cli_value(a, "ridge");
    char *end;
    if (!text)
        return true;
    *out = strtod(text, &end);
    if (end != text && !*end && *out > 0 && isfinite(*out))
        return true;
    fprintf(stderr, "weir distil: --ridge %s: a number above 0 is wanted\n", text);
    return false;
}

/* ---- progress ---- */

struct shown {
    struct progress progress;
    int stage; /* of enum distil_stage, or -1 */
};

static void on_progress(void *ctx, enum distil_stage stage, size_t done, size_t total)
{
    struct shown *s = ctx;
    if (s->stage != (int)stage) {
        if (s->stage >= 0)
            progress_end(&s->progress);
        progress_begin(&s->progress, distil_stage_name(stage), PROGRESS_COUNT);
        s->stage = (int)stage;
    }
    progress_update(&s->progress, done, total);
}

/* ---- the parts ---- */

static enum err read_texts(const struct cli_args *a, struct rows *rows, struct slice **texts,
                           struct err_text *t)
{
    struct rows_options opt = {0};
    size_t at = 0;
    for (const char *path; (path = cli_next(a, "data", &at)) != NULL;) {
        enum err err = rows_read(rows, path, &opt, t);
        if (err)
            return err;
    }
    *texts = mem_zalloc(rows->count + 1, sizeof **texts);
    for (size_t i = 0; i < rows->count; i++)
        (*texts)[i] = rows->row[i].text;
    return ERR_OK;
}

static enum err open_teacher(const struct cli_args *a, struct encoder **out, struct err_text *t)
{
    const char *model = cli_value(a, "model");
    char folder[MODEL_STORE_PATH_BYTES];
    enum err err = model_store_find(model ? model : DEFAULT_MODEL, folder, sizeof folder, t);
    if (err)
        return err;
    struct encoder_options opt = {
        .folder = folder, .device = ENCODER_CPU, .precision = ENCODER_FP32};
    return encoder_open(&opt, out, t);
}

static int tell_report(const char *path, const struct distil_report *r, int dim)
{
    struct static_table *table;
    struct err_text t;
    char space[FINGERPRINT_TEXT_BYTES];
    enum err err = static_table_open(path, &table, &t); /* what was written can be read */
    if (err)
        return complain(&t, EXIT_CODE_RUNTIME);
    fingerprint_text(static_table_space(table), space);
    static_table_free(table);
    printf("%s: %zu tokens, %d dimensions, space %s\n", path, r->tokens, dim, space);
    printf("fitted to %zu texts; on %zu held out:\n", r->fitted, r->held_out);
    printf("  rank correlation of cosines with the model's  %.3f (before the refit %.3f)\n",
           r->rank, r->rank_before);
    printf("  nearest ten that are also the model's         %.1f %%\n", 100 * r->neighbours);
    return EXIT_CODE_OK;
}

static int run(const struct cli_args *a)
{
    struct distil_options opt = {.dim = DISTIL_DIM, .ridge = DISTIL_RIDGE};
    struct shown shown = {.stage = -1};
    struct distil_report report;
    struct encoder *teacher = NULL;
    struct slice *texts = NULL;
    struct err_text t;
    struct rows rows;
    opt.threads = parallel_cores();
    if (!read_int(a, "dim", 8, 1024, &opt.dim) ||
        !read_int(a, "threads", 1, PARALLEL_MAX, &opt.threads) || !read_ridge(a, &opt.ridge))
        return EXIT_CODE_USAGE;
    rows_init(&rows);
    enum err err = read_texts(a, &rows, &texts, &t);
    if (!err)
        err = open_teacher(a, &teacher, &t);
    if (!err) {
        opt.teacher = teacher;
        opt.texts = texts;
        opt.text_count = rows.count;
        opt.progress = on_progress;
        opt.ctx = &shown;
        err = distil(&opt, cli_value(a, "out"), &report, &t);
    }
    if (shown.stage >= 0)
        progress_end(&shown.progress);
    encoder_free(teacher);
    rows_clear(&rows);
    free(texts);
    return err ? complain(&t, EXIT_CODE_RUNTIME)
               : tell_report(cli_value(a, "out"), &report, opt.dim);
}

const struct cli_command cmd_distil = {
    .name = "distil",
    .operands = "",
    .summary = "make a table of token vectors out of an encoder model",
    .description =
        "A text's vector is then the mean of its tokens' vectors: a thousand times faster than the "
        "model, without a sense for the order of words. weir ships such a table; this command "
        "makes another, from another model or other texts.\n\n"
        "The texts need no labels. One in five, chosen by its digest, is kept out of the fit and "
        "used to say how well the table imitates the model. The same inputs on the same kind of "
        "machine give the same file.",
    .options =
        (const struct cli_option[]){
            {.name = "data",
             .argument = "FILE",
             .help = "JSON Lines with a \"prompt\" or \"text\" each, compressed by gzip or not.",
             .required = true,
             .repeats = true},
            {.name = "out",
             .argument = "FILE",
             .help = "The table, safetensors.",
             .required = true},
            {.name = "model",
             .argument = "NAME|FOLDER",
             .help = "The model to imitate. Default: " DEFAULT_MODEL "."},
            {.name = "dim",
             .argument = "N",
             .help = "Numbers per token, a multiple of 8. Default: 192."},
            {.name = "ridge",
             .argument = "X",
             .help = "How strongly tokens are drawn to what the model says of them alone. "
                     "Default: 0.1."},
            {.name = "threads", .argument = "N", .help = "Default: all cores."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir distil --data prompts.jsonl.gz --out table.safetensors",
             "From all-minilm-l6-v2, fitted to prompts of your own."},
            {0},
        },
    .run = run,
};
