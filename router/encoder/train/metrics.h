/* How good a frozen head is, on rows it has not seen. Pure; any thread. */
#ifndef ROUTER_ENCODER_TRAIN_METRICS_H
#define ROUTER_ENCODER_TRAIN_METRICS_H

#include <stddef.h>

/* The area under the ROC curve: the chance that a positive row has a higher score than a negative
 * one, ties counting half (Mann-Whitney). NaN when there are not both kinds. */
double metrics_auroc(const float *score, const unsigned char *positive, size_t rows);

/* ---- reliability ---- */

#define METRICS_BINS 15 /* of equal width, as is usual for ECE */

struct metrics_bin {
    size_t rows;
    double said, was; /* mean probability, share of successes; 0 when empty */
};
/* What was said against what came true; came_true in 0..1. */
struct metrics_reliability {
    struct metrics_bin bin[METRICS_BINS];
    double ece;      /* expected calibration error: mean |said - was| over bins, by rows */
    double brier;    /* mean (said - came_true)^2 */
    double log_loss; /* mean negative log-likelihood, natural logarithm */
};
struct metrics_reliability metrics_reliability(const float *said, const float *came_true,
                                               size_t rows);

/* ---- selective answers ---- */

#define METRICS_COVERAGES 10
/* error[i]: the share of wrong answers among the (i + 1) * 10 % of rows with the highest
 * confidence. aurc: the mean error over all coverages (Geifman & El-Yaniv 2017). */
struct metrics_coverage {
    double error[METRICS_COVERAGES], aurc;
};
struct metrics_coverage metrics_coverage(const float *confidence, const unsigned char *right,
                                         size_t rows);

/* ---- classes ---- */

struct metrics_class {
    size_t rows, chosen, right;
    double precision, recall, f1; /* 0 where nothing was there to count */
    double auroc;                 /* against all others; NaN when all rows are of it, or none */
};

struct metrics_classes {
    size_t rows, classes;
    size_t *confusion;              /* [classes][classes]: truth, chosen; owned */
    struct metrics_class *class;    /* [classes]; owned */
    double accuracy, macro_f1;      /* the latter over classes that have rows */
    double brier, log_loss;         /* over all classes of a row: sum (p - is)^2, -log p[truth] */
    double auroc;                   /* mean over classes that have one */
    struct metrics_reliability top; /* of the chosen class's probability */
    struct metrics_coverage coverage;
};
/* p[rows][classes], label[rows]; rows >= 1. Cleared by metrics_classes_clear. */
void metrics_classes_init(struct metrics_classes *m, const float *p, const int *label, size_t rows,
                          size_t classes);
void metrics_classes_clear(struct metrics_classes *m);

#endif
