/* Each kernel of router/encoder/cuda on the emulated device, against plain loops in double over the
 * same fp16 numbers; in several orders of threads and blocks, which must give the same bits; with
 * NaN wherever nothing was computed yet. */
#include "router/encoder/cuda/forward.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <vector>

#include <setjmp.h>
#include <stdarg.h>
extern "C" {
#include <cmocka.h>
}

namespace
{
constexpr plan_device device = {16, 163 * 1024};

struct random_numbers {
    uint64_t state;
    double next() /* -1 .. 1 */
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (double)(int64_t)(state >> 11 << 11) / 9223372036854775808.0;
    }
};

std::vector<half_bits> random_halves(size_t n, uint64_t seed, double scale = 1)
{
    random_numbers r = {seed};
    std::vector<half_bits> v(n);
    for (half_bits &x : v)
        x = half_of_float((float)(r.next() * scale));
    return v;
}

std::vector<float> random_floats(size_t n, uint64_t seed)
{
    random_numbers r = {seed};
    std::vector<float> v(n);
    for (float &x : v)
        x = (float)r.next();
    return v;
}

std::vector<half_bits> poison_halves(size_t n)
{
    return std::vector<half_bits>(n, 0xffff);
}

std::vector<float> poison_floats(size_t n)
{
    return std::vector<float>(n, NAN);
}

void near(double got, double wanted, double tolerance, const char *what, size_t at)
{
    if (!(fabs(got - wanted) <= tolerance * (1 + fabs(wanted))))
        fail_msg("%s, element %zu: %.8g, not %.8g", what, at, got, wanted);
}

/* Runs fill() and what it launches in several orders; the bits of the result must not change. */
template <class RESULT, class RUN> std::vector<RESULT> in_all_orders(RUN run)
{
    emulator::set_order(emulator::ASCENDING, 0);
    std::vector<RESULT> first = run();
    for (uint64_t seed = 1; seed <= 4; seed++) {
        emulator::set_order(seed == 1 ? emulator::DESCENDING : emulator::SEEDED, seed);
        std::vector<RESULT> again = run();
        assert_int_equal(again.size(), first.size());
        assert_memory_equal(again.data(), first.data(), first.size() * sizeof(RESULT));
    }
    emulator::set_order(emulator::ASCENDING, 0);
    return first;
}

struct stream {
    cudaStream_t s;
    launcher l;
    stream()
    {
        assert_int_equal(cudaStreamCreateWithPriority(&s, 0, 0), cudaSuccess);
        l = {s, false, cudaSuccess};
    }
    void finish()
    {
        assert_int_equal(l.error, cudaSuccess);
        assert_int_equal(cudaStreamSynchronize(s), cudaSuccess);
        cudaStreamDestroy(s);
    }
};

/* ---- products ---- */

struct product {
    int rows, outer, inner;
    gemm_plan plan;
};

double dot(const half_bits *a, const half_bits *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)float_of_half(a[i]) * float_of_half(b[i]);
    return sum;
}

gemm_args product_args(const product &p, const std::vector<half_bits> &in,
                       const std::vector<half_bits> &weight, const std::vector<float> &bias)
{
    gemm_args g = {};
    g.in = in.data();
    g.weight = weight.data();
    g.bias = bias.data();
    g.rows = p.rows;
    g.outer = p.outer;
    g.inner = p.inner;
    g.share = p.plan.share;
    return g;
}

/* Rows beyond are NaN: nothing of them may be seen. */
std::vector<half_bits> product_in(const product &p)
{
    std::vector<half_bits> in = random_halves((size_t)p.rows * (size_t)p.inner, 1);
    in.resize(forward_rows(p.rows) * (size_t)p.inner, 0xffff);
    return in;
}

