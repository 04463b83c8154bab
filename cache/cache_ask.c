/* Questions on their way between a worker and the cache thread. Each is one block.
 * Called by workers and by the cache thread. */
#include <stdlib.h>
#include "base/mem.h"
#include "cache/cache.h"

static struct slice keep(char **p, struct slice s)
{
    struct slice kept = {*p, s.n};

    if (s.n)
        memcpy(*p, s.p, s.n);
    *p += s.n;
    return kept;
}

struct cache_ask *cache_ask_new(const struct cache_question *q, const uint16_t *vector, int dim)
{
    size_t vector_bytes = vector ? (size_t)dim * sizeof *vector : 0;
    struct cache_ask *a =
        mem_zalloc(1, sizeof *a + vector_bytes + q->scope.n + q->text.n + q->asker.n);
    uint16_t *kept = (uint16_t *)(void *)(a + 1);
    char *p = (char *)kept + vector_bytes;

    a->q = *q;
    if (vector) {
        a->vector = memcpy(kept, vector, vector_bytes);
        a->dim = dim;
    }
    a->q.scope = keep(&p, q->scope);
    a->q.text = keep(&p, q->text);
    a->q.asker = keep(&p, q->asker);
    a->why.guard = -1;
    return a;
}

void cache_ask_free(struct cache_ask *a)
{
    if (!a)
        return;
    cache_entry_unref(a->entry);
    cache_entry_unref(a->neighbour);
    for (size_t i = 0; a->explain && i < a->explain->count; i++)
        cache_entry_unref(a->explain->near[i].entry);
    free(a->explain);
    free(a);
}

void cache_ask_explain(struct cache_ask *a)
{
    a->explain = mem_zalloc(1, sizeof *a->explain);
    a->explain->choice = -1;
}
