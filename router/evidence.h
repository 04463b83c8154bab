/* What is known of one request afterwards: which models answered, how sure their answers were, what
 * they cost; and, now or days later, what became of it. The bridge between a request and the
 * counters of router/decide/tally.h. Pure.
 *
 * A request is counted once, when it ends (evidence_count). What labels need later is remembered as
 * a line of text (evidence_write), beside a second line of all labels so far. A new label changes
 * the second line, and the counters by the difference (evidence_relabel), in the buckets of the
 * time when the request was decided: repeats change nothing, corrections and withdrawals leave
 * exact sums, and neither the order of labels nor the replica that takes them matters.
 *
 * Bins of scores mean something to the scorer that gave them only, so that they are counted under
 * the model and the scorer's version; all else is counted under version 0. While a model's scorer
 * is replaced its answers are counted under both versions (evidence_rescore), and so are labels. */
#ifndef ROUTER_EVIDENCE_H
#define ROUTER_EVIDENCE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/money.h"
#include "router/decide/tally.h"
#include "router/encoder/fingerprint.h"
#include "router/learn_sheet.h"
#include "router/outcome_signals.h"

#define EVIDENCE_ANSWERS    16
#define EVIDENCE_FEATURES   64
#define EVIDENCE_QUERY      1024                   /* dimensions, at most */
#define EVIDENCE_TEXT_BYTES 32768                  /* of the first line, at most */
#define EVIDENCE_UNITS      (6 * EVIDENCE_ANSWERS) /* that one request is counted in, at most */

/* One model's answer, or its failure to give one. */
struct evidence_answer {
    const char *model;
    unsigned scorer; /* version of the scorer; scores of different ones are counted apart */
    int bin; /* of the score, 0..TALLY_BINS - 1; -1: it was not scored, nor is a label counted */
    unsigned also_scorer; /* another version that the answer is counted under too; 0: none */
    int also_bin;         /* its bin */
    int stage;            /* 0..TALLY_STAGES - 1 */
    double chance; /* of the request's success, as its decision expected; below 0: nobody said */
    /* 1..999: the chance of a first answer by its class, and by its query (foresight.h); 0: nothing
     * was foreseen */
    int believed_milli, foreseen_milli;
    bool first, served, failed;
    nanousd cost, foretold; /* foretold: from its prompt's length, uncorrected; 0: it was not */
    int64_t tokens_in, tokens_out, latency_ms;
    int verdict_milli; /* of its validators, 0..1000; -1: none */
    const float *features;
    int feature_count;
};

struct evidence {
    const char *tenant, *request_id, *route, *class_name;
    int64_t decided_wall_us, ended_wall_us;
    struct outcome_print print; /* is it asked again? All 0: nobody can tell */
    bool learn; /* false: remembered for its outcome's sake, but nothing is counted */
    const struct evidence_answer *answers;
    int count;
    /* What the query means: query_dim numbers, the largest magnitude is 127; NULL: nothing is kept
     * of it. Vectors of different spaces never meet. */
    const int8_t *query;
    int query_dim;
    struct fingerprint query_space;
};

/* ---- labels ---- */

#define EVIDENCE_NO_LABEL  (-2) /* that source has said nothing */
#define EVIDENCE_WITHDRAWN (-1) /* it took back what it had said */

struct evidence_label {
    int64_t value_milli; /* 0..1000, or one of the two; wide, so that labels are compared whole */
    int64_t said_us;     /* a later word counts, an earlier one that comes late does not */
};
struct evidence_labels {
    struct evidence_label of[EVIDENCE_ANSWERS][TALLY_SOURCES];
};

/* None but what validators said at once. */
void evidence_labels_init(struct evidence_labels *l, const struct evidence *e);
/* Is anything other than it was, be it the time of the word? Of two words of the same time the
 * worse one stands. */
bool evidence_label(struct evidence_labels *l, int answer, enum tally_source source,
                    int value_milli, int64_t said_us);
/* Has any source but silence said something that stands? */
bool evidence_is_labelled(const struct evidence_labels *l, int answer);
/* What the sources say of an answer, weighted by how far they are believed, 0..1; below 0: nothing.
 * weight: the sum of these; said_us: when the last one spoke. Silence is not asked. */
double evidence_value(const struct evidence_label labels[TALLY_SOURCES],
                      const struct tally_trust *trust, double *weight, int64_t *said_us);
/* "0 explicit 1000 1795000000000000 ..." and back. false: that is not such a line. */
enum err evidence_labels_write(const struct evidence_labels *l, struct buf *out) MUST_CHECK;
bool evidence_labels_read(struct slice text, struct evidence_labels *out);

/* ---- counting ---- */

/* Adds the request with these labels to the sheet; units that it has no room for are left out
 * (learn_sheet.refused). */
void evidence_count(const struct evidence *e, const struct evidence_labels *labels,
                    struct learn_sheet *sheet);
/* Counts one answer under another scorer's version, too: its bin, and its labels so far. Of the two
 * versions that it was counted under, `keep` stays; the other's counts stay as they are and are not
 * kept up. false: nothing is to be done, it is counted so, or not at all. */
bool evidence_rescore(const struct evidence *e, const struct evidence_labels *labels,
                      struct evidence_answer *answer, unsigned scorer, int bin, unsigned keep,
                      struct learn_sheet *sheet);
/* Adds what changes when the labels do. */
void evidence_relabel(const struct evidence *e, const struct evidence_labels *before,
                      const struct evidence_labels *after, struct learn_sheet *sheet);

/* ---- making ---- */

/* The entry of a model among *count, of EVIDENCE_ANSWERS at most; made, as of a model that failed,
 * when it is not there yet. NULL: there are too many. */
struct evidence_answer *evidence_answer_of(struct evidence_answer *all, int *count,
                                           const char *model);

/* ---- remembering ---- */

/* All but tenant, request id, print, costs, tokens and verdicts, in one line without control
 * characters.
 */
enum err evidence_write(const struct evidence *e, struct buf *out) MUST_CHECK;
/* Strings and arrays in the arena. false: that is not such a line. */
bool evidence_read(struct slice text, struct arena *a, struct evidence *out);
/* The answer that was served, -1: none. Of a model's answers the last, -1: it gave none. */
int evidence_served(const struct evidence *e);
int evidence_find(const struct evidence *e, struct slice model);

#endif
