/* weir embed: texts to vectors. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/lines.h"
#include "gateway/cli/out.h"
#include "policies/policy.h"
#include "policies/policy_names.h"
#include "router/encoder/encoder.h"
#include "router/encoder/model_store.h"
#include "router/encoder/static_table.h"

#define DEFAULT_MODEL "all-minilm-l6-v2"

/* A transformer, or the table inside weir. */
struct embedding {
    struct encoder *encoder;
    struct encoder_session *session;
    int dim;
    const char *model;
    struct fingerprint full;
    float *vector; /* [dim] */
};

static int complain(const char *what)
{
    fprintf(stderr, "weir embed: %s\n", what);
    return EXIT_CODE_RUNTIME;
}

static int take_precision(const char *word, int *out)
{
    struct names_nearest near;

    *out = -1;
    if (!word || strcmp(word, "auto") == 0)
        return EXIT_CODE_OK;
    names_nearest_init(&near, slice_str(word));
    for (int p = 0; p < ENCODER_STATIC; p++) {
        const char *name = encoder_precision_name((enum encoder_precision)p);

        names_nearest_offer(&near, name);
        if (strcmp(word, name) != 0)
            continue;
        *out = p;
        return EXIT_CODE_OK;
    }
    fprintf(stderr, "weir embed: no precision is called '%s'; auto, fp32, int8 or fp16\n", word);
    return EXIT_CODE_USAGE;
}

static enum err open_embedding(struct embedding *e, const char *model, int precision,
                               struct err_text *t)
{
    char folder[MODEL_STORE_PATH_BYTES];
    struct encoder_options opt = {.folder = folder, .precision = precision};
    struct encoder_facts f;
    enum err err;

    *e = (struct embedding){.model = POLICY_ENCODER_STATIC};
    if (strcmp(model, POLICY_ENCODER_STATIC) == 0) {
        const struct static_table *table = static_table_builtin();

        e->dim = static_table_dim(table);
        e->full = fingerprint_full(static_table_space(table), ENCODER_STATIC);
    } else {
        err = model_store_find(model, folder, sizeof folder, t);
        if (err == ERR_OK)
            err = encoder_open(&opt, &e->encoder, t);
        if (err != ERR_OK)
            return err;
        f = encoder_facts(e->encoder);
        e->session = encoder_session_new(e->encoder);
        e->dim = f.dim;
        e->model = f.model;
        e->full = f.full;
    }
    e->vector = mem_zalloc((size_t)e->dim, sizeof *e->vector);
    return ERR_OK;
}

static void close_embedding(struct embedding *e)
{
    encoder_session_free(e->session);
    encoder_free(e->encoder);
    free(e->vector);
}

static enum err embed_one(struct embedding *e, struct slice text, struct wordpiece_counts *counts,
                          struct err_text *t)
{
    struct encoder_vectors v = {.embedding = e->vector};

    if (e->encoder)
        return encoder_embed(e->session, &text, 1, &v, counts, t);
    (void)static_table_embed(static_table_builtin(), text, e->vector, counts);
    return ERR_OK;
}

/* ---- formats ---- */

/* Nine significant digits bring a float back bit by bit. */
static void write_numbers(const struct embedding *e, const char *between)
{
    for (int i = 0; i < e->dim; i++)
        printf("%s%.9g", i ? between : "", (double)e->vector[i]);
}

static void write_json(const struct embedding *e, const struct wordpiece_counts *counts)
{
    char full[FINGERPRINT_TEXT_BYTES];

    fingerprint_text(e->full, full);
    printf("{\"model\":\"%s\",\"fingerprint\":\"%s\",\"tokens\":%zu,\"truncated\":%s,"
           "\"embedding\":[",
           e->model, full, counts->tokens, counts->truncated ? "true" : "false");
    write_numbers(e, ",");
    printf("]}\n");
}

/* NumPy's format 1.0 (numpy.org/doc/stable/reference/generated/numpy.lib.format.html). The header
 * says how many rows there are, so they are gathered first. */
