/* The matrix product of training: small blocks that stay in the first cache levels, accumulated in
 * place. Pure; any thread. */
#ifndef ROUTER_ENCODER_TRAIN_PANEL_H
#define ROUTER_ENCODER_TRAIN_PANEL_H

#include <stddef.h>

#define PANEL_COLUMNS 16 /* widths are padded to a multiple of it, with zeros */

static inline size_t panel_width(size_t columns)
{
    return (columns + PANEL_COLUMNS - 1) / PANEL_COLUMNS * PANEL_COLUMNS;
}

/* out[m][width] += a[m][k] * b[k][width], all row-major; element (i, j) of a lies at
 * a[i * row_step + j * column_step], so that a transposed matrix needs no copy. width is a multiple
 * of PANEL_COLUMNS. */
void panel_multiply(float *out, const float *a, size_t row_step, size_t column_step, const float *b,
                    size_t m, size_t k, size_t width);

#endif
