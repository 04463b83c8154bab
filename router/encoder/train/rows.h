/* Labelled prompts out of JSON Lines files, compressed by gzip or not: one object per line with the
 * text ("prompt" or "text"), its class ("class" or "label", a string) and each model's score ("s",
 * 0..1, null: not run). The first line may be a header, {"format": "routing-rows/1", "models":
 * [{"name": ...} or "name", ...]}: it names what the scores of "s" belong to. Other members are
 * ignored, but for those of recorded answers where they are asked for (rows_options.outcomes), each
 * an array like "s": "c" costs, in the unit that the header's "cost" or "row" names as "USD x 1e6"
 * or "USD x 1e9"; "p" the answers' confidence, log-probabilities where the header's "conf" says so,
 * else 0..1; "n" [tokens in, tokens out]; "a" short answers (or one string with a letter each; or
 * "pred", the answers that won a vote); "v" votes: how often each distinct answer was given when
 * the model was asked several times, the answer that the score is of first. Classes and models of
 * several files are joined by their names. One thread. */
#ifndef ROUTER_ENCODER_TRAIN_ROWS_H
#define ROUTER_ENCODER_TRAIN_ROWS_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/err.h"

#define ROWS_NO_CLASS     (-1)
#define ROWS_OUT_OF_SCOPE (-2)

/* What was recorded of one model's answer. */
struct row_outcome {
    double cost_nanousd; /* NAN: not known; so the next two */
    double confidence;   /* probability, 0..1 */
    double tokens_out;
    struct slice answer; /* short or normalised; "" when not known */
    int samples;         /* further answers of the same model; 0: none */
    int repeats;         /* ... that say the same */
};

struct row {
    struct slice text;
    int label;           /* of class_name, or ROWS_NO_CLASS, ROWS_OUT_OF_SCOPE */
    const float *score;  /* [score_count], NAN: not run; NULL: the row has none */
    const size_t *model; /* [score_count]: what the scores belong to, of model_name */
    size_t score_count;
    const struct row_outcome *outcome; /* [score_count]; NULL unless asked for */
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
    const char *class_key;  /* NULL: "class", or "label" where there is none */
    const char *class_name; /* all rows are of this class, whatever they say; NULL: they say it */
    const char
        *out_of_scope; /* the class whose rows belong to none; NULL: there is no such class */
    bool outcomes;     /* costs, confidences, tokens and answers, too */
};

void rows_init(struct rows *r);
void rows_clear(struct rows *r);
/* Adds the rows of one file. ERR_BAD_REQUEST with t as "FILE:LINE: what is wrong". */
enum err rows_read(struct rows *r, const char *path, const struct rows_options *opt,
                   struct err_text *t) MUST_CHECK;
/* One row's score of a model of model_name; NAN: not known. */
float rows_score(const struct row *row, size_t model);

#endif
