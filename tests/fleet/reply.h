/* A reply as a script to be played to a socket: steps of bytes, each after a pause, and an end.
 * Framing (HTTP, chunks, SSE, gzip) is done when the script is made, and so are the faults that
 * break it; the player (conn.c) only plays. Pure. Steps and bytes live in the request's arena. */
#ifndef FLEET_REPLY_H
#define FLEET_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "tests/fleet/fault.h"
#include "tests/fleet/refusal.h"

struct reply_step {
    int64_t pause_us; /* before the first byte of the step */
    struct slice bytes;
    int64_t tokens; /* completion tokens that have been sent when the step has */
};

enum reply_end {
    REPLY_KEEP,  /* complete: the connection goes on */
    REPLY_FIN,   /* close */
    REPLY_RESET, /* close with RST */
    REPLY_HANG,  /* keep open, say nothing, until the peer goes */
};

struct reply {
    struct reply_step *steps;
    size_t n, cap;
    enum reply_end end;
    int status;     /* what the head says; 0 = no head */
    bool byte_wise; /* one byte per send */
    bool broken;    /* a fault ends it before it is complete */
};

/* A JSON text that becomes an SSE event. */
struct reply_event {
    const char *name; /* static; NULL = an event without one */
    struct slice json;
    int64_t tokens;
};

struct reply_frame {
    struct arena *arena;
    enum dialect dialect;
    uint64_t serial; /* of the request */
    const struct fault_set *faults;
    struct slice headers;       /* further header lines, each with CRLF */
    bool close_delimited;       /* the request was HTTP/1.0 */
    bool head_only;             /* the request was HEAD */
    bool close;                 /* the request said Connection: close */
    int64_t first_us, total_us; /* pace */
};

/* body with Content-Length; tokens are those of the whole body. */
void reply_whole(struct reply *r, const struct reply_frame *f, int status, struct slice body,
                 int64_t tokens);
/* Server-sent events. OpenAI's end by [DONE]; the last of Anthropic's (message_stop) ends them. */
void reply_stream(struct reply *r, const struct reply_frame *f, const struct reply_event *events,
                  size_t n);
/* Faults that leave no room for a reply (reset, close, silence, malformed_http). false when there
 * is none. */
bool reply_refuse_to_speak(struct reply *r, const struct reply_frame *f);
const char *reply_reason(int status);

#endif
