/* Labelled prompts out of JSON Lines files, compressed by gzip or not: one object per line with the
 * text ("prompt" or "text"), its class ("class" or "label", a string) and each model's score ("s",
 * 0..1, null: not run). The first line may be a header, {"format": "routing-rows/1", "models":
 * [{"name": ...} or "name", ...]}: it names what the scores of "s" belong to. Other members are
 * ignored. Classes and models of several files are joined by their names. One thread. */
#ifndef ROUTER_ENCODER_TRAIN_ROWS_H
#define ROUTER_ENCODER_TRAIN_ROWS_H

#include "base/arena.h"
#include "base/err.h"

#define ROWS_NO_CLASS     (-1)
#define ROWS_OUT_OF_SCOPE (-2)

struct row {
    struct slice text;
    int label;           /* of class_name, or ROWS_NO_CLASS, ROWS_OUT_OF_SCOPE */
    const float *score;  /* [score_count], NAN: not run; NULL: the row has none */
    const size_t *model; /* [score_count]: what the scores belong to, of model_name */
    size_t score_count;
};

struct rows {
    struct row *row;
    size_t count;
    struct slice *class_name, *model_name;
    size_t classes, models;
    /* private */
    struct arena arena;
    size_t row_cap, class_cap, model_cap;
};

struct rows_options {
    const char *class_key; /* NULL: "class", or "label" where there is none */
    const char
        *out_of_scope; /* the class whose rows belong to none; NULL: there is no such class */
};

void rows_init(struct rows *r);
void rows_clear(struct rows *r);
/* Adds the rows of one file. ERR_BAD_REQUEST with t as "FILE:LINE: what is wrong". */
enum err rows_read(struct rows *r, const char *path, const struct rows_options *opt,
                   struct err_text *t) MUST_CHECK;
/* One row's score of a model of model_name; NAN: not known. */
float rows_score(const struct row *row, size_t model);

#endif
