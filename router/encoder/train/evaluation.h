/* What a set of heads is worth on rows that it has not seen: the figures behind a report. Pure. */
#ifndef ROUTER_ENCODER_TRAIN_EVALUATION_H
#define ROUTER_ENCODER_TRAIN_EVALUATION_H

#include "router/encoder/heads.h"
#include "router/encoder/train/metrics.h"

#define EVALUATION_SCOPE_CUT 0.05f /* in-scope scores below it count as out of scope */

struct evaluation_model {
    size_t rows;
    double success; /* share */
    double auroc;
    struct metrics_reliability reliability;
};

struct evaluation {
    size_t rows;                    /* that were given */
    struct metrics_classes classes; /* .rows 0: no row has a class */
    size_t scope_in, scope_out;     /* rows in and out of scope that have an in-scope score */
    double scope_auroc;             /* NaN without rows of both kinds */
    double cut_in, cut_out;         /* shares of them that lie below the cut */
    size_t models;
    struct evaluation_model *model; /* owned */
};

/* One prediction per row, [rows] each; borrowed. */
struct predictions {
    size_t rows, classes, models;
    const float *class_p;  /* [rows][classes] or NULL */
    const float *in_scope; /* [rows] or NULL */
    const float *success;  /* [rows][models] or NULL */
    const int *label;      /* [rows]: a class, ROWS_NO_CLASS or ROWS_OUT_OF_SCOPE */
    const float *target;   /* [rows][models], NAN: not known */
};
/* Rows whose prediction is NAN are left out. */
void evaluation_init(struct evaluation *e, const struct predictions *p);
void evaluation_clear(struct evaluation *e);

/* Asks h for each row of x[rows][heads_features]: class_p[rows][class_count], in_scope[rows] and
 * success[rows][model_count]; those that h does not have may be NULL. */
void evaluation_predict(const struct heads *h, const float *x, size_t rows, float *class_p,
                        float *in_scope, float *success, int threads);

#endif
