/* The transformer on an NVIDIA GPU, fp16 with fp32 sums: kernels like those of a CPU to encoder.c,
 * behind them libweir_cuda.so (cuda/), loaded when it is asked for. So this program and this file
 * need nothing of CUDA to be built, and start where there is no driver.
 *
 * Before a device serves, its vectors are held against those of the CPU's fp32 kernels: a device or
 * driver that computes something else is refused. Any error of CUDA's afterwards is the last call's
 * answer and that of all calls to come (ERR_INTERNAL, CUDA's text): encoder_service then goes on
 * with its fallback. */
#ifndef ROUTER_ENCODER_CUDA_KERNELS_H
#define ROUTER_ENCODER_CUDA_KERNELS_H

#include "router/encoder/encoder.h"

extern const struct encoder_kernels cuda_kernels;

struct cuda_kernels_options {
    const struct bert_model *model; /* borrowed during open */
    const char *library; /* NULL: $WEIR_CUDA_LIBRARY, else ../lib/weir/libweir_cuda.so as seen from
                            the program's own folder */
    int device;          /* CUDA's number */
    int slots;           /* passes under way at a time; <= 0: 3 */
    int pass_tokens;     /* at least one sequence of the model's limit; <= 0: 4096 */
};

/* What the kernels call packed. ERR_INVALID_POLICY with t: no library, no device, a model that the
 * kernels do not take, vectors that differ. */
enum err cuda_kernels_open(const struct cuda_kernels_options *opt, void **packed,
                           struct err_text *t) MUST_CHECK;

struct cuda_kernels_facts {
    const char *device; /* its name, borrowed */
    int pass_tokens;    /* larger batches are run in several passes */
    size_t weight_bytes;
};
struct cuda_kernels_facts cuda_kernels_facts(const void *packed);

#endif
