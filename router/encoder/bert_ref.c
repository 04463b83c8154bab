/* Owns: nothing but its scratch. Thread: that of the session. Called by encoder.c through
 * bert_ref_kernels, and by tests.
 *
 * One layer, rows are tokens (post-LayerNorm, as BERT has it):
 *   qkv = x Wqkv + b;  ctx = softmax(q k^T / sqrt(d)) v per head and sequence
 *   x = LN(x + ctx Wo + b);  x = LN(x + gelu(x Wup + b) Wdown + b) */
#include "router/encoder/bert_ref.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct bert_ref {
    const struct bert_model *model; /* borrowed */
    int pass_tokens;
};

/* Scratch for pass_tokens rows. */
struct bert_ref_state {
    const struct bert_ref *ref;
    float *x;      /* [rows][H]: the residual stream */
    float *qkv;    /* [rows][3H] */
    float *ctx;    /* [rows][H]: attention's output, then the down projection's */
    float *up;     /* [rows][F] */
    float *scores; /* [rows]: one query's weights over its sequence */
};

void *bert_ref_pack(const struct bert_model *model, int pass_tokens)
{
    struct bert_ref *ref = mem_zalloc(1, sizeof *ref);
    ref->model = model;
    ref->pass_tokens = pass_tokens;
    return ref;
}

static void *ref_state_new(const void *packed)
{
    const struct bert_ref *ref = packed;
    const struct bert_model *m = ref->model;
    size_t rows = (size_t)ref->pass_tokens, h = (size_t)m->hidden;
    struct bert_ref_state *s = mem_zalloc(1, sizeof *s);
    s->ref = ref;
    s->x = mem_zalloc(rows * h, sizeof(float));
    s->qkv = mem_zalloc(rows * 3 * h, sizeof(float));
    s->ctx = mem_zalloc(rows * h, sizeof(float));
    s->up = mem_zalloc(rows * (size_t)m->feed_forward, sizeof(float));
    s->scores = mem_zalloc(rows, sizeof(float));
    return s;
}

static void ref_state_free(void *state)
{
    struct bert_ref_state *s = state;
    if (!s)
        return;
    free(s->x);
    free(s->qkv);
    free(s->ctx);
    free(s->up);
    free(s->scores);
    free(s);
}

static float dot(const float *a, const float *b, int n)
{
    double lane[8] = {0}; /* independent sums, so that a compiler may use vectors */
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            lane[j] += (double)a[i + j] * b[i + j];
    double sum = 0;
    for (; i < n; i++)
        sum += (double)a[i] * b[i];
    for (int j = 0; j < 8; j++)
        sum += lane[j];
    return (float)sum;
}

/* y[rows][out] = x[rows][in] weight^T + bias */
static void linear(const float *x, int rows, int in, const float *weight, const float *bias,
                   int out, float *y)
{
    for (int o = 0; o < out; o++)
        for (int r = 0; r < rows; r++)
            y[(size_t)r * (size_t)out + (size_t)o] =
                dot(x + (size_t)r * (size_t)in, weight + (size_t)o * (size_t)in, in) + bias[o];
}

/* x[rows][n] = LayerNorm(x + add) * gain + shift, per row; add may be NULL. */
static void layer_norm(float *x, const float *add, int rows, int n, const float *gain,
                       const float *shift, float eps)
{
    for (int r = 0; r < rows; r++) {
        float *row = x + (size_t)r * (size_t)n;
        double mean = 0, var = 0;
        for (int i = 0; i < n; i++) {
            if (add)
                row[i] += add[(size_t)r * (size_t)n + (size_t)i];
            mean += row[i];
        }
        mean /= n;
        for (int i = 0; i < n; i++)
            var += (row[i] - mean) * (row[i] - mean);
        double scale = 1.0 / sqrt(var / n + eps);
        for (int i = 0; i < n; i++)
            row[i] = (float)((row[i] - mean) * scale * gain[i] + shift[i]);
    }
}

static void softmax(float *s, int n)
{
    float max = s[0];
    for (int i = 1; i < n; i++)
        max = s[i] > max ? s[i] : max;
    double sum = 0;
    for (int i = 0; i < n; i++) {
        s[i] = expf(s[i] - max);
        sum += s[i];
    }
    for (int i = 0; i < n; i++)
        s[i] = (float)(s[i] / sum);
}

/* ctx[tokens][H] of one sequence from qkv[tokens][3H]; scores[tokens] is scratch. */
static void attention(const float *qkv, int tokens, int hidden, int heads, float *scores,
                      float *ctx)
{
    size_t h = (size_t)hidden, d = h / (size_t)heads;
    float scale = 1.0f / sqrtf((float)d);
    for (size_t head = 0; head < (size_t)heads; head++) {
        const float *q = qkv + head * d, *k = q + h, *v = k + h;
        for (size_t i = 0; i < (size_t)tokens; i++) {
            for (size_t j = 0; j < (size_t)tokens; j++)
                scores[j] = scale * dot(q + i * 3 * h, k + j * 3 * h, (int)d);
            softmax(scores, tokens);
            for (size_t c = 0; c < d; c++) {
                double sum = 0;
                for (size_t j = 0; j < (size_t)tokens; j++)
                    sum += (double)scores[j] * v[j * 3 * h + c];
                ctx[i * h + head * d + c] = (float)sum;
            }
        }
    }
}

