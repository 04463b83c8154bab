/* IEEE 754 binary16, in plain C: what weights are stored as. */
#ifndef ROUTER_ENCODER_HALF_H
#define ROUTER_ENCODER_HALF_H

#include <stdint.h>
#include <string.h>

/* Exact. Subnormals are exact in binary32 too: fraction * 2^-24. */
static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3FF;
    if (exponent == 0) {
        float magnitude = (float)fraction * 0x1p-24F;
        return sign ? -magnitude : magnitude;
    }
    uint32_t bits = sign | (exponent == 31 ? 255 : exponent + (127 - 15)) << 23 | fraction << 13;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The nearest, of two the even one; beyond 65,504 infinite. Not for NaN. */
static inline uint16_t half_from_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x477ff000) /* 65,520: rounds up to 2^16 */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* 2^-14: subnormal. Adding 0.5 rounds to multiples of 2^-24. */
        float small;
        memcpy(&small, &magnitude, sizeof small);
        small += 0.5F;
        memcpy(&bits, &small, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

#endif
