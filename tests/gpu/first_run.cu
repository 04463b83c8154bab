/* The first run on a GPU: measures what the design could only estimate, and holds the kernels
 * against the CPU. Needs nvcc or this program already built, no network, no model: the weights are
 * random, of all-MiniLM-L6-v2's shape (or bge-base's, with --base). first_run.sh builds and runs
 * it.
 *
 * usage: first_run [--quick] [--base] [--results]     --results: no figures, only what is computed
 *
 * Prints one line per figure. Exit status: 77 no device, 1 a result is wrong or CUDA failed. */
#include "router/encoder/cuda/backend.cu"

#include <algorithm>
#include <cooperative_groups.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace
{
[[noreturn]] void give_up(const char *what, const char *why)
{
    printf("FAILED %s: %s\n", what, why);
    exit(1);
}

void need(cudaError_t e, const char *what)
{
    if (e != cudaSuccess)
        give_up(what, cudaGetErrorString(e));
}

double now_us()
{
    return std::chrono::duration<double, std::micro>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

/* ---- figures ---- */

struct sample {
    std::vector<double> us;

    double quantile(double q)
    {
        std::sort(us.begin(), us.end());
        return us[std::min(us.size() - 1, (size_t)(q * (double)us.size()))];
    }
    void print(const char *what)
    {
        printf("%-44s p50 %9.2f us   p99 %9.2f us   n %zu\n", what, quantile(0.5), quantile(0.99),
               us.size());
        fflush(stdout);
    }
};

int rounds = 2000; /* of one measurement; --quick: 50 */

/* ---- a model ---- */

struct random_model {
    cuda_abi_model model;
    std::vector<cuda_abi_layer> layers;
    std::vector<std::unique_ptr<std::vector<float>>> tensors;
    uint64_t state;

    const float *tensor(size_t n, float scale, float offset)
    {
        tensors.emplace_back(new std::vector<float>(n));
        for (float &x : *tensors.back()) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            x = offset + scale * ((float)(state >> 40) / 8388608.0f - 1.0f);
        }
        return tensors.back()->data();
    }
};

void random_model_fill(random_model *r, bool base)
{
    r->state = 1;
    cuda_abi_model m = {};
    m.layers = base ? 12 : 6;
    m.hidden = base ? 768 : 384;
    m.heads = 12;
    m.feed_forward = 4 * m.hidden;
    m.vocab_size = 30522;
    m.max_positions = 512;
    m.layer_norm_eps = 1e-12f;
    m.unit_length = 1;
    size_t h = (size_t)m.hidden, f = (size_t)m.feed_forward;
    m.word = r->tensor((size_t)m.vocab_size * h, 1, 0);
    m.position = r->tensor((size_t)m.max_positions * h, 1, 0);
    m.embed_gain = r->tensor(h, 0.3f, 1);
    m.embed_shift = r->tensor(h, 0.3f, 0);
    for (int i = 0; i < m.layers; i++) {
        cuda_abi_layer l = {};
        l.qkv_weight = r->tensor(3 * h * h, 0.1f, 0);
        l.qkv_bias = r->tensor(3 * h, 0.1f, 0);
        l.out_weight = r->tensor(h * h, 0.1f, 0);
        l.out_bias = r->tensor(h, 0.1f, 0);
        l.attn_gain = r->tensor(h, 0.3f, 1);
        l.attn_shift = r->tensor(h, 0.3f, 0);
        l.up_weight = r->tensor(f * h, 0.1f, 0);
        l.up_bias = r->tensor(f, 0.1f, 0);
        l.down_weight = r->tensor(h * f, 0.1f, 0);
        l.down_bias = r->tensor(h, 0.1f, 0);
        l.ffn_gain = r->tensor(h, 0.3f, 1);
        l.ffn_shift = r->tensor(h, 0.3f, 0);
        r->layers.push_back(l);
    }
    m.layer = r->layers.data();
    r->model = m;
}

/* ---- a batch of equal lengths ---- */

struct equal_batch {
    std::vector<int32_t> ids, starts;

    equal_batch(int tokens, int length, int vocabulary)
    {
        length = std::min(length, tokens);
        for (int i = 0; i + length <= tokens; i += length)
            starts.push_back(i);
        starts.push_back((int)starts.size() * length);
        for (int i = 0; i < starts.back(); i++)
            ids.push_back((int32_t)((uint32_t)(i % length) * 7919u % (uint32_t)vocabulary));
    }
    cuda_abi_batch view(bool features) const
    {
        return {ids.data(), starts.data(), (int)starts.size() - 1, features};
    }
};

cuda_backend *open_backend(const random_model &r, int slots, int pass_tokens, bool overlap)
{
    cuda_abi_options opt = {&r.model, 0, slots, pass_tokens, overlap};
    cuda_backend *b = nullptr;
    cuda_abi_text why = {};
    double began = now_us();
    if (backend_open(&opt, &b, &why) != CUDA_ABI_OK)
        give_up("open", why.s);
    printf("%-44s %9.1f ms\n", "opened: weights, graphs, warm-up", (now_us() - began) / 1000);
    return b;
}

/* submit to vectors, in microseconds */
double pass_us(cuda_slot *s, const cuda_abi_batch &batch, cuda_abi_vectors *v)
{
    cuda_abi_text why = {};
    double began = now_us();
    if (slot_submit(s, &batch, &why) != CUDA_ABI_OK || slot_vectors(s, v, &why) != CUDA_ABI_OK)
        give_up("pass", why.s);
    return now_us() - began;
}

/* ---- 1: passes ---- */

/* The device's own time for one pass: many in a row between two events. */
double device_us(slot *s, int passes)
{
    cudaEvent_t from, to;
    float ms = 0;
    need(cudaEventCreate(&from), "event");
    need(cudaEventCreate(&to), "event");
    need(cudaEventRecord(from, s->stream), "event");
    for (int i = 0; i < passes; i++)
        need(cudaGraphLaunch(s->graph[s->bucket], s->stream), "graph");
    need(cudaEventRecord(to, s->stream), "event");
    need(cudaEventSynchronize(to), "passes");
    need(cudaEventElapsedTime(&ms, from, to), "event");
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    return ms * 1000.0 / passes;
}

void measure_passes(const random_model &r, bool overlap)
{
    printf("\n== passes, %s\n", overlap ? "kernels overlap (programmatic dependent launch)"
                                        : "kernels one after the other");
    cuda_backend *b = open_backend(r, 1, 16384, overlap);
    cuda_slot *s = backend_acquire(b);
    const int shapes[][2] = {{16, 16},  {32, 32},   {64, 64},   {128, 128},  {512, 512},
                             {512, 32}, {2048, 32}, {8192, 32}, {16384, 32}, {16384, 512}};
    for (auto &shape : shapes) {
        equal_batch e(shape[0], shape[1], r.model.vocab_size);
        cuda_abi_batch batch = e.view(false);
        cuda_abi_vectors v;
        sample wall, gpu;
        int n = shape[0] > 2048 ? rounds / 8 : rounds;
        for (int i = 0; i < n / 10 + 1; i++)
            pass_us(s, batch, &v);
        for (int i = 0; i < n; i++)
            wall.us.push_back(pass_us(s, batch, &v));
        for (int i = 0; i < n / 10 + 1; i++)
            gpu.us.push_back(device_us(&s->pass, 10));
        char what[96];
        snprintf(what, sizeof what, "%d tokens in %d, submit to vectors", shape[0], batch.count);
        wall.print(what);
        snprintf(what, sizeof what, "%d tokens in %d, device, 10 in a row", shape[0], batch.count);
        gpu.print(what);
        printf("%-44s %9.0f sequences/s\n", "", 1e6 * batch.count / gpu.quantile(0.5));
    }
    slot_release(s);
    backend_close(b);
}

__global__ void empty_kernel(int)
{
    wait_for_grid_before();
    let_next_grid_begin();
}

/* What 44 dependent kernels cost when they do nothing. */
void measure_launches(bool overlap)
{
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    need(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    need(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    launcher l = {stream, overlap, cudaSuccess};
    for (int i = 0; i < 44; i++)
        launch(&l, empty_kernel, dim3(36), 128, 0, i);
    need(l.error, "launch");
    need(cudaStreamEndCapture(stream, &graph), "capture");
    need(cudaGraphInstantiate(&exec, graph, 0), "graph");
    sample whole, launched;
    for (int i = 0; i < rounds; i++) {
        double began = now_us();
        need(cudaGraphLaunch(exec, stream), "graph");
        launched.us.push_back(now_us() - began);
        need(cudaStreamSynchronize(stream), "graph");
        whole.us.push_back(now_us() - began);
    }
    whole.print(overlap ? "44 empty kernels, overlapping" : "44 empty kernels");
    launched.print("  of it the host's call");
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
}

/* ---- 2: how the end is noticed ---- */

void tell_eventfd(void *fd)
{
    uint64_t one = 1;
    ssize_t n = write((int)(intptr_t)fd, &one, sizeof one);
    (void)n;
}

void drain(int fd)
{
    uint64_t count;
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 10000) != 1 || read(fd, &count, sizeof count) != sizeof count)
        give_up("eventfd", "nothing came in ten seconds");
}

void measure_completion(const random_model &r)
{
    printf("\n== the end of a pass of 16 tokens, as an event loop sees it\n");
    cuda_backend *b = open_backend(r, 1, 16, false);
    cuda_slot *s = backend_acquire(b);
    equal_batch e(16, 16, r.model.vocab_size);
    cuda_abi_batch batch = e.view(false);
    cuda_abi_text why = {};
    cuda_abi_vectors v;
    int fd = eventfd(0, EFD_CLOEXEC);
    sample flag, reaped, blocking, host;
    for (int i = 0; i < rounds; i++) {
        flag.us.push_back(pass_us(s, batch, &v));

        double began = now_us();
        if (slot_submit(s, &batch, &why) != CUDA_ABI_OK)
            give_up("submit", why.s);
        slot_notify(s, fd);
        drain(fd);
        reaped.us.push_back(now_us() - began);

        began = now_us();
        need(slot_start(&s->pass), "start");
        need(cudaEventSynchronize(s->pass.end), "event");
        blocking.us.push_back(now_us() - began);

        began = now_us();
        need(slot_start(&s->pass), "start");
        need(cudaLaunchHostFunc(s->pass.stream, tell_eventfd, (void *)(intptr_t)fd), "host func");
        drain(fd);
        host.us.push_back(now_us() - began);
    }
    flag.print("the waiting thread looks at the flag");
    reaped.print("the reaper looks, then eventfd");
    blocking.print("blocking event");
    host.print("host function, then eventfd");
    close(fd);
    slot_release(s);
    backend_close(b);
}

/* ---- 3: weights that are not in the L2 cache ---- */

void measure_cold(const random_model &r)
{
    printf("\n== 32 tokens, weights in the L2 cache or not\n");
    cuda_backend *b = open_backend(r, 1, 32, false);
    cuda_slot *s = backend_acquire(b);
    equal_batch e(32, 32, r.model.vocab_size);
    cuda_abi_vectors v;
    void *other = nullptr;
    const size_t bytes = 200 << 20;
    need(cudaMalloc(&other, bytes), "200 MB");
    for (bool cold : {false, true}) {
        sample us;
        for (int i = 0; i < rounds / 4; i++) {
            if (cold)
                need(cudaMemsetAsync(other, i, bytes, s->pass.stream), "memset");
            need(cudaStreamSynchronize(s->pass.stream), "memset");
            us.us.push_back(pass_us(s, e.view(false), &v));
        }
        us.print(cold ? "after 200 MB of other data" : "again and again");
    }
    cudaFree(other);
    slot_release(s);
    backend_close(b);
}

/* ---- 4: clusters (sm_90) ---- */

enum { CLUSTER_ROUNDS = 1000 };

/* clocks[0]: per barrier of the cluster; clocks[1]: per dependent load from a neighbour's shared
 * memory. */
__global__ void cluster_kernel(long long *clocks)
{
#if __CUDA_ARCH__ >= 900
    namespace cg = cooperative_groups;
    __shared__ int next[32];
    cg::cluster_group cluster = cg::this_cluster();
    if (threadIdx.x < 32)
        next[threadIdx.x] = (int)(threadIdx.x + 7) % 32;
    cluster.sync();
    long long began = clock64();
    for (int i = 0; i < CLUSTER_ROUNDS; i++)
        cluster.sync();
    long long barriers = clock64() - began;
    int at = 0;
    const int *far =
        cluster.map_shared_rank(next, (cluster.block_rank() + 1) % cluster.num_blocks());
    began = clock64();
    for (int i = 0; i < CLUSTER_ROUNDS; i++)
        at = far[at];
    long long loads = clock64() - began;
    cluster.sync(); /* nobody leaves while it is read */
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        clocks[0] = barriers / CLUSTER_ROUNDS;
        clocks[1] = loads / CLUSTER_ROUNDS + (at < 0);
    }
#else
    if (threadIdx.x == 0)
        clocks[0] = clocks[1] = -1;
#endif
}

