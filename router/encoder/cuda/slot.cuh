/* One pass that can be under way: its buffers, its stream, a captured graph for each bucket.
 *
 * The host's side of a slot is one block of pinned, mapped memory: what the embedding kernel reads
 * and the pooling kernel writes. So a pass is one graph launch, no copies; its end is the flag that
 * the last block writes, which costs the waiting host no call of CUDA's. Thread: whoever holds the
 * slot. */
#ifndef ROUTER_ENCODER_CUDA_SLOT_CUH
#define ROUTER_ENCODER_CUDA_SLOT_CUH

#include <chrono>
#include "router/encoder/cuda/forward.cuh"

/* A pass shorter than this is waited for by looking at its flag, a longer one asleep: waking up
 * takes tens of microseconds. */
enum { SLOT_SPIN_US = 200 };

struct slot_limits {
    int tokens, sequences;
};

/* The host's addresses of its block; the device's are in forward_buffers. */
struct slot_host {
    unsigned char *block; /* owned */
    batch_head *head;
    token *tokens;
    int32_t *starts;
    float *embedding, *features;
    volatile uint32_t *flag;
};

struct slot {
    slot_host host;
    unsigned char *memory; /* owned, on the device */
    forward_buffers device;
    cudaStream_t stream;
    cudaEvent_t end; /* of the pass; blocking */
    cudaGraphExec_t graph[PLAN_BUCKETS];
    uint32_t ticket;
    int bucket; /* of the pass under way */
    std::chrono::steady_clock::time_point began;
    int64_t took_us[PLAN_BUCKETS]; /* the last pass of each bucket */
};

/* Parts of one allocation, each aligned to 256 bytes; with base NULL they are only counted. */
struct slot_parts {
    unsigned char *base;
    size_t used;

    template <class T> T *take(size_t count)
    {
        T *p = base ? reinterpret_cast<T *>(base + used) : nullptr;
        used = (used + count * sizeof(T) + 255) / 256 * 256;
        return p;
    }
};

static inline void slot_lay_out_host(slot_host *h, slot_parts *p, slot_limits most, int hidden)
{
    size_t n = (size_t)most.sequences, width = (size_t)hidden;
    h->head = p->take<batch_head>(1);
    h->tokens = p->take<token>((size_t)most.tokens);
    h->starts = p->take<int32_t>(n + 1);
    h->embedding = p->take<float>(n * width);
    h->features = p->take<float>(n * 2 * width);
    h->flag = p->take<volatile uint32_t>(1);
}

static inline void slot_lay_out_device(forward_buffers *b, slot_parts *p, slot_limits most,
                                       const forward_model &m, plan_device d)
{
    size_t rows = forward_rows(most.tokens), width = (size_t)m.hidden;
    b->head = p->take<batch_head>(1);
    b->span = p->take<row_span>((size_t)most.tokens);
    b->starts = p->take<int32_t>((size_t)most.sequences + 1);
    b->blocks_done = p->take<uint32_t>(1);
    b->x = p->take<half_bits>(rows * width);
    b->qkv = p->take<half_bits>(rows * 3 * width);
    b->ctx = p->take<half_bits>(rows * width);
    b->up = p->take<half_bits>(rows * (size_t)m.feed_forward);
    b->part = p->take<float>(forward_part_count(m, most.tokens, d));
}

static inline cudaError_t slot_allocate(slot *s, const forward_model &m, slot_limits most,
                                        plan_device d)
{
    slot_parts count = {};
    slot_lay_out_host(&s->host, &count, most, m.hidden);
    size_t host_bytes = count.used;
    cudaError_t e = cudaHostAlloc(&s->host.block, host_bytes, cudaHostAllocMapped);
    if (e != cudaSuccess)
        return e;
    slot_parts host = {s->host.block, 0};
    slot_lay_out_host(&s->host, &host, most, m.hidden);
    *s->host.flag = 0;

    void *seen = nullptr; /* the block as the device addresses it */
    e = cudaHostGetDevicePointer(&seen, s->host.block, 0);
    if (e != cudaSuccess)
        return e;
    slot_host there = {};
    slot_parts mapped = {static_cast<unsigned char *>(seen), 0};
    slot_lay_out_host(&there, &mapped, most, m.hidden);
    s->device.host_head = there.head;
    s->device.host_token = there.tokens;
    s->device.host_starts = there.starts;
    s->device.host_embedding = there.embedding;
    s->device.host_features = there.features;
    s->device.host_flag = there.flag;

    count = {};
    slot_lay_out_device(&s->device, &count, most, m, d);
    e = cudaMalloc(&s->memory, count.used);
    if (e != cudaSuccess)
        return e;
    slot_parts memory = {s->memory, 0};
    slot_lay_out_device(&s->device, &memory, most, m, d);
    return cudaMemset(s->device.blocks_done, 0, sizeof *s->device.blocks_done);
}

