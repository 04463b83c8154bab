/* One row of the residual stream in the registers of a warp. Lane l holds, for each chunk c of 128
 * columns, the columns c * 128 + l * 4 .. + 3: loads and stores are of whole sectors. */
#ifndef ROUTER_ENCODER_CUDA_ROW_CUH
#define ROUTER_ENCODER_CUDA_ROW_CUH

#include "router/encoder/cuda/maths.cuh"

enum {
    ROW_CHUNK = 4 * WARP, /* columns; hidden is a multiple of it */
    ROW_CHUNKS_MOST = 8,  /* hidden at most 1024 */
    ROWS_PER_BLOCK = 4,   /* of the kernels that give each row a warp */
};

struct row {
    float v[ROW_CHUNKS_MOST][4];
};

HOST_DEVICE int row_column(int chunk, int lane)
{
    return chunk * ROW_CHUNK + lane * 4;
}

/* row += of fp16, of fp32 */
DEVICE void row_add_half(row *r, const half_bits *from, int hidden, int lane)
{
#pragma unroll
    for (int c = 0; c < ROW_CHUNKS_MOST; c++)
        if (c * ROW_CHUNK < hidden) {
            uint2 bits = *reinterpret_cast<const uint2 *>(from + row_column(c, lane));
            float2 a = unpack_half2(bits.x), b = unpack_half2(bits.y);
            r->v[c][0] += a.x;
            r->v[c][1] += a.y;
            r->v[c][2] += b.x;
            r->v[c][3] += b.y;
        }
}

DEVICE void row_add_float(row *r, const float *from, int hidden, int lane)
{
#pragma unroll
    for (int c = 0; c < ROW_CHUNKS_MOST; c++)
        if (c * ROW_CHUNK < hidden) {
            float4 f = *reinterpret_cast<const float4 *>(from + row_column(c, lane));
            r->v[c][0] += f.x;
            r->v[c][1] += f.y;
            r->v[c][2] += f.z;
            r->v[c][3] += f.w;
        }
}

DEVICE void row_store_half(const row *r, half_bits *to, int hidden, int lane)
{
#pragma unroll
    for (int c = 0; c < ROW_CHUNKS_MOST; c++)
        if (c * ROW_CHUNK < hidden)
            *reinterpret_cast<uint2 *>(to + row_column(c, lane)) =
                make_uint2(pack_half2(r->v[c][0], r->v[c][1]), pack_half2(r->v[c][2], r->v[c][3]));
}

DEVICE float warp_sum(float x)
{
    for (int bits = WARP / 2; bits > 0; bits /= 2)
        x += warp_xor(x, bits);
    return x;
}

/* LayerNorm (Ba et al., arXiv:1607.06450), the variance about the mean as it is, in fp32. */
DEVICE void row_normalize(row *r, const float *gain, const float *shift, float eps, int hidden,
                          int lane)
{
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int c = 0; c < ROW_CHUNKS_MOST; c++)
        if (c * ROW_CHUNK < hidden)
            for (int i = 0; i < 4; i++)
                sum += r->v[c][i];
    float mean = warp_sum(sum) / (float)hidden;
#pragma unroll
    for (int c = 0; c < ROW_CHUNKS_MOST; c++)
        if (c * ROW_CHUNK < hidden)
            for (int i = 0; i < 4; i++)
                squares += (r->v[c][i] - mean) * (r->v[c][i] - mean);
    float scale = rsqrtf(warp_sum(squares) / (float)hidden + eps);
#pragma unroll
    for (int c = 0; c < ROW_CHUNKS_MOST; c++)
        if (c * ROW_CHUNK < hidden) {
            float4 g = *reinterpret_cast<const float4 *>(gain + row_column(c, lane));
            float4 s = *reinterpret_cast<const float4 *>(shift + row_column(c, lane));
            r->v[c][0] = (r->v[c][0] - mean) * scale * g.x + s.x;
            r->v[c][1] = (r->v[c][1] - mean) * scale * g.y + s.y;
            r->v[c][2] = (r->v[c][2] - mean) * scale * g.z + s.z;
            r->v[c][3] = (r->v[c][3] - mean) * scale * g.w + s.w;
        }
}

#endif