/* Bytes that each block of a cluster reads of the same 1 MB, over and over: from the L2 cache. */
__global__ void stream_kernel(const uint4 *from, size_t count, int times, uint4 *sink)
{
    uint4 sum = {0, 0, 0, 0};
    for (int i = 0; i < times; i++)
        for (size_t at = threadIdx.x; at < count; at += blockDim.x) {
            uint4 x = __ldcg(from + at);
            sum.x ^= x.x + (unsigned)i;
            sum.y ^= x.y;
            sum.z ^= x.z;
            sum.w ^= x.w;
        }
    if (sum.x == 0x12345678 && sum.y == 1)
        *sink = sum;
}

template <class... ARGS>
cudaError_t launch_cluster(void (*kernel)(ARGS...), int size, int threads, ARGS... args)
{
    cudaLaunchAttribute a = {};
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim.x = (unsigned)size;
    a.val.clusterDim.y = a.val.clusterDim.z = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = dim3((unsigned)size);
    c.blockDim = dim3((unsigned)threads);
    c.attrs = &a;
    c.numAttrs = 1;
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    return e == cudaSuccess ? cudaLaunchKernelEx(&c, kernel, args...) : e;
}

void measure_clusters(const cuda_abi_facts &facts)
{
    printf("\n== clusters\n");
    if (facts.major < 9) {
        printf("compute capability %d.%d has none\n", facts.major, facts.minor);
        return;
    }
    long long *clocks, seen[2];
    uint4 *data;
    const size_t bytes = 1 << 20;
    need(cudaMalloc(&clocks, sizeof seen), "memory");
    need(cudaMalloc(&data, bytes), "memory");
    need(cudaMemset(data, 1, bytes), "memory");
    for (int size : {1, 2, 4, 8, 16}) {
        if (launch_cluster(cluster_kernel, size, 128, clocks) != cudaSuccess) {
            printf("%d blocks: %s\n", size, cudaGetErrorString(cudaGetLastError()));
            continue;
        }
        need(cudaMemcpy(seen, clocks, sizeof seen, cudaMemcpyDeviceToHost), "cluster");
        printf("%2d blocks: barrier %lld clocks, dependent load from the next block's shared "
               "memory %lld clocks\n",
               size, seen[0], seen[1]);
        const int times = 20;
        double began = now_us();
        need(launch_cluster(stream_kernel, size, 512, (const uint4 *)data, bytes / sizeof *data,
                            times, data),
             "stream");
        need(cudaDeviceSynchronize(), "stream");
        printf("%2d blocks: %.1f GB/s from the L2 cache together\n", size,
               (double)bytes * times * size / (now_us() - began) / 1000);
    }
    cudaFree(data);
    cudaFree(clocks);
}

