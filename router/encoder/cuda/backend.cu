/* Owns: a model on a device, its slots, the error that ended it. Thread: any; slots are handed out
 * under a mutex, each is used by its holder alone. Called through the table of cuda_abi.h. */
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdarg.h>
#include <stdio.h>
#include "router/encoder/cuda/reaper.cuh"
#include "router/encoder/cuda/slot.cuh"
#include "router/encoder/cuda/weights.cuh"

namespace
{
enum { SEQUENCES_MOST = 2048 }; /* of a pass: bounds the mapped memory */
} // namespace

struct cuda_slot {
    slot pass;
    cuda_backend *owner;
    bool held;
};

struct cuda_backend {
    int device;
    cuda_abi_facts facts;
    int max_positions, vocab_size, hidden;
    weights model;
    std::vector<std::unique_ptr<cuda_slot>> slots;
    std::mutex mutex; /* of what follows */
    std::condition_variable freed;
    bool dead;
    cuda_abi_text death;
    reaper watcher; /* ends before the slots that it looks at */
};

namespace
{
__attribute__((format(printf, 2, 3))) void say(cuda_abi_text *why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why->s, sizeof why->s, fmt, args);
    va_end(args);
}

/* ---- errors ---- */

/* The first error is the one that is told from then on. */
cuda_abi_status fail(cuda_backend *b, const char *what, const char *text, cuda_abi_text *why)
{
    std::lock_guard<std::mutex> lock(b->mutex);
    if (!b->dead)
        say(&b->death, "CUDA device %d (%s), %s: %s", b->device, b->facts.device, what, text);
    b->dead = true;
    *why = b->death;
    return CUDA_ABI_FAILED;
}

bool is_dead(cuda_backend *b, cuda_abi_text *why)
{
    std::lock_guard<std::mutex> lock(b->mutex);
    if (b->dead)
        *why = b->death;
    return b->dead;
}

/* ---- opening ---- */

cuda_abi_status find_device(cuda_backend *b, plan_device *d, cuda_abi_text *why)
{
    int count = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess || count < 1) {
        say(why, "no CUDA device: %s", e == cudaSuccess ? "none found" : cudaGetErrorString(e));
        return CUDA_ABI_REFUSED;
    }
    if (b->device < 0 || b->device >= count) {
        say(why, "no CUDA device %d: there are %d", b->device, count);
        return CUDA_ABI_REFUSED;
    }
    cudaDeviceProp p;
    e = cudaSetDevice(b->device);
    if (e == cudaSuccess)
        e = cudaGetDeviceProperties(&p, b->device);
    if (e != cudaSuccess) {
        say(why, "CUDA device %d: %s", b->device, cudaGetErrorString(e));
        return CUDA_ABI_REFUSED;
    }
    snprintf(b->facts.device, sizeof b->facts.device, "%s", p.name);
    b->facts.major = p.major;
    b->facts.minor = p.minor;
    b->facts.multiprocessors = p.multiProcessorCount;
    if (p.major * 10 + p.minor < 75) {
        say(why, "CUDA device %d (%s) has compute capability %d.%d, needed is 7.5", b->device,
            p.name, p.major, p.minor);
        return CUDA_ABI_REFUSED;
    }
    *d = {p.multiProcessorCount, (int)p.sharedMemPerBlockOptin};
    return CUDA_ABI_OK;
}

cuda_abi_status check_model(const cuda_abi_model &m, cuda_abi_text *why)
{
    int size = m.heads > 0 ? m.hidden / m.heads : 0;
    if (m.heads < 1 || m.hidden % m.heads || (size != 32 && size != 64)) {
        say(why, "the CUDA kernels take heads of size 32 or 64; the model's is %d", size);
        return CUDA_ABI_REFUSED;
    }
    if (m.hidden % ROW_CHUNK || m.hidden > ROW_CHUNK * ROW_CHUNKS_MOST) {
        say(why,
            "the CUDA kernels take hidden sizes that are multiples of %d up to %d; the "
            "model's is %d",
            (int)ROW_CHUNK, ROW_CHUNK * ROW_CHUNKS_MOST, m.hidden);
        return CUDA_ABI_REFUSED;
    }
    if (m.feed_forward < GEMM_DEPTH || m.feed_forward % GEMM_DEPTH) {
        say(why,
            "the CUDA kernels take feed-forward sizes that are multiples of %d; the model's "
            "is %d",
            (int)GEMM_DEPTH, m.feed_forward);
        return CUDA_ABI_REFUSED;
    }
    if (m.max_positions > 65535) {
        say(why, "the CUDA kernels take sequences of up to 65535 tokens; the model's have up to %d",
            m.max_positions);
        return CUDA_ABI_REFUSED;
    }
    return CUDA_ABI_OK;
}

