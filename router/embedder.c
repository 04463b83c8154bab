/* Owns the encoder and its service. Opened and freed by gateway/control_encoder.c; held by
 * snapshots. */
#include "router/embedder.h"

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "base/mem.h"
#include "router/encoder/model_store.h"

/* Far more than any model reads; what is longer need not be copied into the queue. */
#define MAX_TEXT_BYTES ((size_t)64 << 10)

struct embedder {
    struct encoder *encoder;
    struct encoder_service *service;
    struct encoder_options fallback; /* a CPU's, for when a GPU fails */
    char folder[MODEL_STORE_PATH_BYTES];
    char *model;                    /* as the policy named it */
    struct policy_encoder made_for; /* its plain values; no pointer of it is used */
    _Atomic int holders;
};

enum err embedder_options(const struct policy_encoder *e, char *folder, size_t folder_bytes,
                          struct encoder_options *opt, struct err_text *t)
{
    static const enum encoder_device devices[] = {[POLICY_DEVICE_AUTO] = ENCODER_AUTO,
                                                  [POLICY_DEVICE_CPU] = ENCODER_CPU,
                                                  [POLICY_DEVICE_CUDA] = ENCODER_CUDA};
    static const int precisions[] = {[POLICY_PRECISION_AUTO] = -1,
                                     [POLICY_PRECISION_FP32] = ENCODER_FP32,
                                     [POLICY_PRECISION_INT8] = ENCODER_INT8,
                                     [POLICY_PRECISION_FP16] = ENCODER_FP16};
    enum err err = model_store_find(e->model, folder, folder_bytes, t);

    *opt = (struct encoder_options){
        .folder = folder,
        .device = devices[e->device],
        .precision = precisions[e->precision],
        .max_tokens = e->max_tokens == POLICY_NONE ? 0 : (int)e->max_tokens,
    };
    return err;
}

/* One for every two CPUs: workers, upstreams on the same machine and the kernel want theirs. */
static int thread_count(const struct policy_encoder *e)
{
    cpu_set_t cpus;
    int n = 1;

    if (e->threads != POLICY_NONE)
        return (int)e->threads;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        n = CPU_COUNT(&cpus) / 2;
    return n > 0 ? n : 1;
}

enum err embedder_open(const struct policy_encoder *want, struct embedder **out, struct err_text *t)
{
    struct embedder *e = mem_zalloc(1, sizeof *e);
    struct encoder_options opt;
    struct encoder_service_options so;
    enum err err;

    e->made_for = *want;
    e->model = mem_strdup(slice_str(want->model));
    err = embedder_options(want, e->folder, sizeof e->folder, &opt, t);
    if (err == ERR_OK)
        err = encoder_open(&opt, &e->encoder, t);
    if (err == ERR_OK) {
        e->fallback = opt;
        e->fallback.device = ENCODER_CPU;
        e->fallback.precision = -1;
        so = (struct encoder_service_options){
            .encoder = e->encoder,
            .threads = thread_count(want),
            .max_queued = (size_t)want->max_queued,
            .max_text_bytes = MAX_TEXT_BYTES,
            .fallback = encoder_facts(e->encoder).precision == ENCODER_FP16 ? &e->fallback : NULL,
        };
        err = encoder_service_start(&so, &e->service, t);
    }
    if (err != ERR_OK) {
        embedder_free(e);
        e = NULL;
    }
    *out = e;
    return err;
}

void embedder_free(struct embedder *e)
{
    if (!e)
        return;
    assert(!embedder_held(e));
    encoder_service_free(e->service);
    encoder_free(e->encoder);
    free(e->model);
    free(e);
}

bool embedder_suits(const struct embedder *e, const struct policy_encoder *want)
{
    const struct policy_encoder *m = &e->made_for;

    return strcmp(e->model, want->model) == 0 && m->device == want->device &&
           m->precision == want->precision && m->threads == want->threads &&
           m->max_queued == want->max_queued && m->max_tokens == want->max_tokens;
}

struct embedder *embedder_hold(struct embedder *e)
{
    atomic_fetch_add_explicit(&e->holders, 1, memory_order_relaxed);
    return e;
}

void embedder_release(struct embedder *e)
{
    if (e)
        atomic_fetch_sub_explicit(&e->holders, 1, memory_order_release);
}

bool embedder_held(const struct embedder *e)
{
    return atomic_load_explicit(&e->holders, memory_order_acquire) > 0;
}

const struct encoder *embedder_encoder(const struct embedder *e)
{
    return e->encoder;
}

struct encoder_service *embedder_service(struct embedder *e)
{
    return e->service;
}
