/* Which shape of block computes what: pure, host only, tested on a CPU. */
#ifndef ROUTER_ENCODER_CUDA_PLAN_CUH
#define ROUTER_ENCODER_CUDA_PLAN_CUH

#include <algorithm>
#include "router/encoder/cuda/attention.cuh"
#include "router/encoder/cuda/gemm.cuh"

/* Tokens of one pass are rounded up to a bucket; each bucket has a graph of its own. */
static const int plan_buckets[] = {16,  32,   48,   64,   96,   128,  192,  256,  384,   512,
                                   768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384};
enum { PLAN_BUCKETS = sizeof plan_buckets / sizeof *plan_buckets };

/* The smallest bucket that holds so many tokens; PLAN_BUCKETS: none does. */
static inline int plan_bucket(int tokens)
{
    int i = 0;
    while (i < PLAN_BUCKETS && plan_buckets[i] < tokens)
        i++;
    return i;
}

struct plan_device {
    int multiprocessors;
    int shared_bytes; /* that a block may have */
};

/* The shapes of a block, from small to large. */
typedef gemm_tile<16, 32, 1, 2> gemm_tile_16;
typedef gemm_tile<32, 32, 2, 2> gemm_tile_32;
typedef gemm_tile<64, 64, 2, 2> gemm_tile_64;
typedef gemm_tile<128, 128, 2, 4> gemm_tile_128;

enum plan_tile { PLAN_TILE_16, PLAN_TILE_32, PLAN_TILE_64, PLAN_TILE_128, PLAN_TILES };

struct plan_shape {
    int rows, columns, threads, shared_bytes;
};

template <class TILE> constexpr plan_shape plan_shape_of()
{
    return {TILE::ROWS, TILE::COLUMNS, TILE::THREADS, TILE::SHARED_BYTES};
}

static const plan_shape plan_shapes[PLAN_TILES] = {
    plan_shape_of<gemm_tile_16>(),
    plan_shape_of<gemm_tile_32>(),
    plan_shape_of<gemm_tile_64>(),
    plan_shape_of<gemm_tile_128>(),
};

struct gemm_plan {
    plan_tile tile;
    int splits, share; /* of the inner dimension; share is a multiple of GEMM_DEPTH */
};

enum { PLAN_SPLITS_MOST = 8 };

static inline int plan_tiles_of(const plan_shape &s, int rows, int outer)
{
    return (rows + s.rows - 1) / s.rows * (outer / s.columns);
}

/* The largest tile that still gives every multiprocessor one, else the smallest that wastes no
 * rows. Splits (where the product may be split) fill the multiprocessors that are left, but each
 * keeps two slices or more. */
static inline gemm_plan plan_gemm(int rows, int outer, int inner, bool may_split, plan_device d)
{
    int tile = rows <= 16 ? PLAN_TILE_16 : PLAN_TILE_32;
    for (int t = PLAN_TILE_64; t < PLAN_TILES; t++)
        if (outer % plan_shapes[t].columns == 0 && plan_shapes[t].shared_bytes <= d.shared_bytes &&
            plan_tiles_of(plan_shapes[t], rows, outer) >= d.multiprocessors)
            tile = t;
    gemm_plan p = {(plan_tile)tile, 1, inner};
    if (!may_split)
        return p;
    int slices = inner / GEMM_DEPTH;
    int wanted = d.multiprocessors / plan_tiles_of(plan_shapes[tile], rows, outer);
    wanted = std::max(1, std::min({wanted, (int)PLAN_SPLITS_MOST, slices / 2}));
    int share = (slices + wanted - 1) / wanted;
    p.share = share * GEMM_DEPTH;
    p.splits = (slices + share - 1) / share;
    return p;
}

/* Warps of a block of attention: 16 rows each, no more than there are rows. */
static inline int plan_attention_warps(int rows)
{
    return std::min((rows + 15) / 16, (int)ATTENTION_WARPS_MOST);
}

#endif
