/* Owns nothing: queries are the encoder service's, vectors lie in the request's arena. Called by
 * classify.c and cache_use.c. */
#include "router/cache_vector.h"

#include "base/clock.h"
#include "cache/vslab_dot.h"
#include "router/embedder.h"
#include "router/request_int.h"

_Static_assert(CACHE_FINGERPRINT_BYTES == FINGERPRINT_BYTES, "one fingerprint");

void cache_vector_take(struct request *r, const struct encoder_query *q, struct slice text)
{
    struct cache_vector *v = &r->cache.vector;
    const struct encoder *e = embedder_encoder(r->snap->embedder);
    uint16_t *halves;
    int dim = encoder_facts(e).dim;

    v->computed = true;
    if (!r->snap->cache || !r->snap->policy->cache.semantic || q->counts.truncated)
        return;
    halves = ARENA_ARRAY(&r->arena, uint16_t, dim);
    for (int i = 0; i < dim; i++)
        halves[i] = vslab_half_of(q->embedding[i]);
    v->halves = halves;
    v->dim = dim;
    v->text = text;
    memcpy(v->fingerprint, q->full.bytes, sizeof v->fingerprint);
}

bool cache_vector_fits(const struct request *r)
{
    const struct cache_vector *v = &r->cache.vector;

    return v->halves && slice_eq(v->text, r->cache.text);
}

static void deliver(struct message *m, void *ctx)
{
    struct encoder_query *q = CONTAINER_OF(m, struct encoder_query, msg);
    struct request *r = encoder_ask_whose(q);

    (void)ctx;
    if (r) {
        if (encoder_ask_take(r, &r->cache.vector.ask, q))
            cache_vector_take(r, q, r->cache.text);
        else
            encoder_ask_missed(r, q);
        cache_use_encoded(r);
    }
    encoder_query_free(q);
}

bool cache_vector_ask(struct request *r)
{
    struct cache_vector *v = &r->cache.vector;
    struct encoder_query *q;

    if (v->computed || !r->snap->embedder)
        return false;
    v->computed = true;
    q = encoder_query_new(r->cache.text);
    q->msg.deliver = deliver;
    return encoder_ask_start(r, &v->ask, q, clock_mono_us());
}
