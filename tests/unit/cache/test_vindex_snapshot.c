/* Snapshots: what was saved comes back; what is torn, forged or somebody else's does not; whoever
 * is killed while writing leaves the old one. */
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/mem.h"
#include "cache/vindex_graph.h"
#include "cache/vslab_dot.h"
#include "vindex_world.h"

enum { DIM = 20, FOREVER = 1 << 30, SMALL = 37, LARGE = 9000 };

static char folder[] = "/tmp/weir-vindex-XXXXXX";
static char path[64], other_path[64];

/* A partition with a graph and rows beside it, if asked for, and some small ones; some entries are
 * deleted, some expire. */
static void new_world(struct world *w, bool large)
{
    struct vindex_options o = world_options(DIM, 4096);
    struct vindex *v;
    assert_int_equal(vindex_new(&o, &v, NULL), ERR_OK);
    world_init(w, v, DIM, 4);
    for (int i = 0; i < SMALL; i++)
        world_add(w, 1 + i % 7, w->now_ms + (i % 3 ? FOREVER : 5));
    for (int i = 0; large && i < LARGE; i++)
        world_add(w, 0, w->now_ms + FOREVER);
    world_settle(w);
    for (size_t i = 0; i < w->n; i += 9)
        world_del(w, &w->at[i]);
}

static char *read_file(const char *from, size_t *n)
{
    char *bytes;
    assert_int_equal(atomic_file_read(from, 64 << 20, &bytes, n, NULL), ERR_OK);
    return bytes;
}