static inline cudaError_t slot_capture(slot *s, const forward_model &m, int bucket, plan_device d,
                                       bool overlap)
{
    cudaError_t e = cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeThreadLocal);
    if (e != cudaSuccess)
        return e;
    cudaError_t put = forward(m, s->device, plan_buckets[bucket], d, s->stream, overlap);
    cudaGraph_t graph = nullptr;
    e = cudaStreamEndCapture(s->stream, &graph); /* ends it also after a failed launch */
    if (put == cudaSuccess && e == cudaSuccess)
        e = cudaGraphInstantiate(&s->graph[bucket], graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    if (put != cudaSuccess)
        return put;
    return e == cudaSuccess ? cudaGraphUpload(s->graph[bucket], s->stream) : e;
}

/* s is zeroed; slot_close is for the caller to call, after an error too. */
static inline cudaError_t slot_open(slot *s, const forward_model &m, slot_limits most,
                                    plan_device d, bool overlap)
{
    int least = 0, greatest = 0;
    cudaError_t e = slot_allocate(s, m, most, d);
    if (e == cudaSuccess)
        e = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    if (e == cudaSuccess)
        e = cudaStreamCreateWithPriority(&s->stream, cudaStreamNonBlocking, greatest);
    if (e == cudaSuccess)
        e = cudaEventCreateWithFlags(&s->end, cudaEventBlockingSync | cudaEventDisableTiming);
    for (int i = 0; e == cudaSuccess && i <= plan_bucket(most.tokens); i++)
        e = slot_capture(s, m, i, d, overlap);
    return e == cudaSuccess ? cudaStreamSynchronize(s->stream) : e;
}

static inline void slot_close(slot *s)
{
    for (cudaGraphExec_t g : s->graph)
        if (g)
            cudaGraphExecDestroy(g);
    if (s->end)
        cudaEventDestroy(s->end);
    if (s->stream)
        cudaStreamDestroy(s->stream);
    cudaFree(s->memory);
    cudaFreeHost(s->host.block);
}

/* What the kernels will read; nothing is under way. */
static inline void slot_fill(slot *s, const int32_t *ids, const int32_t *starts, int count,
                             bool want_features)
{
    int tokens = count > 0 ? starts[count] : 0, row = 0;
    s->bucket = plan_bucket(tokens);
    s->ticket = s->ticket == UINT32_MAX ? 1 : s->ticket + 1;
    *s->host.head = {count, s->ticket, want_features, 0};
    for (int i = 0; i < count; i++) {
        int length = starts[i + 1] - starts[i];
        s->host.starts[i] = row;
        for (int at = 0; at < length; at++, row++)
            s->host.tokens[row] = token_make(ids[row], at, length);
    }
    s->host.starts[count] = row;
    for (; row < plan_buckets[s->bucket]; row++)
        s->host.tokens[row] = token_padding();
}

static inline cudaError_t slot_start(slot *s)
{
    s->began = std::chrono::steady_clock::now();
    cudaError_t e = cudaGraphLaunch(s->graph[s->bucket], s->stream);
    return e == cudaSuccess ? cudaEventRecord(s->end, s->stream) : e;
}

static inline bool slot_flagged(const slot *s)
{
    return __atomic_load_n(s->host.flag, __ATOMIC_ACQUIRE) == s->ticket;
}

static inline int64_t slot_age_us(const slot *s)
{
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                 s->began)
        .count();
}

static inline void pause_briefly()
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/* *flagged false without an error: the kernels ended and did not say so. */
static inline cudaError_t slot_wait(slot *s, bool *flagged)
{
    *flagged = slot_flagged(s);
    if (*flagged)
        return cudaSuccess;
    if (s->took_us[s->bucket] <= SLOT_SPIN_US)
        while (!slot_flagged(s) && slot_age_us(s) <= SLOT_SPIN_US)
            pause_briefly();
    cudaError_t e = slot_flagged(s) ? cudaSuccess : cudaEventSynchronize(s->end);
    *flagged = slot_flagged(s);
    s->took_us[s->bucket] = slot_age_us(s);
    return e;
}

#endif
