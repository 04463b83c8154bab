/* From a linear head's scores to probabilities. Pure; any thread. p may be z. */
#ifndef ROUTER_ENCODER_LINK_H
#define ROUTER_ENCODER_LINK_H

#include <math.h>
#include <stddef.h>

static inline float link_sigmoid(float z)
{
    return z >= 0 ? 1 / (1 + expf(-z)) : expf(z) / (1 + expf(z));
}

/* p[n] sums to 1; z is divided by the temperature first. n >= 1. */
static inline void link_softmax(const float *z, size_t n, float temperature, float *p)
{
    float max = z[0], sum = 0;
    for (size_t c = 1; c < n; c++)
        max = fmaxf(max, z[c]);
    for (size_t c = 0; c < n; c++)
        sum += p[c] = expf((z[c] - max) / temperature);
    for (size_t c = 0; c < n; c++)
        p[c] /= sum;
}

/* Models in ascending order of strength: each adds to what the ones before it can do, so that p
 * never falls: p[k] = p[k-1] + (1 - p[k-1]) sigmoid(z[k]). */
static inline void link_tiers(const float *z, size_t n, float *p)
{
    float below = 0;
    for (size_t k = 0; k < n; k++)
        p[k] = below += (1 - below) * link_sigmoid(z[k]);
}

/* log(p / (1 - p)), finite for every p in 0..1. */
static inline float link_logit(float p)
{
    p = fminf(fmaxf(p, 1e-6f), 1 - 1e-6f);
    return logf(p / (1 - p));
}

#endif
