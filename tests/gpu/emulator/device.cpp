/* Owns: the emulated device's memory, streams, graphs and the one thread that carries out what is
 * put into any stream, in the order in which it came. Thread: the API may be called from any.
 *
 * For tests, emulated_device_hold lets nothing begin, and emulated_device_break makes every call
 * fail that would have reached a real device and lets go who waits, as after a fault in a kernel.
 */
#include "tests/gpu/emulator/emulator.h"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <stdlib.h>
#include <thread>
#include <vector>

struct emulated_graph {
    std::vector<emulator::launch> launches;
};

struct emulated_stream {
    bool capturing = false;
    std::vector<emulator::launch> captured;
    uint64_t put = 0, done = 0; /* tasks */
};

struct emulated_event {
    emulated_stream *stream = nullptr;
    uint64_t after = 0; /* that many tasks of the stream */
};

namespace
{
struct task {
    emulated_stream *stream;
    std::vector<emulator::launch> launches;
};

class device
{
  public:
    ~device()
    {
        {
            std::lock_guard<std::mutex> lock(mutex);
            stopping = true;
        }
        changed.notify_all();
        if (thread.joinable())
            thread.join();
    }

    cudaError_t put(emulated_stream *s, std::vector<emulator::launch> launches)
    {
        std::lock_guard<std::mutex> lock(mutex);
        if (broken)
            return broken;
        if (!thread.joinable())
            thread = std::thread([this] { serve(); });
        tasks.push_back({s, std::move(launches)});
        s->put++;
        changed.notify_all();
        return cudaSuccess;
    }

    cudaError_t wait(emulated_stream *s, uint64_t count)
    {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return broken || s->done >= count; });
        return broken;
    }

    uint64_t tasks_put(emulated_stream *s)
    {
        std::lock_guard<std::mutex> lock(mutex);
        return s->put;
    }

    void break_with(cudaError_t e)
    {
        std::lock_guard<std::mutex> lock(mutex);
        broken = e;
        changed.notify_all();
    }

    void hold(bool on)
    {
        std::lock_guard<std::mutex> lock(mutex);
        held = on;
        changed.notify_all();
    }

    /* Whatever the stream still has under way ends first: the device thread holds its address. */
    void forget(emulated_stream *s)
    {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return s->done >= s->put; });
    }

    cudaError_t state()
    {
        std::lock_guard<std::mutex> lock(mutex);
        return broken;
    }

  private:
    void serve()
    {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            changed.wait(lock, [&] { return stopping || (!tasks.empty() && (!held || broken)); });
            if (stopping)
                return;
            task t = std::move(tasks.front());
            tasks.pop_front();
            if (!broken) {
                lock.unlock();
                for (const emulator::launch &l : t.launches)
                    emulator::run(l);
                lock.lock();
            }
            t.stream->done++;
            changed.notify_all();
        }
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::deque<task> tasks;
    std::thread thread;
    cudaError_t broken = cudaSuccess;
    bool held = false, stopping = false;
};

device gpu;

cudaError_t allocate(void **p, size_t bytes)
{
    if (gpu.state())
        return gpu.state();
    *p = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!*p)
        return cudaErrorMemoryAllocation;
    memset(*p, 0xff, bytes);
    return cudaSuccess;
}
} // namespace

extern "C" void emulated_device_break(int error);
extern "C" void emulated_device_break(int error)
{
    gpu.break_with(error);
}

extern "C" void emulated_device_hold(int on);
extern "C" void emulated_device_hold(int on)
{
    gpu.hold(on != 0);
}

namespace emulator
{
cudaError_t launched(cudaStream_t s, launch l)
{
    if (s->capturing) {
        s->captured.push_back(std::move(l));
        return cudaSuccess;
    }
    std::vector<launch> one;
    one.push_back(std::move(l));
    return gpu.put(s, std::move(one));
}
} // namespace emulator

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    default:
        return "invalid argument";
    }
}

cudaError_t cudaGetDeviceCount(int *n)
{
    if (getenv("WEIR_EMULATED_NO_DEVICE"))
        return cudaErrorNoDevice; /* n stays as it was: so does a real runtime without a driver */
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    return gpu.state();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated device");
    p->major = 8;
    p->minor = 0;
    p->multiProcessorCount = 16;
    p->sharedMemPerBlockOptin = 163 * 1024;
    return cudaSuccess;
}

cudaError_t cudaMallocBytes(void **p, size_t bytes)
{
    return allocate(p, bytes);
}

cudaError_t cudaFree(void *p)
{
    free(p);
    return gpu.state();
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    memset(p, value, bytes);
    return gpu.state();
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind)
{
    memcpy(to, from, bytes);
    return gpu.state();
}

cudaError_t cudaHostAllocBytes(void **p, size_t bytes, unsigned)
{
    return allocate(p, bytes);
}

cudaError_t cudaHostGetDevicePointer(void **on_device, void *host, unsigned)
{
    *on_device = host;
    return gpu.state();
}

cudaError_t cudaFreeHost(void *p)
{
    free(p);
    return gpu.state();
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned, int)
{
    *s = new emulated_stream;
    return gpu.state();
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    gpu.forget(s);
    delete s;
    return gpu.state();
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    return gpu.wait(s, gpu.tasks_put(s));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    s->capturing = true;
    s->captured.clear();
    return gpu.state();
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    s->capturing = false;
    *g = new emulated_graph{std::move(s->captured)};
    s->captured.clear();
    return gpu.state();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t g, unsigned long long)
{
    *exec = new emulated_graph(*g);
    return gpu.state();
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return gpu.state();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t g, cudaStream_t s)
{
    return gpu.put(s, g->launches);
}

cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    delete g;
    return gpu.state();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g)
{
    delete g;
    return gpu.state();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = new emulated_event;
    return gpu.state();
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    e->stream = s;
    e->after = gpu.tasks_put(s);
    return gpu.state();
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    return e->stream ? gpu.wait(e->stream, e->after) : gpu.state();
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete e;
    return gpu.state();
}
