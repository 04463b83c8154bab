/* The client side of a request as the router sees it; gateway/api_client implements it over
 * http_server. The last call on a reply is exactly one of whole, end, abort or error; after it the
 * router never touches the reply again. If the client goes first, the gateway calls
 * request_client_gone and the router makes no further call. No op calls back into the router. */
#ifndef ROUTER_REPLY_H
#define ROUTER_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/http1.h"
#include "base/money.h"
#include "base/tokens.h"
#include "base/slice.h"

struct reply;

struct reply_head {
    int status;
    const struct http1_header
        *headers; /* Content-Type, x-weir-*, and what is passed on from the upstream */
    size_t header_count;
};

struct reply_ops {
    void (*whole)(struct reply *r, const struct reply_head *head, const struct slice *pieces,
                  size_t piece_count);
    void (*begin)(struct reply *r, const struct reply_head *head);
    bool (*write)(
        struct reply *r,
        struct slice bytes); /* false: above the high watermark; request_writable follows */
    void (*end)(struct reply *r);
    void (*abort)(struct reply *r, const char *reason);
    /* In the client's dialect. Headers are added (x-weir-*). retry_after_ms < 0: none. */
    void (*error)(struct reply *r, enum err e, const char *message, const char *param,
                  int64_t retry_after_ms, const struct reply_head *head);
};

/* What became of the request, for the access log. Filled by the router before its last call on the
 * reply, and before request_client_gone returns. Strings belong to the snapshot that the gateway
 * holds as long as its exchange lives. */
struct reply_summary {
    char requested[64];   /* model name as the client wrote it, cut to fit */
    const char *model;    /* that served; "" when none */
    const char *endpoint; /* "" when none */
    const char *route;    /* "" when none matched */
    char class_name[64];  /* of the query, cut to fit; "" when none, or nobody asked */
    double class_confidence;
    const char *cache; /* what the cache said: "hit", "miss" ...; "" when it was not asked */
    enum err err;
    int attempts;
    struct token_usage usage; /* of the attempt that served */
    nanousd cost;             /* of all attempts */
    int64_t ttft_us;          /* -1: not streamed or never begun */
};

struct reply { /* embedded in the gateway's exchange record */
    const struct reply_ops *ops;
    struct reply_summary summary;
};

#endif
