/* Is a new scorer better than the one in force? Fitted on four fifths of the labelled answers, both
 * are judged on the fifth that neither has seen, the way their scores are used: by bins, each with
 * the success rate that it had among the four fifths. A scorer's record is what is known of it, and
 * the line of text that stores keep. Pure. */
#ifndef ROUTER_DECIDE_SCORER_TRIAL_H
#define ROUTER_DECIDE_SCORER_TRIAL_H

#include <stdbool.h>
#include <stdint.h>
#include "router/decide/scorer.h"

struct scorer_record {
    struct scorer scorer;
    int features_version;     /* of the features (CONFIDENCE_VERSION) */
    int64_t rows, held_rows;  /* fitted on; held out */
    double loss, loss_before; /* mean log-loss of the held out ones, nats: its own, that of the one
                                 in force before */
    int64_t fitted_wall_us;
};

/* Are there enough labelled answers of a model, 100, and enough new ones among them, a quarter, for
 * it to be worth it? fresh: that were labelled since it was last tried. */
bool scorer_is_worth_trying(size_t rows, size_t fresh);

#define SCORER_HELD_OUT_OF 5
struct scorer_trial {   /* all borrowed: [rows] */
    const float *x;     /* [rows][features] */
    const float *y;     /* 0..1 */
    const float *score; /* of the scorer in force */
    const bool *held;
    size_t rows;
    int features;
};

enum scorer_verdict { SCORER_TOO_FEW, SCORER_NOT_BETTER, SCORER_BETTER };
/* Fills out->scorer with that version, the counts and the losses, but when there are too few.
 * Better is what gains more than two standard errors of the gain. */
enum scorer_verdict scorer_try(const struct scorer_trial *t, unsigned version,
                               struct scorer_record *out);

#define SCORER_RECORD_BYTES (SCORER_TEXT_BYTES + 192)
void scorer_record_write(const struct scorer_record *r, char out[SCORER_RECORD_BYTES]);
/* ERR_BAD_REQUEST + t for anything that was not written so. */
enum err scorer_record_read(struct scorer_record *r, struct slice text,
                            struct err_text *t) MUST_CHECK;

#endif
