/* What of a server's events passes on to the client as it came: the part of a stream's filter that
 * knows no dialect. Comments and blank lines pass once an event was emitted, so that keep-alives
 * reach the client; before that they are dropped, because a byte sent ends escalation and a comment
 * is not worth that. Pure; belongs to whoever embeds it. */
#ifndef BACKENDS_WIRE_SSE_RELAY_H
#define BACKENDS_WIRE_SSE_RELAY_H

#include "backends/wire/sse.h"

struct sse_relay {
    struct sse_parser sse;
    bool first_emitted; /* some event was emitted: escalation is over */
    bool last_emitted;  /* the block before this one was emitted, its own line end last */
    struct buf *out;    /* where emitted bytes go; set during a feed */
    enum err err;       /* sticks */
};

void sse_relay_init(struct sse_relay *r, size_t max_event_bytes);
void sse_relay_clear(struct sse_relay *r);
/* Calls fn for each event and block without data, until it returns false. fn says what went wrong
 * in r->err; what it returns is the first error of all. */
enum err sse_relay_feed(struct sse_relay *r, struct slice in, struct buf *out, sse_event_fn fn,
                        void *ctx) MUST_CHECK;
/* For fn: the event exactly as it came. ERR_UPSTREAM_TOO_LARGE when out is full. */
enum err sse_relay_raw(struct sse_relay *r, const struct sse_event *e) MUST_CHECK;
/* For fn, which has written the event anew. */
void sse_relay_rewrote(struct sse_relay *r, const struct sse_event *e);
/* For fn: a comment, a blank line, a ping. */
enum err sse_relay_keepalive(struct sse_relay *r, const struct sse_event *e) MUST_CHECK;

#endif
