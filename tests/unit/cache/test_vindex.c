/* The vector index against brute force: random additions, deletions, expiries and merges; what must
 * be refused; what memory may be taken. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/vindex_graph.h"
#include "cache/vslab.h"
#include "cache/vslab_dot.h"
#include "vindex_world.h"

enum { FOREVER = 1 << 30 };

static void new_world(struct world *w, int dim, size_t graph_from, uint64_t seed)
{
    struct vindex_options o = world_options(dim, graph_from);
    struct vindex *v;
    assert_int_equal(vindex_new(&o, &v, NULL), ERR_OK);
    world_init(w, v, dim, seed);
}

static struct vindex_stat stat_of(const struct world *w)
{
    struct vindex_stat s;
    vindex_stat(w->v, &s);
    return s;
}

/* ---- numbers ---- */

static void test_halves(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float x = vslab_half((uint16_t)h);
        if ((h & 0x7fff) > 0x7c00)
            assert_true(isnan(x) && isnan(vslab_half(vslab_half_of(x))));
        else
            assert_int_equal(vslab_half_of(x), h);
    }
    assert_true(vslab_half(0x3c00) == 1 && vslab_half(0xc000) == -2 && isinf(vslab_half(0x7c00)));
    assert_true(vslab_half(1) == 0x1p-24f && vslab_half(0x3ff) == 1023 * 0x1p-24f);
    /* Between two halves: to the nearer, from the middle to the even one. */
    assert_int_equal(vslab_half_of(1 + 0x1p-11f), 0x3c00);
    assert_int_equal(vslab_half_of(1 + 3 * 0x1p-11f), 0x3c02);
    assert_int_equal(vslab_half_of(1 + 0x1p-11f + 0x1p-20f), 0x3c01);
    assert_int_equal(vslab_half_of(0x1p-25f), 0);
    assert_int_equal(vslab_half_of(3 * 0x1p-26f), 1);
    assert_int_equal(vslab_half_of(65519), 0x7bff);
    assert_int_equal(vslab_half_of(65520), 0x7c00);
    assert_int_equal(vslab_half_of(-1e30f), 0xfc00);
}

static void test_kernels_agree(void **state)
{
    (void)state;
    static const char *const names[] = {"portable", "avx2", "avx512"};
    enum { ROWS = 13 };
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t stride = 32; stride <= 4096; stride = stride < 256 ? stride + 32 : 2 * stride) {
        uint16_t *rows = aligned_alloc(64, ROWS * stride * sizeof *rows);
        float *q = aligned_alloc(64, stride * sizeof *q), out[ROWS];
        for (size_t i = 0; i < ROWS * stride; i++)
            rows[i] = vslab_half_of((float)(rng_unit(&rng) - 0.5));
        for (size_t i = 0; i < stride; i++)
            q[i] = vslab_half(rows[5 * stride + i]);
        for (size_t n = 0; n < 3; n++) {
            const struct vslab_dot *d = vslab_dot_find(names[n]);
            if (!d) {
                print_message("%s does not run here\n", names[n]);
                continue;
            }
            d->query_rows(q, rows, ROWS, stride, out);
            for (size_t r = 0; r < ROWS; r++) {
                double want = 0, size = 0;
                for (size_t i = 0; i < stride; i++) {
                    double x = (double)q[i] * (double)vslab_half(rows[r * stride + i]);
                    want += x;
                    size += fabs(x);
                }
                double tolerance = size * 1e-6;
                assert_true(fabs((double)out[r] - want) <= tolerance);
                assert_true(fabs((double)d->query_row(q, rows + r * stride, stride) - want) <=
                            tolerance);
                assert_true(fabs((double)d->row_row(rows + 5 * stride, rows + r * stride, stride) -
                                 want) <= tolerance);
            }
        }
        free(rows);
        free(q);
    }
    assert_null(vslab_dot_find("abacus"));
}

/* ---- against brute force ---- */

static void test_small_partitions_are_exact(void **state)
{
    (void)state;
    struct world w;
    uint16_t vec[VINDEX_MAX_DIM];
    new_world(&w, 20, 20000, 1);
    for (int step = 0; step < 20000; step++) {
        uint64_t what = rng_below(&w.rng, 100);
        int partition = (int)rng_below(&w.rng, 1 + rng_below(&w.rng, 200));
        if (what < 60) {
            int64_t life = rng_below(&w.rng, 4) ? FOREVER : 1 + (int64_t)rng_below(&w.rng, 500);
            assert_non_null(world_add(&w, partition, w.now_ms + life));
        } else if (what < 92) {
            struct world_entry *e = world_pick(&w);
            if (e)
                world_del(&w, e);
        } else if (what < 96) {
            w.now_ms += (int64_t)rng_below(&w.rng, 20);
            vindex_tend(w.v, w.now_ms);
            world_sweep(&w);
        } else {
            world_vec(&w, vec);
            world_check(&w, partition, vec, 1 + rng_below(&w.rng, VINDEX_MAX_K), true);
        }
    }
    struct vindex_stat s = stat_of(&w);
    assert_int_equal(s.entries, w.there);
    while (w.there)
        for (size_t i = 0; i < w.n; i++)
            if (w.at[i].there)
                world_del(&w, &w.at[i]);
    vindex_tend(w.v, w.now_ms);
    s = stat_of(&w);
    assert_int_equal(s.entries, 0);
    assert_int_equal(s.partitions, 0);
    assert_int_equal(s.dead, 0);
    assert_true(s.bytes < 1 << 20);
    world_clear(&w);
}

