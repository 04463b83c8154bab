/* The CUDA backend as the program loads it, on the emulated device: small random models and real
 * weights against the fp32 reference, passes side by side, and everything that can be refused or
 * break. */
#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "router/encoder/cuda/cuda_abi.h"
#include "router/encoder/cuda_kernels.h"
#include "tests/gpu/oracle.h"
#include "tests/unit/encoder/model_folder.h"

#define LIBRARY WEIR_CUDA_EMULATED_LIBRARY
#define MODEL   ".cache/models/all-minilm-l6-v2"

enum { VOCABULARY = 50, POSITIONS = 40, LAYERS = 2 };

static void *open_cuda(const struct bert_model *m, int slots, int pass_tokens)
{
    struct err_text t = {{0}};
    void *packed = NULL;
    struct cuda_kernels_options opt = {
        .model = m, .library = LIBRARY, .slots = slots, .pass_tokens = pass_tokens};
    if (cuda_kernels_open(&opt, &packed, &t))
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

/* ---- the pass ---- */

static const struct oracle_shape small = {
    LAYERS, 128, 4, 128, VOCABULARY, POSITIONS, BERT_GELU_ERF, BERT_POOL_MEAN, true};

#ifndef __SANITIZE_THREAD__
static void agrees(const struct bert_model *m, void *packed, const int *lengths, int count,
                   double least)
{
    struct oracle_batch b;
    oracle_batch_init(&b, lengths, count, m->vocab_size);
    struct encoder_vectors wanted = oracle_run(m, &b.in), got = run(packed, m, &b.in);
    double lowest = oracle_lowest_cosine(got, wanted, count, m->hidden);
    print_message("%d sequences, %d tokens: lowest cosine %.8f\n", count, b.starts[count], lowest);
    assert_true(lowest >= least);

    /* each one alone */
    for (int i = 0; i < count; i++) {
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
}

/* Lengths of vectors count too where they are not scaled. */
static void same_scale(const struct bert_model *m, void *packed)
{
    struct oracle_batch b;
    oracle_batch_init(&b, (int[]){7}, 1, m->vocab_size);
    struct encoder_vectors wanted = oracle_run(m, &b.in), got = run(packed, m, &b.in);
    for (int i = 0; i < m->hidden; i++) {
        assert_true(fabsf(got.embedding[i] - wanted.embedding[i]) < 0.01f);
        assert_true(fabsf(got.features[i] - wanted.features[i]) < 0.01f);
    }
    oracle_vectors_free(wanted);
    oracle_vectors_free(got);
}

static void small_models_agree(void **state)
{
    (void)state;
    static const struct oracle_shape shapes[] = {
        {LAYERS, 128, 4, 192, VOCABULARY, POSITIONS, BERT_GELU_ERF, BERT_POOL_MEAN, true},
        {LAYERS, 128, 2, 256, VOCABULARY, POSITIONS, BERT_GELU_TANH, BERT_POOL_CLS, false},
        {LAYERS, 256, 8, 128, VOCABULARY, POSITIONS, BERT_GELU_ERF, BERT_POOL_MEAN, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bert_model *m = oracle_model(&shapes[i]);
        void *packed = open_cuda(m, 1, 64);
        agrees(m, packed, (int[]){1, 5, 2, 40, 16}, 5, 0.99999);
        same_scale(m, packed);
        cuda_kernels.packed_free(packed);
        oracle_model_free(m);
    }
}

static void large_batches_take_several_passes(void **state)
{
    (void)state;
    struct bert_model *m = oracle_model(&small);
    void *packed = open_cuda(m, 1, 48);
    agrees(m, packed, (int[]){40, 40, 1, 7, 33, 16, 15}, 7, 0.99999);
    cuda_kernels.packed_free(packed);
    oracle_model_free(m);
}

/* all-MiniLM-L6-v2, few tokens: about a second each. */
static void real_weights_agree(void **state)
{
    (void)state;
    struct err_text t = {{0}};
    struct bert_model *m = NULL;
    if (access(MODEL "/model.safetensors", R_OK) != 0) {
        print_message("skipped: no weights in %s; deploy/setup.sh --test fetches them\n", MODEL);
        skip();
    }
    assert_int_equal(bert_model_open(MODEL, &m, &t), ERR_OK);
    m->max_tokens = 32; /* so that passes may be short */
    void *packed = open_cuda(m, 1, 32);
    agrees(m, packed, (int[]){17, 5, 10}, 3, 0.99999);
    cuda_kernels.packed_free(packed);
    bert_model_free(m);
}

#endif

/* ---- side by side ---- */

struct runner {
    pthread_t thread;
    const struct bert_model *model;
    void *packed;
    struct oracle_batch batch;
    struct encoder_vectors wanted;
};

static void *runner_main(void *arg)
{
    struct runner *r = arg;
    for (int i = 0; i < 3; i++) {
        struct encoder_vectors got = run(r->packed, r->model, &r->batch.in);
        assert_true(oracle_lowest_cosine(got, r->wanted, r->batch.in.count, r->model->hidden) >=
                    0.99999);
        oracle_vectors_free(got);
    }
    return NULL;
}

static void threads_share_slots(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static struct runner runners[THREADS];
    struct bert_model *m = oracle_model(&small);
    void *packed = open_cuda(m, 2, 40);
    for (int i = 0; i < THREADS; i++) {
        runners[i].model = m;
        runners[i].packed = packed;
        oracle_batch_init(&runners[i].batch, (int[]){3 + i, 12, 1 + 2 * i}, 3, m->vocab_size);
        runners[i].wanted = oracle_run(m, &runners[i].batch.in);
        assert_int_equal(pthread_create(&runners[i].thread, NULL, runner_main, &runners[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(runners[i].thread, NULL);
        oracle_vectors_free(runners[i].wanted);
    }
    cuda_kernels.packed_free(packed);
    oracle_model_free(m);
}

/* ---- through the table itself ---- */

static void *library_symbol(const char *name)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    void *symbol = dlsym(handle, name);
    dlclose(handle); /* its other users keep it */
    return symbol;
}

static const struct cuda_abi *abi(uint32_t version)
{
    void *symbol = library_symbol(CUDA_ABI_SYMBOL);
    cuda_abi_fn get;
    assert_non_null(symbol);
    memcpy(&get, &symbol, sizeof get);
    return get(version);
}

static void set_emulated(const char *name, int value)
{
    void *symbol = library_symbol(name);
    void (*set)(int);
    assert_non_null(symbol);
    memcpy(&set, &symbol, sizeof set);
    set(value);
}

/* The smallest model that there is, as the table wants it. */
struct tiny {
    struct bert_model *m;
    struct cuda_abi_layer layer[LAYERS];
    struct cuda_abi_model model;
};

static void tiny_init(struct tiny *t)
{
    *t = (struct tiny){.m = oracle_model(&small)};
    for (int i = 0; i < LAYERS; i++) {
        const struct bert_layer *l = &t->m->layer[i];
        t->layer[i] = (struct cuda_abi_layer){
            l->qkv_weight, l->qkv_bias, l->out_weight,  l->out_bias,  l->attn_gain, l->attn_shift,
            l->up_weight,  l->up_bias,  l->down_weight, l->down_bias, l->ffn_gain,  l->ffn_shift};
    }
    t->model = (struct cuda_abi_model){.layers = LAYERS,
                                       .hidden = small.hidden,
                                       .heads = small.heads,
                                       .feed_forward = small.feed_forward,
                                       .vocab_size = VOCABULARY,
                                       .max_positions = POSITIONS,
                                       .layer_norm_eps = 1e-12f,
                                       .unit_length = 1,
                                       .word = t->m->word,
                                       .position = t->m->position,
                                       .embed_gain = t->m->embed_gain,
                                       .embed_shift = t->m->embed_shift,
                                       .layer = t->layer};
}

static struct cuda_backend *tiny_open(struct tiny *t, int slots, int pass_tokens)
{
    struct cuda_abi_text why = {{0}};
    struct cuda_backend *b = NULL;
    struct cuda_abi_options opt = {
        .model = &t->model, .slots = slots, .pass_tokens = pass_tokens, .overlap = 1};
    if (abi(CUDA_ABI_VERSION)->open(&opt, &b, &why) != CUDA_ABI_OK)
        fail_msg("%s", why.s);
    return b;
}

static void tells_an_event_loop(void **state)
{
    (void)state;
    const struct cuda_abi *a = abi(CUDA_ABI_VERSION);
    struct tiny tiny;
    tiny_init(&tiny);
    struct cuda_backend *b = tiny_open(&tiny, 2, 32);
    struct cuda_slot *slot[2];
    struct cuda_abi_text why = {{0}};
    int32_t ids[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, starts[] = {0, 4, 9};
    struct cuda_abi_batch batch = {ids, starts, 2, 1};
    int events[2];
    for (int i = 0; i < 2; i++) {
        slot[i] = a->acquire(b);
        events[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_int_equal(a->submit(slot[i], &batch, &why), CUDA_ABI_OK);
        a->notify(slot[i], events[i]);
    }
    struct cuda_abi_vectors v[2];
    for (int i = 0; i < 2; i++) {
        uint64_t count = 0;
        struct pollfd p = {.fd = events[i], .events = POLLIN};
        assert_int_equal(poll(&p, 1, 60000), 1);
        assert_int_equal(read(events[i], &count, sizeof count), sizeof count);
        assert_int_equal(count, 1);
        assert_int_equal(a->wait(slot[i], &v[i], &why), CUDA_ABI_OK);
    }
    assert_memory_equal(v[0].embedding, v[1].embedding, 2 * 128 * sizeof(float));
    for (int i = 0; i < 2; i++) {
        a->release(slot[i]);
        close(events[i]);
    }
    a->close(b);
    oracle_model_free(tiny.m);
}

static void batches_are_checked(void **state)
{
    (void)state;
    const struct cuda_abi *a = abi(CUDA_ABI_VERSION);
    struct tiny tiny;
    tiny_init(&tiny);
    struct cuda_backend *b = tiny_open(&tiny, 1, 48);
    struct cuda_slot *s = a->acquire(b);
    struct cuda_abi_text why = {{0}};
    struct cuda_abi_vectors v;
    int32_t ids[64] = {0};
    const struct {
        int32_t starts[3], id;
        const char *says;
    } bad[] = {
        {{0, 3, 3}, 0, "sequence 1 has 0 tokens"},  {{0, 41, 44}, 0, "sequence 0 has 41 tokens"},
        {{0, 5, 2}, 0, "sequence 1 has -3 tokens"}, {{0, 30, 60}, 0, "48 tokens together"},
        {{0, 1, 2}, 50, "token 0 has the id 50"},   {{0, 1, 2}, -1, "token 0 has the id -1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ids[0] = bad[i].id;
        struct cuda_abi_batch batch = {ids, bad[i].starts, 2, 0};
        assert_int_equal(a->submit(s, &batch, &why), CUDA_ABI_REFUSED);
        assert_non_null(strstr(why.s, bad[i].says));
    }
    ids[0] = 0; /* and then one that is right, and one of nothing */
    struct cuda_abi_batch good = {ids, (int32_t[]){0, 40, 41}, 2, 0}, none = {NULL, NULL, 0, 0};
    assert_int_equal(a->submit(s, &good, &why), CUDA_ABI_OK);
    assert_int_equal(a->wait(s, &v, &why), CUDA_ABI_OK);
    assert_int_equal(a->submit(s, &none, &why), CUDA_ABI_OK);
    assert_int_equal(a->wait(s, &v, &why), CUDA_ABI_OK);
    a->release(s);
    a->close(b);
    oracle_model_free(tiny.m);
}

static void models_are_checked(void **state)
{
    (void)state;
    struct tiny tiny;
    tiny_init(&tiny);
    struct cuda_abi_model whole = tiny.model;
    static const struct {
        int hidden, heads, feed_forward, device, slots, pass_tokens;
        const char *says;
    } bad[] = {
        {128, 8, 128, 0, 1, 32, "heads of size 32 or 64; the model's is 16"},
        {128, 3, 128, 0, 1, 32, "heads of size"},
        {96, 3, 128, 0, 1, 32, "multiples of 128 up to 1024; the model's is 96"},
        {2048, 32, 128, 0, 1, 32, "multiples of 128 up to 1024; the model's is 2048"},
        {128, 4, 100, 0, 1, 32, "multiples of 64; the model's is 100"},
        {128, 4, 128, 1, 1, 32, "no CUDA device 1: there are 1"},
        {128, 4, 128, -1, 1, 32, "no CUDA device -1"},
        {128, 4, 128, 0, 0, 32, "0 slots"},
        {128, 4, 128, 0, 1, 20000, "1 to 16384"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cuda_abi_text why = {{0}};
        struct cuda_backend *b = NULL;
        struct cuda_abi_options opt = {.model = &tiny.model,
                                       .device = bad[i].device,
                                       .slots = bad[i].slots,
                                       .pass_tokens = bad[i].pass_tokens};
        tiny.model.hidden = bad[i].hidden;
        tiny.model.heads = bad[i].heads;
        tiny.model.feed_forward = bad[i].feed_forward;
        assert_int_equal(abi(CUDA_ABI_VERSION)->open(&opt, &b, &why), CUDA_ABI_REFUSED);
        assert_non_null(strstr(why.s, bad[i].says));
    }
    tiny.model = whole;
    float *bias = (float *)(uintptr_t)tiny.m->layer[1].down_weight;
    bias[3] = 70000;
    struct cuda_abi_text why = {{0}};
    struct cuda_backend *b = NULL;
    struct cuda_abi_options opt = {.model = &tiny.model, .slots = 1, .pass_tokens = 16};
    assert_int_equal(abi(CUDA_ABI_VERSION)->open(&opt, &b, &why), CUDA_ABI_REFUSED);
    assert_non_null(strstr(why.s, "an output matrix of the model has a number"));
    assert_null(abi(CUDA_ABI_VERSION + 1));
    oracle_model_free(tiny.m);
}

/* ---- what is not there, what breaks ---- */

static void refused(const struct cuda_kernels_options *opt, const char *says)
{
    struct err_text t = {{0}};
    void *packed = NULL;
    assert_int_equal(cuda_kernels_open(opt, &packed, &t), ERR_INVALID_POLICY);
    if (!strstr(t.s, says))
        fail_msg("\"%s\" does not say \"%s\"", t.s, says);
}

static void refused_without_library_or_device(void **state)
{
    (void)state;
    struct bert_model *m = oracle_model(&small);
    struct cuda_kernels_options opt = {.model = m, .pass_tokens = 40};
    refused(&opt, "built without nvcc"); /* none beside this test */
    opt.library = "/nonexistent/libweir_cuda.so";
    refused(&opt, "/nonexistent/libweir_cuda.so");
    opt.library = LIBRARY;
    setenv("WEIR_EMULATED_NO_DEVICE", "1", 1);
    refused(&opt, "no CUDA device: no CUDA-capable device is detected");
    unsetenv("WEIR_EMULATED_NO_DEVICE");
    oracle_model_free(m);
}

static void refused_when_it_computes_something_else(void **state)
{
    (void)state;
    struct bert_model *m = oracle_model(&small);
    struct cuda_kernels_options opt = {.model = m, .library = LIBRARY, .pass_tokens = 40};
    set_emulated("emulated_device_miscompute", 1);
    refused(&opt, "computes other vectors than the CPU");
    set_emulated("emulated_device_miscompute", 0);
    oracle_model_free(m);
}

static void device_errors_stay(void **state)
{
    (void)state;
    struct err_text t = {{0}};
    struct bert_model *m = oracle_model(&small);
    void *packed = open_cuda(m, 1, 40), *s = cuda_kernels.state_new(packed);
    struct oracle_batch b;
    oracle_batch_init(&b, (int[]){4, 5}, 2, m->vocab_size);
    struct encoder_vectors v = oracle_vectors_new(2, m->hidden);
    assert_int_equal(cuda_kernels.run(s, &b.in, &v, &t), ERR_OK);
    set_emulated("emulated_device_break", 700);
    assert_int_equal(cuda_kernels.run(s, &b.in, &v, &t), ERR_INTERNAL);
    assert_non_null(strstr(t.s, "emulated device"));
    assert_non_null(strstr(t.s, "an illegal memory access was encountered"));
    set_emulated("emulated_device_break", 0); /* the device may be well again: not for this one */
    memset(&t, 0, sizeof t);
    assert_int_equal(cuda_kernels.run(s, &b.in, &v, &t), ERR_INTERNAL);
    assert_non_null(strstr(t.s, "an illegal memory access was encountered"));
    cuda_kernels.state_free(s);
    cuda_kernels.packed_free(packed);
    packed = open_cuda(m, 1, 40); /* a new one is well */
    cuda_kernels.packed_free(packed);
    oracle_vectors_free(v);
    oracle_model_free(m);
}

/* A pass under way when the device breaks, waited for by a thread and by an event loop. */
static void device_errors_reach_who_waits(void **state)
{
    (void)state;
    const struct cuda_abi *a = abi(CUDA_ABI_VERSION);
    struct tiny tiny;
    tiny_init(&tiny);
    struct cuda_backend *b = tiny_open(&tiny, 1, 64);
    struct cuda_slot *s = a->acquire(b);
    struct cuda_abi_text why = {{0}};
    struct cuda_abi_vectors v;
    int32_t ids[60] = {0};
    struct cuda_abi_batch batch = {ids, (int32_t[]){0, 40, 60}, 2, 1};
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    set_emulated("emulated_device_hold", 1);
    assert_int_equal(a->submit(s, &batch, &why), CUDA_ABI_OK);
    a->notify(s, event);
    set_emulated("emulated_device_break", 700);
    struct pollfd p = {.fd = event, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 60000), 1);
    assert_int_equal(a->wait(s, &v, &why), CUDA_ABI_FAILED);
    assert_non_null(strstr(why.s, "in a pass: an illegal memory access"));
    a->release(s);
    set_emulated("emulated_device_hold", 0);
    set_emulated("emulated_device_break", 0);
    a->close(b);
    close(event);
    oracle_model_free(tiny.m);
}

/* encoder_open's own words: cuda says why not, auto goes on with the CPU. */
static void encoder_chooses(void **state)
{
    (void)state;
    char dir[] = "/tmp/weir-cuda-XXXXXX";
    assert_non_null(mkdtemp(dir));
    model_folder_write(dir, LAYOUT_MINILM);
    struct err_text t = {{0}};
    struct encoder *e = NULL;
    struct encoder_options opt = {.folder = dir, .device = ENCODER_CUDA, .precision = -1};
    assert_int_equal(encoder_open(&opt, &e, &t), ERR_INVALID_POLICY);
    assert_non_null(strstr(t.s, "built without nvcc"));
    setenv("WEIR_CUDA_LIBRARY", LIBRARY, 1);
    assert_int_equal(encoder_open(&opt, &e, &t), ERR_INVALID_POLICY);
    assert_non_null(strstr(t.s, "heads of size 32 or 64; the model's is 4"));
    opt.precision = ENCODER_INT8;
    assert_int_equal(encoder_open(&opt, &e, &t), ERR_INVALID_POLICY);
    assert_non_null(strstr(t.s, "fp16"));
    opt.precision = -1;
    opt.device = ENCODER_AUTO;
    assert_int_equal(encoder_open(&opt, &e, &t), ERR_OK);
    assert_int_equal(encoder_facts(e).precision, ENCODER_INT8);
    encoder_free(e);
    unsetenv("WEIR_CUDA_LIBRARY");
    model_folder_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef __SANITIZE_THREAD__ /* what one thread computes takes it minutes to watch */
        cmocka_unit_test(small_models_agree),
        cmocka_unit_test(large_batches_take_several_passes),
        cmocka_unit_test(real_weights_agree),
#endif
        cmocka_unit_test(threads_share_slots),
        cmocka_unit_test(tells_an_event_loop),
        cmocka_unit_test(batches_are_checked),
        cmocka_unit_test(models_are_checked),
        cmocka_unit_test(refused_without_library_or_device),
        cmocka_unit_test(refused_when_it_computes_something_else),
        cmocka_unit_test(device_errors_stay),
        cmocka_unit_test(device_errors_reach_who_waits),
        cmocka_unit_test(encoder_chooses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
