/* Owns: the fibers of the block that runs, its shared memory. Thread: the emulated device's
 * (device.cpp), or a test's own through emulator::run; one at a time. */
#include "tests/gpu/emulator/emulator.h"

#include <atomic>
#include <mutex>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <vector>
#include "tests/gpu/emulator/machine.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
extern "C" void *__tsan_get_current_fiber(void);
extern "C" void *__tsan_create_fiber(unsigned flags);
extern "C" void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

namespace
{
enum { LANES = 32, THREADS_MOST = 1024 };
constexpr size_t STACK_BYTES = 128 * 1024;

struct pending_copy {
    void *to;
    const void *from; /* NULL: zeros */
};

/* A stack that a context switches away from and comes back to. */
struct context {
    machine_context machine;
    const void *stack = nullptr; /* nullptr: the host thread's */
    size_t stack_bytes = 0;
    void *fake_stack = nullptr; /* AddressSanitizer's */
    void *tsan = nullptr;
};

struct fiber {
    context own;
    std::vector<char> stack;
    bool ended = false;
    unsigned barriers = 0;                       /* passed or waited for */
    std::vector<std::vector<pending_copy>> copy; /* groups, the oldest first */
    std::vector<pending_copy> open;              /* not yet in a group */
};

enum collective { NONE, XOR, LOAD_MATRIX, LOAD_MATRIX_TRANSPOSED, MMA };
const char *const collective_name[] = {"nothing", "shfl", "ldmatrix", "ldmatrix.trans", "mma"};

/* What lanes have brought to the collective that they meet at. */
struct meeting {
    collective kind = NONE;
    unsigned arrived = 0;
    uint64_t held = 0;         /* meetings so far */
    void *brought[LANES] = {}; /* on the lanes' stacks */
};

struct {
    std::mutex one_at_a_time;
    const emulator::launch *launch;
    std::vector<fiber> fibers;
    std::vector<meeting> warps;
    unsigned threads, running, ended, at_barrier;
    uint64_t steps; /* of any fiber, to see that none is left */
    unsigned barriers;
    unsigned char *shared;
    size_t shared_bytes;
    context scheduler;
    emulator::order order = emulator::ASCENDING;
    uint64_t random = 1;
    bool early_copies;
    std::vector<unsigned> round; /* scratch of run_round */
    emulator::bank_counts banks;
    std::atomic<bool> miscompute;
} block;

[[noreturn]] __attribute__((format(printf, 1, 2))) void give_up(const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "emulated device: %s, block (%u,%u,%u), thread %u: ", block.launch->name,
            blockIdx.x, blockIdx.y, blockIdx.z, block.running);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* ---- switching ---- */

void switch_to(context *from, context *to)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    machine_switch(&from->machine, &to->machine);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

void yield()
{
    switch_to(&block.fibers[block.running].own, &block.scheduler);
}

/* A fiber is one thread of every block in turn. */
void fiber_main()
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler.stack, &block.scheduler.stack_bytes);
#endif
    fiber &self = block.fibers[block.running];
    for (;;) {
        block.launch->thread();
        self.ended = true;
        block.ended++;
        block.steps++;
        yield();
    }
}

void fiber_begin(fiber *f)
{
    f->ended = false;
    f->barriers = 0;
    f->copy.clear();
    f->open.clear();
    if (!f->stack.empty())
        return;
    f->stack.resize(STACK_BYTES);
    f->own.stack = f->stack.data();
    f->own.stack_bytes = f->stack.size();
    machine_begin(&f->own.machine, f->stack.data(), f->stack.size(), fiber_main);
#ifdef __SANITIZE_THREAD__
    f->own.tsan = __tsan_create_fiber(0);
#endif
}

/* ---- the order of things ---- */