/* One partition that grows a graph, loses most of it and grows again, with smaller ones beside it.
 */
static void test_graphs_stay_true(void **state)
{
    (void)state;
    if (!vindex_graph_exists()) {
        print_message("this build has no graphs\n");
        skip();
    }
    struct world w;
    uint16_t vec[VINDEX_MAX_DIM];
    double share = 0;
    size_t asked = 0;
    new_world(&w, 24, 5000, 2);
    for (int step = 0; step < 40000; step++) {
        uint64_t what = rng_below(&w.rng, 1000), adds = step / 20000 % 2 ? 300 : 900;
        int partition = rng_below(&w.rng, 50) == 0;
        if (what < adds) {
            int64_t life = rng_below(&w.rng, 10) ? FOREVER : 1 + (int64_t)rng_below(&w.rng, 2000);
            assert_non_null(world_add(&w, partition, w.now_ms + life));
        } else if (what < 990) {
            struct world_entry *e = world_pick(&w);
            if (e)
                world_del(&w, e);
        } else {
            w.now_ms += 3;
            vindex_tend(w.v, w.now_ms);
            world_sweep(&w);
            world_vec(&w, vec);
            share += world_check(&w, partition, vec, 8, partition == 1);
            asked++;
        }
        if (step % 10000 == 9999)
            world_settle(&w);
    }
    struct vindex_stat s = stat_of(&w);
    print_message("%zu entries, %zu in graphs, %zu dead, %llu merges, recall@8 %.4f of %zu\n",
                  s.entries, s.in_graphs, s.dead, (unsigned long long)s.merges,
                  share / (double)asked, asked);
    assert_int_equal(s.entries, w.there);
    assert_true(s.merges >= 4);
    assert_true(share / (double)asked > 0.95);
    world_clear(&w);
}

/* All the nearest are dead: what lives further away is found all the same. */
static void test_the_living_are_found_behind_the_dead(void **state)
{
    (void)state;
    if (!vindex_graph_exists())
        skip();
    struct world w;
    uint16_t vec[VINDEX_MAX_DIM];
    size_t found = 0;
    struct vindex_hit hit[8];
    struct digest name = world_name(0);
    new_world(&w, 16, 4096, 5);
    for (int i = 0; i < 9000; i++)
        assert_non_null(world_add(&w, 0, FOREVER));
    world_settle(&w);
    assert_true(stat_of(&w).in_graphs > 0);
    world_vec(&w, vec);
    for (int i = 0; i < 400; i++) { /* the nearest, one after the other */
        assert_int_equal(vindex_topk(w.r, &name, vec, 1, w.now_ms, hit, &found), ERR_OK);
        assert_int_equal(found, 1);
        world_del(&w, &w.at[hit[0].id - 1]);
    }
    assert_true(world_check(&w, 0, vec, 8, false) > 0.7);
    w.now_ms = FOREVER;
    world_check(&w, 0, vec, 8, true); /* nothing */
    for (int i = 0; i < 100 && stat_of(&w).partitions; i++)
        world_settle(&w);
    assert_int_equal(stat_of(&w).partitions, 0);
    world_clear(&w);
}

static void test_equal_vectors(void **state)
{
    (void)state;
    struct world w;
    uint16_t vec[32] = {0x3c00}, other[32] = {0, 0x3c00};
    struct digest name = world_name(0);
    struct vindex_hit hit[8];
    size_t n;
    new_world(&w, 32, 4096, 6);
    for (uint64_t id = 1; id <= 12000; id++)
        assert_int_equal(vindex_add(w.v, &name, id, id % 100 ? vec : other, FOREVER), ERR_OK);
    world_settle(&w);
    assert_int_equal(vindex_topk(w.r, &name, vec, 8, 0, hit, &n), ERR_OK);
    assert_int_equal(n, 8);
    for (size_t i = 0; i < n; i++)
        assert_true(hit[i].cosine == 1 && hit[i].id % 100 != 0);
    assert_int_equal(vindex_topk(w.r, &name, other, 8, 0, hit, &n), ERR_OK);
    assert_true(n == 8 && hit[0].cosine == 1);
    world_clear(&w);
}

/* ---- what is refused ---- */