cuda_abi_status load(cuda_backend *b, const cuda_abi_options &opt, plan_device d,
                     cuda_abi_text *why)
{
    const char *unfit = nullptr;
    cudaError_t e = forward_prepare(d);
    if (e != cudaSuccess)
        return fail(b, "loading kernels", cudaGetErrorString(e), why);
    e = weights_load(&b->model, *opt.model, &unfit);
    if (e != cudaSuccess)
        return fail(b, "loading weights", cudaGetErrorString(e), why);
    if (unfit) {
        say(why, "%s of the model has a number that does not fit fp16", unfit);
        return CUDA_ABI_REFUSED;
    }
    b->facts.weight_bytes = b->model.bytes;
    slot_limits most = {b->facts.pass_tokens, b->facts.pass_sequences};
    bool overlap = opt.overlap && b->facts.major >= 9;
    for (int i = 0; i < opt.slots; i++) {
        b->slots.emplace_back(new cuda_slot());
        b->slots.back()->owner = b;
        e = slot_open(&b->slots.back()->pass, b->model.model, most, d, overlap);
        if (e != cudaSuccess)
            return fail(b, "preparing a pass", cudaGetErrorString(e), why);
    }
    return CUDA_ABI_OK;
}

/* Each graph once, over nothing: what does not run here is found now, and the device has loaded
 * everything before the first query. */
cuda_abi_status warm_up(cuda_backend *b, cuda_abi_text *why)
{
    for (auto &s : b->slots)
        for (int i = 0; i <= plan_bucket(b->facts.pass_tokens); i++) {
            bool flagged = false;
            slot_fill(&s->pass, nullptr, nullptr, 0, false);
            for (int row = 0; row < plan_buckets[i]; row++)
                s->pass.host.tokens[row] = token_padding();
            s->pass.bucket = i;
            cudaError_t e = slot_start(&s->pass);
            if (e == cudaSuccess)
                e = slot_wait(&s->pass, &flagged);
            if (e != cudaSuccess)
                return fail(b, "the first pass", cudaGetErrorString(e), why);
            if (!flagged)
                return fail(b, "the first pass", "it ended without saying so", why);
        }
    return CUDA_ABI_OK;
}

void backend_close(cuda_backend *b)
{
    if (!b)
        return;
    cudaSetDevice(b->device);
    for (auto &s : b->slots)
        slot_close(&s->pass);
    cudaFree(b->model.memory);
    delete b;
}

cuda_abi_status backend_open(const cuda_abi_options *opt, cuda_backend **out, cuda_abi_text *why)
{
    if (opt->slots < 1 || opt->pass_tokens < 1 || plan_bucket(opt->pass_tokens) == PLAN_BUCKETS) {
        say(why, "%d slots of %d tokens: 1 or more, of 1 to %d", opt->slots, opt->pass_tokens,
            plan_buckets[PLAN_BUCKETS - 1]);
        return CUDA_ABI_REFUSED;
    }
    cuda_backend *b = new cuda_backend();
    b->device = opt->device;
    b->hidden = opt->model->hidden;
    b->max_positions = opt->model->max_positions;
    b->vocab_size = opt->model->vocab_size;
    b->facts.pass_tokens = plan_buckets[plan_bucket(opt->pass_tokens)];
    b->facts.pass_sequences = std::min(b->facts.pass_tokens, (int)SEQUENCES_MOST);
    plan_device d;
    cuda_abi_status status = check_model(*opt->model, why);
    if (status == CUDA_ABI_OK)
        status = find_device(b, &d, why);
    if (status == CUDA_ABI_OK)
        status = load(b, *opt, d, why);
    if (status == CUDA_ABI_OK)
        status = warm_up(b, why);
    if (status != CUDA_ABI_OK) {
        backend_close(b);
        return status;
    }
    *out = b;
    return CUDA_ABI_OK;
}

