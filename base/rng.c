/* xoshiro256** 1.0 (Blackman & Vigna, "Scrambled linear pseudorandom number generators", 2018),
 * seeded through splitmix64 as its authors advise. Owns nothing; each thread has its own struct
 * rng. */
#include "base/rng.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = *x += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix64(&seed);
}

void rng_seed_os(struct rng *r)
{
    uint64_t seed;
    ssize_t n;
    do
        n = getrandom(&seed, sizeof seed, 0);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof seed) {
        perror("weir: getrandom");
        abort();
    }
    rng_seed(r, seed);
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

/* Multiply and reject: Lemire, "Fast random integer generation in an interval", 2019. */
uint64_t rng_below(struct rng *r, uint64_t bound)
{
    assert(bound > 0);
    __extension__ typedef unsigned __int128 u128;
    u128 m = (u128)rng_u64(r) * bound;
    if ((uint64_t)m < bound) {
        uint64_t reject_below = -bound % bound;
        while ((uint64_t)m < reject_below)
            m = (u128)rng_u64(r) * bound;
    }
    return (uint64_t)(m >> 64);
}
