/* The pass: which kernels run, in which order, on which buffers. One launch for the beginning,
 * seven for each layer, one for the end; nothing waits for the host in between.
 *
 *   embed | qkv, attention, out, norm, up + gelu, down, norm | ... | pool */
#ifndef ROUTER_ENCODER_CUDA_FORWARD_CUH
#define ROUTER_ENCODER_CUDA_FORWARD_CUH

#include "router/encoder/cuda/embed.cuh"
#include "router/encoder/cuda/norm.cuh"
#include "router/encoder/cuda/plan.cuh"
#include "router/encoder/cuda/pool.cuh"

/* Matrices fp16, vectors fp32, all on the device; shapes as in bert_model.h. */
struct forward_layer {
    const half_bits *qkv_weight, *out_weight, *up_weight, *down_weight;
    const float *qkv_bias, *out_bias, *up_bias, *down_bias;
    const float *attn_gain, *attn_shift, *ffn_gain, *ffn_shift;
};

struct forward_model {
    int layers, hidden, heads, feed_forward;
    float eps;
    bool tanh_form, of_cls, unit_length;
    const half_bits *word;
    const float *position, *embed_gain, *embed_shift;
    const forward_layer *layer; /* [layers], on the host */
};

/* One pass's memory. Device buffers of activations have room for forward_rows(tokens) rows. */
struct forward_buffers {
    const batch_head *host_head; /* mapped host memory, as the device sees it ... */
    const token *host_token;
    const int32_t *host_starts;
    float *host_embedding, *host_features;
    volatile uint32_t *host_flag; /* ... up to here */
    batch_head *head;
    row_span *span;
    int32_t *starts;
    uint32_t *blocks_done;
    half_bits *x;   /* [rows][hidden] */
    half_bits *qkv; /* [rows][3 * hidden] */
    half_bits *ctx; /* [rows][hidden] */
    half_bits *up;  /* [rows][feed_forward] */
    float *part;    /* forward_part_count numbers */
};

enum { POOL_BLOCKS_MOST = 1024 };

static inline size_t forward_rows(int tokens)
{
    return (size_t)tokens + GEMM_ROWS_MOST - 1;
}

static inline gemm_plan forward_plan_out(const forward_model &m, int rows, plan_device d)
{
    return plan_gemm(rows, m.hidden, m.hidden, true, d);
}

static inline gemm_plan forward_plan_down(const forward_model &m, int rows, plan_device d)
{
    return plan_gemm(rows, m.hidden, m.feed_forward, true, d);
}

/* Numbers that split products of passes of up to `tokens` need. */
static inline size_t forward_part_count(const forward_model &m, int tokens, plan_device d)
{
    size_t most = 0;
    for (int i = 0; i < PLAN_BUCKETS && plan_buckets[i] <= tokens; i++) {
        int rows = plan_buckets[i];
        int splits =
            std::max(forward_plan_out(m, rows, d).splits, forward_plan_down(m, rows, d).splits);
        most = std::max(most, (size_t)splits * (size_t)rows * (size_t)m.hidden);
    }
    return most;
}

/* How kernels are put into a stream; the first error stays. */
struct launcher {
    cudaStream_t stream;
    bool overlap; /* programmatic dependent launch; needs sm_90 */
    cudaError_t error;
};

template <class ARGS>
void launch(launcher *l, void (*kernel)(ARGS), dim3 grid, int threads, int shared_bytes,
            const ARGS &args)
{
    if (l->error != cudaSuccess)
        return;
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = grid;
    c.blockDim = dim3((unsigned)threads);
    c.dynamicSmemBytes = (size_t)shared_bytes;
    c.stream = l->stream;
    c.attrs = &overlap;
    c.numAttrs = l->overlap ? 1 : 0;
    l->error = cudaLaunchKernelEx(&c, kernel, args);
}

template <gemm_finish FINISH> void launch_gemm(launcher *l, const gemm_plan &p, const gemm_args &g)
{
    static void (*const kernel[PLAN_TILES])(gemm_args) = {
        gemm_kernel<gemm_tile_16, FINISH>, gemm_kernel<gemm_tile_32, FINISH>,
        gemm_kernel<gemm_tile_64, FINISH>, gemm_kernel<gemm_tile_128, FINISH>};
    const plan_shape &s = plan_shapes[p.tile];
    dim3 grid((unsigned)(g.outer / s.columns), (unsigned)((g.rows + s.rows - 1) / s.rows),
              (unsigned)p.splits);
    launch(l, kernel[p.tile], grid, s.threads, s.shared_bytes, g);
}

