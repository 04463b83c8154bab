/* How easy a query is for each arm before anybody answered it, from labelled queries that mean
 * something like it: the nearest ones' successes, weighted by likeness and drawn to what is
 * believed of the class (nearest neighbours match or beat learned routers: arXiv 2505.12601).
 * Adding a label changes what is estimated at once; nothing is trained. Memory is bounded: the
 * oldest query gives way.
 *
 * A look through the whole memory is one multiply-add per entry and dimension. Not thread-safe: one
 * thread adds and asks, or a copy is published. */
#ifndef ROUTER_DECIDE_EXANTE_H
#define ROUTER_DECIDE_EXANTE_H

#include <stddef.h>

#define EXANTE_NEIGHBOURS 100
#define EXANTE_WIDTH      0.2 /* a neighbour weighs exp((cosine - 1) / width) */
#define EXANTE_PSEUDO     4.0 /* how many of the nearest kind what is believed counts for */
/* A query whose nearest neighbour is farther than this is like nothing that was seen. */
#define EXANTE_STRANGER 0.3

struct exante;

/* Vectors have dim floats and length 1 (or are all zero: like nothing). */
struct exante *exante_new(int dim, int arms, size_t capacity);
void exante_free(struct exante *e); /* NULL is fine */
/* label[arms]: 0..1, NAN: not known. */
void exante_add(struct exante *e, const float *vector, const double *label);
/* believed[arms]: success without looking at the query, as its class has it. lift[arms]: log-odds
 * by which the query is easier than that; 0 where nothing like it is known. */
void exante_lift(const struct exante *e, const float *vector, const double *believed, double *lift);

#endif
