/* What router/encoder/cuda decides on the host, and the arithmetic that host and device share:
 * pure, so run on a CPU as it is. And the emulated device itself: it must notice what it is there
 * for. */
#include "router/encoder/cuda/forward.cuh"
#include "router/encoder/cuda/slot.cuh"

#include <set>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <setjmp.h>
#include <stdarg.h>
extern "C" {
#include <cmocka.h>
}

namespace
{
/* ---- plans ---- */

void buckets_hold_their_tokens(void **)
{
    for (int tokens = 0; tokens <= 16384; tokens++) {
        int b = plan_bucket(tokens);
        assert_in_range(b, 0, PLAN_BUCKETS - 1);
        assert_true(plan_buckets[b] >= tokens);
        assert_true(b == 0 || plan_buckets[b - 1] < tokens);
        assert_int_equal(plan_buckets[b] % 16, 0);
    }
    assert_int_equal(plan_bucket(16385), PLAN_BUCKETS);
}

/* For every shape that a model may have, on devices small and large: tiles cover the product, the
 * shares of splits are whole slices that cover the inner dimension, each has some. */
void plans_cover_products(void **)
{
    const plan_device devices[] = {{1, 48 * 1024}, {40, 64 * 1024}, {132, 227 * 1024}};
    for (plan_device d : devices)
        for (int rows : plan_buckets)
            for (int outer = 64; outer <= 4096; outer += 64)
                for (int inner : {64, 128, 384, 768, 1024, 1536, 3072, 4096})
                    for (bool may_split : {false, true}) {
                        gemm_plan p = plan_gemm(rows, outer, inner, may_split, d);
                        const plan_shape &s = plan_shapes[p.tile];
                        assert_int_equal(outer % s.columns, 0);
                        assert_true(s.shared_bytes <= d.shared_bytes);
                        assert_int_equal(p.share % GEMM_DEPTH, 0);
                        assert_true(p.splits >= 1 && p.splits <= PLAN_SPLITS_MOST);
                        assert_true(may_split || p.splits == 1);
                        assert_true(p.splits * p.share >= inner);
                        assert_true((p.splits - 1) * p.share < inner);
                        /* rows that are loaded but not computed are there to be loaded */
                        int loaded = (rows + s.rows - 1) / s.rows * s.rows;
                        assert_true((size_t)loaded <= forward_rows(rows));
                    }
}

void plans_fill_devices(void **)
{
    plan_device h = {132, 227 * 1024};
    assert_int_equal(plan_gemm(16, 1152, 384, false, h).tile, PLAN_TILE_16);
    assert_int_equal(plan_gemm(32, 1152, 384, false, h).tile, PLAN_TILE_32);
    assert_int_equal(plan_gemm(4096, 1152, 384, false, h).tile, PLAN_TILE_128);
    assert_int_equal(plan_gemm(4096, 1152, 384, false, {40, 64 * 1024}).tile, PLAN_TILE_64);
    assert_true(plan_gemm(32, 384, 1536, true, h).splits > 4);
    assert_int_equal(plan_gemm(16384, 384, 1536, true, h).splits, 1);
}

/* The parts of split products fit where they are put. */
void parts_have_room(void **)
{
    forward_model m = {};
    m.hidden = 384;
    m.feed_forward = 1536;
    plan_device d = {132, 227 * 1024};
    for (int most : plan_buckets)
        for (int rows : plan_buckets) {
            if (rows > most)
                break;
            for (gemm_plan p : {forward_plan_out(m, rows, d), forward_plan_down(m, rows, d)})
                assert_true((size_t)(p.splits * rows) * 384 <= forward_part_count(m, most, d));
        }
}

/* ---- shared arithmetic ---- */

template <int CHUNKS> void check_tile()
{
    std::set<int> used;
    for (int row = 0; row < 64; row++)
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
            int at = tile_chunk<CHUNKS>(row, chunk);
            assert_in_range(at, 0, 64 * CHUNKS - 1);
            assert_true(used.insert(at).second);
        }
    for (int first = 0; first < 64; first += 8) /* one phase of ldmatrix */
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
            std::set<int> banks;
            for (int row = first; row < first + 8; row++)
                banks.insert(tile_chunk<CHUNKS>(row, chunk) % 8);
            assert_int_equal(banks.size(), 8);
        }
}

void tiles_are_permutations_without_conflicts(void **)
{
    check_tile<4>();
    check_tile<8>();
}

void gelu_is_gelu(void **)
{
    for (double x = -12; x <= 12; x += 1.0 / 64) {
        double cdf = 0.5 * erfc(-x * 0.7071067811865476);
        assert_true(fabs(gelu((float)x, false) - x * cdf) < 2e-6);
        assert_true(fabs(gelu((float)x, true) - x * cdf) < 5e-4); /* the approximation itself */
    }
}

