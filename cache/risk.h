/* May this stored answer be served to that question? The operator states one number, max_error: the
 * share of requests that may get a wrong answer out of the cache. Everything here serves to spend
 * that budget on the surest hits and to notice when it is overspent.
 *
 * P(right): a ridge logistic regression, pooled over all answers, on what is known of question and
 * neighbour, with a random offset per stored answer (some are hit by many near misses): z = w.f,
 * u ~ N(0, RISK_OFFSET_VARIANCE) by Newton from that answer's labels, p = sigmoid((z + u) /
 * sqrt(1 + pi v / 8)) where v adds the curvature at u and that of the weights (Laplace): few
 * labels, less sure.
 *
 * The cut: every RISK_CUT_EVERY requests, over the last RISK_WINDOW of them sorted by p downwards,
 * the longest prefix whose expected errors fit the budget: r * sum(1 - p) <= RISK_AIM * max_error *
 * window - debt. A hit is served when p reaches the last p of that prefix. The debt is what was
 * overspent so far by what is known now. Below RISK_FLOOR nothing is served, however much of the
 * budget is left: where few neighbours are right, as in a young cache, it would buy hardly any
 * right answers.
 *
 * Audits: a share of the hits is served and, in the background, answered afresh and compared; most
 * of it where the outcome is least certain (Neyman's allocation, shares proportional to
 * sqrt(p (1 - p))), weighted accordingly. The correction r = (wrong + 2 + sqrt(wrong + 2)) /
 * (expected wrong + 2) multiplies the model's own estimate: a model that is too sure tightens its
 * own cut. Both sums fade over RISK_MEMORY requests.
 *
 * Stops: nothing is served (shadow) before RISK_WARM_LABELS labels and RISK_PROBATION labelled
 * would-be hits. Audited errors above twice max_error with one-sided 95 % confidence: shadow and an
 * alarm; would-be hits go on being labelled, and end it when their estimate is within the bound
 * again. An answer that was wrong in RISK_QUARANTINE audits, or by the word of as many users, is
 * never served again; estimates and alarm rest on audits alone, for users speak when they like.
 *
 * What is promised: the average over traffic stays below max_error as far as audits and their judge
 * can tell. Not promised: anything about a single request, or about traffic that changes faster
 * than audits notice. Labels that the judge gets wrong cost hits first: they make the model less
 * sure.
 *
 * A scope may have a risk of its own under a parent: budget, cut and audits are its own, and so are
 * the weights once it has RISK_OWN_LABELS labels; until then the parent's, which is given the
 * labels of all scopes (risk_pool).
 *
 * Several processes may spend one budget: each is given the labels of all, in one order, and how
 * many requests the others counted. The window is each one's own.
 *
 * Sources: the risk budget is this project's; vCache (arXiv 2502.03771) has the idea of a stated
 * error and of labels from the misses; conformal risk control (arXiv 2208.02814) that of a bound on
 * the average; MacKay 1992 the probit-like shrinking of p. Pure but for its memory; one thread; no
 * clock; randomness is the caller's. */
#ifndef CACHE_RISK_H
#define CACHE_RISK_H

#include "base/err.h"
#include "base/slice.h"
#include "cache/guard.h"

#define RISK_FEATURES        14
#define RISK_OFFSET_VARIANCE 1.0
#define RISK_AIM             0.92
#define RISK_FLOOR           0.5 /* what is likelier wrong than right is not served */
#define RISK_WINDOW          2000
#define RISK_CUT_EVERY       100
#define RISK_REFIT_EVERY     250
#define RISK_WARM_LABELS     300
#define RISK_OWN_LABELS      2000
#define RISK_PROBATION       40
#define RISK_MEMORY          40000
#define RISK_KEPT_LABELS     15000
#define RISK_ANSWER_LABELS   32 /* the newest of each answer */
#define RISK_QUARANTINE      2
#define RISK_NEIGHBOURS      8

struct risk;

struct risk_options {
    double max_error; /* wrong answers per request; 0 < x < 0.5 */
    double audit_min; /* share of hits audited in the long run, 0..1 */
    /* Whose labels are kept, >= 1. The longest unlabelled go first: what is no longer stored gets
     * no labels. Those in quarantine go last, when nothing else is left. */
    size_t max_answers;
};
/* parent: borrowed, outlives this one; NULL: none. */
struct risk *risk_new(const struct risk_options *opt, struct risk *parent);
void risk_free(struct risk *r);                                    /* NULL is fine */
void risk_set(struct risk *r, double max_error, double audit_min); /* keeps what was learned */