template <gemm_finish FINISH> void check_product(const product &p, bool tanh_form)
{
    std::vector<half_bits> in = product_in(p);
    std::vector<half_bits> weight = random_halves((size_t)p.outer * (size_t)p.inner, 2, 0.1);
    std::vector<float> bias = random_floats((size_t)p.outer, 3);
    std::vector<half_bits> out = in_all_orders<half_bits>([&] {
        std::vector<half_bits> result = poison_halves(forward_rows(p.rows) * (size_t)p.outer);
        gemm_args g = product_args(p, in, weight, bias);
        g.out = result.data();
        g.tanh_form = tanh_form;
        stream s;
        launch_gemm<FINISH>(&s.l, p.plan, g);
        s.finish();
        result.resize((size_t)p.rows * (size_t)p.outer);
        return result;
    });
    for (size_t r = 0; r < (size_t)p.rows; r++)
        for (size_t c = 0; c < (size_t)p.outer; c++) {
            double x = dot(&in[r * (size_t)p.inner], &weight[c * (size_t)p.inner], p.inner);
            x += bias[c];
            if (FINISH == GEMM_GELU)
                x = tanh_form ? x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
                              : x / 2 * (1 + erf(x * 0.7071067811865476));
            size_t at = r * (size_t)p.outer + c;
            near(float_of_half(out[at]), x, 1e-3, "product", at);
        }
}

void check_parts(const product &p)
{
    std::vector<half_bits> in = product_in(p);
    std::vector<half_bits> weight = random_halves((size_t)p.outer * (size_t)p.inner, 2, 0.1);
    size_t size = (size_t)p.rows * (size_t)p.outer;
    std::vector<float> part = in_all_orders<float>([&] {
        std::vector<float> result = poison_floats((size_t)p.plan.splits * size);
        gemm_args g = product_args(p, in, weight, {});
        g.part = result.data();
        stream s;
        launch_gemm<GEMM_PART>(&s.l, p.plan, g);
        s.finish();
        return result;
    });
    for (size_t i = 0; i < size; i++) {
        double sum = 0;
        for (int z = 0; z < p.plan.splits; z++)
            sum += part[(size_t)z * size + i];
        size_t r = i / (size_t)p.outer, c = i % (size_t)p.outer;
        near(sum, dot(&in[r * (size_t)p.inner], &weight[c * (size_t)p.inner], p.inner), 2e-6,
             "parts", i);
    }
}

void products_are_right(void **)
{
    for (int t = 0; t < PLAN_TILES; t++) {
        plan_tile tile = (plan_tile)t;
        int rows = plan_shapes[t].rows, columns = plan_shapes[t].columns;
        check_product<GEMM_BIAS>({rows, 2 * columns, 192, {tile, 1, 192}}, false);
        check_product<GEMM_BIAS>({rows + 16, columns, 64, {tile, 1, 64}}, false);
        check_product<GEMM_GELU>({rows, columns, 128, {tile, 1, 128}}, false);
        check_product<GEMM_GELU>({rows, columns, 128, {tile, 1, 128}}, true);
        check_parts({rows, columns, 320, {tile, 3, 128}});
        check_parts({rows + 16, columns, 448, {tile, 1, 448}});
    }
}

/* Too large for fp16 is its largest number, not an infinity. */
void products_do_not_overflow(void **)
{
    std::vector<half_bits> in(forward_rows(16) * 64, half_of_float(60000));
    std::vector<half_bits> weight(32 * 64, half_of_float(60000));
    for (size_t i = 0; i < 64; i++)
        weight[i] = half_of_float(-60000);
    std::vector<float> bias(32);
    std::vector<half_bits> out = poison_halves(forward_rows(16) * 32);
    product p = {16, 32, 64, {PLAN_TILE_16, 1, 64}};
    gemm_args g = product_args(p, in, weight, bias);
    g.out = out.data();
    stream s;
    launch_gemm<GEMM_BIAS>(&s.l, p.plan, g);
    s.finish();
    assert_int_equal(out[0], half_of_float(-65504));
    assert_int_equal(out[1], half_of_float(65504));
}

/* ---- attention ---- */

std::vector<row_span> spans_of(const std::vector<int> &lengths, int rows)
{
    std::vector<row_span> span;
    for (int length : lengths)
        for (int i = 0, first = (int)span.size(); i < length; i++)
            span.push_back({first, first + length});
    while ((int)span.size() < rows)
        span.push_back({(int)span.size(), (int)span.size()});
    return span;
}

