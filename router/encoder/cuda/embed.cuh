/* Token vectors plus position vectors, normalised: the residual stream's beginning. The one kernel
 * that reads what the host wrote (mapped memory); it leaves on the device what later kernels need
 * of it. Grid: ceil(rows / ROWS_PER_BLOCK) blocks of ROWS_PER_BLOCK warps. */
#ifndef ROUTER_ENCODER_CUDA_EMBED_CUH
#define ROUTER_ENCODER_CUDA_EMBED_CUH

#include "router/encoder/cuda/row.cuh"

/* What the host says of a batch. */
struct batch_head {
    int32_t sequences;
    uint32_t ticket; /* what the completion flag becomes */
    int32_t want_features;
    int32_t unused;
};

struct embed_args {
    const batch_head *host_head;
    const token *host_token;    /* [rows], padding after the last */
    const int32_t *host_starts; /* [sequences + 1] */
    batch_head *head;
    row_span *span;        /* [rows] */
    int32_t *starts;       /* [sequences + 1] */
    half_bits *out;        /* [rows][hidden]; padding rows are zeros */
    const half_bits *word; /* [vocabulary][hidden] */
    const float *position; /* [positions][hidden] */
    const float *gain, *shift;
    float eps;
    int rows, hidden;
};

__global__ void __launch_bounds__(ROWS_PER_BLOCK *WARP) embed_kernel(const embed_args g)
{
    int thread = (int)threadIdx.x, lane = thread % WARP;
    int at = (int)blockIdx.x * ROWS_PER_BLOCK + thread / WARP;
    wait_for_grid_before();
    let_next_grid_begin();

    int sequences = g.host_head->sequences;
    for (int i = (int)blockIdx.x * ROWS_PER_BLOCK * WARP + thread; i <= sequences;
         i += (int)gridDim.x * ROWS_PER_BLOCK * WARP)
        g.starts[i] = g.host_starts[i];
    if (blockIdx.x == 0 && thread == 0)
        *g.head = *g.host_head;
    if (at >= g.rows)
        return;

    token t = g.host_token[at];
    row r = {};
    if (t.id >= 0) {
        row_add_half(&r, g.word + (size_t)t.id * (size_t)g.hidden, g.hidden, lane);
        row_add_float(&r, g.position + (size_t)(t.place & 0xffff) * (size_t)g.hidden, g.hidden,
                      lane);
        row_normalize(&r, g.gain, g.shift, g.eps, g.hidden, lane);
    }
    row_store_half(&r, g.out + (size_t)at * (size_t)g.hidden, g.hidden, lane);
    if (lane == 0)
        g.span[at] = token_span(t, at);
}

#endif
