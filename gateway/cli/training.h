/* What train and eval share: labelled rows and an encoder become features, an evaluation becomes
 * reports. Messages go to standard error. Single-threaded; encoding uses all cores. */
#ifndef GATEWAY_CLI_TRAINING_H
#define GATEWAY_CLI_TRAINING_H

#include "gateway/cli/cli.h"
#include "router/encoder/train/evaluation.h"
#include "router/encoder/train/report.h"
#include "router/encoder/train/row_features.h"
#include "router/encoder/train/rows.h"

#define TRAINING_DEFAULT_MODEL "all-minilm-l6-v2"

#define TRAINING_OPTION_CLASS_KEY                                                                  \
    {                                                                                              \
        .name = "class-key", .argument = "KEY",                                                    \
        .help = "The member that holds the class. Default: class, or label."                       \
    }
/* What training_report heeds. */
#define TRAINING_REPORT_OPTIONS                                                                    \
    {.name = "report",                                                                             \
     .argument = "DIR",                                                                            \
     .help = "Write report.md, report.json and reliability diagrams there."},                      \
    {                                                                                              \
        .name = "json", .help = "Print the report as JSON."                                        \
    }

struct training {
    struct rows rows;
    struct encoder *encoder; /* owned; NULL: the static table */
    struct feature_source source;
    size_t features;
    float *x; /* owned: [rows.count][features] */
    int threads;
};

void training_init(struct training *w);
void training_clear(struct training *w);

/* Adds the rows of the files that were given as `option`, with --class-key and --out-of-scope. */
enum err training_read(struct training *w, const struct cli_args *a, const char *option,
                       struct err_text *t) MUST_CHECK;
/* model: a name, a folder, or "static" for the table inside the program; precision: "int8", "fp32"
 * or NULL for the usual. */
enum err training_open(struct training *w, const char *model, const char *precision,
                       struct err_text *t) MUST_CHECK;
/* Fills x, with a progress line. */
enum err training_encode(struct training *w, struct err_text *t) MUST_CHECK;

/* Prints the summary, or with --json the whole report; writes DIR of --report: report.md,
 * report.json and the diagrams. */
enum err training_report(const struct cli_args *a, const struct report_facts *f,
                         struct err_text *t) MUST_CHECK;
/* The base names of the files given as `option`, joined by ", "; freed by the caller. */
char *training_file_names(const struct cli_args *a, const char *option);

/* A number in [least, most] given as --name; false + a message when it is none. */
bool training_number(const struct cli_args *a, const char *name, double least, double most,
                     double *out);
/* The same of a whole number. */
bool training_whole(const struct cli_args *a, const char *name, double least, double most,
                    double *out);

#endif