void attention_row(const std::vector<half_bits> &qkv, int hidden, int head, int size, row_span span,
                   int row, std::vector<double> *out)
{
    size_t stride = 3 * (size_t)hidden, at = (size_t)(head * size);
    std::vector<double> weight;
    double largest = -INFINITY, total = 0;
    for (int key = span.first; key < span.end; key++) {
        weight.push_back(dot(&qkv[(size_t)row * stride + at],
                             &qkv[(size_t)key * stride + at + (size_t)hidden], size) /
                         sqrt(size));
        largest = std::max(largest, weight.back());
    }
    for (double &w : weight)
        total += w = exp(w - largest);
    out->assign((size_t)size, 0);
    for (int key = span.first; key < span.end; key++)
        for (size_t d = 0; d < (size_t)size; d++)
            (*out)[d] += weight[(size_t)(key - span.first)] / total *
                         float_of_half(qkv[(size_t)key * stride + at + 2 * (size_t)hidden + d]);
}

void check_attention(const std::vector<int> &lengths, int rows, int heads, int size, double scale)
{
    forward_model m = {};
    m.heads = heads;
    m.hidden = heads * size;
    std::vector<row_span> span = spans_of(lengths, rows);
    std::vector<half_bits> qkv = random_halves((size_t)(rows * 3 * m.hidden), 7, scale);
    qkv.resize(forward_rows(rows) * 3 * (size_t)m.hidden, 0xffff);
    std::vector<half_bits> ctx = in_all_orders<half_bits>([&] {
        std::vector<half_bits> result = poison_halves(forward_rows(rows) * (size_t)m.hidden);
        forward_buffers b = {};
        b.qkv = qkv.data();
        b.span = span.data();
        b.ctx = result.data();
        stream s;
        launch_attention(&s.l, m, b, rows);
        s.finish();
        result.resize((size_t)(rows * m.hidden));
        return result;
    });
    std::vector<double> wanted;
    for (int row = 0; row < rows; row++)
        for (int head = 0; head < heads; head++) {
            attention_row(qkv, m.hidden, head, size, span[(size_t)row], row, &wanted);
            for (int d = 0; d < size; d++) {
                size_t at = (size_t)(row * m.hidden + head * size + d);
                near(float_of_half(ctx[at]), wanted[(size_t)d], 1.5e-3 * std::max(1.0, scale),
                     "attention", at);
            }
        }
}

void attention_is_right(void **)
{
    check_attention({16}, 16, 1, 32, 1);
    check_attention({1}, 16, 2, 32, 1);
    check_attention({5, 3, 1, 9, 2}, 32, 2, 32, 1);
    check_attention({15, 17, 16}, 48, 1, 64, 1);
    check_attention({63, 64, 65}, 192, 1, 32, 1);
    check_attention({130, 2, 60}, 192, 1, 64, 1);
    check_attention({200, 1, 1, 54}, 256, 1, 32, 1);
    /* sharp distributions: scores up to some 400 apart */
    check_attention({70, 26}, 96, 1, 32, 12);
    check_attention({}, 16, 1, 32, 1);
}

/* ---- rows ---- */

void normalize(std::vector<double> *row, const float *gain, const float *shift, double eps)
{
    double mean = 0, var = 0;
    for (double x : *row)
        mean += x / (double)row->size();
    for (double x : *row)
        var += (x - mean) * (x - mean) / (double)row->size();
    for (size_t i = 0; i < row->size(); i++)
        (*row)[i] = ((*row)[i] - mean) / sqrt(var + eps) * gain[i] + shift[i];
}

