/* Whole passes on random models, by every set of kernels that this CPU has: near the reference,
 * equal alone and in a batch, and not moved by what scratch memory held before. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "random_model.h"
#include "router/encoder/bert_ref.h"
#include "router/encoder/cosine.h"
#include "router/encoder/cpu/bert_cpu.h"

enum { PASS = 192, MAX_SEQUENCES = 24 };

/* The usual sizes; odd ones, whose heads no vector kernel takes; wider heads. */
static const struct random_shape shapes[] = {
    {2, 96, 3, 200, 50, 160, BERT_GELU_ERF, BERT_POOL_MEAN},
    {1, 44, 4, 70, 50, 160, BERT_GELU_TANH, BERT_POOL_CLS},
    {2, 128, 2, 256, 50, 160, BERT_GELU_ERF, BERT_POOL_CLS},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Sequences of random lengths, PASS tokens together. */
struct sequences {
    int32_t ids[PASS], starts[MAX_SEQUENCES + 1];
    struct encoder_batch batch;
};

static void sequences_fill(struct sequences *s, struct rng *r, const struct random_shape *shape)
{
    int count = 0;
    s->starts[0] = 0;
    while (count < MAX_SEQUENCES && s->starts[count] < PASS) {
        int left = PASS - s->starts[count];
        int longest = left < shape->positions ? left : shape->positions;
        /* Short ones are as likely as long ones. */
        int n = 1 + (int)(rng_below(r, 2) ? rng_below(r, (uint64_t)longest)
                                          : rng_below(r, longest < 8 ? (uint64_t)longest : 8));
        s->starts[count + 1] = s->starts[count] + n;
        count++;
    }
    for (int i = 0; i < PASS; i++)
        s->ids[i] = (int32_t)rng_below(r, (uint64_t)shape->vocabulary);
    s->batch = (struct encoder_batch){.ids = s->ids, .starts = s->starts, .count = count};
}

/* One set of kernels with its weights. */
struct subject {
    const struct encoder_kernels *kernels;
    void *packed, *state;
};

static struct subject subject_new(const struct random_model *m, const struct cpu_ops *ops,
                                  enum encoder_precision precision,
                                  const struct encoder_batch *sample)
{
    struct subject s;
    if (ops) {
        s.kernels = bert_cpu_kernels(ops, precision);
        s.packed = bert_cpu_pack(&(struct bert_cpu_options){.model = &m->model,
                                                            .ops = ops,
                                                            .precision = precision,
                                                            .pass_tokens = PASS,
                                                            .sample = sample});
    } else {
        s.kernels = &bert_ref_kernels;
        s.packed = bert_ref_pack(&m->model, PASS);
    }
    s.state = s.kernels->state_new(s.packed);
    return s;
}

static void subject_free(struct subject *s)
{
    s->kernels->state_free(s->state);
    s->kernels->packed_free(s->packed);
}

/* Embeddings, then features, of a batch; freed by the caller. */
static float *run(struct subject *s, const struct encoder_batch *batch, int dim)
{
    size_t n = (size_t)batch->count * (size_t)dim;
    float *v = mem_zalloc(3 * n, sizeof *v);
    struct encoder_vectors out = {.embedding = v, .features = v + n};
    assert_int_equal(s->kernels->run(s->state, batch, &out, NULL), ERR_OK);
    return v;
}

static void near_the_reference(const struct random_model *m, const struct cpu_ops *ops,
                               enum encoder_precision precision, double bar)
{
    struct rng r;
    struct sequences *s = mem_zalloc(1, sizeof *s);
    const struct random_shape shape = {.vocabulary = m->model.vocab_size,
                                       .positions = m->model.max_positions};
    rng_seed(&r, 5);
    sequences_fill(s, &r, &shape);
    struct subject tested = subject_new(m, ops, precision, &s->batch);
    struct subject oracle = subject_new(m, NULL, ENCODER_FP32, NULL);
    int dim = m->model.hidden;
    for (int round = 0; round < 3; round++) {
        float *want = run(&oracle, &s->batch, dim), *got = run(&tested, &s->batch, dim);
        for (int i = 0; i < s->batch.count; i++) {
            double c = cosine(got + i * dim, want + i * dim, dim);
            double f = cosine(got + (s->batch.count + 2 * i) * dim,
                              want + (s->batch.count + 2 * i) * dim, 2 * dim);
            if (c < bar || f < bar)
                fail_msg("%s: sequence %d of %d tokens: cosine %.7f, of features %.7f",
                         tested.kernels->name, i, s->starts[i + 1] - s->starts[i], c, f);
        }
        free(want);
        free(got);
        sequences_fill(s, &r, &shape);
    }
    subject_free(&tested);
    subject_free(&oracle);
    free(s);
}

static void all_are_near_the_reference(void **state)
{
    (void)state;
    const struct cpu_ops *ops[8];
    size_t n = cpu_ops_here(ops, 8);
    for (int i = 0; i < SHAPES; i++) {
        struct random_model m;
        random_model_init(&m, &shapes[i], 11 + (uint64_t)i);
        for (size_t k = 0; k < n; k++) {
            near_the_reference(&m, ops[k], ENCODER_FP32, 0.999999);
            near_the_reference(&m, ops[k], ENCODER_INT8, 0.995);
        }
        random_model_clear(&m);
    }
}

/* Alone, after other sequences have been through the same scratch: the same bits. */
static void alone_is_as_in_a_batch(const struct random_model *m, const struct cpu_ops *ops,
                                   enum encoder_precision precision)
{
    struct rng r;
    struct sequences *s = mem_zalloc(1, sizeof *s);
    const struct random_shape shape = {.vocabulary = m->model.vocab_size,
                                       .positions = m->model.max_positions};
    rng_seed(&r, 6);
    sequences_fill(s, &r, &shape);
    struct subject tested = subject_new(m, ops, precision, &s->batch);
    int dim = m->model.hidden;
    for (int round = 0; round < 2; round++) {
        float *together = run(&tested, &s->batch, dim);
        for (int i = 0; i < s->batch.count; i++) {
            int32_t starts[2] = {0, s->starts[i + 1] - s->starts[i]};
            struct encoder_batch one = {.ids = s->ids + s->starts[i], .starts = starts, .count = 1};
            float *alone = run(&tested, &one, dim);
            assert_memory_equal(alone, together + i * dim, (size_t)dim * sizeof *alone);
            assert_memory_equal(alone + dim, together + (s->batch.count + 2 * i) * dim,
                                2 * (size_t)dim * sizeof *alone);
            free(alone);
        }
        free(together);
        sequences_fill(s, &r, &shape);
    }
    subject_free(&tested);
    free(s);
}

static void batches_change_nothing(void **state)
{
    (void)state;
    const struct cpu_ops *ops[8];
    size_t n = cpu_ops_here(ops, 8);
    for (int i = 0; i < SHAPES; i++) {
        struct random_model m;
        random_model_init(&m, &shapes[i], 21 + (uint64_t)i);
        for (size_t k = 0; k < n; k++) {
            alone_is_as_in_a_batch(&m, ops[k], ENCODER_FP32);
            alone_is_as_in_a_batch(&m, ops[k], ENCODER_INT8);
        }
        random_model_clear(&m);
    }
}

/* Weights and words of zero, huge ones, and a single one that outweighs all others. */
static void extremes_stay_finite(void **state)
{
    (void)state;
    const struct cpu_ops *ops[8];
    size_t n = cpu_ops_here(ops, 8);
    struct random_model m;
    random_model_init(&m, &shapes[0], 31);
    size_t words = (size_t)m.model.vocab_size * (size_t)m.model.hidden;
    float *word = m.numbers + (m.model.word - m.numbers);
    float *bias = m.numbers + (m.layers[0].qkv_bias - m.numbers);
    for (size_t i = 0; i < words; i++)
        word[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? 1e4f : -1e-8f;
    bias[0] = 1e6f;
    for (size_t k = 0; k < n; k++)
        for (int p = 0; p < 2; p++) {
            int32_t ids[40] = {0}, starts[3] = {0, 1, 40};
            struct encoder_batch batch = {.ids = ids, .starts = starts, .count = 2};
            struct subject s =
                subject_new(&m, ops[k], p == 0 ? ENCODER_FP32 : ENCODER_INT8, &batch);
            float *v = run(&s, &batch, m.model.hidden);
            for (int i = 0; i < 6 * m.model.hidden; i++)
                assert_true(isfinite(v[i]));
            free(v);
            subject_free(&s);
        }
    random_model_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_near_the_reference),
        cmocka_unit_test(batches_change_nothing),
        cmocka_unit_test(extremes_stay_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
