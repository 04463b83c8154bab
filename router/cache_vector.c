/* Owns nothing: queries are the encoder service's, vectors lie in the request's arena. Called by
 * classify.c and cache_use.c. */
#include "router/cache_vector.h"

#include "base/clock.h"
#include "cache/vslab_dot.h"
#include "router/embedder.h"
#include "router/meters.h"
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
    struct router_env *env = q->owner;
    struct request *r = idtable_get(&env->waiting, q->id);
    enum err err = q->err;

    (void)ctx;
    env->owed--;
    if (r) {
        cache_vector_end(r);
        if (err == ERR_OK) {
            meters_classify_cost(
                env->meters, r->snap->policy->encoder.model, r->tenant,
                encoder_bill_take(&r->cache.vector.bill, &r->snap->policy->encoder, q));
            cache_vector_take(r, q, r->cache.text);
        } else {
            meters_encoder_shed(env->meters, err == ERR_REQUEST_TIMEOUT ? "late" : err_name(err));
        }
        cache_use_encoded(r);
    }
    encoder_query_free(q);
}

bool cache_vector_ask(struct request *r)
{
    struct cache_vector *v = &r->cache.vector;
    struct router_env *env = r->env;
    struct encoder_query *q;
    enum err err = ERR_OVERLOADED; /* no id is left to wait under */

    if (v->computed || !r->snap->embedder)
        return false;
    v->computed = true;
    q = encoder_query_new(r->cache.text);
    q->msg.deliver = deliver;
    q->reply_to = env->mailbox;
    q->owner = env;
    q->deadline_us = clock_mono_us() + r->snap->policy->encoder.max_wait_ms * 1000;
    q->id = v->waiting = idtable_add(&env->waiting, r);
    env->owed++;
    if (v->waiting)
        err = encoder_service_submit(embedder_service(r->snap->embedder), q);
    if (err == ERR_OK) {
        r->wait_us = q->deadline_us;
        request_arm(r);
        return true;
    }
    env->owed--;
    cache_vector_end(r);
    encoder_query_free(q);
    meters_encoder_shed(env->meters, err == ERR_REQUEST_TIMEOUT ? "foreseen" : err_name(err));
    return false;
}

void cache_vector_end(struct request *r)
{
    struct cache_vector *v = &r->cache.vector;

    if (v->waiting)
        idtable_remove(&r->env->waiting, v->waiting);
    v->waiting = 0;
}