void norms_are_right(void **)
{
    for (int hidden : {128, 384, 768, 1024}) {
        int rows = 18, parts = 3;
        size_t size = (size_t)(rows * hidden);
        std::vector<half_bits> x = random_halves(size, 11);
        std::vector<float> part = random_floats((size_t)parts * size, 12);
        std::vector<float> bias = random_floats((size_t)hidden, 13);
        std::vector<float> gain = random_floats((size_t)hidden, 14);
        std::vector<float> shift = random_floats((size_t)hidden, 15);
        std::vector<half_bits> out = in_all_orders<half_bits>([&] {
            std::vector<half_bits> result = x;
            norm_args g = {result.data(), part.data(), parts, bias.data(), gain.data(),
                           shift.data(),  1e-12f,      rows,  hidden};
            stream s;
            launch(&s.l, norm_kernel, dim3(row_blocks(rows)), ROWS_PER_BLOCK * WARP, 0, g);
            s.finish();
            return result;
        });
        for (size_t r = 0; r < (size_t)rows; r++) {
            std::vector<double> row((size_t)hidden);
            for (size_t c = 0; c < row.size(); c++) {
                row[c] = bias[c] + (double)float_of_half(x[r * row.size() + c]);
                for (size_t p = 0; p < (size_t)parts; p++)
                    row[c] += part[p * size + r * row.size() + c];
            }
            normalize(&row, gain.data(), shift.data(), 1e-12);
            for (size_t c = 0; c < row.size(); c++)
                near(float_of_half(out[r * row.size() + c]), row[c], 1e-3, "norm", c);
        }
    }
}

/* Constant rows have no variance: finite all the same. */
void norms_of_constants_are_finite(void **)
{
    std::vector<half_bits> x(128, half_of_float(3));
    std::vector<float> zero(128), one(128, 1), shift(128, 0.5f);
    norm_args g = {x.data(), zero.data(), 1, zero.data(), one.data(), shift.data(), 1e-12f, 1, 128};
    stream s;
    launch(&s.l, norm_kernel, dim3(1), ROWS_PER_BLOCK * WARP, 0, g);
    s.finish();
    for (half_bits h : x)
        assert_int_equal(h, half_of_float(0.5f));
}

struct embedding {
    batch_head host_head;
    std::vector<token> tokens;
    std::vector<int32_t> host_starts;
    batch_head head;
    std::vector<row_span> span;
    std::vector<int32_t> starts;
    std::vector<half_bits> out;
};

void embeddings_are_right(void **)
{
    const int rows = 16, hidden = 256, words = 9, positions = 6;
    std::vector<half_bits> word = random_halves((size_t)(words * hidden), 21);
    std::vector<float> position = random_floats((size_t)(positions * hidden), 22);
    std::vector<float> gain = random_floats((size_t)hidden, 23);
    std::vector<float> shift = random_floats((size_t)hidden, 24);
    embedding e = {};
    e.host_head = {2, 77, 1, 0};
    e.host_starts = {0, 4, 10};
    for (int i = 0; i < rows; i++)
        e.tokens.push_back(i < 4    ? token_make(8 - i, i, 4)
                           : i < 10 ? token_make(i - 4, i - 4, 6)
                                    : token_padding());
    auto run = [&] {
        e.head = {};
        e.span.assign(rows, {-1, -1});
        e.starts.assign(3, -1);
        e.out = poison_halves(forward_rows(rows) * hidden);
        embed_args g = {&e.host_head, e.tokens.data(), e.host_starts.data(),
                        &e.head,      e.span.data(),   e.starts.data(),
                        e.out.data(), word.data(),     position.data(),
                        gain.data(),  shift.data(),    1e-12f,
                        rows,         hidden};
        stream s;
        launch(&s.l, embed_kernel, dim3(row_blocks(rows)), ROWS_PER_BLOCK * WARP, 0, g);
        s.finish();
        return e.out;
    };
    in_all_orders<half_bits>(run);
    assert_int_equal(e.head.ticket, 77);
    assert_int_equal(e.head.sequences, 2);
    assert_true(e.starts == e.host_starts);
    for (int r = 0; r < rows; r++) {
        int first = r < 4 ? 0 : r < 10 ? 4 : r, end = r < 4 ? 4 : r < 10 ? 10 : r;
        assert_int_equal(e.span[(size_t)r].first, first);
        assert_int_equal(e.span[(size_t)r].end, end);
        std::vector<double> row((size_t)hidden);
        size_t id = (size_t)(r < 4 ? 8 - r : r - 4), at = (size_t)(r - first);
        if (r < 10) {
            for (size_t c = 0; c < row.size(); c++)
                row[c] = (double)float_of_half(word[id * row.size() + c]) +
                         position[at * row.size() + c];
            normalize(&row, gain.data(), shift.data(), 1e-12);
        }
        for (size_t c = 0; c < row.size(); c++)
            near(float_of_half(e.out[(size_t)r * row.size() + c]), row[c], 1e-3, "embed", c);
    }
}

