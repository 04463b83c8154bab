/* The encoder as a service of the process: threads that batch while busy (no timer: whatever is
 * queued when a thread comes free goes into one pass, up to its token limit, short texts not behind
 * long ones), behind a bounded queue.
 *
 * A query that finds the queue full, or that will not be done by its deadline as things are
 * (encoder_pace), is refused at once (encoder_service_submit says so, and counts it): the caller
 * goes on with the static tier, or without an embedding. One that could no longer be done in time
 * when its turn comes is not computed: under overload the work goes to those who still wait. On a
 * CPU the threads give way to others of the process that share their core. A
 * failure of the device does not lose a query: it is encoded by the fallback (a CPU's kernels for
 * the same model), else answered with its error, and the device is not used again until restart.
 * Each answer says which vectors it holds: `space` stays, `full` changes with the precision.
 *
 * threads: submit from any; answers come to the mailbox that the query names. */
#ifndef ROUTER_ENCODER_ENCODER_SERVICE_H
#define ROUTER_ENCODER_ENCODER_SERVICE_H

#include "base/mailbox.h"
#include "router/encoder/encoder.h"

struct encoder_service;

struct encoder_service_options {
    const struct encoder *encoder; /* borrowed until encoder_service_free */
    int threads;                   /* >= 1 */
    size_t max_queued;             /* queries waiting, >= 1 */
    size_t max_text_bytes;         /* of one query; more is cut at a character's boundary */
    const struct encoder_options *fallback; /* opened when the encoder fails; borrowed until
                                               encoder_service_free; NULL: none */
};

/* A query and its answer; heap, handed back and forth whole. The submitter sets all but the answer;
 * msg.deliver runs on the mailbox's thread with the answer filled in, and owns the query. */
struct encoder_query {
    struct message msg;
    struct mailbox *reply_to;
    void *owner;         /* the submitter's own; not looked at */
    uint64_t id;         /* likewise, e.g. slot and generation */
    size_t index;        /* likewise */
    int64_t deadline_us; /* monotonic: later it need not be computed; -1: none */
    char *text;          /* owned; freed by encoder_query_free */
    size_t text_bytes;
    bool want_features;
    /* the answer */
    enum err err;
    float *embedding;        /* [dim], owned */
    float *features;         /* [2 * dim] or NULL, owned */
    struct fingerprint full; /* of the vectors */
    struct wordpiece_counts counts;
    int64_t queued_us, started_us, done_us; /* monotonic */
    int64_t share_us;                       /* of the pass's time, by tokens: what it cost */
    int batch;                              /* texts in the pass that it was part of */
};
/* text is copied; msg.deliver, reply_to and id are the submitter's to set. */
struct encoder_query *encoder_query_new(struct slice text);
void encoder_query_free(struct encoder_query *q);

enum err encoder_service_start(const struct encoder_service_options *opt,
                               struct encoder_service **out, struct err_text *t) MUST_CHECK;
/* ERR_OVERLOADED: the queue is full or the service is stopping; ERR_REQUEST_TIMEOUT: it would come
 * after its deadline; q stays the caller's. A query that was taken is answered in any case: with
 * ERR_REQUEST_TIMEOUT when it got too late. */
enum err encoder_service_submit(struct encoder_service *s, struct encoder_query *q) MUST_CHECK;
/* Answers what is queued with ERR_OVERLOADED, joins the threads. */
void encoder_service_free(struct encoder_service *s);

struct encoder_service_counts {
    uint64_t encoded, refused, foreseen, expired, failed, passes;
    size_t queued;
    double us_per_token; /* as foreseen */
    bool device_lost;    /* runs on its fallback */
};
/* Of the encoder that serves now. */
struct encoder_facts encoder_service_facts(struct encoder_service *s);
void encoder_service_counts(struct encoder_service *s, struct encoder_service_counts *out);

#endif