/* Over slices in any grouping, with slices of which nothing is seen. */
void softmax_runs(void **)
{
    const float score[] = {3, -200, 1e4f, 9999, 10001, -1e4f, 0};
    running_softmax s = {SOFTMAX_NOTHING, 0};
    double sum = 0, wanted = 0;
    assert_true(softmax_raise(&s, SOFTMAX_NOTHING) == 1);
    assert_true(softmax_scale(&s) == 0);
    for (float x : score) {
        float factor = softmax_raise(&s, x);
        assert_true(isfinite(factor));
        float w = exp2f(x - s.largest);
        s.sum += w;
        sum = sum * factor + w * x;
        softmax_raise(&s, SOFTMAX_NOTHING);
    }
    double total = 0;
    for (float x : score) {
        total += exp2(x - 10001.0);
        wanted += exp2(x - 10001.0) * x;
    }
    assert_true(fabs(sum * softmax_scale(&s) - wanted / total) < 1e-2);
}

void tokens_know_their_sequence(void **)
{
    row_span s = token_span(token_make(5, 511, 512), 700);
    assert_int_equal(s.first, 189);
    assert_int_equal(s.end, 701);
    s = token_span(token_make(5, 0, 65535), 3);
    assert_int_equal(s.end, 65538);
    s = token_span(token_padding(), 9);
    assert_int_equal(s.first, 9);
    assert_int_equal(s.end, 9);
}

void slots_are_filled(void **)
{
    std::vector<token> tokens(64, token_make(99, 9, 9));
    std::vector<int32_t> starts(64, -1);
    batch_head head = {};
    slot s = {};
    s.host.head = &head;
    s.host.tokens = tokens.data();
    s.host.starts = starts.data();
    s.ticket = UINT32_MAX; /* 0 would look like a flag that was never written */
    const int32_t ids[] = {7, 8, 9, 10, 11}, from[] = {0, 2, 5};
    slot_fill(&s, ids, from, 2, true);
    assert_int_equal(head.ticket, 1);
    assert_int_equal(head.sequences, 2);
    assert_int_equal(plan_buckets[s.bucket], 16);
    for (int i = 0; i < 16; i++)
        assert_int_equal(tokens[(size_t)i].id, i < 5 ? ids[i] : -1);
    assert_int_equal(tokens[4].place, 2 | 3 << 16);
    assert_int_equal(starts[1], 2);
    assert_int_equal(starts[2], 5);
    assert_int_equal(tokens[16].id, 99); /* the next bucket's */
}

/* ---- the emulated device ---- */

void halves_are_ieee(void **)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float x = float_of_half((uint16_t)bits);
        if (isnan(x))
            assert_true(isnan(float_of_half(half_of_float(x))));
        else
            assert_int_equal(half_of_float(x), bits);
    }
    assert_int_equal(half_of_float(2049), half_of_float(2048)); /* ties to even */
    assert_int_equal(half_of_float(2051), half_of_float(2052));
    assert_int_equal(half_of_float(65519), 0x7bff);
    assert_int_equal(half_of_float(65520), 0x7c00);
    assert_int_equal(half_of_float(-1e-8f), 0x8000);
    assert_true(float_of_half(1) == ldexpf(1, -24));
    for (float x : {1.0f / 3, 1e-5f, 777.77f, 6.1e-5f, 5.96e-8f}) { /* the nearest of them all */
        double best = 1e9;
        for (uint32_t b = 0; b < 0x7c00; b++)
            best = fmin(best, fabs((double)float_of_half((uint16_t)b) - x));
        assert_true(fabs((double)float_of_half(half_of_float(x)) - x) == best);
    }
}

void run_threads(unsigned threads, size_t shared, std::function<void()> body)
{
    emulator::run({"test", dim3(1), dim3(threads), shared, std::move(body)});
}

/* The layout of PTX's fragments, element by element, from numbers that say where they are. */
void mma_is_as_documented(void **)
{
    float d[32][4];
    run_threads(32, 0, [&] {
        unsigned lane = threadIdx.x, group = lane / 4, in_group = lane % 4;
        uint32_t a[4], b[2];
        float sum[4] = {1000, 1000, 1000, 1000};
        for (unsigned i = 0; i < 8; i++) { /* a_i of the PTX ISA: row and column */
            unsigned row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
            unsigned column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
            float x = (float)row + (column == 5 ? 1.0f : 0.0f);
            uint32_t bits = half_of_float(x);
            a[i / 2] = i % 2 ? a[i / 2] | bits << 16 : bits;
        }
        for (unsigned i = 0; i < 4; i++) { /* b_i */
            unsigned row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8), column = group;
            float x = row == 5 ? (float)column : row == 15 ? 0.5f : 0.0f;
            uint32_t bits = half_of_float(x);
            b[i / 2] = i % 2 ? b[i / 2] | bits << 16 : bits;
        }
        mma_m16n8k16(sum, a, b[0], b[1]);
        memcpy(d[lane], sum, sizeof sum);
    });
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = i < 2 ? lane / 4 : lane / 4 + 8, column = lane % 4 * 2 + (i & 1);
            float wanted = 1000 + ((float)row + 1) * (float)column + 0.5f * (float)row;
            assert_true(d[lane][i] == wanted);
        }
}

