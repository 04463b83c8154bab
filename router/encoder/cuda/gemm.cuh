/* Linear layers on tensor cores: out[rows][outer] = in[rows][inner] weight[outer][inner]^T, fp16
 * in, fp32 sums, for the few shapes of an encoder (inner and outer multiples of 64, rows from 16
 * on).
 *
 * A block computes a tile of ROWS x COLUMNS. Slices of GEMM_DEPTH columns of both operands come
 * through a ring of GEMM_STAGES in shared memory (tile_chunk's order), one barrier per slice. Where
 * a product has too few tiles to fill a device, blockIdx.z splits its inner dimension; the parts go
 * to memory in fp32 and are added by the kernel that comes next (norm.cuh).
 *
 * Grid: (outer / COLUMNS, ceil(rows / ROWS), splits). Buffers of activations have
 * GEMM_ROWS_MOST - 1 rows more than are computed, so that nothing needs a guard: what is in the
 * rows beyond does not reach the others. */
#ifndef ROUTER_ENCODER_CUDA_GEMM_CUH
#define ROUTER_ENCODER_CUDA_GEMM_CUH

#include "router/encoder/cuda/maths.cuh"

enum {
    GEMM_DEPTH = 64, /* inner columns of one slice: rows of 128 bytes */
    GEMM_CHUNKS = GEMM_DEPTH / 8,
    GEMM_STAGES = 3,
    GEMM_ROWS_MOST = 128,
};

enum gemm_finish {
    GEMM_BIAS, /* out = product + bias */
    GEMM_GELU, /* out = gelu(product + bias) */
    GEMM_PART, /* part[z] = product over this block's share of inner, fp32 */
};

struct gemm_args {
    const half_bits *in;
    const half_bits *weight;
    const float *bias; /* [outer]; not for GEMM_PART */
    half_bits *out;    /* likewise */
    float *part;       /* [splits][rows][outer]; only for GEMM_PART */
    int rows;          /* of in and out; a part's rows beyond are not stored */
    int outer, inner;
    int share; /* of inner that one split takes, a multiple of GEMM_DEPTH */
    bool tanh_form;
};

/* A block of DOWN x ACROSS warps, each with a tile of ROWS / DOWN x COLUMNS / ACROSS. */
template <int ROWS_, int COLUMNS_, int DOWN_, int ACROSS_> struct gemm_tile {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DOWN = DOWN_, ACROSS = ACROSS_;
    static constexpr int THREADS = DOWN * ACROSS * WARP;
    static constexpr int WARP_ROWS = ROWS / DOWN, WARP_COLUMNS = COLUMNS / ACROSS;
    static constexpr int BANDS = WARP_ROWS / 16, STRIPS = WARP_COLUMNS / 8; /* of mma's 16 x 8 */
    static constexpr int STAGE_CHUNKS = (ROWS + COLUMNS) * GEMM_CHUNKS;
    static constexpr int SHARED_BYTES = GEMM_STAGES * STAGE_CHUNKS * 16;
    static_assert(WARP_ROWS % 16 == 0 && WARP_COLUMNS % 16 == 0, "whole fragments");
    static_assert(ROWS <= GEMM_ROWS_MOST, "buffers have room for it");
};

/* count rows from `first` on, of a matrix with `stride` columns, columns from `column` on: one
 * slice into shared memory. */
template <int COUNT, int THREADS>
DEVICE void gemm_copy(uint4 *tile, const half_bits *matrix, int first, int stride, int column)
{
#pragma unroll
    for (int i = 0; i < COUNT * GEMM_CHUNKS; i += THREADS) {
        int at = i + (int)threadIdx.x, row = at / GEMM_CHUNKS, chunk = at % GEMM_CHUNKS;
        if (COUNT * GEMM_CHUNKS % THREADS == 0 || at < COUNT * GEMM_CHUNKS)
            copy_async_16(tile + tile_chunk<GEMM_CHUNKS>(row, chunk),
                          matrix + (size_t)(first + row) * (size_t)stride + column + chunk * 8,
                          true);
    }
}