uint64_t random_next()
{
    /* splitmix64 (Steele et al. 2014) */
    uint64_t z = block.random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void put_in_order(std::vector<unsigned> *v)
{
    for (unsigned i = 0; i < v->size(); i++)
        (*v)[i] = block.order == emulator::DESCENDING ? (unsigned)v->size() - 1 - i : i;
    if (block.order == emulator::SEEDED)
        for (size_t i = v->size(); i > 1; i--)
            std::swap((*v)[i - 1], (*v)[random_next() % i]);
}

void set_thread(unsigned t)
{
    dim3 size = block.launch->block;
    block.running = t;
    threadIdx = dim3(t % size.x, t / size.x % size.y, t / size.x / size.y);
}

bool waits_at_barrier(const fiber &f)
{
    return !f.ended && f.barriers > block.barriers;
}

constexpr unsigned NO_WARP = ~0u;

unsigned choose_slow_warp()
{
    return block.order == emulator::SEEDED ? (unsigned)(random_next() % block.warps.size())
                                           : NO_WARP;
}

/* Every thread that may, but not those of the slow warp, goes on to where it must wait. */
void run_round(unsigned slow)
{
    std::vector<unsigned> &order = block.round;
    order.resize(block.threads);
    put_in_order(&order);
    for (unsigned t : order)
        if (t / LANES != slow && !block.fibers[t].ended && !waits_at_barrier(block.fibers[t])) {
            set_thread(t);
            switch_to(&block.scheduler, &block.fibers[t].own);
        }
}

void run_block()
{
    for (unsigned t = 0; t < block.threads; t++)
        fiber_begin(&block.fibers[t]);
    for (meeting &m : block.warps)
        m = meeting();
    memset(block.shared, 0xff, block.shared_bytes);
    block.ended = block.at_barrier = block.barriers = 0;
    unsigned slow = choose_slow_warp();
    bool all = false; /* the slow one too */
    while (block.ended < block.threads) {
        uint64_t before = block.steps;
        run_round(all ? NO_WARP : slow);
        if (block.at_barrier == block.threads) {
            block.at_barrier = 0;
            block.barriers++;
            block.steps++;
        }
        bool stuck = block.steps == before;
        if (stuck && (all || slow == NO_WARP))
            give_up(
                "stuck: %u of %u threads have ended, %u wait at a barrier, the others for lanes",
                block.ended, block.threads, block.at_barrier);
        all = stuck;
    }
}

/* ---- collectives ---- */

/* Meets the warp's other lanes; true for the last one, which acts for all and then calls part(). */
bool meet(collective kind, void *mine)
{
    unsigned lane = block.running % LANES;
    meeting &m = block.warps[block.running / LANES];
    if (m.arrived > 0 && m.kind != kind)
        give_up("its lane is at %s, others at %s", collective_name[kind], collective_name[m.kind]);
    m.kind = kind;
    m.brought[lane] = mine;
    block.steps++;
    if (++m.arrived == LANES)
        return true;
    uint64_t held = m.held;
    while (m.held == held)
        yield();
    return false;
}

void part()
{
    meeting &m = block.warps[block.running / LANES];
    m.arrived = 0;
    m.held++;
}

template <class T> T *brought(unsigned lane)
{
    return static_cast<T *>(block.warps[block.running / LANES].brought[lane]);
}

void check_shared(const void *p, size_t bytes, const char *what)
{
    const unsigned char *at = static_cast<const unsigned char *>(p);
    if (at < block.shared || at + bytes > block.shared + block.shared_bytes)
        give_up("%s outside the %zu bytes of shared memory", what, block.shared_bytes);
    if ((at - block.shared) % 16)
        give_up("%s at byte %td of shared memory: not a multiple of 16", what, at - block.shared);
}

struct matrix_rows {
    uint32_t *r;
    const void *row;
};

/* The 8 rows of one phase: 16 bytes each, 8 groups of 4 banks. */
void count_banks(unsigned phase)
{
    unsigned seen = 0;
    for (unsigned i = 0; i < 8; i++) {
        const void *row = brought<matrix_rows>(phase * 8 + i)->row;
        check_shared(row, 16, "ldmatrix");
        seen |= 1u << ((static_cast<const unsigned char *>(row) - block.shared) / 16 % 8);
    }
    block.banks.phases++;
    block.banks.conflicts += seen != 0xff;
}

void load_matrices(bool transposed)
{
    for (unsigned m = 0; m < 4; m++) {
        uint16_t element[8][8];
        count_banks(m);
        for (unsigned i = 0; i < 8; i++)
            memcpy(element[i], brought<matrix_rows>(m * 8 + i)->row, sizeof element[i]);
        for (unsigned lane = 0; lane < LANES; lane++) {
            unsigned group = lane / 4, pair = lane % 4 * 2;
            uint16_t low = transposed ? element[pair][group] : element[group][pair];
            uint16_t high = transposed ? element[pair + 1][group] : element[group][pair + 1];
            brought<matrix_rows>(lane)->r[m] = (uint32_t)low | (uint32_t)high << 16;
        }
    }
}

struct mma_operands {
    float *d;
    const uint32_t *a;
    uint32_t b[2];
};

void multiply()
{
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < LANES; lane++) {
        const mma_operands *o = brought<mma_operands>(lane);
        unsigned group = lane / 4, pair = lane % 4 * 2;
        for (unsigned i = 0; i < 4; i++) {
            float2 x = unpack_half2(o->a[i]);
            a[group + i % 2 * 8][pair + i / 2 * 8] = x.x;
            a[group + i % 2 * 8][pair + i / 2 * 8 + 1] = x.y;
        }
        for (unsigned i = 0; i < 2; i++) {
            float2 x = unpack_half2(o->b[i]);
            b[pair + i * 8][group] = x.x;
            b[pair + i * 8 + 1][group] = x.y;
        }
    }
    float sum[16][8] = {};
    for (unsigned row = 0; row < 16; row++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned column = 0; column < 8; column++)
                sum[row][column] += a[row][k] * b[k][column];
    if (block.miscompute)
        for (float &x : sum[3])
            x = -x;
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned i = 0; i < 4; i++)
            brought<mma_operands>(lane)->d[i] += sum[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

void finish_copies(const std::vector<pending_copy> &copies)
{
    for (const pending_copy &c : copies) {
        if (c.from)
            memcpy(c.to, c.from, 16);
        else
            memset(c.to, 0, 16);
    }
}
} // namespace

