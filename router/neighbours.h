/* Labelled queries by what they mean, of each route: what their outcomes say of a new query, before
 * any model was asked (router/decide/exante.h), times the trust that it has earned there.
 *
 * Vectors lie in memory as bytes, in the order that the encoder's int8 kernels read: a look through
 * EXANTE_ROWS of them takes a few microseconds. Of one route: 2048 rows of 192 dimensions are 400
 * kB, and 16 bytes for each row and arm. Immutable and refcounted (atomic); any thread may ask. */
#ifndef ROUTER_NEIGHBOURS_H
#define ROUTER_NEIGHBOURS_H

#include "base/slice.h"
#include "router/decide/exante.h"
#include "router/encoder/fingerprint.h"

#define NEIGHBOURS_MAX_DIM 1024

/* Borrowed for the call. All vectors are of one encoder: the caller lets no other in. */
struct neighbours_route_in {
    const char *name;
    const char *const *model;             /* [arms] */
    int arms;                             /* 1..PANDORA_BOXES */
    size_t rows;                          /* at most EXANTE_ROWS, newest first */
    const float *vector;                  /* [rows][dim], of length 1 */
    const struct exante_outcome *outcome; /* [rows][arms] */
};

struct neighbours;
/* dim: 1..NEIGHBOURS_MAX_DIM. */
struct neighbours *neighbours_new(const struct neighbours_route_in *routes, int count, int dim);
struct neighbours *neighbours_ref(struct neighbours *n); /* NULL is fine; returns n */
void neighbours_unref(struct neighbours *n);             /* NULL is fine */

/* One route's, valid as long as n; NULL: there is none. n may be NULL. */
struct neighbours_route;
const struct neighbours_route *neighbours_find(const struct neighbours *n, struct slice route);
size_t neighbours_rows(const struct neighbours_route *r);
int neighbours_arms(const struct neighbours_route *r);
struct slice neighbours_model(const struct neighbours_route *r, int arm);
double neighbours_trust(const struct neighbours_route *r); /* 0..1 */
/* vector[dim] of length 1, or all zeros: like nothing. believed[arms], 0..1: success without
 * neighbours. self: the row of the query itself, which is left out; NEIGHBOURS_NONE. lift[arms]:
 * log-odds, trust is not in it. */
#define NEIGHBOURS_NONE EXANTE_NONE
void neighbours_lift(const struct neighbours_route *r, const float *vector, const double *believed,
                     size_t self, double *lift);

#endif