void backend_facts(const cuda_backend *b, cuda_abi_facts *out)
{
    *out = b->facts;
}

/* ---- passes ---- */

cuda_slot *backend_acquire(cuda_backend *b)
{
    std::unique_lock<std::mutex> lock(b->mutex);
    for (;;) {
        for (auto &s : b->slots)
            if (!s->held) {
                s->held = true;
                return s.get();
            }
        b->freed.wait(lock);
    }
}

void slot_release(cuda_slot *s)
{
    cuda_backend *b = s->owner;
    {
        std::lock_guard<std::mutex> lock(b->mutex);
        s->held = false;
    }
    b->freed.notify_one();
}

cuda_abi_status check_batch(const cuda_backend *b, const cuda_abi_batch &batch, cuda_abi_text *why)
{
    if (batch.count < 0 || batch.count > b->facts.pass_sequences ||
        (batch.count > 0 && batch.starts[batch.count] > b->facts.pass_tokens)) {
        say(why, "a pass takes %d sequences of %d tokens together", b->facts.pass_sequences,
            b->facts.pass_tokens);
        return CUDA_ABI_REFUSED;
    }
    for (int i = 0; i < batch.count; i++) {
        int length = batch.starts[i + 1] - batch.starts[i];
        if (length < 1 || length > b->max_positions) {
            say(why, "sequence %d has %d tokens: 1 to %d", i, length, b->max_positions);
            return CUDA_ABI_REFUSED;
        }
        for (int at = batch.starts[i]; at < batch.starts[i + 1]; at++)
            if (batch.ids[at] < 0 || batch.ids[at] >= b->vocab_size) {
                say(why, "token %d has the id %d: 0 to %d", at, (int)batch.ids[at],
                    b->vocab_size - 1);
                return CUDA_ABI_REFUSED;
            }
    }
    return CUDA_ABI_OK;
}

cuda_abi_status slot_submit(cuda_slot *s, const cuda_abi_batch *batch, cuda_abi_text *why)
{
    cuda_backend *b = s->owner;
    if (is_dead(b, why))
        return CUDA_ABI_FAILED;
    cuda_abi_status status = check_batch(b, *batch, why);
    if (status != CUDA_ABI_OK)
        return status;
    slot_fill(&s->pass, batch->ids, batch->starts, batch->count, batch->want_features != 0);
    cudaError_t e = cudaSetDevice(b->device); /* CUDA keeps it by thread */
    if (e == cudaSuccess)
        e = slot_start(&s->pass);
    return e == cudaSuccess ? CUDA_ABI_OK : fail(b, "starting a pass", cudaGetErrorString(e), why);
}

cuda_abi_status slot_vectors(cuda_slot *s, cuda_abi_vectors *out, cuda_abi_text *why)
{
    bool flagged = false;
    cudaError_t e = slot_wait(&s->pass, &flagged);
    if (e != cudaSuccess)
        return fail(s->owner, "in a pass", cudaGetErrorString(e), why);
    if (!flagged)
        return fail(s->owner, "in a pass", "it ended without saying so", why);
    *out = {s->pass.host.embedding, s->pass.host.features};
    return CUDA_ABI_OK;
}

void slot_notify(cuda_slot *s, int eventfd)
{
    s->owner->watcher.watch(&s->pass, eventfd);
}

const cuda_abi table = {
    CUDA_ABI_VERSION, backend_open, backend_close, backend_facts, backend_acquire,
    slot_release,     slot_submit,  slot_vectors,  slot_notify,
};
} // namespace

extern "C" __attribute__((visibility("default"))) const cuda_abi *weir_cuda_abi(uint32_t version)
{
    return version == CUDA_ABI_VERSION ? &table : nullptr;
}
