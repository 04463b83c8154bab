/* What upstream.c and the transports share; nobody else includes this. */
#ifndef BACKENDS_UPSTREAM_INT_H
#define BACKENDS_UPSTREAM_INT_H

#include "backends/upstream.h"
#include "backends/watch.h"

#define UPSTREAM_MAX_HEAD_BYTES (64 * 1024)
#define UPSTREAM_MAX_INTERIM    100 /* 1xx heads before the answer's */

struct upstream {
    struct event_base *base; /* borrowed */
    struct stats *stats;     /* borrowed; may be NULL */
    struct stats_cell *pauses;
    struct watch_list watches;
    void *http1, *curl; /* owned: the transports' states; curl's is opened when first needed */
};

extern const struct upstream_transport upstream_http1, upstream_curl;

/* True when nothing in the request's head can end a line early, whoever made it. */
bool upstream_request_clean(const struct upstream_request *req);
uint64_t upstream_body_bytes(const struct upstream_request *req);
/* Does a request with this method announce a body even when it has none (RFC 9110 8.6)? */
bool upstream_method_has_body(struct slice method);

#endif
