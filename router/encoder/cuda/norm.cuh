/* x = LayerNorm(x + bias + the parts of a product), row by row and in place: what follows the two
 * products that end in the residual stream. The parts are those of split products (gemm.cuh); they
 * are added in order, so that results do not depend on which block was first. Grid:
 * ceil(rows / ROWS_PER_BLOCK) blocks of ROWS_PER_BLOCK warps. */
#ifndef ROUTER_ENCODER_CUDA_NORM_CUH
#define ROUTER_ENCODER_CUDA_NORM_CUH

#include "router/encoder/cuda/row.cuh"

struct norm_args {
    half_bits *x;      /* [rows][hidden] */
    const float *part; /* [parts][rows][hidden] */
    int parts;
    const float *bias, *gain, *shift; /* [hidden] */
    float eps;
    int rows, hidden;
};

__global__ void __launch_bounds__(ROWS_PER_BLOCK *WARP) norm_kernel(const norm_args g)
{
    int lane = (int)threadIdx.x % WARP;
    int at = (int)blockIdx.x * ROWS_PER_BLOCK + (int)threadIdx.x / WARP;
    bool mine = at < g.rows;
    row r = {};
    if (mine)
        row_add_float(&r, g.bias, g.hidden, lane);
    wait_for_grid_before();
    let_next_grid_begin();
    if (!mine)
        return;

    half_bits *x = g.x + (size_t)at * (size_t)g.hidden;
    row_add_half(&r, x, g.hidden, lane);
    size_t row_at = (size_t)at * (size_t)g.hidden, part = (size_t)g.rows * (size_t)g.hidden;
    for (int p = 0; p < g.parts; p++)
        row_add_float(&r, g.part + (size_t)p * part + row_at, g.hidden, lane);
    row_normalize(&r, g.gain, g.shift, g.eps, g.hidden, lane);
    row_store_half(&r, x, g.hidden, lane);
}

#endif
