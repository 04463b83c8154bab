/* What a query is about: the classes that the policy declares by examples, and the labels of a
 * trained head, from one of two tiers of vectors.
 *
 *   STATIC  the table of token vectors inside weir; microseconds, on the caller's thread
 *   FULL    a transformer's embedding and features, which the caller has from encoder_service
 *
 * The rule: a declared class wins when its examples take the query in; else the head's label, if
 * the query looks like those the head was trained on; else the query is of no class.
 *
 * Immutable once built, refcounted (atomic), part of the snapshot. Built on the control thread or
 * by a command: the examples are encoded then. Any thread may classify. */
#ifndef ROUTER_CLASSIFIER_H
#define ROUTER_CLASSIFIER_H

#include "base/arena.h"
#include "policies/policy.h"
#include "policies/policy_load.h"
#include "router/encoder/encoder.h"

struct classifier;

enum classifier_tier { CLASSIFIER_STATIC, CLASSIFIER_FULL, CLASSIFIER_TIERS };
const char *classifier_tier_name(enum classifier_tier t); /* "static", "full" */

enum classified_by { CLASSIFIED_NOT, CLASSIFIED_BY_EXAMPLES, CLASSIFIED_BY_HEAD };
const char *classified_by_name(enum classified_by by); /* "none", "examples", "head" */

struct classification {
    enum classifier_tier tier;
    enum classified_by by;
    struct slice label; /* borrowed from the classifier; "" when by is NOT */
    float confidence;   /* 0..1: of label; 0 when by is NOT */
    float in_scope;     /* of the head, 0..1; 1 without a head */
    /* For people. Borrowed likewise; "" where there is none. */
    struct slice runner_up; /* the head's next best label */
    float runner_up_confidence;
    struct slice nearest; /* the declared class whose examples are nearest, taken or not */
    const char *nearest_example;
    float similarity, threshold; /* of nearest, and from where on it is taken */
};

struct classifier_options {
    const struct policy_encoder *encoder;
    const struct policy_class *classes; /* copied */
    size_t class_count;
    const struct encoder *open; /* NULL exactly when encoder->model is POLICY_ENCODER_STATIC;
                                   borrowed for the call */
    const _Atomic bool *stop;   /* NULL, or: give up once it is true */
};

/* ERR_BAD_WEIGHTS: heads that cannot be read or belong to another encoder; ERR_INVALID_POLICY: a
 * class whose examples say nothing; ERR_DRAINING: told to stop; all with t. */
enum err classifier_new(const struct classifier_options *opt, struct classifier **out,
                        struct err_text *t) MUST_CHECK;
struct classifier *classifier_ref(struct classifier *c);
void classifier_unref(struct classifier *c); /* NULL is fine */
/* Would these options make the same one again? open is compared by its fingerprint; a heads file
 * by path, size and time of change. */
bool classifier_suits(const struct classifier *c, const struct classifier_options *opt);

void classifier_static(const struct classifier *c, struct slice text, struct classification *out);
/* embedding[dim] and features[2 * dim] of text, of the encoder that c was built with. */
void classifier_full(const struct classifier *c, struct slice text, const float *embedding,
                     const float *features, struct classification *out);

/* The success heads of a tier: P(that model's answer is a success). */
size_t classifier_model_count(const struct classifier *c, enum classifier_tier t);
struct slice classifier_model_name(const struct classifier *c, enum classifier_tier t, size_t i);
/* probs[model_count]; embedding and features as above, NULL for STATIC. */
void classifier_success(const struct classifier *c, enum classifier_tier t, struct slice text,
                        const float *features, float *probs);

/* For policy_load_options.labels_fn: is the encoder to be had, and which labels do its heads know?
 * ctx is NULL, or a struct encoder that is what e asks for, so that no file of it is read. */
enum err classifier_labels(void *ctx, const struct policy_encoder *e, struct arena *a,
                           struct policy_labels *out, const char **key, struct err_text *why);

#endif
