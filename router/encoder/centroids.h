/* Classes that an operator declares by a few example prompts each: a query belongs to the class
 * whose examples it lies nearest to, or to none when it lies no nearer than prompts at large do.
 * There is no training set: where "near enough" begins is found from a background of prompts of
 * every kind (background.h), class by class.
 *
 * Vectors are unit length and of one space (fingerprint.h); keeping them so is the caller's part.
 * Pure; immutable after centroids_new; any thread. */
#ifndef ROUTER_ENCODER_CENTROIDS_H
#define ROUTER_ENCODER_CENTROIDS_H

#include "base/err.h"
#include "base/slice.h"

struct centroids;

struct centroids_class {
    struct slice name;     /* for errors; need not outlive the call */
    const float *examples; /* [count][dim]: its example prompts, embedded; copied */
    size_t count;          /* >= 1 */
};

struct centroids_options {
    int dim;
    const float *background; /* [background_count][dim]; borrowed for the call */
    size_t background_count; /* >= CENTROIDS_MIN_BACKGROUND */
    double strictness; /* 0: take the nearest class always; 1: the usual; more: fewer, surer */
};
#define CENTROIDS_MIN_BACKGROUND 32
#define CENTROIDS_MAX_DIM        4096

/* ERR_INVALID_POLICY with t: which class, and why: no examples, a name twice, examples of two
 * classes that are the same text, an example without a direction (not of unit length). */
enum err centroids_new(const struct centroids_class *classes, size_t count,
                       const struct centroids_options *opt, struct centroids **out,
                       struct err_text *t) MUST_CHECK;
void centroids_free(struct centroids *c); /* NULL is fine */

struct centroids_match {
    int chosen;       /* index of the class; -1: none is near enough */
    int nearest;      /* index of the nearest class, near enough or not */
    size_t example;   /* of the nearest class: its example nearest to the query */
    float confidence; /* 0..1, that the query belongs to `nearest`: 0.5 at the threshold */
    float similarity; /* the score of `nearest`, -1..1 */
    float threshold;  /* the score from which on `nearest` takes a query */
};
/* embedding[dim]; an embedding that is all zero (a text without a known token) matches none. */
void centroids_decide(const struct centroids *c, const float *embedding,
                      struct centroids_match *out);

#endif
