// The same vectors in FAISS's own indexes, used as FAISS is usually used: what bench_vindex is to
// be compared with.
//
//   bench_vindex_faiss [--vectors FILE] [--dim N] [--entries N] [--queries N]
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

extern "C" {
#include "cache/vslab_dot.h"
#include "vindex_data.h"
}

static double cpu_ms()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

static std::vector<faiss::Index::idx_t> search(const char *what, const faiss::Index &index,
                                               const std::vector<float> &queries,
                                               const std::vector<faiss::Index::idx_t> *truth)
{
    auto dim = static_cast<size_t>(index.d);
    std::vector<faiss::Index::idx_t> first;
    std::vector<double> ms;
    size_t right = 0;
    for (size_t i = 0; i < queries.size() / dim; i++) {
        float score[8];
        faiss::Index::idx_t id[8];
        double begin = cpu_ms();
        index.search(1, queries.data() + i * dim, 8, score, id);
        ms.push_back(cpu_ms() - begin);
        first.push_back(id[0]);
        right += truth && (*truth)[i] == id[0];
    }
    std::sort(ms.begin(), ms.end());
    std::printf("%-22s CPU p50 %8.3f  p99 %8.3f ms", what, ms[ms.size() / 2],
                ms[ms.size() * 99 / 100]);
    if (truth)
        std::printf("  recall@1 %.4f", static_cast<double>(right) / static_cast<double>(ms.size()));
    std::printf("\n");
    return first;
}

int main(int argc, char **argv)
{
    size_t dim = 384, entries = 20000, queries = 200;
    const char *vectors = nullptr;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--vectors") == 0)
            vectors = argv[i + 1];
        else if (std::strcmp(argv[i], "--dim") == 0)
            dim = std::strtoul(argv[i + 1], nullptr, 10);
        else if (std::strcmp(argv[i], "--entries") == 0)
            entries = std::strtoul(argv[i + 1], nullptr, 10);
        else if (std::strcmp(argv[i], "--queries") == 0)
            queries = std::strtoul(argv[i + 1], nullptr, 10);
        else
            return std::fprintf(stderr, "unknown option %s\n", argv[i]), 2;
    }
    vindex_data data;
    if (dim == 0 || queries == 0 || !vindex_data_init(&data, vectors, dim))
        return 1;
    omp_set_num_threads(1); // as a server must: reference build, busy machine
    size_t own = data.real / 10 * 9;
    std::vector<uint16_t> half(dim);
    std::vector<float> base, query;
    for (size_t i = 0; i < entries + queries; i++) {
        if (i < entries && i < own)
            half.assign(data.rows + i * dim, data.rows + (i + 1) * dim);
        else if (i < entries || i % 2)
            vindex_data_near(&data, 0, own, 0.1 + 0.4 * rng_unit(&data.rng), half.data());
        else
            half.assign(data.rows + (data.real - 1 - i % (data.real - own)) * dim,
                        data.rows + (data.real - i % (data.real - own)) * dim);
        for (uint16_t h : half)
            (i < entries ? base : query).push_back(vslab_half(h));
    }
    faiss::IndexFlatIP flat(static_cast<int>(dim));
    flat.add(static_cast<faiss::Index::idx_t>(entries), base.data());
    auto truth = search("IndexFlatIP", flat, query, nullptr);
    faiss::IndexHNSWFlat hnsw(static_cast<int>(dim), 16, faiss::METRIC_INNER_PRODUCT);
    hnsw.hnsw.efConstruction = 100;
    hnsw.hnsw.efSearch = 64;
    double begin = cpu_ms();
    hnsw.add(static_cast<faiss::Index::idx_t>(entries), base.data());
    std::printf("%-22s CPU %.3f ms per entry\n", "IndexHNSWFlat 16 add",
                (cpu_ms() - begin) / static_cast<double>(entries));
    search("IndexHNSWFlat 16, 64", hnsw, query, &truth);
    vindex_data_clear(&data);
    return 0;
}