/* A stored answer that passed the gates, by its nearest key. */
struct risk_neighbour {
    uint64_t answer; /* not 0 */
    float cosine;
    float rival; /* best cosine of a key of any other answer, gates or not; 0: there is none */
    float votes; /* share of this answer's keys among the RISK_NEIGHBOURS nearest keys, 0..1 */
    int keys;    /* of this answer */
    struct guard_likeness like;
};
/* The features of one, as they are remembered with its label. */
void risk_features(const struct risk_neighbour *n, float out[static RISK_FEATURES]);

struct risk_verdict {
    int choice;                    /* index of the surest neighbour; -1: there was none */
    double p;                      /* that it is right */
    double cut;                    /* above 1: nothing is served */
    bool serve;                    /* p reaches the cut */
    bool would_serve;              /* it would, if this were not in shadow */
    bool audit;                    /* serve, and answer afresh and compare as well */
    double audit_share;            /* the probability with which `audit` was set */
    float features[RISK_FEATURES]; /* of the choice */
};
/* One request, with the answers (at most RISK_NEIGHBOURS, in any order) that may be served at all.
 * uniform in [0, 1) decides about the audit. Counts the request. */
void risk_consider(struct risk *r, const struct risk_neighbour *n, int count, double uniform,
                   struct risk_verdict *out);

/* What risk_consider would say, without counting a request: for those who want to know why. p[i] is
 * the probability of each neighbour, -1: its answer is in quarantine. No audit is chosen. */
void risk_peek(const struct risk *r, const struct risk_neighbour *n, int count, double *p,
               struct risk_verdict *out);

/* What a bound would give, by the last requests (RISK_WINDOW of them at most) and by what is known
 * now of their neighbours; without the debt of the bound that holds. */
struct risk_prospect {
    size_t requests;
    double cut;   /* above 1: nothing would be served */
    double hits;  /* share of the requests */
    double error; /* expected wrong answers, share of the requests, as audits correct it */
};
void risk_prospect(const struct risk *r, double max_error, struct risk_prospect *out);

/* A comparison of the stored answer with a fresh one: of a miss, or of an audited hit. */
struct risk_label {
    uint64_t answer;
    float features[RISK_FEATURES];
    double p; /* of the verdict */
    double
        audit_share; /* of the verdict when the hit was audited; 1 for a would-be hit in shadow that
                        was labelled as a miss; 0: neither, it says nothing about served hits */
    double weight;   /* 1: a judge compared; less for weak signals such as a user's thumb */
    bool word;       /* a user's word on a served hit, audit_share 0: towards quarantine only */
    bool right;
};
void risk_learn(struct risk *r, const struct risk_label *l);
/* For the weights only: a label of a scope below, whose answers and audits are its own. */
void risk_pool(struct risk *r, const struct risk_label *l);
/* What was considered here since the last time, and the sum of 1 - p over what of it was served:
 * for others who spend the same budget. */
struct risk_counts {
    uint64_t requests;
    double risked;
};
uint64_t risk_untold(const struct risk *r); /* requests that risk_take_counts would tell of */
struct risk_counts risk_take_counts(struct risk *r);
void risk_count(struct risk *r, const struct risk_counts *others);
bool risk_quarantined(const struct risk *r, uint64_t answer);

struct risk_facts {
    double cut, correction, weights[RISK_FEATURES];
    uint64_t requests, served, labels, audits, audited_wrong;
    double error, error_low,
        error_high; /* wrong answers per request as audited, its 90 % interval */
    bool warm, alarm;
    size_t answers;
};
void risk_facts(const struct risk *r, struct risk_facts *out);

/* All that was learned, as bytes (versioned, with a checksum, of this machine's byte order).
 * ERR_BAD_CACHE_ENTRY when they are not exactly that; r is then as it was. */
size_t risk_save_bytes(const struct risk *r);
void risk_save(const struct risk *r, char *out);
enum err risk_load(struct risk *r, struct slice saved) MUST_CHECK;

#endif
