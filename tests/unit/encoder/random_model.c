#include "random_model.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"

float random_normal(struct rng *r)
{
    return (float)(sqrt(-2 * log(1 - rng_unit(r))) * cos(6.283185307179586 * rng_unit(r)));
}

static float *take(float **next, size_t n, struct rng *r, float mean, float deviation)
{
    float *p = *next;
    for (size_t i = 0; i < n; i++)
        p[i] = mean + deviation * random_normal(r);
    *next += n;
    return p;
}

void random_model_init(struct random_model *m, const struct random_shape *s, uint64_t seed)
{
    struct rng r;
    size_t h = (size_t)s->hidden, f = (size_t)s->feed_forward;
    size_t layer = 4 * h * h + 2 * h * f + f + 9 * h;
    size_t all = (size_t)s->layers * layer + (size_t)(s->vocabulary + s->positions + 2) * h;
    float *next = m->numbers = mem_zalloc(all, sizeof *m->numbers);
    /* As in trained models: products keep about the size of what comes in. */
    float small = 1 / sqrtf((float)h), wide = 1 / sqrtf((float)f);
    rng_seed(&r, seed);
    m->layers = mem_zalloc((size_t)s->layers, sizeof *m->layers);
    for (int i = 0; i < s->layers; i++)
        m->layers[i] = (struct bert_layer){
            .qkv_weight = take(&next, 3 * h * h, &r, 0, small),
            .qkv_bias = take(&next, 3 * h, &r, 0, 0.1f),
            .out_weight = take(&next, h * h, &r, 0, small),
            .out_bias = take(&next, h, &r, 0, 0.1f),
            .attn_gain = take(&next, h, &r, 1, 0.1f),
            .attn_shift = take(&next, h, &r, 0, 0.1f),
            .up_weight = take(&next, h * f, &r, 0, small),
            .up_bias = take(&next, f, &r, 0, 0.1f),
            .down_weight = take(&next, f * h, &r, 0, wide),
            .down_bias = take(&next, h, &r, 0, 0.1f),
            .ffn_gain = take(&next, h, &r, 1, 0.1f),
            .ffn_shift = take(&next, h, &r, 0, 0.1f),
        };
    m->model = (struct bert_model){
        .name = "random",
        .layers = s->layers,
        .hidden = s->hidden,
        .heads = s->heads,
        .feed_forward = s->feed_forward,
        .vocab_size = s->vocabulary,
        .max_positions = s->positions,
        .layer_norm_eps = 1e-12f,
        .activation = s->activation,
        .pooling = s->pooling,
        .normalize = true,
        .max_tokens = s->positions,
        .prefix = "",
        .word = take(&next, (size_t)s->vocabulary * h, &r, 0, 1),
        .position = take(&next, (size_t)s->positions * h, &r, 0, 0.3f),
        .embed_gain = take(&next, h, &r, 1, 0.1f),
        .embed_shift = take(&next, h, &r, 0, 0.1f),
        .layer = m->layers,
    };
}

void random_model_clear(struct random_model *m)
{
    free(m->layers);
    free(m->numbers);
}