static void write_npy(const float *rows, size_t count, int dim)
{
    static const unsigned char magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    char text[118]; /* so that the data begins at a multiple of 64 */
    int n = snprintf(text, sizeof text,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %d), }", count, dim);

    memset(text + n, ' ', sizeof text - (size_t)n);
    text[sizeof text - 1] = '\n';
    fwrite(magic, 1, sizeof magic, stdout);
    putchar((int)sizeof text);
    putchar(0);
    fwrite(text, 1, sizeof text, stdout);
    fwrite(rows, sizeof *rows, count * (size_t)dim, stdout);
}

struct rows {
    float *items;
    size_t count, cap;
};

static void add_row(struct rows *r, const float *row, int dim)
{
    if (r->count == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        r->items = mem_resize(r->items, r->cap, (size_t)dim * sizeof *row);
    }
    memcpy(r->items + r->count++ * (size_t)dim, row, (size_t)dim * sizeof *row);
}

/* ---- the command ---- */

static int embed_all(struct embedding *e, const struct cli_args *a)
{
    bool npy = cli_flag(a, "npy"), json = cli_flag(a, "json");
    struct rows rows = {0};
    struct lines lines;
    struct slice text;
    struct err_text t = {""};
    int code = EXIT_CODE_OK;

    lines_init(&lines, a);
    while (code == EXIT_CODE_OK && lines_next(&lines, &text)) {
        struct wordpiece_counts counts = {0};

        if (embed_one(e, text, &counts, &t) != ERR_OK) {
            code = complain(t.s);
        } else if (npy) {
            add_row(&rows, e->vector, e->dim);
        } else if (json) {
            write_json(e, &counts);
        } else {
            write_numbers(e, " ");
            putchar('\n');
        }
        if (!npy)
            fflush(stdout); /* who pipes lines in waits for their answers */
    }
    if (lines.failed)
        code = complain("standard input cannot be read");
    if (npy && code == EXIT_CODE_OK)
        write_npy(rows.items, rows.count, e->dim);
    free(rows.items);
    lines_clear(&lines);
    return code;
}

static int embed(const struct cli_args *a)
{
    const char *model = cli_value(a, "model");
    struct embedding e;
    struct err_text t = {""};
    int precision, code = take_precision(cli_value(a, "precision"), &precision);

    if (code == EXIT_CODE_OK && cli_flag(a, "npy") && cli_flag(a, "json")) {
        fprintf(stderr, "weir embed: --npy and --json exclude each other\n");
        code = EXIT_CODE_USAGE;
    }
    if (code != EXIT_CODE_OK)
        return code;
    if (open_embedding(&e, model ? model : DEFAULT_MODEL, precision, &t) != ERR_OK)
        return complain(t.s);
    code = embed_all(&e, a);
    close_embedding(&e);
    return code;
}

const struct cli_command cmd_embed = {
    .name = "embed",
    .operands = "[TEXT...]",
    .min_operands = 0,
    .max_operands = -1,
    .summary = "turn texts into vectors",
    .description = "Embeds each TEXT, or each line of standard input where TEXT is - or not given. "
                   "One line of numbers per text, written as each is done; they read back to the "
                   "same floats. What goes beyond the model's limit of tokens is not read.",
    .options =
        (const struct cli_option[]){
            {.name = "model",
             .letter = 'm',
             .argument = "MODEL",
             .help =
                 "A fetched model (see weir model), a folder, or static: the table inside weir. "
                 "Default: " DEFAULT_MODEL "."},
            {.name = "precision",
             .argument = "WORD",
             .help = "auto, fp32, int8 or fp16. Default: auto."},
            {.name = "json",
             .help = "One JSON object per text: model, fingerprint, tokens, truncated, embedding."},
            {.name = "npy",
             .help = "One NumPy array (float32, texts by dimensions) for all texts."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir embed 'How do I reset my password?'", "The vector of one text:"},
            {"weir embed --npy - < prompts.txt > prompts.npy", "Of a file's lines, for NumPy:"},
            {0},
        },
    .run = embed,
};