static void gelu(float *x, size_t n, enum bert_activation kind)
{
    const float sqrt_half = 0.70710678f, sqrt_2_over_pi = 0.79788456f;
    for (size_t i = 0; i < n; i++) {
        float v = x[i];
        float cdf = kind == BERT_GELU_ERF
                        ? 0.5f * (1.0f + erff(v * sqrt_half))
                        : 0.5f * (1.0f + tanhf(sqrt_2_over_pi * (v + 0.044715f * v * v * v)));
        x[i] = v * cdf;
    }
}

static void embed(const struct bert_model *m, const struct encoder_batch *batch, float *x)
{
    size_t h = (size_t)m->hidden;
    for (int s = 0; s < batch->count; s++)
        for (int t = batch->starts[s]; t < batch->starts[s + 1]; t++) {
            const float *word = m->word + (size_t)batch->ids[t] * h;
            const float *position = m->position + (size_t)(t - batch->starts[s]) * h;
            for (size_t i = 0; i < h; i++)
                x[(size_t)t * h + i] = word[i] + position[i];
        }
    layer_norm(x, NULL, batch->starts[batch->count], m->hidden, m->embed_gain, m->embed_shift,
               m->layer_norm_eps);
}

static void layer(const struct bert_model *m, const struct bert_layer *w,
                  const struct encoder_batch *batch, struct bert_ref_state *s)
{
    int rows = batch->starts[batch->count], h = m->hidden, f = m->feed_forward;
    linear(s->x, rows, h, w->qkv_weight, w->qkv_bias, 3 * h, s->qkv);
    for (int i = 0; i < batch->count; i++) {
        size_t first = (size_t)batch->starts[i];
        attention(s->qkv + first * 3 * (size_t)h, batch->starts[i + 1] - batch->starts[i], h,
                  m->heads, s->scores, s->ctx + first * (size_t)h);
    }
    linear(s->ctx, rows, h, w->out_weight, w->out_bias, h, s->qkv);
    layer_norm(s->x, s->qkv, rows, h, w->attn_gain, w->attn_shift, m->layer_norm_eps);
    linear(s->x, rows, h, w->up_weight, w->up_bias, f, s->up);
    gelu(s->up, (size_t)rows * (size_t)f, m->activation);
    linear(s->up, rows, f, w->down_weight, w->down_bias, h, s->ctx);
    layer_norm(s->x, s->ctx, rows, h, w->ffn_gain, w->ffn_shift, m->layer_norm_eps);
}

/* Means of up to 16 columns from the one at rows on. */
static void column_means(const float *rows, size_t stride, int tokens, size_t columns, float *out)
{
    double sum[16] = {0};
    for (size_t t = 0; t < (size_t)tokens; t++)
        for (size_t i = 0; i < columns; i++)
            sum[i] += rows[t * stride + i];
    for (size_t i = 0; i < columns; i++)
        out[i] = (float)(sum[i] / tokens);
}

void bert_ref_pool(const struct bert_model *model, const float *rows, size_t stride, int tokens,
                   float *embedding, float *features)
{
    size_t h = (size_t)model->hidden;
    for (size_t i = 0; i < h; i += 16)
        column_means(rows + i, stride, tokens, h - i < 16 ? h - i : 16, embedding + i);
    if (features) {
        memcpy(features, embedding, h * sizeof *features);
        memcpy(features + h, rows, h * sizeof *features);
    }
    if (model->pooling == BERT_POOL_CLS)
        memcpy(embedding, rows, h * sizeof *embedding);
    if (!model->normalize)
        return;
    double square = 0;
    for (size_t i = 0; i < h; i++)
        square += (double)embedding[i] * embedding[i];
    /* torch.nn.functional.normalize: a null vector stays one. */
    double scale = 1.0 / fmax(sqrt(square), 1e-12);
    for (size_t i = 0; i < h; i++)
        embedding[i] = (float)(embedding[i] * scale);
}

static enum err ref_run(void *state, const struct encoder_batch *batch, struct encoder_vectors *out,
                        struct err_text *t)
{
    (void)t;
    struct bert_ref_state *s = state;
    const struct bert_model *m = s->ref->model;
    size_t h = (size_t)m->hidden;
    assert(batch->starts[batch->count] <= s->ref->pass_tokens);
    embed(m, batch, s->x);
    for (int l = 0; l < m->layers; l++)
        layer(m, &m->layer[l], batch, s);
    for (int i = 0; i < batch->count; i++)
        bert_ref_pool(m, s->x + (size_t)batch->starts[i] * h, h,
                      batch->starts[i + 1] - batch->starts[i], out->embedding + (size_t)i * h,
                      out->features ? out->features + (size_t)i * 2 * h : NULL);
    return ERR_OK;
}

const struct encoder_kernels bert_ref_kernels = {
    .name = "fp32-reference",
    .precision = ENCODER_FP32,
    .state_new = ref_state_new,
    .state_free = ref_state_free,
    .run = ref_run,
    .packed_free = free,
};
