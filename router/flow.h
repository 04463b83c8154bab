/* How one request goes through its route: which model and endpoint next, when to wait, when to
 * commit, when to give up. Pure: (state, event) -> action; no sockets, no clock, no randomness.
 * router/request.c performs the actions and is the only caller outside the tests.
 *
 *   IDLE --ENCODING--> AWAIT_EMBEDDING --ENCODED--> (the route is chosen) --> IDLE
 *
 *            START                       FIRST_BYTES (stream)
 *   IDLE ------------> AWAIT_ANSWER --------------------------> STREAMING
 *                       |  ^    | ANSWER (whole)                 |  ANSWER -> END     FAILED -> CUT
 *                FAILED |  |    +-----------> DONE <-------------+  GONE   -> DROP
 *                       v  | WAIT_OVER
 *                 AWAIT_BACKOFF
 *
 * The route may hang on what the query is about: then there is no plan yet (flow_init with NULL)
 * until ENCODED, whether the encoder answered or its time was up; the plan follows (flow_plan).
 *
 * With the route chosen the cache may be asked (LOOKING -> AWAIT_CACHE; HIT or MISS): a hit is the
 * answer, and no attempt is made.
 *
 * A call on a server that weir starts itself may first go through AWAIT_BACKEND (STARTING, then
 * READY or FAILED).
 *
 * Answers of the first flow_limits.judged steps are judged before the client gets any of them: a
 * whole one when it is there, a stream when enough of it is (HELD).
 *
 *            ANSWER, HELD -> JUDGE                 CHOSEN accept: REPLY; a stream: COMMIT ->
 * STREAMING AWAIT_ANSWER ------------> AWAIT_VERDICT --->  CHOSEN ask a step: CALL -> AWAIT_ANSWER
 *      a step failed -> CHOOSE                     CHOSEN recall: RECALL -> DONE
 *                                                  CHOSEN none: the fall-backs, or FAIL
 *
 * An answer that was passed over may be kept (flow_keep): whatever ends the request from then on
 * ends it with that answer.
 *
 * Once a byte of an answer has reached the client (STREAMING) there is no other attempt:
 * flow_failed says so in one place. Where a failure may go is the error's own property
 * (base/err.def): the same endpoint, another one, or only the next model. One failure is mended by
 * asking the same model again otherwise: ERR_UPSTREAM_THINKING, once, without earlier thinking. So
 * is ERR_UPSTREAM_LOGPROBS, without that question. */
#ifndef ROUTER_FLOW_H
#define ROUTER_FLOW_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum flow_state {
    FLOW_IDLE,
    FLOW_AWAIT_EMBEDDING, /* the encoder looks at the query; the route hangs on it */
    FLOW_AWAIT_CACHE,     /* the cache looks for an answer, or another request is getting it */
    FLOW_AWAIT_BACKEND,   /* weir is starting the server that the call needs */
    FLOW_AWAIT_ANSWER,
    FLOW_AWAIT_VERDICT, /* an answer is judged, or the next step chosen */
    FLOW_AWAIT_BACKOFF,
    FLOW_STREAMING,
    FLOW_DONE,
};

enum flow_event_kind {
    FLOW_EV_ENCODING,    /* the encoder was asked */
    FLOW_EV_ENCODED,     /* it has answered, or was waited for long enough */
    FLOW_EV_START,       /* the route is chosen: flow_plan has been called */
    FLOW_EV_LOOKING,     /* in place of START: the cache was asked */
    FLOW_EV_HIT,         /* an answer from the cache is ready to go out */
    FLOW_EV_MISS,        /* there is none, or it was waited for long enough */
    FLOW_EV_FIRST_BYTES, /* a stream's first event is ready for the client */
    FLOW_EV_HELD,        /* enough of a stream is there to judge it; nothing has gone out */
    FLOW_EV_ANSWER,      /* the answer is whole */
    FLOW_EV_CHOSEN,      /* what follows: see choice */
    FLOW_EV_FAILED,      /* the attempt failed with err */
    FLOW_EV_NO_ENDPOINT, /* the call could not start: all endpoints excluded or at their limits */
    FLOW_EV_STARTING,    /* the call waits: its server is being started */
    FLOW_EV_READY,       /* that server is ready */
    FLOW_EV_BUDGET_REFUSED, /* the retry that was just ordered is not in the budget */
    FLOW_EV_WAIT_OVER,      /* the back-off has passed */
    FLOW_EV_GONE,           /* the client went away */
    FLOW_EV_STOP,           /* deadline or shutdown: err says which */
};

