/* One partition of the vector index: adding, searching (beside brute force for recall), snapshot.
 *
 *   vindex [--vectors FILE] [--dim N] [--entries N] [--queries N] [--efc N] [--snapshot FILE]
 *          [--load FILE]
 *
 * FILE: halves of N numbers, row after row, of unit length (tests/bench/cache/embed.py makes one
 * from texts); without it clusters. Entries beyond its rows are made from them (vindex_data.h). A
 * tenth of the file is kept for queries, which are half those rows and half neighbours of entries.
 * --load takes a snapshot of the same entries in place of building.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cache/vindex.h"
#include "cache/vslab_dot.h"
#include "vindex_data.h"

struct bench {
    struct vindex_data data;
    struct vindex_options opt;
    const char *snapshot, *load;
    size_t entries, queries, dim;
    uint16_t *entry, *query; /* [entries][dim], [queries][dim] */
    double *best;            /* [queries]: the cosine of the nearest, by brute force */
};

static const struct digest name = {{1}};

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t read_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

/* Of this thread: what an operation takes, also on a machine that has other things to do. */
static int64_t cpu_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void print_times(const char *what, int64_t *ns, size_t n)
{
    qsort(ns, n, sizeof *ns, compare);
    printf("%-22s p50 %8.3f  p99 %8.3f  p99.9 %8.3f  max %8.3f ms\n", what, (double)ns[n / 2] / 1e6,
           (double)ns[n * 99 / 100] / 1e6, (double)ns[n * 999 / 1000] / 1e6,
           (double)ns[n - 1] / 1e6);
    fflush(stdout);
}

static void make_vectors(struct bench *b)
{
    size_t own = b->data.real / 10 * 9;
    b->entry = aligned_alloc(64, (b->entries * b->dim * sizeof *b->entry + 63) / 64 * 64);
    b->query = mem_alloc(b->queries * b->dim * sizeof *b->query);
    mem_need(b->entry);
    for (size_t i = 0; i < b->entries; i++) {
        uint16_t *to = b->entry + i * b->dim;
        if (i < own)
            memcpy(to, b->data.rows + i * b->dim, b->dim * sizeof *to);
        else
            vindex_data_near(&b->data, 0, own, 0.1 + 0.5 * rng_unit(&b->data.rng), to);
    }
    for (size_t i = 0; i < b->queries; i++) {
        uint16_t *to = b->query + i * b->dim;
        if (i % 2)
            vindex_data_near(&b->data, 0, own, 0.1 + 0.3 * rng_unit(&b->data.rng), to);
        else
            memcpy(to, b->data.rows + (own + rng_below(&b->data.rng, b->data.real - own)) * b->dim,
                   b->dim * sizeof *to);
    }
}

static void find_truth(struct bench *b)
{
    enum { BLOCK = 1024 };
    float dots[BLOCK], *q = aligned_alloc(64, b->dim * sizeof *q);
    const struct vslab_dot *dot = vslab_dot_find(NULL);
    int64_t begin = now_ns();
    b->best = mem_zalloc(b->queries, sizeof *b->best);
    for (size_t i = 0; i < b->queries; i++) {
        for (size_t j = 0; j < b->dim; j++)
            q[j] = vslab_half(b->query[i * b->dim + j]);
        float best = -2;
        for (size_t at = 0; at < b->entries; at += BLOCK) {
            size_t n = b->entries - at < BLOCK ? b->entries - at : BLOCK;
            dot->query_rows(q, b->entry + at * b->dim, n, b->dim, dots);
            for (size_t j = 0; j < n; j++)
                best = dots[j] > best ? dots[j] : best;
        }
        b->best[i] = (double)best;
    }
    printf("%-22s mean %8.3f ms (%s)\n", "brute force",
           (double)(now_ns() - begin) / 1e6 / (double)b->queries, dot->isa);
    free(q);
}

static void add_all(struct bench *b, struct vindex *v)
{
    int64_t *ns = mem_zalloc(b->entries, sizeof *ns), begin = now_ns();
    struct vindex_stat s;
    for (size_t i = 0; i < b->entries; i++) {
        int64_t t = cpu_ns();
        enum err e = vindex_add(v, &name, i + 1, b->entry + i * b->dim, INT64_MAX);
        ns[i] = cpu_ns() - t;
        if (e != ERR_OK) {
            fprintf(stderr, "entry %zu: %s\n", i, err_name(e));
            exit(1);
        }
    }
    print_times("add (CPU)", ns, b->entries);
    int64_t *tend = ns;
    size_t tends = 0;
    do {
        int64_t t = cpu_ns();
        vindex_tend(v, 0);
        if (tends < b->entries)
            tend[tends++] = cpu_ns() - t;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        vindex_stat(v, &s);
    } while (s.merging);
    print_times("tend (CPU)", tend, tends);
    printf("%-22s %.1f s, %zu merges, %zu of %zu in graphs, %zu bytes (%.0f per entry)\n",
           "all merged after", (double)(now_ns() - begin) / 1e9, (size_t)s.merges, s.in_graphs,
           s.entries, s.bytes, (double)s.bytes / (double)s.entries);
    fflush(stdout);
    free(ns);
}

