/* Which kernels this CPU can run, and those that run anywhere. Owns nothing; called by vslab and by
 * the graphs, from any thread. */
#include "cache/vslab_dot.h"

#include <string.h>
#include "cache/vslab_dot_int.h"

/* By bits: a half has 5 bits of exponent (bias 15) and 10 of fraction. Moved into a float's place
 * its exponent is too small by 112, which one multiplication puts right, for subnormals too; what
 * had all exponent bits set (infinity, NaN) gets them back. */
float vslab_half(uint16_t h)
{
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13;
    float x;

    memcpy(&x, &bits, sizeof x);
    x *= 0x1p112f;
    memcpy(&bits, &x, sizeof bits);
    if ((h & 0x7c00) == 0x7c00)
        bits |= 0x7f800000;
    bits |= (uint32_t)(h & 0x8000) << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

uint16_t vslab_half_of(float x)
{
    uint32_t bits, sign, magic = (uint32_t)(127 - 15 + 13 + 1) << 23;
    float shifted, m;

    memcpy(&bits, &x, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (bits >= 0x477ff000) /* rounds to 65,536 or more */
        return (uint16_t)(sign | 0x7c00);
    if (bits < 0x38800000) { /* subnormal: the adder of floats rounds it at the right bit */
        memcpy(&m, &magic, sizeof m);
        memcpy(&shifted, &bits, sizeof shifted);
        shifted += m;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - magic));
    }
    bits += ((uint32_t)(15 - 127) << 23) + 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | bits >> 13);
}

static float query_row(const float *q, const uint16_t *row, size_t stride)
{
    float sum[8] = {0};

    for (size_t i = 0; i < stride; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] += q[i + j] * vslab_half(row[i + j]);
    return (sum[0] + sum[4]) + (sum[1] + sum[5]) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static void query_rows(const float *q, const uint16_t *rows, size_t count, size_t stride,
                       float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = query_row(q, rows + i * stride, stride);
}

static float row_row(const uint16_t *a, const uint16_t *b, size_t stride)
{
    float sum[8] = {0};

    for (size_t i = 0; i < stride; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] += vslab_half(a[i + j]) * vslab_half(b[i + j]);
    return (sum[0] + sum[4]) + (sum[1] + sum[5]) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

const struct vslab_dot vslab_dot_portable = {"portable", query_rows, query_row, row_row};

static const struct vslab_dot *const all[] = {
#if defined(__x86_64__)
    &vslab_dot_avx512,
    &vslab_dot_avx2,
#endif
    &vslab_dot_portable,
};

static int runs_here(const struct vslab_dot *d)
{
#if defined(__x86_64__)
    if (d == &vslab_dot_avx512)
        return __builtin_cpu_supports("avx512f") != 0;
    if (d == &vslab_dot_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("f16c");
#endif
    return d == &vslab_dot_portable;
}

const struct vslab_dot *vslab_dot_find(const char *isa)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if ((!isa || strcmp(all[i]->isa, isa) == 0) && runs_here(all[i]))
            return all[i];
    return NULL;
}