dim3 threadIdx, blockIdx, blockDim, gridDim;

/* A device that is not what it says: one row of each product has the wrong sign. */
extern "C" void emulated_device_miscompute(int on);
extern "C" void emulated_device_miscompute(int on)
{
    block.miscompute = on != 0;
}

namespace emulator
{
void set_order(order o, uint64_t seed)
{
    block.order = o;
    block.random = seed;
    block.early_copies = o == SEEDED && seed % 2;
}

bank_counts take_bank_counts()
{
    bank_counts c = block.banks;
    block.banks = bank_counts();
    return c;
}

void run(const launch &l)
{
    std::lock_guard<std::mutex> lock(block.one_at_a_time);
    block.launch = &l;
    block.threads = l.block.x * l.block.y * l.block.z;
    if (block.threads > THREADS_MOST || block.threads % LANES)
        give_up("a block of %u threads", block.threads);
    if (block.fibers.size() < block.threads)
        block.fibers.resize(THREADS_MOST);
    block.warps.assign(block.threads / LANES, meeting());
    std::vector<uint4> shared(l.shared_bytes / 16 + 1);
    block.shared = reinterpret_cast<unsigned char *>(shared.data());
    block.shared_bytes = l.shared_bytes;
#ifdef __SANITIZE_THREAD__
    block.scheduler.tsan = __tsan_get_current_fiber();
#endif
    blockDim = l.block;
    gridDim = l.grid;
    std::vector<unsigned> order(l.grid.x * l.grid.y * l.grid.z);
    put_in_order(&order);
    for (unsigned b : order) {
        blockIdx = dim3(b % l.grid.x, b / l.grid.x % l.grid.y, b / l.grid.x / l.grid.y);
        run_block();
    }
}
} // namespace emulator