/* ---- 5: results ---- */

/* The transformer in double over the same fp32 weights, one sequence (Devlin et al. 2018,
 * arXiv:1810.04805). */
struct oracle {
    const cuda_abi_model &m;
    size_t h, f;
    std::vector<double> x;

    void normalize(double *row, const float *gain, const float *shift) const
    {
        double mean = 0, var = 0;
        for (size_t i = 0; i < h; i++)
            mean += row[i] / (double)h;
        for (size_t i = 0; i < h; i++)
            var += (row[i] - mean) * (row[i] - mean) / (double)h;
        for (size_t i = 0; i < h; i++)
            row[i] = (row[i] - mean) / sqrt(var + m.layer_norm_eps) * gain[i] + shift[i];
    }

    static std::vector<double> linear(const std::vector<double> &in, size_t inner,
                                      const float *weight, const float *bias, size_t outer)
    {
        size_t rows = in.size() / inner;
        std::vector<double> out(rows * outer);
        for (size_t r = 0; r < rows; r++)
            for (size_t o = 0; o < outer; o++) {
                double sum = bias[o];
                for (size_t i = 0; i < inner; i++)
                    sum += in[r * inner + i] * weight[o * inner + i];
                out[r * outer + o] = sum;
            }
        return out;
    }

    std::vector<double> attention(const std::vector<double> &qkv) const
    {
        size_t rows = qkv.size() / (3 * h), size = h / (size_t)m.heads;
        std::vector<double> out(rows * h), w(rows);
        for (size_t head = 0; head < (size_t)m.heads; head++)
            for (size_t q = 0; q < rows; q++) {
                double largest = -1e300, total = 0;
                for (size_t k = 0; k < rows; k++) {
                    w[k] = 0;
                    for (size_t d = 0; d < size; d++)
                        w[k] +=
                            qkv[q * 3 * h + head * size + d] * qkv[k * 3 * h + h + head * size + d];
                    w[k] /= sqrt((double)size);
                    largest = std::max(largest, w[k]);
                }
                for (double &x : w)
                    total += x = exp(x - largest);
                for (size_t k = 0; k < rows; k++)
                    for (size_t d = 0; d < size; d++)
                        out[q * h + head * size + d] +=
                            w[k] / total * qkv[k * 3 * h + 2 * h + head * size + d];
            }
        return out;
    }

