/* Vectors like those of texts, for benchmarks: real ones from a file, and as many more as wanted.
 */
#ifndef TESTS_BENCH_CACHE_VINDEX_DATA_H
#define TESTS_BENCH_CACHE_VINDEX_DATA_H

#include <stddef.h>
#include <stdint.h>
#include "base/rng.h"

struct vindex_data {
    size_t dim, real; /* real: rows of the file, or of synthetic clusters in its place */
    uint16_t *rows;   /* owned: [real][dim] halves of unit length */
    struct rng rng;
};

/* path: halves of `dim` numbers, row after row; NULL: clusters. False with a message on stderr. */
int vindex_data_init(struct vindex_data *d, const char *path, size_t dim);
void vindex_data_clear(struct vindex_data *d);
/* r_i + share * (r_j - r_k), of unit length: another text about the same thing lies where the
 * difference between two texts leads. i, j, k at random from [from, to). */
void vindex_data_near(struct vindex_data *d, size_t from, size_t to, double share, uint16_t *out);

#endif
