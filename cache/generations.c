/* Owns copies of the scopes' names. Called by the stores. */
#include "cache/generations.h"

#include <stdlib.h>
#include "base/list.h"
#include "base/mem.h"

struct flushed_scope {
    struct htable_node node;
    uint64_t generation;
    unsigned bucket;
    char *scope; /* owned */
    size_t scope_bytes;
};

void generations_init(struct generations *g)
{
    *g = (struct generations){0};
    htable_init(&g->flushed);
}

/* What to forget: the scopes of one bucket, or all. */
struct forgetting {
    struct generations *g;
    unsigned bucket;
    bool all;
};

static void forget(struct htable_node *n, void *ctx)
{
    struct flushed_scope *f = CONTAINER_OF(n, struct flushed_scope, node);
    const struct forgetting *what = ctx;

    if (!what->all && f->bucket != what->bucket)
        return;
    htable_remove(&what->g->flushed, n);
    free(f->scope);
    free(f);
}

void generations_clear(struct generations *g)
{
    htable_each(&g->flushed, forget, &(struct forgetting){.g = g, .all = true});
    htable_clear(&g->flushed);
}

void generations_set_epoch(struct generations *g, unsigned bucket, uint64_t epoch)
{
    if (g->epochs[bucket] == epoch)
        return;
    g->epochs[bucket] = epoch;
    htable_each(&g->flushed, forget, &(struct forgetting){.g = g, .bucket = bucket});
}

static struct flushed_scope *find(const struct generations *g, struct slice scope)
{
    struct htable_node *n = htable_first(&g->flushed, htable_hash_slice(scope));

    for (; n; n = htable_next(n)) {
        struct flushed_scope *f = CONTAINER_OF(n, struct flushed_scope, node);
        if (slice_eq(slice_make(f->scope, f->scope_bytes), scope))
            return f;
    }
    return NULL;
}

void generations_set(struct generations *g, struct slice scope, uint64_t generation)
{
    struct flushed_scope *f = find(g, scope);

    if (!f) {
        f = mem_zalloc(1, sizeof *f);
        f->scope = mem_strdup(scope);
        f->scope_bytes = scope.n;
        f->bucket = store_bucket(scope);
        htable_add(&g->flushed, &f->node, htable_hash_slice(scope));
    }
    f->generation = generation;
}

uint64_t generations_of(const struct generations *g, struct slice scope)
{
    uint64_t epoch = g->epochs[store_bucket(scope)];
    const struct flushed_scope *f = epoch ? find(g, scope) : NULL;

    return f ? f->generation : epoch;
}
