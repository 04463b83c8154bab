/* What the static table's writer (train/distil.c), its tests and its benchmark share with it. */
#ifndef ROUTER_ENCODER_STATIC_TABLE_INT_H
#define ROUTER_ENCODER_STATIC_TABLE_INT_H

#include "router/encoder/static_table.h"

#define STATIC_TABLE_FORMAT   "weir static table 1" /* the metadata `format` */
#define STATIC_TABLE_MAX_DIM  1024
#define STATIC_TABLE_DIM_STEP 8 /* dim is a multiple of it */

/* out[dim] = the sum of the vectors of ids, made one long; false: it has no length, out is zero. */
typedef bool (*static_table_sum_fn)(const struct static_table *s, const int32_t *ids, size_t count,
                                    float *out);
/* The loops for "avx512", "avx2" or "portable", NULL for the best one here; NULL when this machine
 * has not got it. */
static_table_sum_fn static_table_sum(const char *isa);

#endif
