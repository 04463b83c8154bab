/* The encoder on real weights against sentence-transformers' vectors of 1,000 real prompts
 * (tests/golden/encoder). Skips, visibly, where the weights are not: deploy/setup.sh --test puts
 * them into .cache/models. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"
#include "router/encoder/cosine.h"
#include "router/encoder/cpu/ops.h"
#include "router/encoder/encoder.h"
#include "router/encoder/safetensors.h"

#define MODEL   ".cache/models/all-minilm-l6-v2"
#define PROMPTS "tests/golden/encoder/prompts.safetensors"

/* The golden file, unpacked. */
struct golden {
    struct safetensors *file;
    struct slice text;
    int32_t *starts, *tokens;
    float *embedding; /* [count][dim] */
    int count, dim;
};

static const struct tensor *find(const struct golden *g, const char *name)
{
    const struct tensor *t = safetensors_find(g->file, slice_str(name));
    assert_non_null(t);
    return t;
}

static int32_t *read_i32(const struct golden *g, const char *name)
{
    const struct tensor *t = find(g, name);
    assert_int_equal(t->dtype, TENSOR_I32);
    int32_t *out = mem_alloc(t->data.n);
    memcpy(out, t->data.p, t->data.n);
    return out;
}

static int golden_setup(void **state)
{
    struct err_text t = {{0}};
    struct golden *g = mem_zalloc(1, sizeof *g);
    if (safetensors_open(PROMPTS, &g->file, &t))
        fail_msg("%s", t.s);
    const struct tensor *vectors = find(g, "embedding");
    g->count = (int)vectors->shape[0];
    g->dim = (int)vectors->shape[1];
    g->text = find(g, "text")->data;
    g->starts = read_i32(g, "text_starts");
    g->tokens = read_i32(g, "tokens");
    g->embedding = mem_alloc(vectors->count * sizeof(float));
    if (tensor_read_f32(vectors, g->embedding, &t))
        fail_msg("%s", t.s);
    *state = g;
    return 0;
}

static int golden_teardown(void **state)
{
    struct golden *g = *state;
    free(g->starts);
    free(g->tokens);
    free(g->embedding);
    safetensors_free(g->file);
    free(g);
    return 0;
}

static struct encoder *open_model(const char *isa, int precision)
{
    if (access(MODEL "/model.safetensors", R_OK) != 0) {
        print_message("skipped: no weights in %s; deploy/setup.sh --test fetches them\n", MODEL);
        skip();
    }
    struct encoder_options opt = {
        .folder = MODEL, .device = ENCODER_CPU, .precision = precision, .isa = isa};
    struct err_text t = {{0}};
    struct encoder *e = NULL;
    if (encoder_open(&opt, &e, &t))
        fail_msg("%s", t.s);
    return e;
}

/* Encodes every step-th prompt and returns the mean cosine; the lowest goes to *lowest. */
static double measure(const struct golden *g, struct encoder *e, int step, double *lowest)
{
    int n = (g->count + step - 1) / step;
    struct slice *texts = mem_zalloc((size_t)n, sizeof *texts);
    struct wordpiece_counts *counts = mem_zalloc((size_t)n, sizeof *counts);
    float *vectors = mem_zalloc((size_t)n * (size_t)g->dim, sizeof *vectors);
    for (int i = 0; i < n; i++) {
        int at = g->starts[i * step];
        texts[i] = slice_make(g->text.p + at, (size_t)(g->starts[i * step + 1] - at));
    }
    struct encoder_session *s = encoder_session_new(e);
    struct encoder_vectors out = {.embedding = vectors};
    struct err_text t = {{0}};
    assert_int_equal(encoder_facts(e).dim, g->dim);
    assert_int_equal(encoder_embed(s, texts, n, &out, counts, &t), ERR_OK);
    double sum = 0;
    *lowest = 1;
    for (int i = 0; i < n; i++) {
        assert_int_equal(counts[i].tokens, g->tokens[i * step]);
        double c = cosine(vectors + i * g->dim, g->embedding + i * step * g->dim, g->dim);
        sum += c;
        *lowest = c < *lowest ? c : *lowest;
    }
    print_message("%s: %d prompts, cosine mean %.7f, lowest %.7f\n", encoder_facts(e).kernels, n,
                  sum / n, *lowest);
    encoder_session_free(s);
    encoder_free(e);
    free(texts);
    free(counts);
    free(vectors);
    return sum / n;
}

/* Every how many prompts: what takes long takes fewer, far fewer under sanitizers. WEIR_TEST_ALL=1
 * takes all. */
static int every(int prompts)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    prompts = prompts >= 20 ? 250 : 50;
#endif
    return getenv("WEIR_TEST_ALL") ? 1 : prompts;
}

static void reference_is_sentence_transformers(void **state)
{
    double lowest;
    measure(*state, open_model("reference", ENCODER_FP32), every(100), &lowest);
    assert_true(lowest >= 0.99999);
}

static void fp32_is_sentence_transformers(void **state)
{
    double lowest;
    measure(*state, open_model(NULL, ENCODER_FP32), every(5), &lowest);
    assert_true(lowest >= 0.99999);
}

static void int8_is_near(void **state)
{
    double lowest, mean = measure(*state, open_model(NULL, ENCODER_INT8), every(1), &lowest);
    assert_true(mean >= 0.998);
    assert_true(lowest >= 0.985);
}

/* The other instruction sets that this CPU has. */
static void other_kernels_are_near(void **state)
{
    const struct cpu_ops *ops[8];
    size_t n = cpu_ops_here(ops, 8);
    for (size_t i = 1; i < n; i++) {
        double lowest, mean;
        measure(*state, open_model(ops[i]->isa, ENCODER_FP32), every(60), &lowest);
        assert_true(lowest >= 0.99999);
        mean = measure(*state, open_model(ops[i]->isa, ENCODER_INT8), every(60), &lowest);
        assert_true(mean >= 0.997); /* of fewer prompts */
        assert_true(lowest >= 0.985);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_sentence_transformers),
        cmocka_unit_test(fp32_is_sentence_transformers),
        cmocka_unit_test(int8_is_near),
        cmocka_unit_test(other_kernels_are_near),
    };
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