/* Adds one slice's product to the warp's sums. */
template <class TILE>
DEVICE void gemm_multiply(float (&sum)[TILE::BANDS][TILE::STRIPS][4], const uint4 *in,
                          const uint4 *weight, int warp_row, int warp_column, int lane)
{
#pragma unroll
    for (int k = 0; k < GEMM_CHUNKS; k += 2) {
        uint32_t a[TILE::BANDS][4];
#pragma unroll
        for (int m = 0; m < TILE::BANDS; m++)
            load_matrix_x4(
                a[m], in + tile_chunk<GEMM_CHUNKS>(warp_row + m * 16 + lane % 16, k + lane / 16));
#pragma unroll
        for (int n = 0; n < TILE::STRIPS; n += 2) {
            uint32_t b[4];
            load_matrix_x4(
                b, weight + tile_chunk<GEMM_CHUNKS>(warp_column + n * 8 + lane / 16 * 8 + lane % 8,
                                                    k + lane / 8 % 2));
#pragma unroll
            for (int m = 0; m < TILE::BANDS; m++) {
                mma_m16n8k16(sum[m][n], a[m], b[0], b[1]);
                mma_m16n8k16(sum[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* Two neighbouring columns of one row. */
template <gemm_finish FINISH>
DEVICE void gemm_store(const gemm_args &g, int row, int column, float x, float y)
{
    if (FINISH == GEMM_PART) {
        if (row < g.rows)
            *reinterpret_cast<float2 *>(
                g.part + ((size_t)blockIdx.z * (size_t)g.rows + (size_t)row) * (size_t)g.outer +
                column) = make_float2(x, y);
        return;
    }
    float2 bias = *reinterpret_cast<const float2 *>(g.bias + column);
    x += bias.x;
    y += bias.y;
    if (FINISH == GEMM_GELU) {
        x = gelu(x, g.tanh_form);
        y = gelu(y, g.tanh_form);
    }
    *reinterpret_cast<uint32_t *>(g.out + (size_t)row * (size_t)g.outer + column) =
        pack_half2(x, y);
}

template <class TILE, gemm_finish FINISH>
__global__ void __launch_bounds__(TILE::THREADS) gemm_kernel(const gemm_args g)
{
    uint4 *shared = reinterpret_cast<uint4 *>(block_shared());
    int thread = (int)threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    int column = (int)blockIdx.x * TILE::COLUMNS, row = (int)blockIdx.y * TILE::ROWS;
    int begin = (int)blockIdx.z * g.share;
    int slices = (min(g.inner, begin + g.share) - begin) / GEMM_DEPTH;
    auto in_tile = [&](int s) { return shared + s % GEMM_STAGES * TILE::STAGE_CHUNKS; };
    auto weight_tile = [&](int s) { return in_tile(s) + TILE::ROWS * GEMM_CHUNKS; };
    auto copy_in = [&](int s) {
        gemm_copy<TILE::ROWS, TILE::THREADS>(in_tile(s), g.in, row, g.inner,
                                             begin + s * GEMM_DEPTH);
    };
    auto copy_weight = [&](int s) {
        gemm_copy<TILE::COLUMNS, TILE::THREADS>(weight_tile(s), g.weight, column, g.inner,
                                                begin + s * GEMM_DEPTH);
    };

    /* Weights do not depend on the grid before; they come while it ends. */
    for (int s = 0; s < GEMM_STAGES - 1 && s < slices; s++)
        copy_weight(s);
    wait_for_grid_before();
    let_next_grid_begin();
    for (int s = 0; s < GEMM_STAGES - 1; s++) {
        if (s < slices)
            copy_in(s);
        copy_async_commit(); /* also when empty: a slice is a group */
    }

    float sum[TILE::BANDS][TILE::STRIPS][4] = {};
    int warp_row = warp / TILE::ACROSS * TILE::WARP_ROWS;
    int warp_column = warp % TILE::ACROSS * TILE::WARP_COLUMNS;
    for (int s = 0; s < slices; s++) {
        copy_async_wait<GEMM_STAGES - 2>();
        block_sync(); /* slice s is there for all, and all have used slice s - 1 */
        int next = s + GEMM_STAGES - 1;
        if (next < slices) {
            copy_in(next);
            copy_weight(next);
        }
        copy_async_commit();
        gemm_multiply<TILE>(sum, in_tile(s), weight_tile(s), warp_row, warp_column, lane);
    }

#pragma unroll
    for (int m = 0; m < TILE::BANDS; m++)
#pragma unroll
        for (int n = 0; n < TILE::STRIPS; n++) {
            int r = row + warp_row + m * 16 + lane / 4;
            int c = column + warp_column + n * 8 + lane % 4 * 2;
            gemm_store<FINISH>(g, r, c, sum[m][n][0], sum[m][n][1]);
            gemm_store<FINISH>(g, r + 8, c, sum[m][n][2], sum[m][n][3]);
        }
}

#endif
