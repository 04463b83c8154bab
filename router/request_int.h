/* The inside of struct request, shared by request.c (moves), attempt.c (one upstream exchange) and
 * account.c (books). Nobody else includes it. */
#ifndef ROUTER_REQUEST_INT_H
#define ROUTER_REQUEST_INT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include "backends/wire/answer.h"
#include "backends/wire/ask.h"
#include "base/arena.h"
#include "router/cache_use.h"
#include "router/cascade.h"
#include "router/classify.h"
#include "router/flow.h"
#include "router/request.h"

/* One upstream exchange, kept in the request's arena until it is booked. */
struct attempt {
    size_t model; /* index into the policy */
    int endpoint; /* index into the model's backend */
    int64_t started_us, started_wall_us;
    int64_t first_byte_us, duration_us; /* -1: none */
    int status;                         /* HTTP status of the upstream; 0: none */
    enum err err;
    struct token_usage usage;
    const struct policy_price *price;
    nanousd cost;
    bool asked_logprobs; /* for weir's own sake: the client gets none */
    bool served;         /* its bytes went to the client */
    bool passed_over;    /* its answer was judged, and another model asked */
    double confidence;   /* of its answer being good, 0..1; -1: it was not judged */
    double score;        /* that this was made of; only with features */
    unsigned scorer;     /* whose score it is */
    float *features;     /* CONFIDENCE_FEATURES, in the request's arena; NULL: it was not judged */
    int verdict_milli;   /* of validators, 0..1000; -1: none knew */
    uint64_t validators; /* that looked at it: their fingerprint; 0: none */
    int32_t judged_tokens; /* that its confidence is of; 0: the whole answer */
    const char *refuted;   /* why they refused it; NULL: they did not */
    bool lost; /* a copy on a pooled connection that was closing: most likely never read */
    /* Where its model was asked the same again (router/sampling.h): */
    int samples;           /* how many further answers came */
    double repeats;        /* how far they say the same, 0..samples; of a sample: 0..its choices */
    nanousd samples_cost;  /* of all that were asked, with rows of their own */
    const char *unsampled; /* why it was not asked, though the policy says so; NULL: no matter */
};

struct request {
    struct list link; /* in env->in_flight or env->idle */
    struct router_env *env;
    struct reply *reply;   /* borrowed; NULL after its last call */
    struct snapshot *snap; /* owned reference */
    const struct policy_tenant *tenant;
    const struct policy_route *route; /* NULL until matched */
    bool cheapest_only;               /* the tenant's budget is spent */
    struct arena arena;
    char id[REQUEST_ID_BYTES];
    enum wire_api api;
    const struct http1_head *head; /* borrowed as long as the reply is */
    struct ask ask;
    int steps[FLOW_MAX_STEPS], step_count; /* flow's steps: indices into route->steps */
    struct http1_header
        *forward; /* the client's headers that go upstream; room for the backend's after them */
    size_t forward_count;
    struct slice query; /* of the client's target; borrowed like its headers */
    struct flow flow;
    struct cascade *cascade;     /* its answers are judged: router/cascade.h; NULL: they are not */
    struct cascade_audit *audit; /* planned, not begun; NULL: none */
    struct embed_call *embed;    /* the attempt in flight is the encoder's: router/embed_call.h */
    struct cache_use cache;
    struct answer_record *record;  /* owned: the stream that is read along; router/recording.h */
    struct background *background; /* the request is weir's own; NULL: a client's */
    struct query_class class;      /* what the query is about, where the route hangs on it */

    int64_t received_us, received_wall_us, state_since_us;
    struct attempt *attempts;
    int attempt_count;
    int hand; /* the attempt whose answer is at hand: the last one, or one that was kept; -1: none
               */
    struct attempt *attempt; /* the one in flight, or NULL */
    /* Further answers of models that have answered: never served, booked with their own role. */
    struct attempt *samples;
    int sample_count;

    /* Two records in turn: a retry may start inside the callback that ends the attempt before it.
     */
    struct upstream_call calls[2];
    struct upstream_call *call; /* of the attempt in flight */
    struct upstream_request up;
    struct server_wait *wait; /* for a server that is being started; NULL: none */
    const char *server;       /* the server whose use is counted: router/server_use.h */
    struct err_text why;      /* why the request could not be put into a server's dialect */
    const char *why_param;
    enum err why_err; /* the error that why explains */

