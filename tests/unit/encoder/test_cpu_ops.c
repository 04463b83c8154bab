/* The kernels one by one, on every instruction set that this CPU has: products against exact
 * integers and against double, at odd sizes and at the ends of the range; the int8 ones equal to
 * the last bit everywhere. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "random_model.h"
#include "router/encoder/cpu/pack.h"

enum { MAX_OPS = 8 };

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    mem_need(p);
    memset(p, 0x7f, (bytes + 63) / 64 * 64); /* poison: as floats, 3.4e38 */
    return p;
}

/* One product, all in memory of its own. */
struct job {
    int rows, inputs, outputs;    /* as the model has them */
    size_t in_stride, out_stride; /* padded */
    float *weight, *bias, *in;    /* in[rows][in_stride], padding zero */
    float *out;                   /* [rows][out_stride] */
    float *row_max;
    float shift; /* of the inputs, see struct cpu_matrix */
};

static struct job job_new(int rows, int inputs, int outputs, struct rng *r)
{
    struct job j = {.rows = rows,
                    .inputs = inputs,
                    .outputs = outputs,
                    .in_stride = cpu_padded((size_t)inputs),
                    .out_stride = cpu_padded((size_t)outputs)};
    j.weight = mem_zalloc((size_t)inputs * (size_t)outputs, sizeof(float));
    j.bias = mem_zalloc((size_t)outputs, sizeof(float));
    j.in = aligned((size_t)rows * j.in_stride * sizeof(float));
    j.out = aligned((size_t)rows * j.out_stride * sizeof(float));
    j.row_max = aligned((size_t)rows * CPU_ROW_MAX_LANES * sizeof(float));
    memset(j.in, 0, (size_t)rows * j.in_stride * sizeof(float));
    for (int i = 0; i < inputs * outputs; i++)
        j.weight[i] = random_normal(r) / sqrtf((float)inputs);
    for (int i = 0; i < outputs; i++)
        j.bias[i] = random_normal(r);
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < inputs; k++)
            j.in[(size_t)i * j.in_stride + (size_t)k] = random_normal(r);
    return j;
}

static void job_free(struct job *j)
{
    free(j->weight);
    free(j->bias);
    free(j->in);
    free(j->out);
    free(j->row_max);
}

static void fill_out(struct job *j, float value)
{
    for (size_t i = 0; i < (size_t)j->rows * j->out_stride; i++)
        j->out[i] = value;
}

static void run_s8(const struct cpu_ops *ops, struct job *j, const float *smooth,
                   enum cpu_finish finish)
{
    struct cpu_gelu gelu;
    struct cpu_block block;
    const struct cpu_linear l = {j->weight, j->bias, j->inputs, j->outputs, j->shift};
    cpu_gelu_init(&gelu, false);
    cpu_block_init(&block, cpu_pack_bytes(j->inputs, j->outputs, true) + 64 * 5);
    struct cpu_matrix w = cpu_pack_s8(ops, &l, smooth, &block);
    void *rows = aligned((size_t)j->rows * j->in_stride * (size_t)ops->row_bytes);
    float *scale = aligned((size_t)j->rows * sizeof *scale);
    ops->quantize(&(struct cpu_quantize){.in = j->in,
                                         .stride = j->in_stride,
                                         .rows = j->rows,
                                         .size = (int)j->in_stride,
                                         .smooth = w.smooth,
                                         .shift = w.shift,
                                         .out = rows,
                                         .scale = scale});
    ops->product_s8(&(struct cpu_product){.w = &w,
                                          .in = rows,
                                          .in_scale = scale,
                                          .out = j->out,
                                          .out_stride = j->out_stride,
                                          .rows = j->rows,
                                          .finish = finish,
                                          .gelu = &gelu,
                                          .row_max = finish == CPU_GELU ? j->row_max : NULL});
    free(rows);
    free(scale);
    cpu_block_clear(&block);
}

/* What the scheme of ops.h says, in 64 bits and one after the other. */
static float expected_s8(const struct job *j, int row, int column)
{
    const float *in = j->in + (size_t)row * j->in_stride;
    const float *weight = j->weight + (size_t)column * (size_t)j->inputs;
    float in_max = 0, weight_max = 0;
    for (int k = 0; k < j->inputs; k++) {
        in_max = fmaxf(in_max, fabsf(in[k]));
        weight_max = fmaxf(weight_max, fabsf(weight[k]));
    }
    int64_t sum = 0, weights = 0;
    float bias = j->bias[column], unit = weight_max / 127.0f;
    if (j->shift > 0) {
        float up = 255.0f / (in_max + j->shift), offset = j->shift * up;
        offset -= 128.0f;
        for (int k = 0; k < j->inputs && weight_max > 0; k++) {
            long q = lrintf(fmaf(in[k], up, offset)), w = lrintf(weight[k] * (127.0f / weight_max));
            assert_in_range(q + 128, 0, 255);
            sum += (q + 128) * w;
            weights += w;
        }
        bias -= j->shift * unit * (float)weights;
        return fmaf((float)sum * unit, (in_max + j->shift) / 255.0f, bias);
    }
    for (int k = 0; k < j->inputs && in_max > 0 && weight_max > 0; k++)
        sum += lrintf(in[k] * (127.0f / in_max)) * lrintf(weight[k] * (127.0f / weight_max));
    return fmaf((float)sum * unit, in_max / 127.0f, bias);
}

