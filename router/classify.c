/* Which tier is asked, and what becomes of its answer. Owns nothing: queries are the encoder
 * service's, classes the request's. Called by router/request.c on the worker; the service's answers
 * come through the worker's mailbox. */
#include "router/classify.h"

#include "base/clock.h"
#include "base/json_scan.h"
#include "router/embedder.h"
#include "router/foreseen.h"
#include "router/meters.h"
#include "router/request_int.h"

/* No tier reads farther: the static one stops at STATIC_MAX_TOKENS, a model at its own limit. */
#define LOOK_BYTES ((size_t)64 << 10)

/* ---- the text ---- */

/* The beginning of a JSON string that is longer than anyone reads. Cut at a space: no escape and no
 * character is taken apart there. (The decoder takes the last byte for the closing quote.) */
static struct slice shortened(struct slice quoted)
{
    size_t n = LOOK_BYTES;

    if (quoted.n <= LOOK_BYTES)
        return quoted;
    while (n > LOOK_BYTES / 2 && quoted.p[n - 1] != ' ')
        n--;
    return quoted.p[n - 1] == ' ' ? slice_make(quoted.p, n) : quoted;
}

static struct slice text_of(struct request *r)
{
    struct slice quoted = shortened(r->ask.last_user_text);

    if (quoted.n < 2)
        return (struct slice){NULL, 0};
    return arena_dup(&r->arena, json_string_text(quoted, &r->arena));
}

struct slice classify_text(struct request *r)
{
    if (r->class.text.n == 0)
        r->class.text = text_of(r);
    return r->class.text;
}

/* ---- the answer ---- */

static void settle(struct request *r)
{
    struct query_class *qc = &r->class;

    qc->took_us = clock_mono_us() - qc->asked_us;
    meters_classified(r->env->meters, &qc->is, qc->took_us);
}

void classify_static(struct request *r)
{
    classifier_static(r->snap->classifier, r->class.text, &r->class.is);
    settle(r);
}

static void deliver(struct message *m, void *ctx)
{
    struct encoder_query *q = CONTAINER_OF(m, struct encoder_query, msg);
    struct router_env *env = q->owner;
    struct request *r = idtable_get(&env->waiting, q->id);
    enum err err = q->err;

    (void)ctx;
    env->owed--;
    if (r && err == ERR_OK) {
        meters_classify_cost(env->meters, r->snap->policy->encoder.model, r->tenant,
                             encoder_bill_take(&r->class.bill, &r->snap->policy->encoder, q));
        cache_vector_take(r, q, r->class.text);
    }
    if (r)
        classify_end(r);
    if (r && r->flow.state == FLOW_AWAIT_EMBEDDING) {
        r->wait_us = -1;
        if (err == ERR_OK) {
            classifier_full(r->snap->classifier, r->class.text, q->embedding, q->features,
                            &r->class.is);
            foreseen_keep(r, q->features);
            settle(r);
        } else {
            meters_encoder_shed(env->meters, err == ERR_REQUEST_TIMEOUT ? "late" : err_name(err));
            classify_static(r);
        }
        request_step(r, (struct flow_event){.kind = FLOW_EV_ENCODED});
    }
    encoder_query_free(q);
}

void classify_end(struct request *r)
{
    if (r->class.waiting)
        idtable_remove(&r->env->waiting, r->class.waiting);
    r->class.waiting = 0;
}

/* ---- asking ---- */

static bool ask_encoder(struct request *r)
{
    struct query_class *qc = &r->class;
    struct router_env *env = r->env;
    int64_t wait_us = r->snap->policy->encoder.max_wait_ms * 1000;
    struct encoder_query *q = encoder_query_new(qc->text);
    enum err err = ERR_OVERLOADED; /* no id is left to wait under */

    q->msg.deliver = deliver;
    q->reply_to = env->mailbox;
    q->owner = env;
    q->want_features = true;
    q->deadline_us = qc->asked_us + wait_us;
    q->id = qc->waiting = idtable_add(&env->waiting, r);
    env->owed++;
    if (qc->waiting)
        err = encoder_service_submit(embedder_service(r->snap->embedder), q);
    if (err == ERR_OK) {
        r->wait_us = qc->asked_us + wait_us;
        request_arm(r);
        return true;
    }
    env->owed--;
    classify_end(r);
    encoder_query_free(q);
    meters_encoder_shed(env->meters, err == ERR_REQUEST_TIMEOUT ? "foreseen" : err_name(err));
    return false;
}

/* The static tier is sure enough that the other need not be asked. */
static bool static_suffices(const struct request *r)
{
    double from = r->snap->policy->encoder.static_first;

    return from != POLICY_OFF && r->class.is.by != CLASSIFIED_NOT &&
           (double)r->class.is.confidence >= from;
}

bool classify_start(struct request *r)
{
    struct query_class *qc = &r->class;
    const struct snapshot *s = r->snap;

    qc->asked_us = clock_mono_us();
    classify_text(r);
    if (qc->text.n == 0) { /* nothing was said: it is of no class */
        settle(r);
        return true;
    }
    if (!s->embedder) {
        classify_static(r);
        return true;
    }
    if (s->policy->encoder.static_first != POLICY_OFF) {
        classifier_static(s->classifier, qc->text, &qc->is);
        if (static_suffices(r)) {
            settle(r);
            return true;
        }
    }
    if (ask_encoder(r))
        return false;
    classify_static(r);
    return true;
}
