/* The inside of struct risk, shared by risk.c (decides, learns), risk_fit.c (the regression) and
 * risk_save.c (bytes). Nobody else includes it. */
#ifndef CACHE_RISK_INT_H
#define CACHE_RISK_INT_H

#include "cache/risk.h"

struct risk_sample {
    float f[RISK_FEATURES];
    float weight;
    uint32_t right;
};

/* The pooled regression and the labels it stands on. */
struct risk_fit {
    double w[RISK_FEATURES];
    double factor[RISK_FEATURES][RISK_FEATURES]; /* Cholesky factor of the posterior's precision,
                                                    lower; [0][0] == 0: never fitted */
    struct risk_sample *samples;                 /* owned: a ring of RISK_KEPT_LABELS */
    uint64_t count, since;                       /* labels ever; since the last fit */
};

void risk_fit_add(struct risk_fit *fit, const struct risk_label *l);
double risk_fit_logit(const struct risk_fit *fit, const float f[static RISK_FEATURES]);
double risk_fit_variance(const struct risk_fit *fit, const float f[static RISK_FEATURES]);

struct risk_answer {
    uint64_t id;       /* 0: a free slot */
    uint64_t labelled; /* serial of its newest label */
    float offset, variance;
    float z[RISK_ANSWER_LABELS];
    uint8_t right[RISK_ANSWER_LABELS];
    uint32_t count; /* labels ever; the ring holds the newest */
    uint32_t wrong_audits;
};
/* From its labels anew: the mode of the offset's posterior, and the curvature there. */
void risk_answer_fit(struct risk_answer *a);

/* What the audits say, fading. Sums of importance weights: an audit of share s counts 1 / s. */
struct risk_audits {
    double wrong, expected;  /* in units of mean audits: for the correction */
    double requests;         /* considered */
    double errors, variance; /* estimate of wrong answers served, and of its variance */
};

struct risk {
    struct risk_options opt;
    struct risk *parent; /* borrowed; NULL */
    struct risk_fit fit;
    struct risk_answer *answers; /* owned: open addressing, a power of two, at most half full */
    size_t slots, answer_count;
    uint64_t serial;           /* of labels on answers */
    float window[RISK_WINDOW]; /* p of the newest requests; 0 where nothing could be served */
    uint64_t requests, served, audits, audited_wrong, would_be;
    double risked; /* sum of 1 - p over served hits, fading */
    double doubt;  /* running mean of sqrt(p (1 - p)) over hits */
    struct risk_audits seen;
    struct risk_counts untold; /* of `seen` and `risked`: counted here, not yet taken */
    double cut, correction;
    bool alarm;
};

/* The record of an answer, made if need be: then another may have gone. */
struct risk_answer *risk_answer_of(struct risk *r, uint64_t id);

#endif