enum flow_choice {
    FLOW_ACCEPT, /* the answer at hand is final */
    FLOW_ASK,    /* another step; what is in flight is given up */
    FLOW_SERVE,  /* the answer that was kept is final; likewise */
    FLOW_NONE,   /* no judged step is left, and nothing is at hand or kept */
};

struct flow_event {
    enum flow_event_kind kind;
    enum err err;           /* FAILED, STOP */
    int64_t retry_after_ms; /* FAILED: from the upstream; -1 none */
    bool no_retry; /* FAILED: the upstream said x-should-retry: false; the next model may still be
                      asked */
    enum flow_choice choice; /* CHOSEN */
    int step;                /* CHOSEN, ASK: a judged one */
    bool last;               /* likewise: no other judged step can follow it */
};

enum flow_action_kind {
    FLOW_WAIT,    /* nothing to do until the next event */
    FLOW_ROUTE,   /* choose the route; then START, or FAILED with the reason why there is none */
    FLOW_CALL,    /* start an attempt on step, any endpoint but those in exclude_mask */
    FLOW_BACKOFF, /* wait max(floor_ms, jittered back-off of retry number attempt), then WAIT_OVER
                   */
    FLOW_JUDGE,   /* judge the answer at hand; then CHOSEN */
    FLOW_CHOOSE,  /* the step has failed: choose another; then CHOSEN, but not ACCEPT */
    FLOW_COMMIT,  /* begin the streamed reply */
    FLOW_RECALL,  /* send the answer that was kept */
    FLOW_REPLY,   /* send the whole answer */
    FLOW_REPLAY,  /* send the cache's answer, whole or as a stream, its end included */
    FLOW_END,     /* end the streamed reply as complete */
    FLOW_CUT,     /* the streamed reply failed with err: say so in-band, end without [DONE] */
    FLOW_FAIL,    /* answer with err */
    FLOW_DROP,    /* nobody is there any more: cancel and account */
};

struct flow_action {
    enum flow_action_kind kind;
    int step;               /* CALL */
    uint64_t exclude_mask;  /* CALL: bit i = endpoint i of the step's model */
    bool takes_budget;      /* CALL, BACKOFF: a retry on the same model; ask the budget, or send
                               BUDGET_REFUSED */
    int retry;              /* BACKOFF: 1 for the first retry */
    int64_t floor_ms;       /* BACKOFF: at least this long */
    enum err err;           /* CUT, FAIL */
    int64_t retry_after_ms; /* FAIL: tell the client; -1 none */
};

#define FLOW_MAX_STEPS 16

struct flow_limits {
    int steps;                     /* models in the route, in order */
    int endpoints[FLOW_MAX_STEPS]; /* of each step's model, at most 64 are told apart */
    int max_attempts, per_model;
    int64_t max_retry_after_ms;
    int judged; /* of the steps, the first so many; their order is chosen. 0: none, and then the
                   order is that of the steps */
    int first;  /* step */
};

struct flow {
    struct flow_limits limits;
    enum flow_state state;
    int step;
    int attempts; /* made so far, over all models */
    int attempts_on_model;
    uint64_t tried; /* endpoints of this model that failed in a way that rules them out */
    enum { FLOW_NOTHING, FLOW_HELD, FLOW_WHOLE } at_hand; /* in AWAIT_VERDICT: what is judged */
    bool kept;             /* an answer that may still be served: flow_keep */
    bool last;             /* no other judged step can follow this one */
    int escalations;       /* attempts whose answers were passed over: not failures */
    bool called;           /* the call that was ordered has become an attempt */
    int endpoint;          /* of the attempt in flight; set by the performer through flow_called */
    bool without_logprobs; /* this model refused to be asked for them */
    bool without_thinking; /* attempts go without earlier turns' thinking: it was refused, or this
                              is another model than the route's first, which most likely thought */
    enum err last_err;
    int64_t last_retry_after_ms;
};

void flow_init(struct flow *f, const struct flow_limits *limits); /* NULL: not known yet */
void flow_plan(struct flow *f, const struct flow_limits *limits); /* before START, once */
struct flow_action flow_next(struct flow *f, const struct flow_event *ev);
/* The performer tells which endpoint a CALL went to. */
void flow_called(struct flow *f, int endpoint);
/* ... and that the answer just judged has been put by. */
void flow_keep(struct flow *f);
const char *flow_state_name(enum flow_state s);

#endif