/* Nothing below -0.17, as after GELU. */
static void shift_inputs(struct job *j)
{
    j->shift = 0.171f;
    for (size_t i = 0; i < (size_t)j->rows * j->in_stride; i++)
        j->in[i] = fmaxf(j->in[i], -0.17f);
}

static void check_s8(const struct cpu_ops *ops, struct job *j)
{
    fill_out(j, -7);
    run_s8(ops, j, NULL, CPU_STORE);
    for (int r = 0; r < j->rows; r++)
        for (int c = 0; c < (int)j->out_stride; c++) {
            float want = c < j->outputs ? expected_s8(j, r, c) : 0;
            float got = j->out[(size_t)r * j->out_stride + (size_t)c];
            if (memcmp(&want, &got, sizeof got) != 0)
                fail_msg("%s: %d rows, %d inputs, %d outputs: [%d][%d] is %.9g, not %.9g", ops->isa,
                         j->rows, j->inputs, j->outputs, r, c, (double)got, (double)want);
        }
}

static void int8_products_are_exact(void **state)
{
    (void)state;
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    static const int inputs[] = {1, 3, 64, 100}, outputs[] = {1, 17, 64, 130};
    struct rng r;
    rng_seed(&r, 1);
    for (int rows = 1; rows <= 67; rows++) {
        struct job j = job_new(rows, inputs[rows % 4], outputs[rows / 4 % 4], &r);
        for (size_t k = 0; k < n; k++)
            check_s8(ops[k], &j);
        shift_inputs(&j);
        for (size_t k = 0; k < n; k++)
            check_s8(ops[k], &j);
        job_free(&j);
    }
}

/* All weights and inputs at their ends: the largest sums there are, of a model 4,096 wide. */
static void int8_products_do_not_saturate(void **state)
{
    (void)state;
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    struct rng r;
    rng_seed(&r, 2);
    for (int signs = 0; signs < 4; signs++) {
        struct job j = job_new(7, 4096, 64, &r);
        for (int i = 0; i < 4096 * 64; i++)
            j.weight[i] = signs & 1 ? -1.0f : 1.0f;
        for (int i = 0; i < 7 * 4096; i++)
            j.in[i] = signs & 2 ? -1.0f : 1.0f;
        for (size_t k = 0; k < n; k++)
            check_s8(ops[k], &j);
        job_free(&j);
    }
}

static void rows_and_columns_of_zero(void **state)
{
    (void)state;
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    struct rng r;
    rng_seed(&r, 3);
    struct job j = job_new(5, 64, 64, &r);
    memset(j.in + 2 * 64, 0, 64 * sizeof(float));
    memset(j.weight + 9 * 64, 0, 64 * sizeof(float));
    for (size_t k = 0; k < n; k++)
        check_s8(ops[k], &j);
    job_free(&j);
}

/* Residual, activation and smoothing: the same bits on every instruction set. */
static void int8_is_the_same_everywhere(void **state)
{
    (void)state;
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    struct rng r;
    rng_seed(&r, 4);
    for (int finish = CPU_STORE; finish <= CPU_GELU; finish++) {
        struct job j = job_new(13, 90, 70, &r);
        float smooth[90], *first = mem_zalloc((size_t)j.rows * j.out_stride, sizeof *first);
        for (int i = 0; i < 90; i++)
            smooth[i] = exp2f((float)((int)rng_below(&r, 7) - 3));
        for (size_t k = 0; k < n; k++) {
            fill_out(&j, 1.5f);
            run_s8(ops[k], &j, smooth, (enum cpu_finish)finish);
            if (k == 0)
                memcpy(first, j.out, (size_t)j.rows * j.out_stride * sizeof *first);
            assert_memory_equal(first, j.out, (size_t)j.rows * j.out_stride * sizeof *first);
            for (int row = 0; row < j.rows && finish == CPU_GELU; row++) {
                float want = 0, got = 0;
                for (size_t c = 0; c < j.out_stride; c++)
                    want = fmaxf(want, fabsf(j.out[(size_t)row * j.out_stride + c]));
                for (int lane = 0; lane < CPU_ROW_MAX_LANES; lane++)
                    got = fmaxf(got, j.row_max[row * CPU_ROW_MAX_LANES + lane]);
                assert_true(got == want);
            }
        }
        free(first);
        job_free(&j);
    }
}

