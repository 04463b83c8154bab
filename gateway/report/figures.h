/* The figures of a cost report, computed from traffic. Intervals are those of router/report at 95 %
 * and hold at every look. NAN and INFINITY: nothing is known. Single-threaded. */
#ifndef GATEWAY_REPORT_FIGURES_H
#define GATEWAY_REPORT_FIGURES_H

#include "gateway/report/traffic.h"
#include "policies/policy.h"
#include "router/decide/evaluate.h"
#include "router/report/interval.h"

#define FIGURES_MODELS 16
#define FIGURES_ALPHA  0.05
/* Of the alarms. */
#define FIGURES_ALARM 0.001

struct figures_class {
    int name; /* -1: all of them */
    int64_t requests, resolved;
    double successes;
    nanousd cost;                    /* of all its requests */
    struct interval success;         /* share of resolved ones */
    struct interval usd_per_success; /* of resolved ones */
    double effective_usd;            /* with the price of a failure; NAN: no success */
};

enum figures_basis { BASIS_NONE, BASIS_HOLDOUT, BASIS_AUDITS, BASIS_REPRICED };

struct figures_saving {
    enum figures_basis basis;
    const char *baseline;  /* a model's name, borrowed; NULL: none */
    int model;             /* the same as a name of the traffic; -1: it was never asked */
    int64_t n;             /* requests that the comparison rests on */
    struct interval share; /* 0..1 of what the baseline would have cost */
    const char *why;       /* BASIS_NONE: a sentence */
};

/* A model as if it had answered alone, from requests on which all of them were judged. */
struct figures_single {
    int model;
    double cost_nanousd, success; /* means */
};

struct figures {
    const struct traffic *t;
    nanousd failure_price;
    int64_t ok, failed, aborted, cached, escalated, decided, explored, holdouts;
    nanousd saved_by_cache, explored_cost;
    struct figures_class all, *class; /* owned: by cost */
    int classes;
    struct figures_saving saving;
    int64_t compared; /* audited requests that singles rest on */
    struct figures_single single[FIGURES_MODELS];
    int singles;
    struct evaluate_point weir; /* on the same requests */
    double choice_log_e, feedback_log_e;
};

struct figures_options {
    const char *baseline;        /* a model; NULL: the holdout's, else the dearest */
    const struct policy *policy; /* for prices; NULL: none */
    nanousd failure_price;
};
/* t is borrowed for as long as the figures live. */
void figures_init(struct figures *f, const struct traffic *t, const struct figures_options *o);
void figures_clear(struct figures *f);

const char *figures_basis_name(enum figures_basis b); /* "holdout" ... */

#endif
