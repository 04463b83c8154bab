/* The CUDA backend on a real device: random models of several shapes in every size of pass, real
 * weights against sentence-transformers' vectors where they are. Skips, visibly (exit 77), where
 * there is no library or no device; anything else that keeps the kernels from running fails. */
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/cuda_kernels.h"
#include "router/encoder/safetensors.h"
#include "tests/gpu/oracle.h"

#define MODEL   ".cache/models/all-minilm-l6-v2"
#define PROMPTS "tests/golden/encoder/prompts.safetensors"

enum { SKIPPED = 77, POSITIONS = 512, SEQUENCES_MOST = 600 };

static const struct oracle_shape shapes[] = {
    {2, 384, 12, 1536, 500, POSITIONS, BERT_GELU_ERF, BERT_POOL_MEAN, true},
    {2, 768, 12, 3072, 500, POSITIONS, BERT_GELU_ERF, BERT_POOL_CLS, true},
    {1, 128, 2, 192, 500, POSITIONS, BERT_GELU_TANH, BERT_POOL_MEAN, false},
    {1, 1024, 16, 320, 500, POSITIONS, BERT_GELU_ERF, BERT_POOL_MEAN, false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void *open_cuda(const struct bert_model *m, int pass_tokens)
{
    struct err_text t = {{0}};
    void *packed = NULL;
    if (cuda_kernels_open(
            &(struct cuda_kernels_options){.model = m, .slots = 2, .pass_tokens = pass_tokens},
            &packed, &t))
        fail_msg("%s", t.s);
    return packed;
}

static struct encoder_vectors run(void *packed, const struct bert_model *m,
                                  const struct encoder_batch *in)
{
    struct err_text t = {{0}};
    struct encoder_vectors out = oracle_vectors_new(in->count, m->hidden);
    void *state = cuda_kernels.state_new(packed);
    if (cuda_kernels.run(state, in, &out, &t))
        fail_msg("%s", t.s);
    cuda_kernels.state_free(state);
    return out;
}

/* Lengths that fill `tokens` exactly: mostly short, some of every size up to the limit. */
static int random_lengths(struct rng *r, int tokens, int *lengths)
{
    int n = 0;
    while (tokens > 0) {
        int most = rng_below(r, 4) ? 40 : POSITIONS;
        int length = 1 + (int)rng_below(r, (uint64_t)most);
        lengths[n] = length < tokens && n < SEQUENCES_MOST - 40 ? length : tokens;
        lengths[n] = lengths[n] < POSITIONS ? lengths[n] : POSITIONS;
        tokens -= lengths[n++];
    }
    return n;
}

/* One packing against the reference, some of its sequences alone, all of it twice. */
static void packing_agrees(const struct bert_model *m, void *packed, struct rng *r, int tokens)
{
    static struct oracle_batch b;
    int lengths[SEQUENCES_MOST], count = random_lengths(r, tokens, lengths);
    oracle_batch_init(&b, lengths, count, m->vocab_size);
    struct encoder_vectors wanted = oracle_run(m, &b.in), got = run(packed, m, &b.in);
    struct encoder_vectors again = run(packed, m, &b.in);
    double lowest = oracle_lowest_cosine(got, wanted, count, m->hidden);
    print_message("hidden %d, %d tokens in %d sequences: lowest cosine %.8f\n", m->hidden, tokens,
                  count, lowest);
    assert_true(lowest >= 0.9999);
    assert_memory_equal(got.embedding, again.embedding,
                        (size_t)count * (size_t)m->hidden * sizeof(float));
    for (int i = 0; i < count; i += 1 + count / 8) {
        struct encoder_vectors part = {.embedding = got.embedding + i * m->hidden,
                                       .features = got.features + 2 * i * m->hidden};
        int32_t starts[] = {0, lengths[i]};
        struct encoder_batch one = {.ids = b.ids + b.starts[i], .starts = starts, .count = 1};
        struct encoder_vectors alone = run(packed, m, &one);
        assert_true(oracle_lowest_cosine(alone, part, 1, m->hidden) >= 0.999999);
        oracle_vectors_free(alone);
    }
    oracle_vectors_free(wanted);
    oracle_vectors_free(got);
    oracle_vectors_free(again);
}

static void random_models_agree(void **state)
{
    (void)state;
    static const int tokens[] = {1, 16, 31, 48, 64, 90, 128, 200, 384, 700, 1500};
    struct rng r;
    rng_seed(&r, 3);
    for (size_t i = 0; i < SHAPES; i++) {
        struct bert_model *m = oracle_model(&shapes[i]);
        void *packed = open_cuda(m, 2048);
        for (size_t k = 0; k < sizeof tokens / sizeof *tokens; k++)
            packing_agrees(m, packed, &r, tokens[k]);
        cuda_kernels.packed_free(packed);
        oracle_model_free(m);
    }
}

struct runner {
    pthread_t thread;
    const struct bert_model *model;
    void *packed;
    struct oracle_batch batch;
    struct encoder_vectors first;
    bool same;
};

static void *runner_main(void *arg)
{
    struct runner *r = arg;
    size_t bytes = (size_t)r->batch.in.count * (size_t)r->model->hidden * sizeof(float);
    r->same = true;
    for (int i = 0; i < 300; i++) {
        struct encoder_vectors got = run(r->packed, r->model, &r->batch.in);
        r->same &= memcmp(got.embedding, r->first.embedding, bytes) == 0;
        oracle_vectors_free(got);
    }
    return NULL;
}

/* More threads than slots, each with its own texts: nobody gets another's vectors. */
static void threads_keep_apart(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static struct runner runners[THREADS];
    struct bert_model *m = oracle_model(&shapes[0]);
    void *packed = open_cuda(m, 512);
    for (int i = 0; i < THREADS; i++) {
        runners[i].model = m;
        runners[i].packed = packed;
        oracle_batch_init(&runners[i].batch, (int[]){3 + i, 60 * i + 1, 9}, 3, m->vocab_size);
        runners[i].first = run(packed, m, &runners[i].batch.in);
        assert_int_equal(pthread_create(&runners[i].thread, NULL, runner_main, &runners[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(runners[i].thread, NULL);
        assert_true(runners[i].same);
        oracle_vectors_free(runners[i].first);
    }
    cuda_kernels.packed_free(packed);
    oracle_model_free(m);
}

/* ---- real weights ---- */

static const struct tensor *golden(const struct safetensors *file, const char *name)
{
    const struct tensor *t = safetensors_find(file, slice_str(name));
    assert_non_null(t);
    return t;
}

static void real_weights_are_sentence_transformers(void **state)
{
    (void)state;
    if (access(MODEL "/model.safetensors", R_OK) != 0) {
        print_message("skipped: no weights in %s; deploy/setup.sh --test fetches them\n", MODEL);
        skip();
    }
    struct err_text t = {{0}};
    struct encoder *e = NULL;
    struct safetensors *file = NULL;
    struct encoder_options opt = {.folder = MODEL, .device = ENCODER_CUDA, .precision = -1};
    if (encoder_open(&opt, &e, &t) || safetensors_open(PROMPTS, &file, &t))
        fail_msg("%s", t.s);
    const struct tensor *vectors = golden(file, "embedding");
    int count = (int)vectors->shape[0], dim = (int)vectors->shape[1];
    float *wanted = mem_zalloc(vectors->count, sizeof *wanted);
    assert_int_equal(tensor_read_f32(vectors, wanted, &t), ERR_OK);
    struct slice text = golden(file, "text")->data;
    int32_t *starts = mem_zalloc((size_t)count + 1, sizeof *starts);
    memcpy(starts, golden(file, "text_starts")->data.p, ((size_t)count + 1) * sizeof *starts);
    struct slice *texts = mem_zalloc((size_t)count, sizeof *texts);
    for (int i = 0; i < count; i++)
        texts[i] = slice_make(text.p + starts[i], (size_t)(starts[i + 1] - starts[i]));

    struct encoder_session *s = encoder_session_new(e);
    struct encoder_vectors got = oracle_vectors_new(count, dim);
    if (encoder_embed(s, texts, count, &got, NULL, &t))
        fail_msg("%s", t.s);
    double lowest = 1;
    for (int i = 0; i < count; i++) {
        double ab = 0, aa = 0, bb = 0;
        for (int c = i * dim; c < (i + 1) * dim; c++) {
            ab += (double)got.embedding[c] * wanted[c];
            aa += (double)got.embedding[c] * got.embedding[c];
            bb += (double)wanted[c] * wanted[c];
        }
        lowest = fmin(lowest, ab / sqrt(aa * bb));
    }
    print_message("%d prompts: lowest cosine %.7f\n", count, lowest);
    assert_true(lowest >= 0.9999);
    oracle_vectors_free(got);
    encoder_session_free(s);
    encoder_free(e);
    safetensors_free(file);
    free(wanted);
    free(starts);
    free(texts);
}

/* Why there is nothing to test here; false: there is a device. */
static bool nothing_here(struct err_text *t)
{
    struct bert_model *m = oracle_model(&shapes[2]);
    void *packed = NULL;
    enum err err = cuda_kernels_open(&(struct cuda_kernels_options){.model = m}, &packed, t);
    if (!err)
        cuda_kernels.packed_free(packed);
    oracle_model_free(m);
    return err && (strstr(t->s, "there is no libweir_cuda.so") || strstr(t->s, "no CUDA device: "));
}

int main(void)
{
    struct err_text t = {{0}};
    if (nothing_here(&t)) {
        printf("skipped: %s\n", t.s);
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_models_agree),
        cmocka_unit_test(threads_keep_apart),
        cmocka_unit_test(real_weights_are_sentence_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
