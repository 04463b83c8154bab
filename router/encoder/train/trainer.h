/* Trains a set of heads: chooses the penalty by cross-validation, fits, and calibrates on the rows
 * that each fold left out. What comes out is ready to be written (heads_parts.h), with the
 * probabilities that cross-validation gave each row. One thread calls; the work is spread. */
#ifndef ROUTER_ENCODER_TRAIN_TRAINER_H
#define ROUTER_ENCODER_TRAIN_TRAINER_H

#include "router/encoder/heads_parts.h"
#include "router/encoder/train/calibrate.h"
#include "router/encoder/train/linear_fit.h"

/* All borrowed. */
struct train_set {
    const float *x; /* [rows][features] */
    size_t rows, features;
    size_t vector;    /* leading features that are one vector: what the scope's cosines see */
    const int *label; /* [rows]: a class, or negative: the row is not for the class head */
    size_t classes;
    const float *target; /* [rows][models]: success 0..1, NAN: not known */
    size_t models;
    const int *fold; /* [rows]: 0..folds-1 */
    int folds;       /* >= 2 */
};

struct train_options {
    double class_l2, success_l2; /* negative: chosen by cross-validation */
    bool balanced;               /* classes weigh alike, however many rows they have */
    bool tiers;                  /* models are linked as LINEAR_TIERS, weakest first */
    int threads;
    /* What is being done and how far it is, 0..1; may be NULL. */
    void (*progress)(void *ctx, const char *what, double share);
    void *progress_ctx;
};

/* The way to one penalty: the cross-validated log-loss of each that was tried. */
#define TRAIN_PENALTIES 9
struct train_choice {
    double l2[TRAIN_PENALTIES], loss[TRAIN_PENALTIES];
    size_t tried, best;
};

struct trained {
    /* class head; outputs 0: none */
    struct linear_model class_model;
    float temperature;
    struct train_choice class_choice;
    float *class_p;  /* [rows][classes] of cross-validation, calibrated; NAN rows without a class */
    float *in_scope; /* [rows]: the scope's p-value of the row by cross-validation, NAN as above */
    float *center, *scope_score;
    size_t scope_count;
    float scope_scale[2];
    /* success heads; outputs 0: none */
    struct linear_model success_model;
    size_t *model_order; /* [models]: output i is model model_order[i] of the set */
    struct train_choice success_choice;
    float *success_p; /* [rows][models] in output order, calibrated */
    float *platt;     /* [models][2] */
    float *knot_x, *knot_y;
    size_t knots;
    int iterations; /* of the final fits */
};

/* ERR_BAD_REQUEST + t: the rows do not allow it. */
enum err train_heads(const struct train_set *set, const struct train_options *opt,
                     struct trained *out, struct err_text *t) MUST_CHECK;
void trained_clear(struct trained *m);

/* Points the parts' numbers at m's; names, encoder, space, layout and report are the caller's. */
void trained_parts(const struct trained *m, const struct train_set *set, bool tiers,
                   struct heads_parts *out);

#endif
