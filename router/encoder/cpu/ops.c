/* Which kernels this CPU can run. Asked once per encoder; __builtin_cpu_supports also asks whether
 * the operating system saves the registers. */
#include "router/encoder/cpu/ops.h"

#include <math.h>
#include <string.h>

static const struct cpu_ops *const all[] = {
#if defined(__x86_64__)
    &cpu_ops_avx512,
#endif
    &cpu_ops_portable,
};
enum { COUNT = sizeof all / sizeof *all };

static bool runs_here(const struct cpu_ops *ops)
{
#if defined(__x86_64__)
    if (ops == &cpu_ops_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vnni");
#endif
    return ops == &cpu_ops_portable;
}

const struct cpu_ops *cpu_ops_find(const char *isa)
{
    for (size_t i = 0; i < COUNT; i++)
        if ((!isa || strcmp(all[i]->isa, isa) == 0) && runs_here(all[i]))
            return all[i];
    return NULL;
}

size_t cpu_ops_here(const struct cpu_ops **out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < COUNT && n < max; i++)
        if (runs_here(all[i]))
            out[n++] = all[i];
    return n;
}

/* x * P(X > x) for x >= 0, by the activation's own formula. */
static double gelu_tail(double x, bool tanh_form)
{
    const double sqrt_half = 0.70710678118654752, sqrt_2_over_pi = 0.79788456080286536;
    double above = tanh_form ? 0.5 * (1 - tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)))
                             : 0.5 * erfc(x * sqrt_half);
    return x * above;
}

/* Interpolates at the Chebyshev nodes of each interval, by Newton's divided differences. */
void cpu_gelu_init(struct cpu_gelu *g, bool tanh_form)
{
    enum { N = CPU_GELU_DEGREE + 1 };
    const double pi = 3.14159265358979324;
    for (int i = 0; i < CPU_GELU_INTERVALS; i++) {
        double at[N], f[N], c[N] = {0};
        for (int k = 0; k < N; k++) {
            at[k] = 0.5 * cos(pi * (k + 0.5) / N);
            /* Below 0 the first interval sees the tail's mirror image: it is never asked there,
             * and the half that is asked stays smooth. */
            f[k] = gelu_tail((i + at[k]) / CPU_GELU_PER_UNIT, tanh_form);
        }
        for (int order = 1; order < N; order++)
            for (int k = N - 1; k >= order; k--)
                f[k] = (f[k] - f[k - 1]) / (at[k] - at[k - order]);
        for (int k = N - 1; k >= 0; k--) { /* Horner over (d - at[k]), into powers of d */
            for (int j = N - 1; j > 0; j--)
                c[j] = c[j - 1] - at[k] * c[j];
            c[0] = f[k] - at[k] * c[0];
        }
        for (int k = 0; k < N; k++)
            g->c[k][i] = (float)c[k];
    }
    /* What is left at the end, below 1e-6, is cut to 0 so that large inputs pass unchanged. */
    for (int k = 0; k < N; k++)
        g->c[k][CPU_GELU_INTERVALS - 1] = 0;
}