/* ---- the functions of port.cuh ---- */

uint16_t half_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return sign | 0x7e00; /* NaN */
    if (magnitude >= 0x47800000)
        return sign | 0x7c00;
    if (magnitude < 0x38800000) { /* below the smallest normal number: units of 2^-24 */
        float units = ldexpf(fabsf(x), 24);
        return (uint16_t)(sign | (uint16_t)nearbyintf(units));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (uint16_t)((rounded - 0x38000000) >> 13));
}

float float_of_half(uint16_t bits)
{
    static const std::vector<float> table = [] {
        std::vector<float> t(1 << 16);
        for (unsigned i = 0; i < t.size(); i++) {
            int exponent = (int)(i >> 10 & 31), fraction = (int)(i & 1023);
            float x = exponent == 0    ? ldexpf((float)fraction, -24)
                      : exponent == 31 ? (fraction ? NAN : INFINITY)
                                       : ldexpf((float)(fraction + 1024), exponent - 25);
            t[i] = i >> 15 ? -x : x;
        }
        return t;
    }();
    return table[bits];
}

uint32_t pack_half2(float low, float high)
{
    const float most = 65504.0f; /* fminf and fmaxf drop a NaN, as on the device */
    return (uint32_t)half_of_float(fminf(fmaxf(low, -most), most)) |
           (uint32_t)half_of_float(fminf(fmaxf(high, -most), most)) << 16;
}

float2 unpack_half2(uint32_t bits)
{
    return {float_of_half((uint16_t)bits), float_of_half((uint16_t)(bits >> 16))};
}

unsigned char *block_shared()
{
    return block.shared;
}

void block_sync()
{
    block.fibers[block.running].barriers++;
    block.at_barrier++;
    block.steps++;
    yield();
}

float warp_xor(float value, int lane_bits)
{
    if (meet(XOR, &value)) {
        float old[LANES];
        for (unsigned lane = 0; lane < LANES; lane++)
            old[lane] = *brought<float>(lane);
        for (unsigned lane = 0; lane < LANES; lane++)
            *brought<float>(lane) = old[(lane ^ (unsigned)lane_bits) % LANES];
        part();
    }
    return value;
}

void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    mma_operands o = {d, a, {b0, b1}};
    if (meet(MMA, &o)) {
        multiply();
        part();
    }
}

void load_matrix_x4(uint32_t (&r)[4], const void *row)
{
    matrix_rows m = {r, row};
    if (meet(LOAD_MATRIX, &m)) {
        load_matrices(false);
        part();
    }
}

void load_matrix_x4_transposed(uint32_t (&r)[4], const void *row)
{
    matrix_rows m = {r, row};
    if (meet(LOAD_MATRIX_TRANSPOSED, &m)) {
        load_matrices(true);
        part();
    }
}

void copy_async_16(void *shared, const void *global, bool wanted)
{
    check_shared(shared, 16, "cp.async");
    if (reinterpret_cast<uintptr_t>(global) % 16)
        give_up("cp.async from %p: not a multiple of 16", global);
    pending_copy copy = {shared, wanted ? global : nullptr};
    if (block.early_copies)
        finish_copies({copy});
    else
        block.fibers[block.running].open.push_back(copy);
}

void copy_async_commit()
{
    fiber &f = block.fibers[block.running];
    f.copy.push_back(std::move(f.open));
    f.open.clear();
}

void copy_async_wait_for(int pending)
{
    fiber &f = block.fibers[block.running];
    size_t done = f.copy.size() > (size_t)pending ? f.copy.size() - (size_t)pending : 0;
    for (size_t i = 0; i < done; i++)
        finish_copies(f.copy[i]);
    f.copy.erase(f.copy.begin(), f.copy.begin() + (ptrdiff_t)done);
}
