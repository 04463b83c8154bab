/* The record: what real models answered to real questions, read once from routing-rows/1 files
 * (gzip or plain JSON Lines; the first line is a header with the models, see data/README). Files
 * may be joined: a *_text file adds answer texts to the rows of its main file by id, and a model
 * that appears in several files is one model (the first header's price stands).
 *
 * Immutable after loading. Everything belongs to the struct and dies with rows_clear. */
#ifndef FLEET_ROWS_H
#define FLEET_ROWS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/money.h"
#include "base/tokens.h"

struct model {
    char *name;               /* owned by the arena, as are all strings here */
    nanousd price[TOK_KINDS]; /* per million tokens */
    bool priced;              /* a header or --model gave a price */
    int64_t context;          /* tokens; 0 = no limit */
    size_t index;
};

/* What one model did with one question. */
struct recorded {
    bool ran;
    double score;             /* 0..1 */
    const char *text, *brief; /* answer text, short answer; NULL when not recorded */
    double logprob;           /* of the answer's token; NAN when not recorded */
    int64_t tokens_in, tokens_out, latency_ms; /* -1 when not recorded */
};

struct row_source {
    const char *name;
    struct model **columns; /* models in the order of the file's arrays */
    size_t column_count;
    struct row_source *next;
};

struct row {
    const char *id, *cls;
    struct slice prompt;
    uint64_t hash; /* of the stripped prompt */
    const struct row_source *source;
    struct recorded *by; /* one per column of the source */
    struct row *next_hash, *next_id, *next;
};

struct rows {
    struct arena arena;
    struct model **models; /* owned array */
    size_t model_count;
    struct row_source *sources;
    struct row *first, *last;
    size_t count;
    struct row **by_hash, **by_id; /* owned tables of ROWS_SLOTS chains */
};

void rows_init(struct rows *r);
void rows_clear(struct rows *r);
/* Main files before the text files that join them. false + *why (NUL-terminated, names file and
 * line). */
bool rows_load(struct rows *r, const char *path, struct err_text *why);
/* Finds or makes a model. */
struct model *rows_model(struct rows *r, struct slice name);
struct model *rows_find_model(const struct rows *r, struct slice name); /* NULL when unknown */
/* The row with this prompt in which the model ran. If there is none, a row with this prompt and
 * *rec NULL; else NULL. */
const struct row *rows_find(const struct rows *r, struct slice prompt, const struct model *m,
                            const struct recorded **rec);
/* One JSON line per row and model that ran. false with errno set. */
bool rows_write_truth(const struct rows *r, const char *path);

#endif
