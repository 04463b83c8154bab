/* A device made of one host thread: what CUDA C++ gives to a kernel, and the little of the runtime
 * API that weir's CUDA backend uses, so that the same sources run, slowly, where no GPU is.
 *
 * A block's threads are fibers; blocks run one after the other. Fibers meet at barriers and at warp
 * collectives (shuffle, ldmatrix, mma), which the last lane to come carries out for all as the PTX
 * ISA describes them. Asynchronous copies happen at the thread's wait for them, or at once: a test
 * chooses. Before a block begins, its shared memory is filled with NaN; so is every allocation.
 *
 * What ends the process, with a message that names kernel, block and thread: a barrier or a
 * collective that not all threads reach, lanes that meet at different ones, copies or matrix rows
 * that are not aligned to 16 bytes or lie outside the block's shared memory. Accesses outside of
 * global buffers are AddressSanitizer's business (buffers are plain heap memory). Order: threads
 * (and blocks) run in an order that a test chooses between barriers; a race shows as a result that
 * differs. */
#ifndef TESTS_GPU_EMULATOR_H
#define TESTS_GPU_EMULATOR_H

#include <algorithm>
#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- the language ---- */

#define __host__
#define __device__
#define __global__      static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
using std::max;
using std::min;

extern dim3 threadIdx, blockIdx, blockDim, gridDim; /* of the running fiber */

/* ---- the functions of port.cuh ---- */

uint16_t half_of_float(float x); /* rounded to nearest even; too large: infinity */
float float_of_half(uint16_t bits);
uint32_t pack_half2(float low, float high);
float2 unpack_half2(uint32_t bits);
unsigned char *block_shared();
void block_sync();
float warp_xor(float value, int lane_bits);
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void load_matrix_x4(uint32_t (&r)[4], const void *row);
void load_matrix_x4_transposed(uint32_t (&r)[4], const void *row);
void copy_async_16(void *shared, const void *global, bool wanted);
void copy_async_commit();
void copy_async_wait_for(int pending);
template <int pending> static inline void copy_async_wait()
{
    copy_async_wait_for(pending);
}
static inline void wait_for_grid_before()
{
}
static inline void let_next_grid_begin()
{
}
static inline void fence_for_host()
{
    /* one thread writes it all: tell_host is enough */
}
static inline void tell_host(volatile uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline uint32_t add_one(uint32_t *counter)
{
    return __atomic_fetch_add(counter, 1u, __ATOMIC_SEQ_CST);
}

/* ---- the runtime API ---- */

typedef int cudaError_t;
enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNoDevice = 100,
    cudaErrorIllegalAddress = 700,
};
typedef struct emulated_stream *cudaStream_t;
typedef struct emulated_event *cudaEvent_t;
typedef struct emulated_graph *cudaGraph_t;
typedef struct emulated_graph *cudaGraphExec_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum { cudaStreamNonBlocking = 1, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };
enum { cudaHostAllocMapped = 2, cudaHostAllocPortable = 1 };
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization };
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
    size_t sharedMemPerBlockOptin, totalGlobalMem;
};
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        int programmaticStreamSerializationAllowed;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaMallocBytes(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMemset(void *p, int value, size_t bytes);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaHostAllocBytes(void **p, size_t bytes, unsigned flags);
cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned flags);
cudaError_t cudaFreeHost(void *p);
template <class T> cudaError_t cudaMalloc(T **p, size_t bytes)
{
    return cudaMallocBytes(reinterpret_cast<void **>(p), bytes);
}
template <class T> cudaError_t cudaHostAlloc(T **p, size_t bytes, unsigned flags)
{
    return cudaHostAllocBytes(reinterpret_cast<void **>(p), bytes, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphUpload(cudaGraphExec_t g, cudaStream_t s);
cudaError_t cudaGraphLaunch(cudaGraphExec_t g, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventDestroy(cudaEvent_t e);

namespace emulator
{
struct launch {
    const char *name; /* of the kernel, as the compiler spells its arguments' type */
    dim3 grid, block;
    size_t shared_bytes;
    std::function<void()> thread;
};
/* Runs, or, while its stream is captured, notes it. */
cudaError_t launched(cudaStream_t s, launch l);
void run(const launch &l);

/* Between barriers: threads ascending, descending, or shuffled; blocks likewise. With a seed, one
 * warp of each block goes on only when no other can, and if the seed is odd asynchronous copies are
 * made at once; else as late as they may be. */
enum order { ASCENDING, DESCENDING, SEEDED };
void set_order(order o, uint64_t seed);

/* What ldmatrix had to do since the last call: phases of 8 rows, and those of them whose rows met
 * in a group of banks. */
struct bank_counts {
    uint64_t phases, conflicts;
};
bank_counts take_bank_counts();
} // namespace emulator

template <class KERNEL> cudaError_t cudaFuncSetAttribute(KERNEL *, cudaFuncAttribute, int bytes)
{
    return bytes <= 1 << 20 ? cudaSuccess : cudaErrorInvalidValue;
}

template <class ARGS>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*kernel)(ARGS), const ARGS &args)
{
    return emulator::launched(c->stream, {__PRETTY_FUNCTION__, c->gridDim, c->blockDim,
                                          c->dynamicSmemBytes, [kernel, args] { kernel(args); }});
}

#endif