void ldmatrix_is_as_documented(void **)
{
    uint32_t plain[32][4], transposed[32][4];
    run_threads(32, 512, [&] {
        uint16_t *element = reinterpret_cast<uint16_t *>(block_shared());
        for (unsigned i = threadIdx.x; i < 256; i += 32)
            element[i] = (uint16_t)i; /* 64 * matrix + 8 * row + column */
        block_sync();
        uint32_t r[4];
        load_matrix_x4(r, element + threadIdx.x * 8);
        memcpy(plain[threadIdx.x], r, sizeof r);
        load_matrix_x4_transposed(r, element + threadIdx.x * 8);
        memcpy(transposed[threadIdx.x], r, sizeof r);
    });
    for (uint32_t lane = 0; lane < 32; lane++)
        for (uint32_t m = 0; m < 4; m++) {
            uint32_t row = lane / 4, pair = lane % 4 * 2;
            uint32_t first = 64 * m + 8 * row + pair;
            assert_int_equal(plain[lane][m], first | (first + 1) << 16);
            first = 64 * m + 8 * pair + row;
            assert_int_equal(transposed[lane][m], first | (first + 8) << 16);
        }
}

/* Neighbours read what the other wrote, without a barrier: the order shows. */
void a_race_shows(void **)
{
    int seen[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        emulator::set_order(i ? emulator::DESCENDING : emulator::ASCENDING, 0);
        run_threads(32, 128, [&] {
            int *shared = reinterpret_cast<int *>(block_shared());
            shared[threadIdx.x] = 1;
            seen[i] += shared[(threadIdx.x + 1) % 32] == 1;
        });
    }
    emulator::set_order(emulator::ASCENDING, 0);
    assert_int_not_equal(seen[0], 32);
    int after = 0;
    run_threads(32, 128, [&] {
        int *shared = reinterpret_cast<int *>(block_shared());
        shared[threadIdx.x] = 1;
        block_sync();
        after += shared[(threadIdx.x + 1) % 32] == 1;
    });
    assert_int_equal(after, 32);
}

/* A copy that is not waited for, or for the wrong group, has not happened. */
void a_missing_wait_shows(void **)
{
    alignas(16) float from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    float early = 0, first = 0, second = 0, zero = 1;
    run_threads(32, 64, [&] {
        float *shared = reinterpret_cast<float *>(block_shared());
        if (threadIdx.x)
            return;
        copy_async_16(shared, from, true);
        copy_async_commit();
        copy_async_16(shared + 4, from + 4, true);
        copy_async_16(shared + 8, from, false);
        copy_async_commit();
        early = shared[0];
        copy_async_wait<1>();
        first = shared[0];
        second = shared[4];
        copy_async_wait<0>();
        zero = shared[8];
    });
    assert_true(isnan(early));
    assert_true(first == 1);
    assert_true(isnan(second));
    assert_true(zero == 0);
}

bool dies(std::function<void()> body)
{
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(2);
        run_threads(64, 64, std::move(body));
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

void broken_kernels_are_stopped(void **)
{
    assert_false(dies([] { block_sync(); }));
    assert_true(dies([] { /* a barrier that not all reach */
                          if (threadIdx.x < 40)
                              block_sync();
    }));
    assert_true(dies([] { /* a collective that not all lanes reach */
                          if (threadIdx.x != 3)
                              warp_xor(1, 1);
    }));
    assert_true(dies([] { /* lanes at different ones */
                          uint32_t r[4];
                          if (threadIdx.x % 2)
                              warp_xor(1, 1);
                          else
                              load_matrix_x4(r, block_shared());
    }));
    assert_true(dies([] { /* outside shared memory, and not aligned */
                          uint32_t r[4];
                          load_matrix_x4(r, block_shared() + 64);
    }));
    assert_true(dies([] {
        uint32_t r[4];
        load_matrix_x4(r, block_shared() + 8);
    }));
    assert_true(dies([] {
        alignas(16) float from[8] = {};
        copy_async_16(block_shared(), from + 1, true);
    }));
}
} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_hold_their_tokens),
        cmocka_unit_test(plans_cover_products),
        cmocka_unit_test(plans_fill_devices),
        cmocka_unit_test(parts_have_room),
        cmocka_unit_test(tiles_are_permutations_without_conflicts),
        cmocka_unit_test(gelu_is_gelu),
        cmocka_unit_test(softmax_runs),
        cmocka_unit_test(tokens_know_their_sequence),
        cmocka_unit_test(slots_are_filled),
        cmocka_unit_test(halves_are_ieee),
        cmocka_unit_test(mma_is_as_documented),
        cmocka_unit_test(ldmatrix_is_as_documented),
        cmocka_unit_test(a_race_shows),
        cmocka_unit_test(a_missing_wait_shows),
        cmocka_unit_test(broken_kernels_are_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
