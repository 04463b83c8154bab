/* Thread: any. */
#include "tests/gpu/oracle.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/bert_ref.h"
#include "router/encoder/cosine.h"

static float *random_floats(struct rng *r, size_t n, float scale, float offset)
{
    float *x = mem_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = offset + scale * (float)(2 * rng_unit(r) - 1);
    return x;
}

static struct bert_layer random_layer(struct rng *r, const struct oracle_shape *s)
{
    size_t h = (size_t)s->hidden, f = (size_t)s->feed_forward;
    return (struct bert_layer){
        .qkv_weight = random_floats(r, 3 * h * h, 0.2f, 0),
        .qkv_bias = random_floats(r, 3 * h, 0.2f, 0),
        .out_weight = random_floats(r, h * h, 0.2f, 0),
        .out_bias = random_floats(r, h, 0.2f, 0),
        .attn_gain = random_floats(r, h, 0.3f, 1),
        .attn_shift = random_floats(r, h, 0.3f, 0),
        .up_weight = random_floats(r, f * h, 0.2f, 0),
        .up_bias = random_floats(r, f, 0.2f, 0),
        .down_weight = random_floats(r, h * f, 0.2f, 0),
        .down_bias = random_floats(r, h, 0.2f, 0),
        .ffn_gain = random_floats(r, h, 0.3f, 1),
        .ffn_shift = random_floats(r, h, 0.3f, 0),
    };
}

struct bert_model *oracle_model(const struct oracle_shape *s)
{
    struct rng r;
    rng_seed(&r, 5);
    size_t h = (size_t)s->hidden;
    struct bert_layer *layer = mem_zalloc((size_t)s->layers, sizeof *layer);
    for (int i = 0; i < s->layers; i++)
        layer[i] = random_layer(&r, s);
    struct bert_model *m = mem_zalloc(1, sizeof *m);
    *m = (struct bert_model){.layers = s->layers,
                             .hidden = s->hidden,
                             .heads = s->heads,
                             .feed_forward = s->feed_forward,
                             .vocab_size = s->vocabulary,
                             .max_positions = s->positions,
                             .max_tokens = s->positions,
                             .layer_norm_eps = 1e-12f,
                             .activation = s->activation,
                             .pooling = s->pooling,
                             .normalize = s->normalize,
                             .word = random_floats(&r, (size_t)s->vocabulary * h, 1, 0),
                             .position = random_floats(&r, (size_t)s->positions * h, 1, 0),
                             .embed_gain = random_floats(&r, h, 0.3f, 1),
                             .embed_shift = random_floats(&r, h, 0.3f, 0),
                             .layer = layer};
    return m;
}

static void drop(const float *p)
{
    free((void *)(uintptr_t)p);
}

void oracle_model_free(struct bert_model *m)
{
    for (int i = 0; i < m->layers; i++) {
        const float *const *tensor = (const float *const *)(const void *)&m->layer[i];
        for (size_t t = 0; t < sizeof m->layer[i] / sizeof *tensor; t++)
            drop(tensor[t]);
    }
    drop(m->word);
    drop(m->position);
    drop(m->embed_gain);
    drop(m->embed_shift);
    free((void *)(uintptr_t)m->layer);
    free(m);
}

/* ---- batches ---- */

void oracle_batch_init(struct oracle_batch *b, const int *lengths, int count, int vocabulary)
{
    struct rng r;
    rng_seed(&r, 9);
    *b = (struct oracle_batch){.in = {.count = count}};
    for (int i = 0; i < count; i++)
        b->starts[i + 1] = b->starts[i] + lengths[i];
    for (int i = 0; i < b->starts[count]; i++)
        b->ids[i] = (int32_t)rng_below(&r, (uint64_t)vocabulary);
    b->in.ids = b->ids;
    b->in.starts = b->starts;
}

struct encoder_vectors oracle_vectors_new(int count, int hidden)
{
    size_t n = (size_t)count * (size_t)hidden;
    struct encoder_vectors v = {.embedding = mem_zalloc(n, sizeof(float)),
                                .features = mem_zalloc(2 * n, sizeof(float))};
    return v;
}

void oracle_vectors_free(struct encoder_vectors v)
{
    free(v.embedding);
    free(v.features);
}

struct encoder_vectors oracle_run(const struct bert_model *m, const struct encoder_batch *in)
{
    struct encoder_vectors out = oracle_vectors_new(in->count, m->hidden);
    void *packed = bert_ref_pack(m, in->starts[in->count]);
    void *state = bert_ref_kernels.state_new(packed);
    if (bert_ref_kernels.run(state, in, &out, NULL) != ERR_OK)
        abort();
    bert_ref_kernels.state_free(state);
    bert_ref_kernels.packed_free(packed);
    return out;
}

/* The lowest cosine of any vector, features in halves. */
double oracle_lowest_cosine(struct encoder_vectors a, struct encoder_vectors b, int count, int h)
{
    double lowest = 1;
    for (int i = 0; i < count; i++)
        lowest = fmin(lowest, cosine(a.embedding + i * h, b.embedding + i * h, (size_t)h));
    for (int i = 0; i < 2 * count; i++)
        lowest = fmin(lowest, cosine(a.features + i * h, b.features + i * h, (size_t)h));
    return lowest;
}