    void add_normalized(const std::vector<double> &y, const float *gain, const float *shift)
    {
        for (size_t i = 0; i < x.size(); i++)
            x[i] += y[i];
        for (size_t r = 0; r < x.size() / h; r++)
            normalize(&x[r * h], gain, shift);
    }

    std::vector<double> mean_of(const int32_t *ids, size_t rows)
    {
        x.assign(rows * h, 0);
        for (size_t r = 0; r < rows; r++) {
            for (size_t i = 0; i < h; i++)
                x[r * h + i] = m.word[(size_t)ids[r] * h + i] + m.position[r * h + i];
            normalize(&x[r * h], m.embed_gain, m.embed_shift);
        }
        for (int l = 0; l < m.layers; l++) {
            const cuda_abi_layer &w = m.layer[l];
            std::vector<double> qkv = linear(x, h, w.qkv_weight, w.qkv_bias, 3 * h);
            add_normalized(linear(attention(qkv), h, w.out_weight, w.out_bias, h), w.attn_gain,
                           w.attn_shift);
            std::vector<double> up = linear(x, h, w.up_weight, w.up_bias, f);
            for (double &u : up)
                u = u / 2 * (1 + erf(u * 0.7071067811865476));
            add_normalized(linear(up, f, w.down_weight, w.down_bias, h), w.ffn_gain, w.ffn_shift);
        }
        std::vector<double> mean(h);
        for (size_t i = 0; i < x.size(); i++)
            mean[i % h] += x[i] / (double)rows;
        return mean;
    }
};

