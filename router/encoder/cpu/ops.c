/* Which kernels this CPU can run. Asked once per encoder; __builtin_cpu_supports also asks whether
 * the operating system saves the registers. */
#include "router/encoder/cpu/ops.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const struct cpu_ops *const all[] = {
#if defined(__x86_64__)
    &cpu_ops_avx512,
    &cpu_ops_avx2,
#endif
    &cpu_ops_portable,
};
enum { COUNT = sizeof all / sizeof *all };

#if defined(__x86_64__)
/* clang 14 does not know the name f16c in __builtin_cpu_supports. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

static bool runs_here(const struct cpu_ops *ops)
{
#if defined(__x86_64__)
    if (ops == &cpu_ops_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vnni");
    if (ops == &cpu_ops_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
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

/* x * (P(X < x) - 1/2), by the activation's own formula. */
static double gelu_even(double x, bool tanh_form)
{
    const double sqrt_half = 0.70710678118654752, sqrt_2_over_pi = 0.79788456080286536;
    return 0.5 * x *
           (tanh_form ? tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)) : erf(x * sqrt_half));
}

/* c[degree + 1][intervals]: interpolates at the Chebyshev nodes of each interval, by Newton's
 * divided differences. */
static void fit(float (*c)[CPU_GELU_INTERVALS], int degree, bool tanh_form)
{
    enum { MAX = 4 };
    const double pi = 3.14159265358979324;
    int n = degree + 1;
    for (int i = 0; i < CPU_GELU_INTERVALS; i++) {
        double at[MAX], f[MAX], power[MAX] = {0};
        for (int k = 0; k < n; k++) {
            /* The first interval reaches below 0, where it is never asked: h goes on there. */
            at[k] = (i + 0.5 * cos(pi * (k + 0.5) / n)) / CPU_GELU_PER_UNIT;
            f[k] = gelu_even(at[k], tanh_form);
        }
        for (int order = 1; order < n; order++)
            for (int k = n - 1; k >= order; k--)
                f[k] = (f[k] - f[k - 1]) / (at[k] - at[k - order]);
        for (int k = n - 1; k >= 0; k--) { /* Horner over (|x| - at[k]), into powers of |x| */
            for (int j = n - 1; j > 0; j--)
                power[j] = power[j - 1] - at[k] * power[j];
            power[0] = f[k] - at[k] * power[0];
        }
        for (int k = 0; k < n; k++)
            c[k][i] = (float)power[k];
    }
    for (int k = 0; k < n; k++)
        c[k][CPU_GELU_INTERVALS - 1] = k == 1 ? 0.5f : 0;
}

void cpu_gelu_init(struct cpu_gelu *g, bool tanh_form)
{
    fit(g->fine, CPU_GELU_FINE, tanh_form);
    fit(g->coarse, CPU_GELU_COARSE, tanh_form);
}