static void write_file(const char *to, const char *bytes, size_t n)
{
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static bool loads(const char *from)
{
    struct vindex_options o = world_options(DIM, 4096);
    struct vindex *v;
    struct err_text t = {""};
    enum err e = vindex_load(&o, from, &v, &t);
    if (e == ERR_OK) {
        vindex_free(v);
        return true;
    }
    assert_int_equal(e, ERR_BAD_CACHE_ENTRY);
    assert_null(v);
    assert_memory_equal(t.s, from, strlen(from)); /* says which file */
    assert_true(strlen(t.s) > strlen(from) + 10);
    return false;
}

static void test_comes_back(void **state)
{
    (void)state;
    for (int large = 0; large < 2; large++) {
        struct world w;
        struct vindex_options o = world_options(DIM, 4096);
        struct vindex_stat before, after;
        uint16_t vec[DIM];
        new_world(&w, large);
        assert_int_equal(vindex_save(w.r, path, NULL), ERR_OK);
        vindex_stat(w.v, &before);
        vindex_reader_free(w.r);
        vindex_free(w.v);
        struct err_text t = {""};
        enum err e = vindex_load(&o, path, &w.v, &t);
        assert_string_equal(t.s, "");
        assert_int_equal(e, ERR_OK);
        w.r = vindex_reader_new(w.v);
        vindex_stat(w.v, &after);
        assert_int_equal(after.entries, before.entries);
        assert_int_equal(after.in_graphs, before.in_graphs);
        assert_int_equal(after.in_graphs > 0, large && vindex_graph_exists());
        w.now_ms += 6; /* some expire */
        for (int i = 0; i < 50; i++) {
            world_vec(&w, vec);
            world_check(&w, 1 + i % 7, vec, 8, true);
            assert_true(world_check(&w, 0, vec, 8, !vindex_graph_exists()) > 0.6);
        }
        for (size_t i = 0; i < w.n; i++)
            assert_int_equal(vindex_has(w.v, w.at[i].id), w.at[i].there);
        for (int i = 0; i < 2000; i++) { /* and it goes on */
            world_add(&w, i % 2, FOREVER);
            world_del(&w, world_pick(&w));
        }
        world_settle(&w);
        world_check(&w, 1, vec, 8, true);
        world_clear(&w);
    }
}

static void test_torn_anywhere(void **state)
{
    (void)state;
    struct world w;
    size_t n;
    new_world(&w, false);
    assert_int_equal(vindex_save(w.r, path, NULL), ERR_OK);
    char *bytes = read_file(path, &n);
    assert_true(loads(path));
    for (size_t cut = 0; cut < n; cut++) {
        write_file(other_path, bytes, cut);
        assert_false(loads(other_path));
    }
    for (size_t at = 0; at < n; at++) {
        char was = bytes[at];
        bytes[at] = (char)(was ^ 1 << at % 8);
        write_file(other_path, bytes, n);
        assert_false(loads(other_path));
        bytes[at] = was;
    }
    bytes = mem_resize(bytes, n + 1, 1);
    bytes[n] = 0;
    write_file(other_path, bytes, n + 1);
    assert_false(loads(other_path));
    free(bytes);
    world_clear(&w);
}

/* With a checksum that is right, so that it is the checks before it that are tested: nothing must
 * be read or written where it should not. */
static void test_forged(void **state)
{
    (void)state;
    struct world w;
    size_t n, refused = 0;
    new_world(&w, true);
    assert_int_equal(vindex_save(w.r, path, NULL), ERR_OK);
    char *good = read_file(path, &n), *bytes = mem_alloc(n);
    for (int i = 0; i < 90; i++) {
        memcpy(bytes, good, n);
        /* The beginning and the end hold the sizes and the links; the middle is mostly vectors. */
        size_t zone = i % 3, changes = 1 + rng_below(&w.rng, 3);
        for (size_t j = 0; j < changes; j++) {
            size_t at = zone == 0 ? rng_below(&w.rng, 3000)
                                  : n - 33 - rng_below(&w.rng, zone == 1 ? n / 2 : 2000000 % n);
            uint32_t value = (uint32_t)rng_u64(&w.rng) >> rng_below(&w.rng, 32);
            if (at + 4 + DIGEST_BYTES <= n)
                memcpy(bytes + at, &value, 4);
        }
        struct digest sum = digest_of((struct slice){bytes, n - DIGEST_BYTES});
        memcpy(bytes + n - DIGEST_BYTES, sum.bytes, DIGEST_BYTES);
        write_file(other_path, bytes, n);
        struct vindex_options o = world_options(DIM, 4096);
        struct vindex *v;
        if (vindex_load(&o, other_path, &v, NULL) != ERR_OK) {
            refused++;
            continue;
        }
        struct vindex_reader *r = vindex_reader_new(v);
        struct digest name = world_name(0);
        struct vindex_hit hit[8];
        uint16_t vec[DIM];
        size_t found;
        for (int q = 0; q < 20; q++) {
            world_vec(&w, vec);
            assert_int_equal(vindex_topk(r, &name, vec, 8, 0, hit, &found), ERR_OK);
        }
        vindex_reader_free(r);
        vindex_free(v);
    }
    print_message("%zu of 90 forged snapshots refused\n", refused);
    assert_true(refused > 20);
    free(good);
    free(bytes);
    world_clear(&w);
}

static void test_somebody_elses(void **state)
{
    (void)state;
    struct world w;
    struct err_text t;
    struct vindex *v;
    struct vindex_options o = world_options(DIM, 4096), other = o;
    new_world(&w, true);
    assert_int_equal(vindex_save(w.r, path, NULL), ERR_OK);
    other.fingerprint[15] ^= 1;
    assert_int_equal(vindex_load(&other, path, &v, &t), ERR_BAD_CACHE_ENTRY);
    assert_non_null(strstr(t.s, "another encoder"));
    other = o;
    other.dim = DIM + 1;
    assert_int_equal(vindex_load(&other, path, &v, &t), ERR_BAD_CACHE_ENTRY);
    assert_non_null(strstr(t.s, "another dimension"));
    other = o;
    other.max_bytes = 1 << 20;
    assert_int_equal(vindex_load(&other, path, &v, &t), ERR_TOO_LARGE);
    assert_non_null(strstr(t.s, "1048576 bytes"));
    assert_int_equal(vindex_load(&o, "/tmp/no such file", &v, &t), ERR_NOT_FOUND);
    assert_int_equal(vindex_load(&o, "/dev/zero", &v, &t), ERR_BAD_CACHE_ENTRY);
    assert_int_equal(vindex_load(&o, "/tmp", &v, &t), ERR_BAD_CACHE_ENTRY);
    assert_int_equal(vindex_save(w.r, "/no/such/folder/x", &t), ERR_INTERNAL);
    assert_non_null(strstr(t.s, "/no/such/folder/x"));
    world_clear(&w);
}

/* kill -9 at some moment of the second saving: the file is the first or the second, and whole. */
static void test_killed_while_saving(void **state)
{
    (void)state;
    struct world w;
    new_world(&w, true);
    assert_int_equal(vindex_save(w.r, path, NULL), ERR_OK);
    for (long us = 0; us < 20000; us += 1000) {
        pid_t child = fork();
        if (child == 0) {
            for (;;)
                if (vindex_save(w.r, path, NULL) != ERR_OK)
                    _exit(1);
        }
        assert_true(child > 0);
        nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_true(loads(path));
    }
    world_clear(&w);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(other_path, sizeof other_path, "%s/b", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128]; /* what was killed leaves its temporary files */
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_torn_anywhere),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_somebody_elses),
        cmocka_unit_test(test_killed_while_saving),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