double cosine(const float *a, const double *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

/* In every size of pass, full of copies of four sequences: each like the oracle's, and like the
 * first of its kind. */
void check_results(const random_model &r, bool overlap)
{
    printf("\n== results%s (wanted: oracle 0.9999, batch 0.999999)\n",
           overlap ? ", kernels overlap" : "");
    const int lengths[] = {5, 16, 33, 70};
    size_t h = (size_t)r.model.hidden;
    std::vector<std::vector<int32_t>> ids;
    std::vector<std::vector<double>> wanted;
    oracle o = {r.model, h, (size_t)r.model.feed_forward, {}};
    for (int n : lengths) {
        ids.emplace_back();
        for (int i = 0; i < n; i++)
            ids.back().push_back((i * 7919 + n * 104729) % r.model.vocab_size);
        wanted.push_back(o.mean_of(ids.back().data(), (size_t)n));
    }
    cuda_backend *b = open_backend(r, 1, 16384, overlap);
    cuda_slot *s = backend_acquire(b);
    std::vector<std::vector<double>> first(4);
    for (int bucket : plan_buckets) {
        equal_batch e(16, 16, r.model.vocab_size);
        e.ids.clear();
        e.starts.assign(1, 0);
        std::vector<size_t> kinds;
        for (size_t i = 0; e.starts.size() < SEQUENCES_MOST; i++) {
            const std::vector<int32_t> &one = ids[i % 4];
            if (e.ids.size() + one.size() > (size_t)bucket)
                break;
            kinds.push_back(i % 4);
            e.ids.insert(e.ids.end(), one.begin(), one.end());
            e.starts.push_back((int32_t)e.ids.size());
        }
        cuda_abi_vectors v;
        pass_us(s, e.view(true), &v);
        double lowest = 1, same = 1;
        for (size_t i = 0; i < kinds.size(); i++) {
            const float *got = v.embedding + i * h;
            lowest = std::min(lowest, cosine(got, wanted[kinds[i]].data(), h));
            if (first[kinds[i]].empty())
                first[kinds[i]].assign(got, got + h);
            same = std::min(same, cosine(got, first[kinds[i]].data(), h));
        }
        printf("pass of %5d tokens, %4zu sequences: lowest cosine to the oracle %.7f, to the first "
               "of its kind %.8f\n",
               bucket, kinds.size(), lowest, same);
        if (!(lowest >= 0.9999) || !(same >= 0.999999))
            give_up("results", "not the oracle's");
    }
    slot_release(s);
    backend_close(b);
}

/* ---- 6: as many as it can ---- */

void measure_saturated(const random_model &r)
{
    printf("\n== three passes under way, 32 tokens a sequence\n");
    for (int tokens : {256, 1024, 2048, 4096}) {
        cuda_backend *b = open_backend(r, 3, tokens, false);
        equal_batch e(tokens, 32, r.model.vocab_size);
        cuda_abi_batch batch = e.view(false);
        cuda_abi_text why = {};
        cuda_abi_vectors v;
        cuda_slot *slots[3];
        for (cuda_slot *&s : slots) {
            s = backend_acquire(b);
            if (slot_submit(s, &batch, &why) != CUDA_ABI_OK)
                give_up("submit", why.s);
        }
        double began = now_us();
        int passes = rounds / 2;
        for (int i = 0; i < passes; i++) {
            cuda_slot *s = slots[i % 3];
            if (slot_vectors(s, &v, &why) != CUDA_ABI_OK ||
                slot_submit(s, &batch, &why) != CUDA_ABI_OK)
                give_up("pass", why.s);
        }
        double us = now_us() - began;
        for (cuda_slot *s : slots) {
            if (slot_vectors(s, &v, &why) != CUDA_ABI_OK)
                give_up("pass", why.s);
            slot_release(s);
        }
        printf("passes of %4d tokens: %.0f sequences/s\n", tokens, 1e6 * passes * batch.count / us);
        backend_close(b);
    }
}
void measure_all(const random_model &r, const cuda_abi_facts &facts)
{
    bool overlap = facts.major >= 9;
    printf("\n== launches\n");
    measure_launches(false);
    if (overlap)
        measure_launches(true);
    measure_passes(r, false);
    if (overlap)
        measure_passes(r, true);
    measure_completion(r);
    measure_cold(r);
    measure_clusters(facts);
    measure_saturated(r);
}
} // namespace

int main(int argc, char **argv)
{
    bool base = false, figures = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            rounds = 50;
        } else if (strcmp(argv[i], "--base") == 0) {
            base = true;
        } else if (strcmp(argv[i], "--results") == 0) {
            figures = false;
        } else {
            fprintf(stderr, "usage: first_run [--quick] [--base] [--results]\n");
            return 2;
        }
    }
    cuda_backend probe = {};
    plan_device d;
    cuda_abi_text why = {};
    if (find_device(&probe, &d, &why) != CUDA_ABI_OK) {
        printf("skipped: %s\n", why.s);
        return 77;
    }
    printf("%s, compute capability %d.%d, %d multiprocessors, %d bytes of shared memory a block\n",
           probe.facts.device, probe.facts.major, probe.facts.minor, d.multiprocessors,
           d.shared_bytes);
    random_model r = {};
    random_model_fill(&r, base);
    check_results(r, false);
    if (probe.facts.major >= 9)
        check_results(r, true);
    if (figures)
        measure_all(r, probe.facts);
    printf("\ndone\n");
    return 0;
}
