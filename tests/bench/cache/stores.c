/* What an exact hit costs, by where it is found, what a put costs, and how long a start takes that
 * fills the index from the store. Entries have a vector of 384 halves and an answer of 1.2 KB.
 * Times are of this machine with all its other work; CPU is the whole process's (asker and cache
 * thread), without the Redis server's. usage: cache_stores
 * [entries [sqlite|redis]]; a release build. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cache/cache_hot.h"
#include "cache/vslab_dot.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/cache/samples.h"

#define DIM        384
#define BODY_BYTES 1200
#define ASKED      20000
#define AHEAD      64 /* questions and puts on their way at once, where not one by one */

static const struct cache_rules rules = {
    .exact = true, .store = true, .ttl_ms = 3600000, .timely_ttl_ms = 60000, .max_age_ms = -1};

static double cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

struct watch {
    int64_t begin_us;
    double cpu;
};

static struct watch start(void)
{
    return (struct watch){clock_mono_us(), cpu_us()};
}

static void report(const char *what, struct watch w, size_t n)
{
    double wall = (double)(clock_mono_us() - w.begin_us), cpu = cpu_us() - w.cpu;

    printf("%-44s %9.2f us each, %9.2f us CPU, %9.0f a second\n", what, wall / (double)n,
           cpu / (double)n, (double)n * 1e6 / wall);
}

/* Of one partition, with a random unit vector. */
static struct cache_fields fields(int n, struct rng *r)
{
    static uint16_t vector[DIM];
    static char body[BODY_BYTES];
    struct cache_fields f = sample_fields("acme", n);
    float v[DIM], length = 0;

    for (int i = 0; i < DIM; i++) {
        v[i] = (float)(rng_unit(r) - 0.5);
        length += v[i] * v[i];
    }
    for (int i = 0; i < DIM; i++)
        vector[i] = vslab_half_of(v[i] / sqrtf(length));
    memset(body, 'a', sizeof body);
    f.vector = vector;
    f.dim = DIM;
    f.body = slice_make(body, sizeof body);
    cache_harness_now(&f, 3600000);
    return f;
}

static void open_cache(struct cache_harness *h, const char *path, const char *url, size_t entries)
{
    struct cache_options opt = {.path = path,
                                .redis_url = url,
                                .prefix = "weir",
                                .redis_budget_us = 2000000,
                                .max_entries = 2 * entries + 1000,
                                .max_bytes = ((size_t)1 << 28) + entries * 10000,
                                .dim = DIM,
                                .fingerprint = {1, 2, 3},
                                .seed = 1};
    struct err_text t;
    int64_t now_ms;

    if (cache_open(&opt, &h->cache, &t)) {
        fprintf(stderr, "%s\n", t.s);
        exit(1);
    }
    while (!cache_current(h->cache, &now_ms))
        usleep(1000);
}

static struct cache_facts facts_of(const struct cache_harness *h)
{
    struct cache_facts f;

    cache_facts(h->cache, &f);
    return f;
}

static void fill(struct cache_harness *h, const char *what, size_t entries)
{
    struct rng r;
    struct watch w = start();

    rng_seed(&r, 1);
    for (size_t i = 0; i < entries; i++) {
        struct cache_fields f = fields((int)i, &r);
        cache_put(h->cache, cache_entry_new(&f), &rules);
        if (i % AHEAD == 0) { /* waits its turn behind the puts: the queue stays short */
            struct cache_fields missing = sample_fields("acme", -1);
            cache_entry_unref(cache_harness_look_up(h, &missing, &rules));
        }
    }
    report(what, w, entries);
    struct cache_facts f = facts_of(h);
    if (f.refused_puts)
        printf("  %llu were refused\n", (unsigned long long)f.refused_puts);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* One after the other, each timed. */
static void ask_each(struct cache_harness *h, const char *what, size_t first, size_t count)
{
    int64_t *took = mem_zalloc(count, sizeof *took);
    struct watch w = start();
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        struct cache_fields f = sample_fields("acme", (int)(first + i));
        int64_t begin_us = clock_mono_us();
        struct cache_entry *e = cache_harness_look_up(h, &f, &rules);
        took[i] = clock_mono_us() - begin_us;
        found += e != NULL;
        cache_entry_unref(e);
    }
    report(what, w, count);
    qsort(took, count, sizeof *took, by_size);
    printf("  %zu of %zu found; p50 %lld us, p99 %lld us\n", found, count,
           (long long)took[count / 2], (long long)took[count * 99 / 100]);
    free(took);
}

static void print_times(const char *what, int64_t *took, size_t count)
{
    qsort(took, count, sizeof *took, by_size);
    printf("  %-42s %6zu; p50 %6lld us, p99 %6lld us, most %6lld us\n", what, count,
           (long long)took[count / 2], (long long)took[count * 99 / 100],
           (long long)took[count - 1]);
}

static struct admin_job *count_from(const char *cursor)
{
    struct admin_job *j = admin_job_new(ADMIN_PAGE);