    /* the answer being read */
    struct http1_header *pass; /* upstream headers for the client; room for weir's own after them */
    size_t pass_count;
    struct answer answer;      /* open when it is a stream */
    struct buf body;           /* whole answers and error bodies */
    struct answer_whole whole; /* what the client gets of a whole one */
    struct buf out;            /* filtered stream bytes on their way to the client */
    int64_t retry_after_ms;    /* what the upstream's headers say about another try; or until the
                                  tenant's budget begins anew */
    bool no_retry;
    bool done_written; /* [DONE] has gone to the client */
    bool paused;

    /* one timer for everything; absolute monotonic times, -1: not set */
    struct event timer;
    bool timer_made;
    int64_t armed_us, deadline_us, wait_us, keepalive_us;

    int status; /* what the client got; 0 so far nothing */
    enum err outcome;
    bool begun; /* the streamed reply */
    int64_t ttft_us, last_write_us;
    uint64_t bytes_out;
};

#define ROOM_FOR_OWN_REQUEST_HEADERS 2  /* Content-Type, anthropic-version: see attempt.c */
#define ROOM_FOR_OWN_HEADERS         16 /* Content-Type, Cache-Control, x-weir-*: see respond.c */

/* ---- request.c ---- */
void request_step(struct request *r,
                  struct flow_event ev); /* the only place where a request moves */
/* After the last call on its reply. */
void request_release(struct request *r);
void request_arm(struct request *r);

/* ---- attempt.c ---- */
/* Starts an attempt. ERR_UPSTREAM_BUSY: every endpoint is excluded or at its limit;
 * ERR_UNTRANSLATABLE, with the reason in r->why: that server's dialect cannot say what was asked.
 */
enum err attempt_start(struct request *r, int step, uint64_t exclude_mask);
/* Ends the attempt in flight: cancels it if it still runs, releases the endpoint, books usage and
 * cost. res may be NULL. */
void attempt_end(struct request *r, enum err err, const struct upstream_result *res);
/* A stream whose choices have all finished is given a moment to say so; then it is taken as whole.
 */
void attempt_watch_end(struct request *r);
/* The encoder is through with an attempt of its own. */
void attempt_done(struct request *r, enum err err);
/* How an answer in that dialect is read for this client; max_bytes: of one. */
struct answer_options attempt_answer_options(const struct request *r, enum wire_dialect server,
                                             size_t max_bytes);
enum wire_dialect attempt_dialect(const struct request *r, const struct attempt *at);
/* Answers that are judged are judged by log-probabilities, where the model has them. */
bool attempt_wants_logprobs(const struct request *r, const struct policy_model *m);
const struct policy_backend *attempt_backend(const struct request *r, const struct attempt *at);

/* ---- attempt.c, for calls beside the attempt (router/sampling.c) ---- */
/* The server of a model, as a request is written for it. */
struct ask_target attempt_target(const struct request *r, const struct policy_model *m);
/* An endpoint with room, -1: none. Given back by attempt_book_sample. */
int attempt_acquire(struct request *r, const struct policy_model *m, uint64_t exclude_mask,
                    int64_t now_us);
/* Everything but the call; pieces are borrowed as upstream_request says. */
void attempt_fill(struct request *r, const struct policy_model *m, int endpoint, enum wire_api api,
                  const struct slice *pieces, size_t count, struct upstream_request *out);
void attempt_init(const struct request *r, struct attempt *at, size_t model, int endpoint,
                  int64_t now_us);
/* lost becomes the first copy of a call that the transport has sent twice. */
void attempt_book_lost(struct request *r, const struct attempt *at, struct attempt *lost);
/* A call has ended: its usage, where none was reported, its cost, its endpoint. res may be NULL;
 * output_tokens: an estimate. */
void attempt_book_sample(struct request *r, struct attempt *at, enum err err, bool sent,
                         const struct upstream_result *res, int64_t output_tokens);

/* ---- account.c ---- */
/* The ledger rows, the metrics and reply->summary (if reply is not NULL). Once per request. */
void account_request(struct request *r, struct reply *reply);
nanousd account_cost(const struct request *r); /* of all attempts so far */

#endif
