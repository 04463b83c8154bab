/* One loop nest, compiled for what the CPU has. Six rows by sixteen columns are summed in
 * registers: as vectors of the compiler's, because it spills arrays. Called by linear_fit.c. */
#include "router/encoder/train/panel.h"

#include <string.h>

#define ROWS 6
typedef float lanes __attribute__((vector_size(PANEL_COLUMNS * sizeof(float))));

/* rows is a constant at every call, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void block(float *out, const float *a, size_t row_step,
                                                        size_t column_step, const float *b,
                                                        size_t k, size_t width, size_t rows)
{
    lanes sum[ROWS], x;
    for (size_t r = 0; r < rows; r++)
        memcpy(&sum[r], out + r * width, sizeof sum[r]);
    for (size_t j = 0; j < k; j++) {
        memcpy(&x, b + j * width, sizeof x);
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++)
            sum[r] += a[r * row_step + j * column_step] * x;
    }
    for (size_t r = 0; r < rows; r++)
        memcpy(out + r * width, &sum[r], sizeof sum[r]);
}

static inline __attribute__((always_inline)) void multiply(float *out, const float *a,
                                                           size_t row_step, size_t column_step,
                                                           const float *b, size_t m, size_t k,
                                                           size_t width)
{
    for (size_t c = 0; c < width; c += PANEL_COLUMNS) {
        size_t i = 0;
        for (; i + ROWS <= m; i += ROWS)
            block(out + i * width + c, a + i * row_step, row_step, column_step, b + c, k, width,
                  ROWS);
        for (; i < m; i++)
            block(out + i * width + c, a + i * row_step, row_step, column_step, b + c, k, width, 1);
    }
}

typedef void (*multiply_fn)(float *, const float *, size_t, size_t, const float *, size_t, size_t,
                            size_t);

static void multiply_plain(float *out, const float *a, size_t row_step, size_t column_step,
                           const float *b, size_t m, size_t k, size_t width)
{
    multiply(out, a, row_step, column_step, b, m, k, width);
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static void multiply_avx2(float *out, const float *a,
                                                              size_t row_step, size_t column_step,
                                                              const float *b, size_t m, size_t k,
                                                              size_t width)
{
    multiply(out, a, row_step, column_step, b, m, k, width);
}

__attribute__((target("avx512f"))) static void multiply_avx512(float *out, const float *a,
                                                               size_t row_step, size_t column_step,
                                                               const float *b, size_t m, size_t k,
                                                               size_t width)
{
    multiply(out, a, row_step, column_step, b, m, k, width);
}

static multiply_fn pick(void)
{
    if (__builtin_cpu_supports("avx512f"))
        return multiply_avx512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? multiply_avx2
                                                                           : multiply_plain;
}
#else
static multiply_fn pick(void)
{
    return multiply_plain;
}
#endif

void panel_multiply(float *out, const float *a, size_t row_step, size_t column_step, const float *b,
                    size_t m, size_t k, size_t width)
{
    pick()(out, a, row_step, column_step, b, m, k, width);
}
