/* A file of heads from anywhere: heads_parse refuses it, or the heads answer with probabilities. */
#include <stdint.h>
#include <stdlib.h>
#include "base/mem.h"
#include "router/encoder/heads.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heads *h;
    if (heads_parse(slice_make((const char *)data, size), &h, NULL) != ERR_OK)
        return 0;
    float *x = mem_zalloc(heads_features(h) + 1, sizeof *x);
    float *p = mem_zalloc(heads_class_count(h) + heads_model_count(h) + 1, sizeof *p);
    x[0] = 1;
    float scope = heads_classify(h, x, p);
    if (!(scope >= 0 && scope <= 1))
        abort();
    heads_success(h, x, p);
    free(p);
    free(x);
    heads_free(h);
    return 0;
}