static void check_f32(const struct cpu_ops *ops, struct job *j, bool add)
{
    struct cpu_block block;
    const struct cpu_linear l = {j->weight, j->bias, j->inputs, j->outputs, 0};
    cpu_block_init(&block, cpu_pack_bytes(j->inputs, j->outputs, false) + 64 * 5);
    struct cpu_matrix w = cpu_pack_f32(ops, &l, &block);
    fill_out(j, 0.25f);
    ops->product_f32(&(struct cpu_product){.w = &w,
                                           .in = j->in,
                                           .out = j->out,
                                           .out_stride = j->out_stride,
                                           .rows = j->rows,
                                           .finish = add ? CPU_ADD : CPU_STORE});
    for (int r = 0; r < j->rows; r++)
        for (int c = 0; c < j->outputs; c++) {
            double want = (double)j->bias[c] + (add ? 0.25 : 0);
            for (int k = 0; k < j->inputs; k++)
                want += (double)j->in[(size_t)r * j->in_stride + (size_t)k] *
                        j->weight[c * j->inputs + k];
            assert_float_equal(j->out[(size_t)r * j->out_stride + (size_t)c], want, 1e-4);
        }
    cpu_block_clear(&block);
}

static void fp32_products_are_near(void **state)
{
    (void)state;
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    static const int inputs[] = {1, 3, 64, 100}, outputs[] = {1, 17, 64, 130};
    struct rng r;
    rng_seed(&r, 5);
    for (int rows = 1; rows <= 67; rows += 3) {
        struct job j = job_new(rows, inputs[rows % 4], outputs[rows / 4 % 4], &r);
        for (size_t k = 0; k < n; k++)
            check_f32(ops[k], &j, rows % 2);
        job_free(&j);
    }
}

/* The activation over its whole range: one input, a column of weight 1. */
static void activation_is_near(const struct cpu_ops *ops, bool tanh_form)
{
    enum { STEPS = 4001 };
    struct cpu_gelu gelu;
    struct cpu_block block;
    const float weight[1] = {1}, bias[1] = {0};
    const struct cpu_linear l = {weight, bias, 1, 1, 0};
    cpu_gelu_init(&gelu, tanh_form);
    cpu_block_init(&block, cpu_pack_bytes(1, 1, false) + 64 * 5);
    struct cpu_matrix w = cpu_pack_f32(ops, &l, &block);
    float *in = aligned(STEPS * 64 * sizeof *in), *out = aligned(STEPS * 64 * sizeof *out);
    memset(in, 0, STEPS * 64 * sizeof *in);
    for (int i = 0; i < STEPS; i++)
        in[i * 64] = (float)(i - STEPS / 2) / 200.0f;
    in[0] = -1e30f;
    in[(STEPS - 1) * 64] = 1e30f;
    ops->product_f32(&(struct cpu_product){.w = &w,
                                           .in = in,
                                           .out = out,
                                           .out_stride = 64,
                                           .rows = STEPS,
                                           .finish = CPU_GELU,
                                           .gelu = &gelu});
    for (int i = 0; i < STEPS; i++) {
        double x = in[i * 64];
        double inner = 0.7978845608 * (x + 0.044715 * x * x * x);
        double want = 0.5 * x * (1 + (tanh_form ? tanh(inner) : erf(x / sqrt(2))));
        assert_float_equal(out[i * 64], want, 1e-5);
    }
    free(in);
    free(out);
    cpu_block_clear(&block);
}

static void activations_are_near(void **state)
{
    (void)state;
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    for (size_t k = 0; k < n; k++) {
        activation_is_near(ops[k], false);
        activation_is_near(ops[k], true);
    }
}

