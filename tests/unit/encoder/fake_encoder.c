/* Stands for router/encoder/encoder.c: linked before the library, it is taken in its place. */
#include "tests/unit/encoder/fake_encoder.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct encoder {
    bool gpu;
};

struct encoder_session {
    const struct encoder *encoder;
};

struct fake_encoder fake_encoder;

void fake_encoder_reset(void)
{
    memset(&fake_encoder, 0, sizeof fake_encoder);
    sem_init(&fake_encoder.entered, 0, 0);
    sem_init(&fake_encoder.go_on, 0, 0);
}

enum err encoder_open(const struct encoder_options *opt, struct encoder **out, struct err_text *t)
{
    fake_encoder.opened++;
    if (fake_encoder.open_fails) {
        err_say(t, "no such model");
        return ERR_BAD_WEIGHTS;
    }
    *out = mem_zalloc(1, sizeof **out);
    (*out)->gpu = opt->device == ENCODER_CUDA;
    return ERR_OK;
}

void encoder_free(struct encoder *e)
{
    free(e);
}

struct encoder_facts encoder_facts(const struct encoder *e)
{
    struct encoder_facts f = {.model = "fake",
                              .kernels = e->gpu ? "cuda-fp16" : "int8-portable",
                              .dim = FAKE_DIM,
                              .max_tokens = 256,
                              .precision = e->gpu ? ENCODER_FP16 : ENCODER_INT8};

    f.full.bytes[0] = e->gpu ? 1 : 2;
    return f;
}

struct encoder_session *encoder_session_new(const struct encoder *e)
{
    struct encoder_session *s = mem_zalloc(1, sizeof *s);

    s->encoder = e;
    return s;
}

void encoder_session_free(struct encoder_session *s)
{
    free(s);
}

enum err encoder_embed(struct encoder_session *s, const struct slice *texts, int count,
                       struct encoder_vectors *out, struct wordpiece_counts *counts,
                       struct err_text *t)
{
    if (fake_encoder.gated) {
        sem_post(&fake_encoder.entered);
        while (sem_wait(&fake_encoder.go_on) != 0)
            ;
    }
    if (fake_encoder.gpu_fails && s->encoder->gpu) {
        err_say(t, "the device is gone");
        return ERR_INTERNAL;
    }
    for (int i = 0; i < count; i++) {
        counts[i] = (struct wordpiece_counts){.tokens = texts[i].n + 2, .bytes = texts[i].n};
        for (int d = 0; d < FAKE_DIM; d++)
            out->embedding[i * FAKE_DIM + d] = (float)texts[i].n + (float)d;
        for (int d = 0; out->features && d < 2 * FAKE_DIM; d++)
            out->features[i * 2 * FAKE_DIM + d] = -(float)texts[i].n;
    }
    return ERR_OK;
}
