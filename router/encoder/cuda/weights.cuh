/* A model's weights on the device: one allocation, matrices and word vectors rounded to fp16, all
 * else fp32. Thread: that of cuda_abi.open. */
#ifndef ROUTER_ENCODER_CUDA_WEIGHTS_CUH
#define ROUTER_ENCODER_CUDA_WEIGHTS_CUH

#include <string.h>
#include <vector>
#include "router/encoder/cuda/cuda_abi.h"
#include "router/encoder/cuda/forward.cuh"

struct weights {
    forward_model model; /* its layer points into the next */
    std::vector<forward_layer> layer;
    unsigned char *memory; /* owned, on the device */
    size_t bytes;
};

/* Tensors one after the other, each aligned to 256 bytes. Without staging they are only counted. */
struct weight_writer {
    unsigned char *staging, *device;
    size_t used;
    const char *unfit; /* the first tensor with a number too large for fp16, or NULL */

    template <class T> T *take(size_t count)
    {
        size_t at = used;
        used = (used + count * sizeof(T) + 255) / 256 * 256;
        return staging ? reinterpret_cast<T *>(staging + at) : nullptr;
    }

    template <class T> const T *on_device(const T *staged) const
    {
        return reinterpret_cast<const T *>(
            device + (reinterpret_cast<const unsigned char *>(staged) - staging));
    }

    const float *floats(const float *from, size_t count)
    {
        float *to = take<float>(count);
        if (!to)
            return nullptr;
        memcpy(to, from, count * sizeof *to);
        return on_device(to);
    }

    const half_bits *halves(const char *name, const float *from, size_t count)
    {
        half_bits *to = take<half_bits>(count);
        if (!to)
            return nullptr;
        for (size_t i = 0; i < count; i++) {
            if (!(fabsf(from[i]) <= 65504.0f) && !unfit)
                unfit = name;
            to[i] = half_from_float(from[i]);
        }
        return on_device(to);
    }
};

static inline forward_layer weights_layer(weight_writer *w, const cuda_abi_model &m,
                                          const cuda_abi_layer &l)
{
    size_t h = (size_t)m.hidden, f = (size_t)m.feed_forward;
    forward_layer out = {};
    out.qkv_weight = w->halves("a query, key or value matrix", l.qkv_weight, 3 * h * h);
    out.out_weight = w->halves("an attention output matrix", l.out_weight, h * h);
    out.up_weight = w->halves("an intermediate matrix", l.up_weight, f * h);
    out.down_weight = w->halves("an output matrix", l.down_weight, h * f);
    out.qkv_bias = w->floats(l.qkv_bias, 3 * h);
    out.out_bias = w->floats(l.out_bias, h);
    out.up_bias = w->floats(l.up_bias, f);
    out.down_bias = w->floats(l.down_bias, h);
    out.attn_gain = w->floats(l.attn_gain, h);
    out.attn_shift = w->floats(l.attn_shift, h);
    out.ffn_gain = w->floats(l.ffn_gain, h);
    out.ffn_shift = w->floats(l.ffn_shift, h);
    return out;
}

static inline void weights_put(weights *out, weight_writer *w, const cuda_abi_model &m)
{
    size_t h = (size_t)m.hidden;
    out->model.word = w->halves("the word vectors", m.word, (size_t)m.vocab_size * h);
    out->model.position = w->floats(m.position, (size_t)m.max_positions * h);
    out->model.embed_gain = w->floats(m.embed_gain, h);
    out->model.embed_shift = w->floats(m.embed_shift, h);
    out->layer.clear();
    for (int i = 0; i < m.layers; i++)
        out->layer.push_back(weights_layer(w, m, m.layer[i]));
    out->model.layer = out->layer.data();
}

/* *unfit: the tensor with a number that fp16 does not have, or NULL. */
static inline cudaError_t weights_load(weights *out, const cuda_abi_model &m, const char **unfit)
{
    forward_model shape = {};
    shape.layers = m.layers;
    shape.hidden = m.hidden;
    shape.heads = m.heads;
    shape.feed_forward = m.feed_forward;
    shape.eps = m.layer_norm_eps;
    shape.tanh_form = m.tanh_form != 0;
    shape.of_cls = m.of_cls != 0;
    shape.unit_length = m.unit_length != 0;
    out->model = shape;

    weight_writer count = {};
    weights_put(out, &count, m);
    out->bytes = count.used;
    cudaError_t e = cudaMalloc(&out->memory, out->bytes);
    if (e != cudaSuccess)
        return e;
    std::vector<unsigned char> staging(out->bytes);
    weight_writer w = {staging.data(), out->memory, 0, nullptr};
    weights_put(out, &w, m);
    *unfit = w.unfit;
    return cudaMemcpy(out->memory, staging.data(), out->bytes, cudaMemcpyHostToDevice);
}

#endif
