/* Owns: the way to libweir_cuda.so, a model on a device. The library, once loaded, stays: CUDA's
 * runtime does not like to leave. Thread: packed is shared; the library hands each run a slot of
 * its own. Called by encoder.c. */
#include "router/encoder/cuda_kernels.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "router/encoder/cosine.h"
#include "router/encoder/cpu/bert_cpu.h"
#include "router/encoder/cuda/cuda_abi.h"

enum { SLOTS = 3, PASS_TOKENS = 4096 };

struct cuda_model {
    const struct cuda_abi *abi;   /* of the library */
    struct cuda_backend *backend; /* owned */
    struct cuda_abi_facts facts;
    int hidden;
};

/* ---- the library ---- */

/* <folder of the program>/../lib/weir/libweir_cuda.so, in a build tree as where it is installed. */
static bool default_library(char *path, size_t n)
{
    ssize_t got = readlink("/proc/self/exe", path, n);
    if (got <= 0 || (size_t)got >= n)
        return false;
    path[got] = '\0';
    char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) : 0;
    int m = snprintf(path + folder, n - folder, "/../lib/weir/libweir_cuda.so");
    return m > 0 && (size_t)m < n - folder;
}

static enum err load_library(const char *given, const struct cuda_abi **abi, struct err_text *t)
{
    char path[1024];
    const char *env = getenv("WEIR_CUDA_LIBRARY");
    const char *file = given ? given : env;
    if (!file && default_library(path, sizeof path))
        file = path;
    if (!file || (!given && !env && access(file, R_OK) != 0)) {
        err_say(t, "there is no libweir_cuda.so here: this weir was built without nvcc");
        return ERR_INVALID_POLICY;
    }
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        err_say(t, "%s", dlerror());
        return ERR_INVALID_POLICY;
    }
    cuda_abi_fn get;
    void *symbol = dlsym(handle, CUDA_ABI_SYMBOL);
    memcpy(&get, &symbol, sizeof get); /* POSIX: they have the same form */
    *abi = symbol ? get(CUDA_ABI_VERSION) : NULL;
    if (!*abi) {
        err_say(t, "%s is of another version than this program", file);
        return ERR_INVALID_POLICY;
    }
    return ERR_OK;
}

/* ---- the model ---- */

static struct cuda_abi_layer layer_of(const struct bert_layer *l)
{
    return (struct cuda_abi_layer){
        .qkv_weight = l->qkv_weight,
        .qkv_bias = l->qkv_bias,
        .out_weight = l->out_weight,
        .out_bias = l->out_bias,
        .attn_gain = l->attn_gain,
        .attn_shift = l->attn_shift,
        .up_weight = l->up_weight,
        .up_bias = l->up_bias,
        .down_weight = l->down_weight,
        .down_bias = l->down_bias,
        .ffn_gain = l->ffn_gain,
        .ffn_shift = l->ffn_shift,
    };
}

static enum err open_backend(struct cuda_model *c, const struct cuda_kernels_options *opt,
                             struct err_text *t)
{
    const struct bert_model *m = opt->model;
    struct cuda_abi_layer *layer = mem_zalloc((size_t)m->layers, sizeof *layer);
    for (int i = 0; i < m->layers; i++)
        layer[i] = layer_of(&m->layer[i]);
    struct cuda_abi_model model = {
        .layers = m->layers,
        .hidden = m->hidden,
        .heads = m->heads,
        .feed_forward = m->feed_forward,
        .vocab_size = m->vocab_size,
        .max_positions = m->max_positions,
        .layer_norm_eps = m->layer_norm_eps,
        .tanh_form = m->activation == BERT_GELU_TANH,
        .of_cls = m->pooling == BERT_POOL_CLS,
        .unit_length = m->normalize,
        .word = m->word,
        .position = m->position,
        .embed_gain = m->embed_gain,
        .embed_shift = m->embed_shift,
        .layer = layer,
    };
    int tokens = opt->pass_tokens > 0 ? opt->pass_tokens : PASS_TOKENS;
    struct cuda_abi_options how = {
        .model = &model,
        .device = opt->device,
        .slots = opt->slots > 0 ? opt->slots : SLOTS,
        .pass_tokens = tokens > m->max_tokens ? tokens : m->max_tokens,
    };
    struct cuda_abi_text why = {{0}};
    enum cuda_abi_status status = c->abi->open(&how, &c->backend, &why);
    free(layer);
    if (status != CUDA_ABI_OK) {
        err_say(t, "%s", why.s);
        return ERR_INVALID_POLICY;
    }
    c->abi->facts(c->backend, &c->facts);
    return ERR_OK;
}

