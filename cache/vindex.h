/* Nearest neighbours among the questions that were answered before: a vector index of one encoder
 * and one dimension, in many partitions that never see each other.
 *
 * A partition is named by a digest; most hold a handful of entries, some a million. Small ones are
 * scanned (exact); one with more than `graph_from` entries gets a graph (FAISS HNSW), which grows
 * in the background, beside a short tail that is scanned. Vectors are IEEE half floats of unit
 * length, the cosine of what is returned is computed anew from the stored vector, in double
 * precision.
 *
 * What is returned was living at the moment of the search: neither deleted nor expired at now_ms,
 * and of that partition. It is a hint none the less: who serves an entry looks at the entry.
 *
 * threads: one writer (vindex_new, _load, _add, _del, _tend, _free: one thread at a time); any
 * number of readers, each with a vindex_reader of its own (vindex_topk, _each, _save). Readers
 * never wait for the writer, for each other, nor for the merge thread, which belongs to the index,
 * runs at a low priority and builds graphs. vindex_stat: any thread.
 *
 * memory: never above max_bytes; vindex_add says ERR_TOO_LARGE and it is the owner who chooses what
 * to delete. Under a graph the memory of the dead comes back with the next merge: when a third is
 * dead, or an eighth once memory has run out. Per entry, of d dimensions rounded up to 32: 2d bytes
 * of vector, 16 of id and expiry, 20 to 43 of the map from ids, up to twice that in a slab that has
 * just grown; in a graph about 145 more. While a graph is built anew (a third of its entries are
 * dead) its living entries are there twice: that room is kept free from the beginning. */
#ifndef CACHE_VINDEX_H
#define CACHE_VINDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/digest.h"
#include "base/err.h"
#include "cache/cache_entry.h"

#define VINDEX_MAX_K     64
#define VINDEX_MAX_DIM   4096
#define VINDEX_MAX_EF    1000
#define VINDEX_BEAM_ROWS 100000
#define VINDEX_NO_GRAPH  SIZE_MAX /* as graph_from: partitions of any size are scanned */

struct vindex;
struct vindex_reader;

struct vindex_options {
    int dim;                                      /* of vectors, 1 to VINDEX_MAX_DIM */
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES]; /* of the encoder */
    size_t max_bytes;
    size_t graph_from;   /* living entries above which a partition gets a graph */
    int ef_construction; /* beam when a graph grows, 8 to 1000 */
    int ef_search;       /* beam of a search, at least k, 8 to 1000; wider in a graph that has more
                            than VINDEX_BEAM_ROWS entries */
};
/* Everything but dim, fingerprint and max_bytes as measured by tests/bench/cache/vindex. */
extern const struct vindex_options vindex_defaults;

/* ERR_BAD_REQUEST with t filled: an option out of its range. */
enum err vindex_new(const struct vindex_options *opt, struct vindex **out,
                    struct err_text *t) MUST_CHECK;
void vindex_free(struct vindex *v); /* after its readers; NULL is fine; stops the merge thread */

/* vec: [dim] halves, copied. id: not 0, never used before.
 * ERR_BAD_REQUEST: a vector that is not of unit length within 1 % (or holds a NaN), or id 0;
 * ERR_CONFLICT: the id is there; ERR_TOO_LARGE: there is no room below max_bytes, delete
 * something; ERR_OVERLOADED: neither, but a merge is under way that gives back what was deleted
 * before: deleting more would not help, try again later. */
enum err vindex_add(struct vindex *v, const struct digest *partition, uint64_t id,
                    const uint16_t *vec, int64_t expires_ms) MUST_CHECK;
bool vindex_del(struct vindex *v, uint64_t id);       /* false: it was not there */
bool vindex_has(const struct vindex *v, uint64_t id); /* writer thread only */

/* What there is to do from time to time, at most a millisecond or two of it: takes over finished
 * graphs, asks for new ones, deletes what has expired at now_ms, frees what no reader sees any
 * more. Returns true while there is more to do at once. */
bool vindex_tend(struct vindex *v, int64_t now_ms);

struct vindex_reader *vindex_reader_new(struct vindex *v); /* any thread; used by one */
void vindex_reader_free(struct vindex_reader *r);          /* NULL is fine */

struct vindex_hit {
    uint64_t id;
    double cosine;
};
/* The k nearest living entries, nearest first (the lower id among equals), into out[k]; *found of
 * them. ERR_BAD_REQUEST: k above VINDEX_MAX_K, or a vector that vindex_add would refuse. */
enum err vindex_topk(struct vindex_reader *r, const struct digest *partition, const uint16_t *vec,
                     size_t k, int64_t now_ms, struct vindex_hit *out, size_t *found) MUST_CHECK;

struct vindex_stat {
    size_t entries,
        partitions;   /* entries: not deleted; what has expired counts until it is swept */
    size_t dead;      /* deleted, memory not yet given back */
    size_t in_graphs; /* of entries + dead */
    size_t bytes, max_bytes;
    uint64_t merges;     /* graphs taken over */
    uint64_t changes;    /* entries added, deleted and expired, and merges: ever */
    bool merging, graph; /* graph: this build has graphs */
};
void vindex_stat(const struct vindex *v, struct vindex_stat *out);

/* A snapshot: what the index holds, its graphs included, with fingerprint, schema and checksum, in
 * the byte order of this machine. A cache of the truth, which is in the store: entries deleted
 * while it was written may come back with it. */
/* Replaces path at once or not at all. Waits for the disk. ERR_INTERNAL with t filled. */
enum err vindex_save(struct vindex_reader *r, const char *path, struct err_text *t) MUST_CHECK;
/* A new index from a file. ERR_NOT_FOUND: no such file. ERR_BAD_CACHE_ENTRY: not whole, or of
 * another schema, dimension, encoder or machine. ERR_TOO_LARGE: above opt->max_bytes. In each case
 * t says what, nothing is kept, and the owner adds its entries anew. */
enum err vindex_load(const struct vindex_options *opt, const char *path, struct vindex **out,
                     struct err_text *t) MUST_CHECK;

#endif
