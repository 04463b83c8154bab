/* Which tier is asked, and what becomes of its answer. Owns nothing: queries are the encoder
 * service's, classes the request's. Called by router/request.c on the worker; the service's answers
 * come through the worker's mailbox. */
#include "router/classify.h"

#include "base/clock.h"
#include "base/json_scan.h"
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

static void go_on(struct request *r, const struct encoder_query *q)
{
    r->wait_us = -1;
    if (q->err == ERR_OK) {
        classifier_full(r->snap->classifier, r->class.text, q->embedding, q->features,
                        &r->class.is);
        foreseen_keep(r, q->features);
        settle(r);
    } else {
        encoder_ask_missed(r, q);
        classify_static(r);
    }
    request_step(r, (struct flow_event){.kind = FLOW_EV_ENCODED});
}

static void deliver(struct message *m, void *ctx)
{
    struct encoder_query *q = CONTAINER_OF(m, struct encoder_query, msg);
    struct request *r = encoder_ask_whose(q);

    (void)ctx;
    if (r && encoder_ask_take(r, &r->class.ask, q))
        cache_vector_take(r, q, r->class.text);
    if (r && r->flow.state == FLOW_AWAIT_EMBEDDING)
        go_on(r, q);
    encoder_query_free(q);
}

/* ---- asking ---- */

static bool ask_encoder(struct request *r)
{
    struct encoder_query *q = encoder_query_new(r->class.text);

    q->msg.deliver = deliver;
    q->want_features = true;
    return encoder_ask_start(r, &r->class.ask, q, r->class.asked_us);
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
