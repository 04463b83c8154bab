/* Owns nothing: queries are the encoder service's, the rest the request's. Called by classify.c and
 * cache_vector.c on the worker. */
#include "router/encoder_ask.h"

#include "router/embedder.h"
#include "router/meters.h"
#include "router/request_int.h"

bool encoder_ask_start(struct request *r, struct encoder_ask *a, struct encoder_query *q,
                       int64_t since_us)
{
    struct router_env *env = r->env;
    enum err err = ERR_OVERLOADED; /* no id is left to wait under */

    q->reply_to = env->mailbox;
    q->owner = env;
    q->deadline_us = since_us + r->snap->policy->encoder.max_wait_ms * 1000;
    q->id = a->waiting = idtable_add(&env->waiting, r);
    env->owed++;
    if (a->waiting)
        err = encoder_service_submit(embedder_service(r->snap->embedder), q);
    if (err == ERR_OK) {
        r->wait_us = q->deadline_us;
        request_arm(r);
        return true;
    }
    env->owed--;
    encoder_ask_end(r, a);
    encoder_query_free(q);
    meters_encoder_shed(env->meters, err == ERR_REQUEST_TIMEOUT ? "foreseen" : err_name(err));
    return false;
}

struct request *encoder_ask_whose(const struct encoder_query *q)
{
    struct router_env *env = q->owner;

    env->owed--;
    return idtable_get(&env->waiting, q->id);
}

bool encoder_ask_take(struct request *r, struct encoder_ask *a, const struct encoder_query *q)
{
    const struct policy_encoder *e = &r->snap->policy->encoder;

    encoder_ask_end(r, a);
    if (q->err != ERR_OK)
        return false;
    meters_classify_cost(r->env->meters, e->model, r->tenant, encoder_bill_take(&a->bill, e, q));
    return true;
}

void encoder_ask_missed(const struct request *r, const struct encoder_query *q)
{
    meters_encoder_shed(r->env->meters, q->err == ERR_REQUEST_TIMEOUT ? "late" : err_name(q->err));
}

void encoder_ask_end(struct request *r, struct encoder_ask *a)
{
    if (a->waiting)
        idtable_remove(&r->env->waiting, a->waiting);
    a->waiting = 0;
}
