/* Arithmetic that host and device share, pure: tests/gpu runs it on a CPU. */
#ifndef ROUTER_ENCODER_CUDA_MATHS_CUH
#define ROUTER_ENCODER_CUDA_MATHS_CUH

#include <math.h>
#include "router/encoder/cuda/port.cuh"

/* Where 16-byte chunk `chunk` of row `row` lies in a shared-memory tile whose rows have CHUNKS of
 * them (4 or 8), counted in chunks. Any 8 consecutive rows' same chunk, what one phase of ldmatrix
 * reads, lie in 8 different groups of banks; so do a row's 8 chunks (or two rows' 4 and 4), what
 * one phase of a copy writes. */
template <int CHUNKS> HOST_DEVICE int tile_chunk(int row, int chunk)
{
    static_assert(CHUNKS == 4 || CHUNKS == 8, "rows of 32 or 64 fp16");
    if (CHUNKS == 8)
        return row * 8 + (chunk ^ (row & 7));
    return row / 2 * 8 + (((row & 1) * 4 + chunk) ^ (row / 2 & 3));
}

HOST_DEVICE float gelu(float x, bool tanh_form)
{
    const float sqrt_half = 0.70710678f, sqrt_2_over_pi = 0.79788456f;
    if (tanh_form)
        return 0.5f * x * (1.0f + tanhf(sqrt_2_over_pi * (x + 0.044715f * x * x * x)));
    return 0.5f * x * (1.0f + erff(x * sqrt_half));
}

/* A softmax that is taken over keys as they come (Milakov and Gimelshein, arXiv:1805.02867): the
 * largest score so far and the sum of exp(score - largest). Scores are in units of log 2. */
struct running_softmax {
    float largest, sum;
};

/* A finite "no key yet": exp2f(it - it) is 1 times a sum of 0, never NaN. */
#define SOFTMAX_NOTHING (-1e30f)

/* Takes in the largest of some new scores; returns the factor for everything summed so far. */
HOST_DEVICE float softmax_raise(running_softmax *s, float largest_new)
{
    float largest = fmaxf(s->largest, largest_new);
    float factor = exp2f(s->largest - largest);
    s->largest = largest;
    s->sum *= factor;
    return factor;
}

/* What sums over keys are multiplied by in the end; a row without keys gives zeros. */
HOST_DEVICE float softmax_scale(const running_softmax *s)
{
    return s->sum > 0.0f ? 1.0f / s->sum : 0.0f;
}

/* One token as the host describes it to the embedding kernel. Padding has the id -1. */
struct token {
    int32_t id;
    uint32_t place; /* its position in its sequence, and that sequence's length << 16 */
};

HOST_DEVICE token token_make(int32_t id, int position, int length)
{
    token t = {id, (uint32_t)position | (uint32_t)length << 16};
    return t;
}

HOST_DEVICE token token_padding()
{
    token t = {-1, 0};
    return t;
}

/* The rows [first, end) of the sequence that a row belongs to; empty for padding. */
struct row_span {
    int32_t first, end;
};

HOST_DEVICE row_span token_span(token t, int row)
{
    row_span s;
    s.first = row - (int)(t.place & 0xffff);
    s.end = s.first + (int)(t.place >> 16);
    return s;
}

#endif
