/* Server-sent events, reading side (WHATWG HTML 9.2): bytes in any split -> events. Pure but for
 * its own buffer. Line ends LF, CRLF, CR; comments and unknown fields skipped; several data lines
 * joined by LF; a leading BOM ignored; the event at the end of input without its blank line is not
 * dispatched (the standard's rule), sse_pending tells that it was there. One event may hold at most
 * max_event_bytes: ERR_UPSTREAM_TOO_LARGE beyond. */
#ifndef BACKENDS_WIRE_SSE_H
#define BACKENDS_WIRE_SSE_H

#include <stdbool.h>
#include "base/buf.h"

struct sse_event {
    struct slice event; /* "" when there was no event: line */
    struct slice data;  /* joined data lines; valid during the callback */
    struct slice raw;   /* the event exactly as received, blank line included: for byte-true
                           pass-through; valid during the callback */
    bool joined;        /* data came in several lines and is not part of raw */
    bool has_data;      /* false: comments, blank lines or unknown fields only; reported only when
                           sse_parser.report_all */
};

struct sse_parser {
    struct buf pending; /* of an event that is still incomplete */
    struct buf joined;  /* data of multi-line events */
    bool report_all;    /* set after init: also report blocks without data, so that all raw slices
                           together are the input */
    bool spent;         /* pending holds an event that was already reported */
    /* Where the search for the end of the event stands. */
    bool line_open;      /* the current line has bytes */
    bool after_cr;       /* the last byte was the CR of a line end: an LF now belongs to it */
    bool after_event_cr; /* the same, of the line end that closed an event already reported */
    bool started;        /* the first block, where a BOM may be, is over */
};

void sse_init(struct sse_parser *p, size_t max_event_bytes);
void sse_clear(struct sse_parser *p);
/* Calls fn for each complete event; events that lie whole in the input are not copied. fn returns
 * false to stop: the rest of the input is then dropped and ERR_OK returned; slices of that event
 * stay valid until the next call, if the input does. An event is reported as soon as its blank line
 * has begun to arrive: where that line ends in CR and the input ends there too, an LF that follows
 * is reported (report_all) as a block of its own whose raw is that LF. */
typedef bool (*sse_event_fn)(const struct sse_event *e, void *ctx);
enum err sse_feed(struct sse_parser *p, struct slice in, sse_event_fn fn, void *ctx) MUST_CHECK;
/* Are bytes of an unfinished event buffered (comments and blank lines aside)? */
bool sse_pending(const struct sse_parser *p);

#endif
