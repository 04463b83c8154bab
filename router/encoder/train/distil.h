/* Makes a static table (router/encoder/static_table.h) out of a transformer:
 *
 *   1. each token of the vocabulary through the transformer as [CLS] token [SEP], mean over all
 *      three outputs, as model2vec does it (github.com/MinishLab/model2vec)
 *   2. the texts through the transformer: what the table is to imitate
 *   3. centred PCA of the texts' vectors (the covariance's eigenvectors) to `dim` columns
 *   4. tokens centred, projected, weighted a / (a + p) with p after Zipf by the token's place in
 *      the vocabulary (SIF, Arora et al. 2017), scaled as a whole to the texts
 *   5. refit: token vectors whose means come closest to the texts' vectors, drawn to those of 4
 *      (token_bags.h); tokens that no text has stay as they are
 *   6. bytes: a scale per token
 *
 * The same inputs on the same kind of machine give the same file, byte for byte, with any number of
 * threads. */
#ifndef ROUTER_ENCODER_TRAIN_DISTIL_H
#define ROUTER_ENCODER_TRAIN_DISTIL_H

#include <stdbool.h>
#include "base/err.h"
#include "router/encoder/encoder.h"

enum distil_stage { DISTIL_TOKENS, DISTIL_TEXTS, DISTIL_PCA, DISTIL_REFIT, DISTIL_STAGES };
const char *distil_stage_name(enum distil_stage s);

struct distil_options {
    const struct encoder *teacher;
    const struct slice *texts;
    size_t text_count;
    int dim;      /* a multiple of 8, at most the teacher's */
    double ridge; /* > 0: how strongly tokens are drawn to where they began */
    int threads;
    /* On the caller's thread; may be NULL. */
    void (*progress)(void *ctx, enum distil_stage stage, size_t done, size_t total);
    void *ctx;
};

#define DISTIL_DIM   192
#define DISTIL_RIDGE 0.1

/* How well the table imitates its teacher on the texts that were kept out of 3 to 5. */
struct distil_report {
    size_t tokens;           /* with a vector */
    size_t fitted, held_out; /* texts */
    double rank_before;      /* Spearman's correlation of cosines over pairs of held-out texts: */
    double rank;             /* table's with the teacher's; before: without step 5 */
    double neighbours;       /* share of a text's 10 nearest that are the same, 0..1 */
};

/* Writes the table to path. ERR_BAD_REQUEST + t: options or texts that do not do; else what the
 * teacher or the file says. */
enum err distil(const struct distil_options *opt, const char *path, struct distil_report *report,
                struct err_text *t) MUST_CHECK;

/* Whether a text is kept out of the fit: one in five, by its SHA-256, so that who measures on them
 * knows which. */
bool distil_held_out(struct slice text);

#endif
