/* Called where whole vectors are compared one by one; the index has products of its own. */
#include "router/encoder/cosine.h"

#include <math.h>

double cosine(const float *a, const float *b, size_t dim)
{
    double ab = 0, aa = 0, bb = 0;

    for (size_t i = 0; i < dim; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}