static void norms_are_near(void **state)
{
    (void)state;
    enum { ROWS = 5 };
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    static const int sizes[] = {1, 33, 64, 312, 384};
    struct rng r;
    rng_seed(&r, 6);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t stride = cpu_padded((size_t)sizes[i]), all = ROWS * stride;
            float *x = aligned(all * sizeof *x), *was = mem_zalloc(all, sizeof *was);
            float *gain = aligned(stride * sizeof *gain), *shift = aligned(stride * sizeof *shift);
            float *smooth = aligned(stride * sizeof *smooth);
            float *max = aligned(ROWS * CPU_ROW_MAX_LANES * sizeof *max);
            for (size_t c = 0; c < stride; c++) {
                bool real = c < (size_t)sizes[i];
                gain[c] = real ? 1 + 0.1f * random_normal(&r) : 0;
                shift[c] = real ? random_normal(&r) : 0;
                smooth[c] = 0.5f;
                for (size_t row = 0; row < ROWS; row++)
                    x[row * stride + c] = real ? 3 + 2 * random_normal(&r) : 0;
            }
            memcpy(was, x, all * sizeof *was);
            ops[k]->norm(&(struct cpu_norm){.x = x,
                                            .stride = stride,
                                            .rows = ROWS,
                                            .size = sizes[i],
                                            .gain = gain,
                                            .shift = shift,
                                            .eps = 1e-5f,
                                            .smooth = smooth,
                                            .row_max = max});
            for (size_t row = 0; row < ROWS; row++) {
                double mean = 0, var = 0, largest = 0, seen = 0;
                for (int c = 0; c < sizes[i]; c++)
                    mean += was[row * stride + (size_t)c] / (double)sizes[i];
                for (int c = 0; c < sizes[i]; c++)
                    var += pow(was[row * stride + (size_t)c] - mean, 2) / sizes[i];
                for (size_t c = 0; c < stride; c++) {
                    double want =
                        c < (size_t)sizes[i]
                            ? (was[row * stride + c] - mean) / sqrt(var + 1e-5) * gain[c] + shift[c]
                            : 0;
                    assert_float_equal(x[row * stride + c], want, 2e-4);
                    largest = fmax(largest, 0.5 * fabs(x[row * stride + c]));
                }
                for (size_t lane = 0; lane < CPU_ROW_MAX_LANES; lane++)
                    seen = fmax(seen, max[row * CPU_ROW_MAX_LANES + lane]);
                assert_float_equal(seen, largest, 1e-6);
            }
            free(x);
            free(was);
            free(gain);
            free(shift);
            free(smooth);
            free(max);
        }
}

/* One head of sequences of 1 to 70 tokens, against double. */
static void check_attention(const struct cpu_ops *ops, int tokens, int size, bool s8)
{
    struct rng r;
    size_t d = (size_t)size, t = (size_t)tokens;
    rng_seed(&r, 7 + (uint64_t)tokens);
    float *qkv = mem_zalloc(t * 3 * d, sizeof *qkv), *out = mem_zalloc(t * d, sizeof *out);
    /* Now and then no query: all keys weigh the same. */
    for (size_t i = 0; i < t * 3 * d; i++)
        qkv[i] = tokens % 9 == 0 && i % (3 * d) < d ? 0 : random_normal(&r);
    const struct cpu_attention a = {.qkv = qkv,
                                    .qkv_stride = 3 * d,
                                    .kv_offset = d,
                                    .out = out,
                                    .out_stride = d,
                                    .tokens = tokens,
                                    .size = size,
                                    .scratch = aligned(ops->attention_bytes(tokens, size))};
    (s8 ? ops->attention_s8 : ops->attention_f32)(&a);
    double *weight = mem_zalloc(t, sizeof *weight);
    for (size_t i = 0; i < t; i++) {
        double sum = 0;
        for (size_t j = 0; j < t; j++) {
            double dot = 0;
            for (size_t c = 0; c < d; c++)
                dot += (double)qkv[i * 3 * d + c] * qkv[j * 3 * d + d + c];
            weight[j] = exp(dot / sqrt((double)size));
            sum += weight[j];
        }
        for (size_t c = 0; c < d; c++) {
            double want = 0;
            for (size_t j = 0; j < t; j++)
                want += weight[j] / sum * qkv[j * 3 * d + 2 * d + c];
            assert_float_equal(out[i * d + c], want, s8 ? 0.08 : 2e-5);
        }
    }
    free(weight);
    free(qkv);
    free(out);
    free(a.scratch);
}

static void attention_is_near(void **state)
{
    (void)state;
    const struct cpu_ops *ops[MAX_OPS];
    size_t n = cpu_ops_here(ops, MAX_OPS);
    for (size_t k = 0; k < n; k++)
        for (int tokens = 1; tokens <= 70; tokens++) {
            check_attention(ops[k], tokens, 32, false);
            check_attention(ops[k], tokens, 32, true);
            check_attention(ops[k], tokens, 64, tokens % 2);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_products_are_exact),  cmocka_unit_test(int8_products_do_not_saturate),
        cmocka_unit_test(rows_and_columns_of_zero), cmocka_unit_test(int8_is_the_same_everywhere),
        cmocka_unit_test(fp32_products_are_near),   cmocka_unit_test(activations_are_near),
        cmocka_unit_test(norms_are_near),           cmocka_unit_test(attention_is_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
