/* One tile of a product: some rows by one panel of columns, for the vector instruction sets. */
#ifndef ROUTER_ENCODER_CPU_TILE_H
#define ROUTER_ENCODER_CPU_TILE_H

#include "router/encoder/cpu/ops.h"

/* For what must end up in registers. */
#define INLINE static inline __attribute__((always_inline))

/* What a tile needs, in locals: stores of floats could change anything behind a pointer, as far as
 * the compiler knows. */
struct tile {
    const void *in, *panel;
    const char *ahead; /* to be fetched meanwhile */
    size_t inputs, out_stride;
    const float *in_scale, *scale, *bias;
    const int32_t *base;
    float *out, *row_max;
    const struct cpu_gelu *gelu;
};

#endif
