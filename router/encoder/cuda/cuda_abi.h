/* What libweir_cuda.so gives to the program: one table of functions, plain C, so that the program
 * needs neither CUDA's headers nor its libraries, and one package runs with and without them.
 *
 * A backend is one model on one device. It has a few slots; each is a pass that can be under way,
 * with its own buffers, stream and graphs. acquire, submit, wait, release is a pass; slots of one
 * backend may be used by different threads at the same time, a slot by one.
 *
 * The device is trusted until its first error: then the backend is dead, every call says so with
 * CUDA's own text, and nothing is computed again. */
#ifndef ROUTER_ENCODER_CUDA_CUDA_ABI_H
#define ROUTER_ENCODER_CUDA_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA_ABI_VERSION 1
#define CUDA_ABI_SYMBOL  "weir_cuda_abi"

enum cuda_abi_status {
    CUDA_ABI_OK,
    CUDA_ABI_REFUSED, /* no usable device, a model or batch that it cannot have; nothing is lost */
    CUDA_ABI_FAILED,  /* an error of CUDA; the backend is dead */
};

struct cuda_abi_text {
    char s[384]; /* why, NUL-terminated */
};

/* As struct bert_layer and struct bert_model have them (bert_model.h): fp32, on the host. */
struct cuda_abi_layer {
    const float *qkv_weight, *qkv_bias, *out_weight, *out_bias;
    const float *attn_gain, *attn_shift;
    const float *up_weight, *up_bias, *down_weight, *down_bias;
    const float *ffn_gain, *ffn_shift;
};

struct cuda_abi_model {
    int layers, hidden, heads, feed_forward, vocab_size, max_positions;
    float layer_norm_eps;
    int tanh_form, of_cls, unit_length; /* flags: GELU's form, pooling, normalisation */
    const float *word, *position, *embed_gain, *embed_shift;
    const struct cuda_abi_layer *layer; /* [layers] */
};

struct cuda_abi_options {
    const struct cuda_abi_model *model; /* borrowed during open */
    int device;                         /* CUDA's number for it */
    int slots;                          /* >= 1 */
    int pass_tokens;                    /* the most tokens of a pass, up to 16384 */
    int overlap; /* flag: a kernel may begin while the one before it ends (sm_90 on) */
};

struct cuda_abi_facts {
    char device[256]; /* its name */
    int major, minor; /* compute capability */
    int multiprocessors;
    int pass_tokens, pass_sequences; /* the most of one pass */
    size_t weight_bytes;
};

struct cuda_abi_batch {
    const int32_t *ids, *starts; /* as in struct encoder_batch */
    int count;                   /* 0: the pass computes nothing and ends */
    int want_features;           /* flag */
};

struct cuda_abi_vectors {
    const float *embedding; /* [count][hidden]; both are borrowed until release */
    const float *features;  /* [count][2 * hidden] */
};

struct cuda_backend;
struct cuda_slot;

struct cuda_abi {
    uint32_t version;
    enum cuda_abi_status (*open)(const struct cuda_abi_options *opt, struct cuda_backend **out,
                                 struct cuda_abi_text *why);
    void (*close)(struct cuda_backend *b); /* no slot is held; NULL is fine */
    void (*facts)(const struct cuda_backend *b, struct cuda_abi_facts *out);
    struct cuda_slot *(*acquire)(struct cuda_backend *b); /* waits for one */
    void (*release)(struct cuda_slot *s);
    /* Copies the batch and starts the pass. */
    enum cuda_abi_status (*submit)(struct cuda_slot *s, const struct cuda_abi_batch *batch,
                                   struct cuda_abi_text *why);
    /* The pass's end: spins for as long as short passes take, then sleeps. */
    enum cuda_abi_status (*wait)(struct cuda_slot *s, struct cuda_abi_vectors *out,
                                 struct cuda_abi_text *why);
    /* For an event loop: adds 1 to the eventfd when the pass has ended, well or not; wait then
     * returns at once. After submit, at most once for each. */
    void (*notify)(struct cuda_slot *s, int eventfd);
};

/* NULL: this library speaks another version. */
typedef const struct cuda_abi *(*cuda_abi_fn)(uint32_t version);
const struct cuda_abi *weir_cuda_abi(uint32_t version);

#ifdef __cplusplus
}
#endif
#endif
