/* ctx = softmax(q k^T / sqrt(SIZE)) v for one head, over sequences that lie end to end.
 *
 * A block takes one head and a tile of consecutive rows, of whichever sequences they are, 16 for
 * each warp; keys and values of all sequences that the tile touches come in slices of
 * ATTENTION_KEYS through two stages of shared memory. A query sees the keys of its own row_span
 * only. So grids have no empty blocks and need no list of sequences, and lengths are bounded only
 * by row_span's 16 bits. Softmax runs over the slices (maths.cuh), fp32; probabilities are rounded
 * to fp16 for the second product.
 *
 * Grid: (ceil(rows / rows of a block), heads), blocks of 1 to 4 warps. */
#ifndef ROUTER_ENCODER_CUDA_ATTENTION_CUH
#define ROUTER_ENCODER_CUDA_ATTENTION_CUH

#include "router/encoder/cuda/maths.cuh"

enum {
    ATTENTION_KEYS = 64,
    ATTENTION_WARPS_MOST = 4,
    ATTENTION_STRIPS = ATTENTION_KEYS / 8,
};

struct attention_args {
    const half_bits *qkv; /* [rows][3 * hidden] */
    const row_span *span; /* [rows] */
    half_bits *out;       /* [rows][hidden] */
    int rows, hidden;
};

HOST_DEVICE constexpr int attention_shared_bytes(int size, int warps)
{
    return (warps * 16 + 2 * 2 * ATTENTION_KEYS) * size * 2;
}

template <int SIZE> struct attention_tiles {
    static constexpr int CHUNKS = SIZE / 8;
    uint4 *query;    /* [rows of the block] */
    uint4 *key[2];   /* [ATTENTION_KEYS] */
    uint4 *value[2]; /* [ATTENTION_KEYS] */
};

/* count rows from `first` on into shared memory; zeros for those outside [low, high). */
template <int SIZE>
DEVICE void attention_copy(uint4 *tile, const half_bits *from, size_t stride, int first, int count,
                           int low, int high)
{
    const int chunks = SIZE / 8;
    for (int i = (int)threadIdx.x; i < count * chunks; i += (int)blockDim.x) {
        int row = i / chunks, chunk = i % chunks;
        bool wanted = first + row >= low && first + row < high;
        copy_async_16(tile + tile_chunk<chunks>(row, chunk),
                      wanted ? from + (size_t)(first + row) * stride + chunk * 8 : from, wanted);
    }
}

/* What a warp carries from slice to slice; index 0 is the row lane / 4 of its 16, 1 the row + 8. */
template <int SIZE> struct attention_state {
    uint32_t query[SIZE / 16][4];
    row_span span[2];
    running_softmax softmax[2];
    float sum[SIZE / 8][4];
};

/* Scores of the warp's 16 queries with one slice of keys. */
template <int SIZE>
DEVICE void attention_scores(const attention_state<SIZE> &s, const uint4 *key, int lane,
                             float (&score)[ATTENTION_STRIPS][4])
{
#pragma unroll
    for (int n = 0; n < ATTENTION_STRIPS; n += 2)
#pragma unroll
        for (int k = 0; k < SIZE / 16; k++) {
            uint32_t b[4];
            load_matrix_x4(b, key + tile_chunk<SIZE / 8>(n * 8 + lane / 16 * 8 + lane % 8,
                                                         k * 2 + lane / 8 % 2));
            mma_m16n8k16(score[n], s.query[k], b[0], b[1]);
            mma_m16n8k16(score[n + 1], s.query[k], b[2], b[3]);
        }
}

/* Scores of the slice that begins at row `first` become weights; what was summed before is scaled
 * to match. */
template <int SIZE>
DEVICE void attention_weigh(attention_state<SIZE> *s, int first, int lane,
                            float (&score)[ATTENTION_STRIPS][4])
{
    /* 1 / sqrt(SIZE), and from e to the power to 2 to the power */
    const float scale = rsqrtf((float)SIZE) * 1.44269504f;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        row_span span = s->span[half];
        float largest = SOFTMAX_NOTHING, sum = 0.0f;
#pragma unroll
        for (int n = 0; n < ATTENTION_STRIPS; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int key = first + n * 8 + lane % 4 * 2 + i;
                float *x = &score[n][half * 2 + i];
                *x = key >= span.first && key < span.end ? *x * scale : SOFTMAX_NOTHING;
                largest = fmaxf(largest, *x);
            }
        largest = fmaxf(largest, warp_xor(largest, 1)); /* the four lanes of a row */
        largest = fmaxf(largest, warp_xor(largest, 2));
        float factor = softmax_raise(&s->softmax[half], largest);
#pragma unroll
        for (int n = 0; n < ATTENTION_STRIPS; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *x = &score[n][half * 2 + i];
                *x = *x > SOFTMAX_NOTHING ? exp2f(*x - s->softmax[half].largest) : 0.0f;
                sum += *x;
            }
        sum += warp_xor(sum, 1);
        sum += warp_xor(sum, 2);
        s->softmax[half].sum += sum;
#pragma unroll
        for (int d = 0; d < SIZE / 8; d++) {
            s->sum[d][half * 2] *= factor;
            s->sum[d][half * 2 + 1] *= factor;
        }
    }
}

