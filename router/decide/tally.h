/* What is counted of one arm in one context: the arm is a model (its name and scorer version), the
 * context a route and a class. Everything is an integer that is only ever added to, in buckets of
 * time, so that increments of several replicas commute and late outcomes, repeats and corrections
 * (the same increments taken back) leave exact sums. Old buckets lose weight when they are read:
 * a half-life is a setting of the reader and can change without rewriting history.
 *
 * A store keeps (key, kind of bucket, bucket start, field name, int64) and needs no more than
 * "add". Counters of a slow bucket are all fields; a fast bucket has those that tally_is_fast()
 * names. Pure; a struct belongs to one thread. */
#ifndef ROUTER_DECIDE_TALLY_H
#define ROUTER_DECIDE_TALLY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

/* Bins of an answer's score, curve.h has their edges. */
#define TALLY_BINS 12
/* What an answer came after: 0 it was the first, 1..5 the best chance so far was in that level
 * (tally_stage). The shares of an arm's bins differ by it: after a poor answer the question is more
 * likely a hard one. */
#define TALLY_STAGES 6

/* Where a label came from; kept apart, so that their weights are settings of the reader, too. */
enum tally_source {
    TALLY_EXPLICIT,   /* feedback by a person or the application */
    TALLY_VALIDATOR,  /* a check that is either met or not */
    TALLY_JUDGE,      /* another model's opinion */
    TALLY_CORRECTION, /* the user corrected the answer, or asked the same in other words at once */
    TALLY_IMPLICIT,   /* asked again, abandoned */
    TALLY_SILENCE,    /* nothing came back */
    TALLY_SOURCES
};
const char *tally_source_name(enum tally_source s);
bool tally_source_parse(struct slice name, enum tally_source *out);

/* Fields are numbers below TALLY_FIELDS: the table below; answers by stage and bin; then label sums
 * (thousandths of an answer) by source, good or bad, first or later, and bin: the same score means
 * another chance after another answer than on its own. */
enum tally_scalar {
    TALLY_FIRST,        /* times asked as the first arm of a request */
    TALLY_ASKED,        /* times asked */
    TALLY_SERVED,       /* answers that went to the client */
    TALLY_RESOLVED,     /* served answers that have a label, of whatever source */
    TALLY_FAILED,       /* no answer: errors, time-outs */
    TALLY_COST_NANOUSD, /* of attempts that were answered */
    TALLY_COST_SQUARE,  /* sum of (cost in micro-dollars)^2 */
    TALLY_TOKENS_IN,    /* of answered attempts */
    TALLY_TOKENS_OUT,
    TALLY_LATENCY_MS,      /* start to end of answered attempts */
    TALLY_FORETOLD,        /* what answered attempts were to cost by their prompts' length, */
    TALLY_FORETOLD_COST,   /* and did, in nano-dollars: of those where it was foretold */
    TALLY_PREDICTED_MILLI, /* success that decisions expected of requests that got a label later */
    TALLY_REALISED_MILLI,  /* ... and their labels */
    TALLY_FORESEEN,        /* labels of first answers whose chance was foreseen (foresight.h) */
    TALLY_BELIEVED_LOSS,   /* millionths of a nat that their class's chance lost, */
    TALLY_FORESEEN_LOSS,   /* and that the foreseen one did; */
    TALLY_LEAD_SQUARE,     /* sum of (thousandths of a nat between the two)^2 */
    TALLY_SCALARS
};
#define TALLY_ANSWERS (TALLY_SCALARS)
#define TALLY_LABELS  (TALLY_ANSWERS + TALLY_STAGES * TALLY_BINS)
#define TALLY_FIELDS  (TALLY_LABELS + 4 * TALLY_SOURCES * TALLY_BINS)

int tally_answers(int stage, int bin);
int tally_label(enum tally_source s, bool good, bool later, int bin);
/* Whose label a field counts, and a good one? false: it counts no label. */
bool tally_label_is(int field, enum tally_source *s, bool *good);
/* 0: nothing to compare with (best_p < 0), else 1..5. */
int tally_stage(double best_p);

/* "cost_nanousd", "n.0.11" (stage, bin), "good.explicit.7", "good.explicit.later.7": what
 * stores call the field. */
#define TALLY_NAME_BYTES 40
void tally_field_name(int field, char out[TALLY_NAME_BYTES]);
bool tally_field_parse(struct slice name, int *field);
/* What the fast buckets keep: labels, and what they resolve. */
bool tally_is_fast(int field);

enum tally_kind { TALLY_SLOW, TALLY_QUICK, TALLY_KINDS }; /* 6 hours for 60 days; 5 min for a day */
int64_t tally_bucket_us(enum tally_kind k);               /* width */
int64_t tally_keep_us(enum tally_kind k);                 /* older ones may be deleted */
int64_t tally_bucket_start(enum tally_kind k, int64_t wall_us);

/* Increments on their way to a store, or the content of one bucket. */
struct tally {
    int64_t count[TALLY_FIELDS];
};
#define TALLY_LIMIT (INT64_C(1) << 62)
void tally_add(struct tally *t, int field, int64_t by); /* saturates at +-TALLY_LIMIT */

/* The increments of one label, of an answer in that stage and bin. value_milli 0..1000: a success
 * for so many thousandths; sign -1 takes it back. */
void tally_add_label(struct tally *t, enum tally_source s, int stage, int bin, int value_milli,
                     int sign);

/* What is left of all buckets at `now`, each weighing 2^(-age / half-life); the age is that of the
 * bucket's start, whole buckets, so that replicas that read at slightly different times agree for
 * as long as `now` lies in the same bucket. */
struct tally_view {
    double x[TALLY_FIELDS];
};
double tally_weight(enum tally_kind k, int64_t bucket_start_us, int64_t now_us,
                    int64_t half_life_ms);
void tally_view_add(struct tally_view *v, int field, int64_t count, double weight);
/* Sums that are below zero (an outcome taken back whose first half was lost) count as nothing.
 * Returns how many there were. Call it once after the last tally_view_add. */
int tally_view_check(struct tally_view *v);
void tally_view_merge(struct tally_view *into, const struct tally_view *from, double weight);

/* How much a label of each source counts, 0..1. */
struct tally_trust {
    double source[TALLY_SOURCES];
};
extern const struct tally_trust tally_trust_default;
/* Successes and failures per bin, in answers, of first or of later answers. */
void tally_view_labels(const struct tally_view *v, const struct tally_trust *trust, bool later,
                       double good[TALLY_BINS], double bad[TALLY_BINS]);

#endif