template <gemm_finish FINISH> cudaError_t allow_shared(plan_device d)
{
    cudaError_t e = cudaSuccess;
    if (plan_shapes[PLAN_TILE_128].shared_bytes <= d.shared_bytes)
        e = cudaFuncSetAttribute(gemm_kernel<gemm_tile_128, FINISH>,
                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 plan_shapes[PLAN_TILE_128].shared_bytes);
    return e;
}

/* Once for each device, before the first launch: blocks with more shared memory than 48 KB must be
 * allowed by name. */
static inline cudaError_t forward_prepare(plan_device d)
{
    cudaError_t e = allow_shared<GEMM_BIAS>(d);
    if (e == cudaSuccess)
        e = allow_shared<GEMM_GELU>(d);
    if (e == cudaSuccess)
        e = allow_shared<GEMM_PART>(d);
    return e;
}

static inline void launch_attention(launcher *l, const forward_model &m, const forward_buffers &b,
                                    int rows)
{
    attention_args g = {b.qkv, b.span, b.ctx, rows, m.hidden};
    int warps = plan_attention_warps(rows), size = m.hidden / m.heads;
    dim3 grid((unsigned)((rows + warps * 16 - 1) / (warps * 16)), (unsigned)m.heads);
    launch(l, size == 32 ? attention_kernel<32> : attention_kernel<64>, grid, warps * WARP,
           attention_shared_bytes(size, warps), g);
}

static inline unsigned row_blocks(int rows)
{
    return (unsigned)((rows + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK);
}

/* x = LN(x + in weight^T + bias) */
static inline void launch_residual(launcher *l, const forward_model &m, const forward_buffers &b,
                                   int rows, const gemm_plan &p, const half_bits *in, int inner,
                                   const half_bits *weight, const float *bias, const float *gain,
                                   const float *shift)
{
    gemm_args g = {};
    g.in = in;
    g.weight = weight;
    g.part = b.part;
    g.rows = rows;
    g.outer = m.hidden;
    g.inner = inner;
    g.share = p.share;
    launch_gemm<GEMM_PART>(l, p, g);
    norm_args n = {b.x, b.part, p.splits, bias, gain, shift, m.eps, rows, m.hidden};
    launch(l, norm_kernel, dim3(row_blocks(rows)), ROWS_PER_BLOCK * WARP, 0, n);
}

/* out = in weight^T + bias, or gelu of it */
template <gemm_finish FINISH>
void launch_linear(launcher *l, const forward_model &m, int rows, plan_device d,
                   const half_bits *in, const half_bits *weight, const float *bias, int outer,
                   half_bits *out)
{
    gemm_plan p = plan_gemm(rows, outer, m.hidden, false, d);
    gemm_args g = {in, weight, bias, out, nullptr, rows, outer, m.hidden, p.share, m.tanh_form};
    launch_gemm<FINISH>(l, p, g);
}

static inline void launch_layer(launcher *l, const forward_model &m, const forward_layer &w,
                                const forward_buffers &b, int rows, plan_device d)
{
    launch_linear<GEMM_BIAS>(l, m, rows, d, b.x, w.qkv_weight, w.qkv_bias, 3 * m.hidden, b.qkv);
    launch_attention(l, m, b, rows);
    launch_residual(l, m, b, rows, forward_plan_out(m, rows, d), b.ctx, m.hidden, w.out_weight,
                    w.out_bias, w.attn_gain, w.attn_shift);
    launch_linear<GEMM_GELU>(l, m, rows, d, b.x, w.up_weight, w.up_bias, m.feed_forward, b.up);
    launch_residual(l, m, b, rows, forward_plan_down(m, rows, d), b.up, m.feed_forward,
                    w.down_weight, w.down_bias, w.ffn_gain, w.ffn_shift);
}

/* Puts one pass of `rows` (a bucket) into the stream. */
static inline cudaError_t forward(const forward_model &m, const forward_buffers &b, int rows,
                                  plan_device d, cudaStream_t stream, bool overlap)
{
    launcher l = {stream, overlap, cudaSuccess};
    embed_args e = {b.host_head, b.host_token, b.host_starts, b.head, b.span, b.starts, b.x, m.word,
                    m.position,  m.embed_gain, m.embed_shift, m.eps,  rows,   m.hidden};
    launch(&l, embed_kernel, dim3(row_blocks(rows)), ROWS_PER_BLOCK * WARP, 0, e);
    for (int i = 0; i < m.layers; i++)
        launch_layer(&l, m, m.layer[i], b, rows, d);
    pool_args p = {b.head,      b.starts,      b.x,      b.host_embedding, b.host_features,
                   b.host_flag, b.blocks_done, m.hidden, m.of_cls,         m.unit_length};
    launch(&l, pool_kernel, dim3((unsigned)std::min(rows, (int)POOL_BLOCKS_MOST)),
           POOL_WARPS * WARP, pool_shared_bytes(m.hidden), p);
    return l.error;
}

#endif