/* ---- passes ---- */

/* As many whole sequences from `first` on as one pass takes. */
static int pass_count(const struct cuda_model *c, const struct encoder_batch *batch, int first)
{
    int n = 0;
    while (first + n < batch->count && n < c->facts.pass_sequences &&
           batch->starts[first + n + 1] - batch->starts[first] <= c->facts.pass_tokens)
        n++;
    return n;
}

static enum cuda_abi_status run_pass(const struct cuda_model *c, const struct cuda_abi_batch *pass,
                                     float *embedding, float *features, struct cuda_abi_text *why)
{
    struct cuda_slot *slot = c->abi->acquire(c->backend);
    struct cuda_abi_vectors v;
    enum cuda_abi_status status = c->abi->submit(slot, pass, why);
    if (status == CUDA_ABI_OK)
        status = c->abi->wait(slot, &v, why);
    if (status == CUDA_ABI_OK) {
        size_t n = (size_t)pass->count * (size_t)c->hidden;
        memcpy(embedding, v.embedding, n * sizeof *embedding);
        if (features)
            memcpy(features, v.features, 2 * n * sizeof *features);
    }
    c->abi->release(slot);
    return status;
}

/* starts must begin with 0 in each pass: a pass's are copied. */
static enum err run_batch(const struct cuda_model *c, const struct encoder_batch *batch,
                          const struct encoder_vectors *out, struct err_text *t)
{
    enum cuda_abi_status status = CUDA_ABI_OK;
    struct cuda_abi_text why = {{0}};
    int32_t *starts = mem_alloc(((size_t)c->facts.pass_sequences + 1) * sizeof *starts);
    int n = 0;
    for (int first = 0; status == CUDA_ABI_OK && first < batch->count; first += n) {
        n = pass_count(c, batch, first);
        if (n == 0) {
            snprintf(why.s, sizeof why.s, "sequence %d is longer than the %d tokens of a pass",
                     first, c->facts.pass_tokens);
            status = CUDA_ABI_REFUSED;
            break;
        }
        for (int i = 0; i <= n; i++)
            starts[i] = batch->starts[first + i] - batch->starts[first];
        struct cuda_abi_batch pass = {.ids = batch->ids + batch->starts[first],
                                      .starts = starts,
                                      .count = n,
                                      .want_features = out->features != NULL};
        size_t at = (size_t)first * (size_t)c->hidden;
        status = run_pass(c, &pass, out->embedding + at,
                          out->features ? out->features + 2 * at : NULL, &why);
    }
    free(starts);
    if (status != CUDA_ABI_OK)
        err_say(t, "%s", why.s);
    return status == CUDA_ABI_OK ? ERR_OK : ERR_INTERNAL;
}

/* ---- trust ---- */

/* Cosine below which a device is not believed. fp16 costs about 1e-6; a wrong index costs far more
 * than this. */
#define CHECK_COSINE 0.9999

/* Sequences of these lengths are checked in a pass of each size. */
static const int check_lengths[] = {3, 13, 32};
enum { CHECK_SEQUENCES = sizeof check_lengths / sizeof *check_lengths, CHECK_US = 1000000 };

struct check {
    const struct bert_model *model;
    float *wanted;         /* [CHECK_SEQUENCES][hidden]: the CPU's */
    int32_t *ids, *starts; /* of one pass */
    float *got;
};

static int check_length(const struct check *k, int sequence)
{
    int n = check_lengths[sequence];
    return n < k->model->max_positions ? n : k->model->max_positions;
}

static int32_t check_id(const struct bert_model *m, int sequence, int at)
{
    return (int32_t)(((uint32_t)sequence * 15485863u + (uint32_t)at * 7919u + 1000u) %
                     (uint32_t)m->vocab_size);
}

/* Appends sequence `kind` to the batch. */
static void check_add(const struct check *k, struct encoder_batch *batch, int kind)
{
    int at = k->starts[batch->count], n = check_length(k, kind);
    for (int i = 0; i < n; i++)
        k->ids[at + i] = check_id(k->model, kind, i);
    k->starts[++batch->count] = at + n;
}

static enum err check_compute_wanted(const struct check *k, struct err_text *t)
{
    struct bert_cpu_options opt = {
        .model = k->model, .ops = cpu_ops_find(NULL), .precision = ENCODER_FP32, .pass_tokens = 64};
    const struct encoder_kernels *cpu = bert_cpu_kernels(opt.ops, ENCODER_FP32);
    struct encoder_batch batch = {.ids = k->ids, .starts = k->starts};
    for (int i = 0; i < CHECK_SEQUENCES; i++)
        check_add(k, &batch, i);
    void *packed = bert_cpu_pack(&opt), *state = cpu->state_new(packed);
    struct encoder_vectors out = {.embedding = k->wanted};
    enum err err = cpu->run(state, &batch, &out, t);
    cpu->state_free(state);
    cpu->packed_free(packed);
    return err;
}