static void search_all(struct bench *b, struct vindex *v, const char *what)
{
    struct vindex_reader *r = vindex_reader_new(v);
    struct vindex_hit hit[8];
    size_t n, right = 0;
    int64_t *ns = mem_zalloc(b->queries, sizeof *ns), *cpu = mem_zalloc(b->queries, sizeof *cpu);
    for (size_t i = 0; i < b->queries; i++) {
        int64_t t = now_ns(), c = cpu_ns();
        enum err e = vindex_topk(r, &name, b->query + i * b->dim, 8, 0, hit, &n);
        cpu[i] = cpu_ns() - c;
        ns[i] = now_ns() - t;
        right += e == ERR_OK && n == 8 && hit[0].cosine > b->best[i] - 2e-4;
    }
    print_times(what, ns, b->queries);
    print_times("  of it CPU", cpu, b->queries);
    printf("%-22s recall@1 %.4f of %zu\n", "", (double)right / (double)b->queries, b->queries);
    fflush(stdout);
    free(ns);
    free(cpu);
    vindex_reader_free(r);
}

static void save_and_load(struct bench *b, struct vindex *v)
{
    static const int beams[] = {16, 32, 64, 128, 256};
    struct vindex_reader *r = vindex_reader_new(v);
    struct err_text t;
    int64_t begin = now_ns(), cpu = cpu_ns();
    enum err e = vindex_save(r, b->snapshot, &t);
    printf("%-22s %.2f s, %.2f of it CPU\n", "snapshot saved", (double)(now_ns() - begin) / 1e9,
           (double)(cpu_ns() - cpu) / 1e9);
    vindex_reader_free(r);
    for (size_t i = 0; e == ERR_OK && i < sizeof beams / sizeof *beams; i++) {
        struct vindex_options opt = b->opt;
        struct vindex *copy;
        char what[32];
        opt.ef_search = beams[i];
        begin = now_ns();
        cpu = cpu_ns();
        if ((e = vindex_load(&opt, b->snapshot, &copy, &t)) != ERR_OK)
            break;
        printf("%-22s %.2f s, %.2f of it CPU\n", "snapshot loaded",
               (double)(now_ns() - begin) / 1e9, (double)(cpu_ns() - cpu) / 1e9);
        snprintf(what, sizeof what, "search, beam %d", beams[i]);
        search_all(b, copy, what);
        vindex_free(copy);
        if (b->opt.graph_from > b->entries)
            break;
    }
    if (e != ERR_OK)
        fprintf(stderr, "%s\n", t.s);
}

static struct vindex *load(struct bench *b)
{
    struct err_text t;
    struct vindex_stat s;
    struct vindex *v;
    int64_t begin = now_ns(), cpu = cpu_ns();
    if (vindex_load(&b->opt, b->load, &v, &t) != ERR_OK) {
        fprintf(stderr, "%s\n", t.s);
        exit(1);
    }
    vindex_stat(v, &s);
    printf("%-22s %.2f s, %.2f of it CPU; %zu of %zu in graphs, %.0f bytes per entry\n",
           "snapshot loaded", (double)(now_ns() - begin) / 1e9, (double)(cpu_ns() - cpu) / 1e9,
           s.in_graphs, s.entries, (double)s.bytes / (double)s.entries);
    return v;
}

static struct vindex *build(struct bench *b)
{
    struct err_text t;
    struct vindex *v;
    if (vindex_new(&b->opt, &v, &t) != ERR_OK) {
        fprintf(stderr, "%s\n", t.s);
        exit(1);
    }
    add_all(b, v);
    return v;
}

static size_t number(const char *s)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(s, &end, 10);
    if (errno || *end || n == 0) {
        fprintf(stderr, "%s is not a number\n", s);
        exit(2);
    }
    return (size_t)n;
}

int main(int argc, char **argv)
{
    struct bench b = {.entries = 100000, .queries = 1000, .dim = 384, .opt = vindex_defaults};
    const char *vectors = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--vectors") == 0)
            vectors = argv[i + 1];
        else if (strcmp(argv[i], "--snapshot") == 0)
            b.snapshot = argv[i + 1];
        else if (strcmp(argv[i], "--load") == 0)
            b.load = argv[i + 1];
        else if (strcmp(argv[i], "--dim") == 0)
            b.dim = number(argv[i + 1]);
        else if (strcmp(argv[i], "--entries") == 0)
            b.entries = number(argv[i + 1]);
        else if (strcmp(argv[i], "--queries") == 0)
            b.queries = number(argv[i + 1]);
        else if (strcmp(argv[i], "--graph-from") == 0)
            b.opt.graph_from = number(argv[i + 1]);
        else if (strcmp(argv[i], "--efc") == 0)
            b.opt.ef_construction = (int)number(argv[i + 1]);
        else
            return fprintf(stderr, "unknown option %s\n", argv[i]), 2;
    }
    if (!vindex_data_init(&b.data, vectors, b.dim))
        return 1;
    make_vectors(&b);
    find_truth(&b);
    b.opt.dim = (int)b.dim;
    b.opt.max_bytes = (size_t)8 << 30;
    struct vindex *v = b.load ? load(&b) : build(&b);
    search_all(&b, v, "search");
    if (b.snapshot)
        save_and_load(&b, v);
    vindex_free(v);
    free(b.best);
    free(b.entry);
    free(b.query);
    vindex_data_clear(&b.data);
    return 0;
}