    j->count_only = true;
    j->limit = SIZE_MAX;
    j->cursor = arena_dup(&j->arena, slice_str(cursor));
    return j;
}

/* Somebody counts all that is stored, step by step, as `weir cache rm --dry-run` does: how long
 * does a step take, and a look-up beside it? */
static void ask_beside_a_walk(struct cache_harness *h, size_t first, size_t count)
{
    int64_t *steps = mem_zalloc(count, sizeof *steps), *took = mem_zalloc(count, sizeof *took);
    int64_t begun_us = clock_mono_us();
    size_t step_count = 0, i = 0;
    uint64_t looked_at = 0;
    bool walking = true;

    cache_harness_give(h, count_from("0"));
    for (; walking && i < count; i++) {
        struct cache_fields f = sample_fields("acme", (int)(first + i % 1000));
        int64_t begin_us = clock_mono_us();
        cache_entry_unref(cache_harness_look_up(h, &f, &rules));
        took[i] = clock_mono_us() - begin_us;
        struct admin_job *j = h->job;
        if (!j)
            continue;
        steps[step_count++] = clock_mono_us() - begun_us;
        looked_at += j->looked_at;
        walking = strcmp(j->next, "0") != 0;
        begun_us = clock_mono_us();
        struct admin_job *further = count_from(j->next);
        admin_job_free(j);
        if (walking)
            cache_harness_give(h, further);
        else
            admin_job_free(further);
    }
    printf("while all entries are counted: %llu looked at\n", (unsigned long long)looked_at);
    print_times("steps", steps, step_count ? step_count : 1);
    print_times("exact hits beside them", took, i);
    free(steps);
    free(took);
}

static void bench_hot(void)
{
    struct cache_hot *hot = cache_hot_new((size_t)64 << 20);
    struct digest *exact = mem_alloc(ASKED * sizeof *exact);
    struct rng r;
    size_t found = 0;

    rng_seed(&r, 1);
    for (int i = 0; i < ASKED; i++) {
        struct cache_fields f = fields(i, &r);
        struct cache_entry *e = cache_entry_new(&f);
        exact[i] = f.exact;
        cache_hot_put(hot, e, f.created_ms);
        cache_entry_unref(e);
    }
    int64_t now_ms = clock_wall_us() / 1000;
    struct watch w = start();
    for (int i = 0; i < 100 * ASKED; i++)
        found += cache_hot_get(hot, exact[rng_below(&r, ASKED)], now_ms) != NULL;
    report("hot set, random hit", w, 100 * (size_t)ASKED);
    printf("  %zu entries in %zu bytes, %.1f %% hits\n", cache_hot_count(hot), cache_hot_bytes(hot),
           100.0 * (double)found / (100.0 * ASKED));
    cache_hot_free(hot);
    free(exact);
}

static void bench_store(const char *name, const char *path, const char *url, size_t entries)
{
    struct cache_harness h;
    size_t asked = entries < ASKED ? entries : ASKED;

    printf("\n%s, %zu entries\n", name, entries);
    cache_harness_init(&h);
    open_cache(&h, path, url, entries);
    fill(&h, "put", entries);
    ask_each(&h, "exact hit, in the cache thread's memory", entries - asked, asked);
    usleep(300000);
    struct cache_facts f = facts_of(&h);
    printf("  memory: %.0f bytes an entry in memory, %.0f in the index\n",
           (double)f.resident_bytes / (double)(f.resident + 1),
           (double)f.index_bytes / (double)(f.indexed + 1));
    cache_close(h.cache);

    struct watch w = start();
    open_cache(&h, path, url, entries);
    while ((f = facts_of(&h)).scanning || f.indexed == 0)
        usleep(1000);
    report("start: index filled from the store", w, f.indexed);
    printf("  %llu indexed in %.2f s\n", (unsigned long long)f.indexed,
           (double)(clock_mono_us() - w.begin_us) / 1e6);
    ask_each(&h, "exact hit, in the store", 0, asked < 2000 ? asked : 2000);
    ask_beside_a_walk(&h, 0, 1000000);
    cache_harness_clear(&h);
}

static void remove_files(const char *folder)
{
    static const char *const names[] = {"cache.db", "cache.db-wal", "cache.db-shm"};
    char name[256];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, names[i]);
        unlink(name);
    }
    rmdir(folder);
}

int main(int argc, char **argv)
{
    size_t entries = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    const char *only = argc > 2 ? argv[2] : "";
    char folder[] = "/tmp/weir-bench-XXXXXX", path[64];
    struct redis_server server = {0};

    if (entries == 0 || !mkdtemp(folder)) {
        fprintf(stderr, "usage: cache_stores [entries [sqlite|redis]]\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/cache.db", folder);
    bench_hot();
    if (strcmp(only, "redis") != 0)
        bench_store("SQLite", path, NULL, entries);
    remove_files(folder);
    if (strcmp(only, "sqlite") != 0 && redis_server_installed()) {
        redis_server_start(&server);
        bench_store("Redis on a Unix socket", NULL, server.url, entries);
        redis_server_remove(&server);
    }
    return 0;
}
