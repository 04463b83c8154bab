/* Readers beside one writer, the merge thread and a saver: what readers get is always true. Built
 * with -DWEIR_SANITIZE=thread this is where races would show. */
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "cache/vindex_graph.h"
#include "cache/vslab.h"
#include "cache/vslab_dot.h"
#include "vindex_world.h"

enum { DIM = 16, READERS = 2, PARTITIONS = 40, FOREVER = 1 << 30, STEPS = 14000 };

/* An entry's vector and partition follow from its id, so that any reader can check what it gets. */
static void vec_of(uint64_t id, uint16_t *vec)
{
    struct rng rng;
    float x[DIM], sum = 0;
    rng_seed(&rng, id);
    for (int i = 0; i < DIM; i++) {
        x[i] = (float)(rng_unit(&rng) - 0.5);
        sum += x[i] * x[i];
    }
    for (int i = 0; i < DIM; i++)
        vec[i] = vslab_half_of(x[i] / __builtin_sqrtf(sum));
}

static int partition_of(uint64_t id)
{
    return id % 4 ? 0 : 1 + (int)(id / 4 % PARTITIONS);
}

static void pause_us(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

struct shared {
    struct vindex *v;
    _Atomic uint64_t deleted_below; /* every id below it is deleted */
    _Atomic bool over;
    _Atomic size_t searches, hits;
    char path[64];
};

static void *read_on(void *ctx)
{
    struct shared *s = ctx;
    struct vindex_reader *r = vindex_reader_new(s->v);
    struct rng rng;
    rng_seed(&rng, (uint64_t)(uintptr_t)r);
    while (!atomic_load(&s->over)) {
        struct vindex_hit hit[8];
        uint16_t vec[DIM], own[DIM];
        size_t n;
        int partition = rng_below(&rng, 2) ? 0 : (int)rng_below(&rng, PARTITIONS + 1);
        struct digest name = world_name(partition);
        vec_of(rng_below(&rng, STEPS), vec);
        uint64_t deleted_below = atomic_load(&s->deleted_below);
        if (vindex_topk(r, &name, vec, 8, 0, hit, &n) != ERR_OK)
            abort();
        for (size_t i = 0; i < n; i++) {
            vec_of(hit[i].id, own);
            if (hit[i].id < deleted_below || partition_of(hit[i].id) != partition ||
                hit[i].cosine != vslab_cosine(vec, own, DIM))
                abort();
        }
        atomic_fetch_add(&s->searches, 1);
        atomic_fetch_add(&s->hits, n);
        pause_us(300);                   /* the merge thread must get its turns */
        if (rng_below(&rng, 500) == 0) { /* readers come and go */
            vindex_reader_free(r);
            r = vindex_reader_new(s->v);
        }
    }
    vindex_reader_free(r);
    return NULL;
}

static void *save_on(void *ctx)
{
    struct shared *s = ctx;
    struct vindex_reader *r = vindex_reader_new(s->v);
    while (!atomic_load(&s->over)) {
        struct vindex *copy;
        struct vindex_options o = world_options(DIM, 4200);
        if (vindex_save(r, s->path, NULL) != ERR_OK ||
            vindex_load(&o, s->path, &copy, NULL) != ERR_OK)
            abort();
        vindex_free(copy);
        pause_us(20000);
    }
    vindex_reader_free(r);
    return NULL;
}

static void test_readers_beside_a_writer(void **state)
{
    (void)state;
    struct shared s = {.path = "/tmp/weir-vindex-XXXXXX"};
    struct vindex_options o = world_options(DIM, 4200);
    pthread_t reader[READERS], saver;
    struct vindex_stat stat;
    int fd = mkstemp(s.path);
    uint64_t oldest = 1;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(vindex_new(&o, &s.v, NULL), ERR_OK);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&reader[i], NULL, read_on, &s), 0);
    assert_int_equal(pthread_create(&saver, NULL, save_on, &s), 0);
    for (uint64_t id = 1; id <= STEPS; id++) {
        struct digest name = world_name(partition_of(id));
        uint16_t vec[DIM];
        vec_of(id, vec);
        assert_int_equal(vindex_add(s.v, &name, id, vec, FOREVER), ERR_OK);
        if (id > 8000 || id % 10 == 0) {
            assert_true(vindex_del(s.v, oldest));
            atomic_store(&s.deleted_below, ++oldest);
        }
        if (id % 64 == 0)
            vindex_tend(s.v, 0);
        if (id % 3500 == 0) /* let graphs be finished while readers are at it */
            do {
                while (vindex_tend(s.v, 0))
                    ;
                pause_us(1000);
                vindex_stat(s.v, &stat);
            } while (stat.merging);
    }
    atomic_store(&s.over, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(reader[i], NULL);
    pthread_join(saver, NULL);
    vindex_stat(s.v, &stat);
    print_message("%zu searches, %zu hits, %llu merges, %zu entries\n", (size_t)s.searches,
                  (size_t)s.hits, (unsigned long long)stat.merges, stat.entries);
    assert_true(s.searches > 100 && s.hits > 100);
    if (vindex_graph_exists())
        assert_true(stat.merges >= 2);
    assert_int_equal(stat.entries, STEPS - (oldest - 1));
    vindex_free(s.v);
    unlink(s.path);
}

/* The merge thread is told to stop in the middle of its work. */
static void test_stops_at_once(void **state)
{
    (void)state;
    struct vindex_options o = world_options(DIM, 4096);
    struct digest name = world_name(0);
    struct vindex *v;
    assert_int_equal(vindex_new(&o, &v, NULL), ERR_OK);
    for (uint64_t id = 1; id <= 20000; id++) {
        uint16_t vec[DIM];
        vec_of(id, vec);
        assert_int_equal(vindex_add(v, &name, id, vec, FOREVER), ERR_OK);
    }
    vindex_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_beside_a_writer),
        cmocka_unit_test(test_stops_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