/* A pass of up to `tokens`, filled with the sequences in turn. */
static enum err check_pass(const struct cuda_model *c, const struct check *k, int tokens,
                           struct err_text *t)
{
    struct encoder_batch batch = {.ids = k->ids, .starts = k->starts};
    for (int i = 0; k->starts[batch.count] + check_length(k, i % CHECK_SEQUENCES) <= tokens &&
                    batch.count < c->facts.pass_sequences;
         i++)
        check_add(k, &batch, i % CHECK_SEQUENCES);
    struct encoder_vectors out = {.embedding = k->got};
    enum err err = run_batch(c, &batch, &out, t);
    for (int i = 0; !err && i < batch.count; i++) {
        double x = cosine(k->got + (size_t)i * (size_t)c->hidden,
                          k->wanted + (size_t)(i % CHECK_SEQUENCES) * (size_t)c->hidden,
                          (size_t)c->hidden);
        if (!(x >= CHECK_COSINE)) {
            err_say(t,
                    "CUDA device %s computes other vectors than the CPU (cosine %.6f in a pass of "
                    "%d tokens): not used",
                    c->facts.device, x, tokens);
            err = ERR_INVALID_POLICY;
        }
    }
    return err;
}

/* Passes of every size up to the largest, as far as a second goes: on a GPU that is all of them. */
static enum err check_device(const struct cuda_model *c, const struct bert_model *m,
                             struct err_text *t)
{
    size_t tokens = (size_t)c->facts.pass_tokens, h = (size_t)c->hidden;
    tokens = tokens > 64 ? tokens : 64;
    struct check k = {.model = m,
                      .wanted = mem_zalloc(CHECK_SEQUENCES * h, sizeof(float)),
                      .ids = mem_zalloc(tokens, sizeof(int32_t)),
                      .starts = mem_zalloc(tokens + 1, sizeof(int32_t)),
                      .got = mem_zalloc((size_t)c->facts.pass_sequences * h, sizeof(float))};
    enum err err = check_compute_wanted(&k, t);
    int64_t until_us = clock_mono_us() + CHECK_US;
    for (int n = 16; !err && n <= c->facts.pass_tokens && clock_mono_us() < until_us; n += n / 2)
        err = check_pass(c, &k, n, t);
    free(k.wanted);
    free(k.ids);
    free(k.starts);
    free(k.got);
    return err ? ERR_INVALID_POLICY : ERR_OK;
}

/* ---- as kernels ---- */

static void cuda_packed_free(void *packed)
{
    struct cuda_model *c = packed;
    if (!c)
        return;
    if (c->backend)
        c->abi->close(c->backend);
    free(c);
}

enum err cuda_kernels_open(const struct cuda_kernels_options *opt, void **packed,
                           struct err_text *t)
{
    struct cuda_model *c = mem_zalloc(1, sizeof *c);
    c->hidden = opt->model->hidden;
    enum err err = load_library(opt->library, &c->abi, t);
    if (!err)
        err = open_backend(c, opt, t);
    if (!err)
        err = check_device(c, opt->model, t);
    if (err) {
        cuda_packed_free(c);
        return err;
    }
    *packed = c;
    return ERR_OK;
}

struct cuda_kernels_facts cuda_kernels_facts(const void *packed)
{
    const struct cuda_model *c = packed;
    return (struct cuda_kernels_facts){.device = c->facts.device,
                                       .pass_tokens = c->facts.pass_tokens,
                                       .weight_bytes = c->facts.weight_bytes};
}

/* All that a thread needs is in the slots. */
struct cuda_state {
    const struct cuda_model *model;
};

static void *cuda_state_new(const void *packed)
{
    struct cuda_state *s = mem_zalloc(1, sizeof *s);
    s->model = packed;
    return s;
}

static enum err cuda_run(void *state, const struct encoder_batch *batch,
                         struct encoder_vectors *out, struct err_text *t)
{
    const struct cuda_state *s = state;
    return run_batch(s->model, batch, out, t);
}

const struct encoder_kernels cuda_kernels = {
    .name = "cuda-fp16",
    .precision = ENCODER_FP16,
    .state_new = cuda_state_new,
    .state_free = free,
    .run = cuda_run,
    .packed_free = cuda_packed_free,
};
