/* The few things that device code needs beyond C++, each behind one small function, so that the
 * same kernels are compiled by nvcc for a device and by a host compiler for the emulator of
 * tests/gpu, which implements the same functions as the PTX ISA describes them.
 *
 * Numbers in memory are fp16 as raw bits (half_bits); arithmetic is fp32. */
#ifndef ROUTER_ENCODER_CUDA_PORT_CUH
#define ROUTER_ENCODER_CUDA_PORT_CUH

#include <stdint.h>

#ifdef WEIR_CUDA_EMULATED
#include "tests/gpu/emulator/emulator.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

typedef uint16_t half_bits;

#define HOST_DEVICE __host__ __device__ __forceinline__
#define DEVICE      __device__ __forceinline__

enum { WARP = 32 };

/* One number to fp16 on the host, rounded to nearest even. */
static inline half_bits half_from_float(float x)
{
#ifdef WEIR_CUDA_EMULATED
    return half_of_float(x);
#else
    return __half_raw(__float2half_rn(x)).x;
#endif
}

#ifndef WEIR_CUDA_EMULATED

/* Two numbers rounded to fp16, the first in the low half. What is too large for fp16 becomes its
 * largest number: no finite activation turns into an infinity that would spread as NaN. */
DEVICE uint32_t pack_half2(float low, float high)
{
    const float most = 65504.0f;
    __half2 pair =
        __floats2half2_rn(fminf(fmaxf(low, -most), most), fminf(fmaxf(high, -most), most));
    return *reinterpret_cast<uint32_t *>(&pair);
}

DEVICE float2 unpack_half2(uint32_t bits)
{
    return __half22float2(*reinterpret_cast<__half2 *>(&bits));
}

/* The block's shared memory, as large as its launch said. */
DEVICE unsigned char *block_shared()
{
    extern __shared__ __align__(128) unsigned char block_shared_bytes[];
    return block_shared_bytes;
}

DEVICE void block_sync()
{
    __syncthreads();
}

DEVICE float warp_xor(float value, int lane_bits)
{
    return __shfl_xor_sync(0xffffffffu, value, lane_bits);
}

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* d += a b, one 16x8x16 product by a warp: a row-major, b column-major, fp16 in, fp32 sums. With
 * group = lane / 4 and pair = lane % 4 * 2, a lane holds (PTX ISA, "Matrix Fragments for
 * mma.m16n8k16 with floating point type")
 *   a[0] (group, pair..)  a[1] (group + 8, pair..)  a[2], a[3] the same at columns + 8
 *   b0   (pair.., group)  b1 (pair + 8.., group)
 *   d[0], d[1] (group, pair..)  d[2], d[3] (group + 8, pair..)
 * Devices before sm_80 have the product of half that depth; its fragments are the halves of these.
 */
DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

/* Four 8x8 matrices of fp16 from shared memory: lane l gives the address of row l % 8 of matrix
 * l / 8 (16 bytes); r[i] holds of matrix i the elements (lane / 4, lane % 4 * 2 ..), or of its
 * transpose. */
DEVICE void load_matrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

DEVICE void load_matrix_x4_transposed(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* 16 bytes from global to shared memory, there after the wait for the group that they were put in;
 * zeros instead, nothing read, unless wanted. Before sm_80 the copy is made at once. */
DEVICE void copy_async_16(void *shared, const void *global, bool wanted)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(wanted ? 16 : 0)
                 : "memory");
#else
    *static_cast<uint4 *>(shared) =
        wanted ? *static_cast<const uint4 *>(global) : make_uint4(0, 0, 0, 0);
#endif
}

DEVICE void copy_async_commit()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Until at most `pending` of this thread's groups are under way. */
template <int pending> DEVICE void copy_async_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#endif
}

/* Programmatic dependent launch (sm_90 on): a grid may begin before the one before it has ended;
 * what that one wrote may be read, and what it read may be overwritten, only after the wait. Every
 * thread of every kernel waits, so that waits chain. Without the launch attribute both do nothing.
 */
DEVICE void wait_for_grid_before()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

DEVICE void let_next_grid_begin()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Everything that this thread wrote is seen by the host before anything that it writes later. */
DEVICE void fence_for_host()
{
    __threadfence_system();
}

/* A word for the host to look at; it then also sees everything fenced before. */
DEVICE void tell_host(volatile uint32_t *word, uint32_t value)
{
    __threadfence_system();
    *word = value;
}

DEVICE uint32_t add_one(uint32_t *counter) /* atomically; the value before */
{
    return atomicAdd(counter, 1u);
}

#endif
#endif
