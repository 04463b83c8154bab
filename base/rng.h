/* Seedable randomness (xoshiro256**, Blackman & Vigna 2018), for jitter, ids and choices; not for
 * keys. One per thread, embedded by value. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed); /* same seed, same sequence (splitmix64 expansion) */
void rng_seed_os(struct rng *r);             /* from getrandom(2) */
uint64_t rng_u64(struct rng *r);
double rng_unit(struct rng *r);                    /* [0, 1) */
uint64_t rng_below(struct rng *r, uint64_t bound); /* [0, bound), unbiased; bound > 0 */

#endif
