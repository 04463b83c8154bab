/* Cosine similarity of two vectors. Pure. */
#ifndef ROUTER_ENCODER_COSINE_H
#define ROUTER_ENCODER_COSINE_H

#include <stddef.h>

/* a[dim], b[dim], of any length; summed in doubles. 0 when either is all zeros or holds what is not
 * a number. */
double cosine(const float *a, const float *b, size_t dim);

#endif