static void test_refusals(void **state)
{
    (void)state;
    struct world w;
    struct digest name = world_name(0), other = world_name(1);
    uint16_t vec[24] = {0x3c00}, bad[24] = {0};
    struct vindex_hit hit[VINDEX_MAX_K + 1];
    size_t n = 99;
    new_world(&w, 24, 4096, 7);
    assert_int_equal(vindex_add(w.v, &name, 1, vec, FOREVER), ERR_OK);
    assert_int_equal(vindex_add(w.v, &name, 1, vec, FOREVER), ERR_CONFLICT);
    assert_int_equal(vindex_add(w.v, &other, 1, vec, FOREVER), ERR_CONFLICT);
    assert_int_equal(vindex_add(w.v, &name, 0, vec, FOREVER), ERR_BAD_REQUEST);
    assert_int_equal(vindex_add(w.v, &name, 2, bad, FOREVER), ERR_BAD_REQUEST);
    static const uint16_t numbers[] = {0x7e00, 0xfe00, 0x7c00,       0xfc00,
                                       0x7bff, 0x3c20, 0x3be0 - 0x40};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        bad[0] = numbers[i];
        assert_int_equal(vindex_add(w.v, &name, 2, bad, FOREVER), ERR_BAD_REQUEST);
        assert_int_equal(vindex_topk(w.r, &name, bad, 1, 0, hit, &n), ERR_BAD_REQUEST);
        assert_int_equal(n, 0);
    }
    assert_int_equal(vindex_topk(w.r, &name, vec, VINDEX_MAX_K + 1, 0, hit, &n), ERR_BAD_REQUEST);
    assert_int_equal(vindex_topk(w.r, &name, vec, SIZE_MAX, 0, hit, &n), ERR_BAD_REQUEST);
    assert_int_equal(vindex_topk(w.r, &name, vec, 0, 0, hit, &n), ERR_OK);
    assert_int_equal(n, 0);
    assert_int_equal(vindex_topk(w.r, &other, vec, 1, 0, hit, &n), ERR_OK);
    assert_int_equal(n, 0);
    assert_int_equal(vindex_topk(w.r, &name, vec, VINDEX_MAX_K, FOREVER - 1, hit, &n), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(vindex_topk(w.r, &name, vec, 1, FOREVER, hit, &n), ERR_OK);
    assert_int_equal(n, 0);
    assert_false(vindex_del(w.v, 2));
    world_clear(&w);
}

static void test_options_are_checked(void **state)
{
    (void)state;
    struct err_text t;
    struct vindex *v;
    struct vindex_options good = world_options(24, 4096), o;
    static const struct {
        int dim, ef_construction, ef_search;
        size_t max_bytes;
        const char *says;
    } bad[] = {
        {0, 64, 64, 1 << 28, "dim 0"},
        {-1, 64, 64, 1 << 28, "dim -1"},
        {4097, 64, 64, 1 << 28, "dim 4097"},
        {24, 7, 64, 1 << 28, "ef_construction 7"},
        {24, 1001, 64, 1 << 28, "ef_construction 1001"},
        {24, 64, 0, 1 << 28, "ef_search 0"},
        {24, 64, 1001, 1 << 28, "ef_search 1001"},
        {24, 64, 64, 1 << 10, "max_bytes 1024"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o = good;
        o.dim = bad[i].dim;
        o.ef_construction = bad[i].ef_construction;
        o.ef_search = bad[i].ef_search;
        o.max_bytes = bad[i].max_bytes;
        assert_int_equal(vindex_new(&o, &v, &t), ERR_BAD_REQUEST);
        assert_null(v);
        assert_non_null(strstr(t.s, bad[i].says));
    }
    vindex_free(NULL);
    vindex_reader_free(NULL);
}

/* ---- memory ---- */

/* A full index says so, never takes more than it may, and goes on when entries are deleted. */
static void fill(int partitions, size_t graph_from)
{
    struct vindex_options o = world_options(24, graph_from);
    struct vindex *v;
    struct world w;
    size_t refused = 0, most = 0;
    o.max_bytes = 3 << 20;
    assert_int_equal(vindex_new(&o, &v, NULL), ERR_OK);
    world_init(&w, v, 24, 8);
    for (int i = 0; i < 30000; i++) {
        if (!world_add(&w, (int)rng_below(&w.rng, (uint64_t)partitions), FOREVER)) {
            refused++;
            if (w.later) { /* deleting would not help, waiting does */
                world_settle(&w);
                continue;
            }
            for (int j = 0; j < 50; j++)
                world_del(&w, world_pick(&w));
        }
        size_t bytes = stat_of(&w).bytes;
        assert_true(bytes <= o.max_bytes);
        most = bytes > most ? bytes : most;
    }
    print_message(
        "%d partitions: %zu entries in %zu bytes at most, refused %zu times, %llu merges\n",
        partitions, w.there, most, refused, (unsigned long long)stat_of(&w).merges);
    assert_true(refused > 0 && w.there > 1000);
    uint16_t vec[24];
    world_vec(&w, vec);
    world_check(&w, 0, vec, 8, graph_from == VINDEX_NO_GRAPH);
    world_clear(&w);
}

static void test_memory_has_a_maximum(void **state)
{
    (void)state;
    fill(1, VINDEX_NO_GRAPH);
    fill(1, 6000);
    fill(3000, 6000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_kernels_agree),
        cmocka_unit_test(test_small_partitions_are_exact),
        cmocka_unit_test(test_graphs_stay_true),
        cmocka_unit_test(test_the_living_are_found_behind_the_dead),
        cmocka_unit_test(test_equal_vectors),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_memory_has_a_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