struct pooled {
    std::vector<float> embedding, features;
    uint32_t flag, blocks_done;
};

pooled run_pool(const std::vector<half_bits> &x, const std::vector<int32_t> &starts, int hidden,
                bool of_cls, bool unit_length, bool features)
{
    size_t n = starts.size() - 1;
    pooled p = {poison_floats(n * (size_t)hidden), poison_floats(n * 2 * (size_t)hidden), 0, 0};
    batch_head head = {(int32_t)n, 5, features, 0};
    pool_args g = {
        &head,          starts.data(), x.data(), p.embedding.data(), p.features.data(), &p.flag,
        &p.blocks_done, hidden,        of_cls,   unit_length};
    stream s;
    launch(&s.l, pool_kernel, dim3(3), POOL_WARPS * WARP, pool_shared_bytes(hidden), g);
    s.finish();
    return p;
}

void pooling_is_right(void **)
{
    const int hidden = 384;
    const std::vector<int32_t> starts = {0, 1, 12, 13, 60, 62};
    std::vector<half_bits> x = random_halves((size_t)(62 * hidden), 31);
    x.resize(x.size() + 100 * hidden, 0xffff);
    for (int kind = 0; kind < 8; kind++) {
        bool of_cls = kind & 1, unit_length = kind & 2, features = kind & 4;
        std::vector<float> out = in_all_orders<float>([&] {
            pooled p = run_pool(x, starts, hidden, of_cls, unit_length, features);
            assert_int_equal(p.flag, 5);
            assert_int_equal(p.blocks_done, 0);
            p.embedding.insert(p.embedding.end(), p.features.begin(), p.features.end());
            return p.embedding;
        });
        size_t n = starts.size() - 1;
        for (size_t s = 0; s < n; s++) {
            std::vector<double> mean((size_t)hidden), cls((size_t)hidden);
            double squares = 0;
            for (size_t c = 0; c < mean.size(); c++) {
                cls[c] = float_of_half(x[(size_t)starts[s] * mean.size() + c]);
                for (int32_t r = starts[s]; r < starts[s + 1]; r++)
                    mean[c] += (double)float_of_half(x[(size_t)r * mean.size() + c]) /
                               (starts[s + 1] - starts[s]);
                squares += pow(of_cls ? cls[c] : mean[c], 2);
            }
            for (size_t c = 0; c < mean.size(); c++) {
                double scale = unit_length ? 1 / sqrt(squares) : 1;
                near(out[s * mean.size() + c], (of_cls ? cls[c] : mean[c]) * scale, 2e-6,
                     "embedding", c);
                const float *f = &out[n * mean.size() + s * 2 * mean.size()];
                if (features) {
                    near(f[c], mean[c], 2e-6, "mean", c);
                    near(f[mean.size() + c], cls[c], 0, "cls", c);
                } else {
                    assert_true(isnan(f[c]) && isnan(f[mean.size() + c]));
                }
            }
        }
    }
}

void pooling_of_nothing(void **)
{
    pooled none = run_pool(poison_halves(128), {0}, 128, false, true, true);
    assert_int_equal(none.flag, 5);
    pooled zeros = run_pool(std::vector<half_bits>(256), {0, 2}, 128, false, true, true);
    for (float x : zeros.embedding)
        assert_true(x == 0);
}

/* Every test above has run its ldmatrix: none had rows in the same banks. */
void no_bank_conflicts(void **)
{
    emulator::bank_counts c = emulator::take_bank_counts();
    assert_true(c.phases > 1000);
    assert_int_equal(c.conflicts, 0);
}
} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(products_do_not_overflow),
        cmocka_unit_test(attention_is_right),
        cmocka_unit_test(norms_are_right),
        cmocka_unit_test(norms_of_constants_are_finite),
        cmocka_unit_test(embeddings_are_right),
        cmocka_unit_test(pooling_is_right),
        cmocka_unit_test(pooling_of_nothing),
        cmocka_unit_test(no_bank_conflicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
