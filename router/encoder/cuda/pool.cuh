/* From the last layer's rows to what the host reads: each sequence's embedding (mean or [CLS], unit
 * length if the model says so) and features ([mean; CLS]), in fp32, written to mapped memory; then
 * the completion flag. A block takes sequences in turn; its warps take rows in turn. Grid: any
 * number of blocks of POOL_WARPS warps; the last one to end says so to the host. */
#ifndef ROUTER_ENCODER_CUDA_POOL_CUH
#define ROUTER_ENCODER_CUDA_POOL_CUH

#include "router/encoder/cuda/embed.cuh"

enum { POOL_WARPS = 8 };

struct pool_args {
    const batch_head *head;
    const int32_t *starts; /* [sequences + 1] */
    const half_bits *x;    /* [rows][hidden] */
    float *host_embedding; /* [sequences][hidden] */
    float *host_features;  /* [sequences][2 * hidden]; written if the batch wants them */
    volatile uint32_t *host_flag;
    uint32_t *blocks_done; /* 0 between batches */
    int hidden;
    bool of_cls, unit_length;
};

HOST_DEVICE constexpr int pool_shared_bytes(int hidden)
{
    return (POOL_WARPS * hidden + POOL_WARPS) * (int)sizeof(float);
}

/* Sums the rows [first, end) into sums[POOL_WARPS][hidden], one row of it per warp. */
DEVICE void pool_sum(const pool_args &g, int first, int end, float *sums)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    row r = {};
    for (int at = first + warp; at < end; at += POOL_WARPS)
        row_add_half(&r, g.x + (size_t)at * (size_t)g.hidden, g.hidden, lane);
#pragma unroll
    for (int c = 0; c < ROW_CHUNKS_MOST; c++)
        if (c * ROW_CHUNK < g.hidden)
            *reinterpret_cast<float4 *>(sums + warp * g.hidden + row_column(c, lane)) =
                make_float4(r.v[c][0], r.v[c][1], r.v[c][2], r.v[c][3]);
}

/* The sum of x over the block; parts[POOL_WARPS] is scratch. */
DEVICE float pool_block_sum(float x, float *parts)
{
    int warp = (int)threadIdx.x / WARP;
    x = warp_sum(x);
    if ((int)threadIdx.x % WARP == 0)
        parts[warp] = x;
    block_sync();
    x = 0.0f;
    for (int i = 0; i < POOL_WARPS; i++)
        x += parts[i];
    return x;
}

DEVICE void pool_sequence(const pool_args &g, int sequence, bool features, float *sums,
                          float *parts)
{
    int first = g.starts[sequence], end = g.starts[sequence + 1];
    float *embedding = g.host_embedding + (size_t)sequence * (size_t)g.hidden;
    float *mean_out = g.host_features + (size_t)sequence * 2 * (size_t)g.hidden;
    pool_sum(g, first, end, sums);
    block_sync();

    /* sums[0] becomes the embedding before it is scaled; columns belong to one thread each. */
    float squares = 0.0f, per_row = 1.0f / (float)(end - first);
    for (int c = (int)threadIdx.x; c < g.hidden; c += POOL_WARPS * WARP) {
        float mean = 0.0f, cls = unpack_half2(g.x[(size_t)first * (size_t)g.hidden + (size_t)c]).x;
        for (int w = 0; w < POOL_WARPS; w++)
            mean += sums[w * g.hidden + c];
        mean *= per_row;
        if (features) {
            mean_out[c] = mean;
            mean_out[g.hidden + c] = cls;
        }
        float x = g.of_cls ? cls : mean;
        sums[c] = x;
        squares += x * x;
    }
    float length = sqrtf(pool_block_sum(squares, parts));
    /* as torch.nn.functional.normalize: a null vector stays one */
    float scale = g.unit_length ? 1.0f / fmaxf(length, 1e-12f) : 1.0f;
    for (int c = (int)threadIdx.x; c < g.hidden; c += POOL_WARPS * WARP)
        embedding[c] = sums[c] * scale;
    block_sync(); /* before the next sequence's sums */
}

__global__ void __launch_bounds__(POOL_WARPS *WARP) pool_kernel(const pool_args g)
{
    float *sums = reinterpret_cast<float *>(block_shared());
    wait_for_grid_before();
    batch_head head = *g.head;
    for (int s = (int)blockIdx.x; s < head.sequences; s += (int)gridDim.x)
        pool_sequence(g, s, head.want_features != 0, sums, sums + POOL_WARPS * g.hidden);

    fence_for_host();
    block_sync();
    if (threadIdx.x == 0 && add_one(g.blocks_done) == gridDim.x - 1) {
        *g.blocks_done = 0;
        tell_host(g.host_flag, head.ticket);
    }
}

#endif