/* sum += weights x values. The accumulators of two strips of scores are, rounded, the A fragment of
 * the 16 keys that they stand for. */
template <int SIZE>
DEVICE void attention_mix(attention_state<SIZE> *s, const uint4 *value, int lane,
                          const float (&weight)[ATTENTION_STRIPS][4])
{
#pragma unroll
    for (int k = 0; k < ATTENTION_STRIPS; k += 2) {
        uint32_t a[4] = {pack_half2(weight[k][0], weight[k][1]),
                         pack_half2(weight[k][2], weight[k][3]),
                         pack_half2(weight[k + 1][0], weight[k + 1][1]),
                         pack_half2(weight[k + 1][2], weight[k + 1][3])};
#pragma unroll
        for (int d = 0; d < SIZE / 8; d += 2) {
            uint32_t b[4];
            load_matrix_x4_transposed(
                b, value + tile_chunk<SIZE / 8>(k * 8 + lane % 16, d + lane / 16));
            mma_m16n8k16(s->sum[d], a, b[0], b[1]);
            mma_m16n8k16(s->sum[d + 1], a, b[2], b[3]);
        }
    }
}

template <int SIZE>
DEVICE void attention_store(const attention_state<SIZE> &s, const attention_args &g, int row,
                            int head, int lane)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int at = row + lane / 4 + half * 8;
        if (at >= g.rows)
            continue;
        float scale = softmax_scale(&s.softmax[half]);
        half_bits *out = g.out + (size_t)at * (size_t)g.hidden + head * SIZE + lane % 4 * 2;
#pragma unroll
        for (int d = 0; d < SIZE / 8; d++)
            *reinterpret_cast<uint32_t *>(out + d * 8) =
                pack_half2(s.sum[d][half * 2] * scale, s.sum[d][half * 2 + 1] * scale);
    }
}

template <int SIZE>
__global__ void __launch_bounds__(ATTENTION_WARPS_MOST *WARP)
    attention_kernel(const attention_args g)
{
    const int chunks = SIZE / 8;
    uint4 *shared = reinterpret_cast<uint4 *>(block_shared());
    int thread = (int)threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    int tile_rows = (int)blockDim.x / WARP * 16, head = (int)blockIdx.y;
    int first = (int)blockIdx.x * tile_rows, row = first + warp * 16;
    size_t stride = 3 * (size_t)g.hidden;
    const half_bits *query = g.qkv + head * SIZE, *key = query + g.hidden, *value = key + g.hidden;
    uint4 *key_tile = shared + tile_rows * chunks;
    uint4 *value_tile = key_tile + 2 * ATTENTION_KEYS * chunks;
    wait_for_grid_before();
    let_next_grid_begin();

    /* The keys that the tile's rows see, and those that this warp's rows see: rows and their spans
     * ascend alike. */
    int last = min(first + tile_rows, g.rows) - 1, warp_last = min(row + 16, g.rows) - 1;
    int low = g.span[first].first, high = g.span[last].end;
    int warp_low = row < g.rows ? g.span[row].first : 0;
    int warp_high = row < g.rows ? g.span[warp_last].end : 0;

    auto copy_keys = [&](int at) {
        int stage = (at - low) / ATTENTION_KEYS % 2 * ATTENTION_KEYS * chunks;
        if (at < high) {
            attention_copy<SIZE>(key_tile + stage, key, stride, at, ATTENTION_KEYS, low, high);
            attention_copy<SIZE>(value_tile + stage, value, stride, at, ATTENTION_KEYS, low, high);
        }
        copy_async_commit();
    };
    attention_copy<SIZE>(shared, query, stride, first, tile_rows, 0, g.rows);
    copy_keys(low); /* one group with the queries */

    attention_state<SIZE> s = {};
    for (int half = 0; half < 2; half++) {
        int at = row + lane / 4 + half * 8;
        s.softmax[half].largest = SOFTMAX_NOTHING;
        if (at < g.rows)
            s.span[half] = g.span[at];
    }
    for (int at = low; at < high; at += ATTENTION_KEYS) {
        copy_keys(at + ATTENTION_KEYS);
        copy_async_wait<1>();
        block_sync(); /* this slice is there for all */
        if (at == low)
#pragma unroll
            for (int k = 0; k < SIZE / 16; k++)
                load_matrix_x4(s.query[k], shared + tile_chunk<chunks>(warp * 16 + lane % 16,
                                                                       k * 2 + lane / 16));
        if (at < warp_high && at + ATTENTION_KEYS > warp_low) {
            int stage = (at - low) / ATTENTION_KEYS % 2 * ATTENTION_KEYS * chunks;
            float score[ATTENTION_STRIPS][4] = {};
            attention_scores<SIZE>(s, key_tile + stage, lane, score);
            attention_weigh<SIZE>(&s, at, lane, score);
            attention_mix<SIZE>(&s, value_tile + stage, lane, score);
        }
        block_sync(); /* all have used it: the next but one may come */
    }
    attention_store<SIZE>(s, g, row, head, lane);
}

#endif
