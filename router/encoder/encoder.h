/* Text in, vectors out: a model, its tokenizer and one set of kernels behind one call.
 *
 * struct encoder is immutable and shared: weights packed once for the chosen precision.
 * struct encoder_session is what one thread computes with (activations, token buffers). The kernels
 * are an interface of three calls (struct encoder_kernels), so that CPU precisions and CUDA are
 * alike. */
#ifndef ROUTER_ENCODER_ENCODER_H
#define ROUTER_ENCODER_ENCODER_H

#include "base/err.h"
#include "router/encoder/bert_model.h"
#include "router/encoder/fingerprint.h"
#include "router/encoder/wordpiece.h"

/* Sequences laid end to end, no padding. */
struct encoder_batch {
    const int32_t *ids;    /* [starts[count]] */
    const int32_t *starts; /* [count + 1], starts[0] == 0; each sequence has 1..max_tokens ids */
    int count;
};

/* What one pass gives for each sequence. */
struct encoder_vectors {
    float *embedding; /* [count][dim]: pooled and, if the model says so, scaled to unit length */
    float *features;  /* [count][2 * dim]: mean of the last layer, then its [CLS] row, neither
                         scaled:  what trained heads see. NULL: not wanted */
};

/* One set of kernels. run may be called by one thread at a time per state. */
struct encoder_kernels {
    const char *name; /* "int8-avx512vnni", "fp32-reference", "cuda-fp16" ... */
    enum encoder_precision precision;
    void *(*state_new)(const void *packed); /* scratch of one thread */
    void (*state_free)(void *state);
    enum err (*run)(void *state, const struct encoder_batch *batch, struct encoder_vectors *out,
                    struct err_text *t);
    void (*packed_free)(void *packed);
};

enum encoder_device { ENCODER_AUTO, ENCODER_CPU, ENCODER_CUDA };

struct encoder_options {
    const char *folder; /* of the model */
    enum encoder_device device;
    int precision;   /* of enum encoder_precision, or -1: int8 on a CPU, fp16 on a GPU */
    int max_tokens;  /* <= 0: the model's own; more than it has is refused */
    const char *isa; /* NULL: the best this CPU has; else "reference" (fp32 only), "portable",
                        "avx2", "avx512vnni": for tests and benchmarks */
};

struct encoder;
struct encoder_session;

/* ERR_BAD_WEIGHTS; ERR_INVALID_POLICY when the device or precision is not to be had here. */
enum err encoder_open(const struct encoder_options *opt, struct encoder **out,
                      struct err_text *t) MUST_CHECK;
void encoder_free(struct encoder *e); /* after its sessions */

struct encoder_facts {
    const char *model, *kernels; /* borrowed from the encoder */
    int dim, max_tokens;
    enum encoder_precision precision;
    struct fingerprint space, full;
    size_t weight_bytes; /* packed */
};
struct encoder_facts encoder_facts(const struct encoder *e);
const struct wordpiece *encoder_tokenizer(const struct encoder *e);

struct encoder_session *encoder_session_new(const struct encoder *e);
void encoder_session_free(struct encoder_session *s);

/* Tokenises (with the model's prefix and its limit) and encodes count texts in as few passes as its
 * batch limit allows. counts (may be NULL) gets one per text. An empty text is legal: [CLS] [SEP].
 */
enum err encoder_embed(struct encoder_session *s, const struct slice *texts, int count,
                       struct encoder_vectors *out, struct wordpiece_counts *counts,
                       struct err_text *t) MUST_CHECK;
/* The same for ids that are there already. */
enum err encoder_run(struct encoder_session *s, const struct encoder_batch *batch,
                     struct encoder_vectors *out, struct err_text *t) MUST_CHECK;

#endif
