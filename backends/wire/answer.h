/* A server's answer on its way to a client: what must be known of it (complete? usage? an error?)
 * and the bytes the client gets, in the client's API. Where both speak the same dialect the bytes
 * pass through a filter; else they are decoded into chat events and encoded again. Pure; one per
 * attempt, embedded in the request.
 *
 * A stream's end is held back: answer_end writes it, for a complete answer only. */
#ifndef BACKENDS_WIRE_ANSWER_H
#define BACKENDS_WIRE_ANSWER_H

#include "backends/wire/openai_reply.h"
#include "backends/wire/wire.h"

struct answer_options {
    enum wire_api api;        /* the client's */
    enum wire_dialect server; /* who answers */
    int64_t n;                /* choices expected */
    bool include_usage;       /* the client asked for it */
    bool asked_usage;         /* weir did */
    struct slice rename;      /* model name to show; {NULL, 0}: the server's own. Borrowed */
    size_t max_event_bytes;
};

struct answer {
    struct answer_options opt;
    bool open;
    struct openai_stream openai; /* private */
};

/* A whole answer that was read. */
struct answer_whole {
    bool has_usage;
    struct token_usage usage;
    int64_t output_bytes; /* of content texts, for estimates */
    struct slice *pieces; /* what the client gets; in the arena or pointing into the body */
    size_t count;
};

/* Body of a 200 that is no stream. ERR_UPSTREAM_PROTOCOL, or what an error in its place means. */
enum err answer_read_whole(const struct answer_options *opt, struct slice body, struct arena *a,
                           struct answer_whole *out) MUST_CHECK;
/* What an error answer of that dialect means; status 0 or 200: an error in place of an answer. */
enum err answer_classify(enum wire_dialect server, int status, struct slice body);

/* ---- streams ---- */

void answer_open(struct answer *a, const struct answer_options *opt);
void answer_clear(struct answer *a); /* harmless when not open */
/* Feeds body bytes; appends what the client gets to out. Errors: ERR_UPSTREAM_PROTOCOL,
 * ERR_UPSTREAM_TOO_LARGE, or what an error event means. After an error nothing more is written. */
enum err answer_feed(struct answer *a, struct slice in, struct buf *out) MUST_CHECK;
/* May the answer be called whole, if the server says no more? */
bool answer_complete(const struct answer *a);
/* The server said that it is whole. */
bool answer_ended(const struct answer *a);
/* Nothing that matters can come any more. */
bool answer_exhausted(const struct answer *a);
/* The end, in the client's API. ERR_INTERNAL when the answer is not complete. */
enum err answer_end(struct answer *a, struct buf *out) MUST_CHECK;
/* An error in mid-stream, in the client's API; no end follows it. */
enum err answer_error(enum wire_api api, enum err e, const char *message,
                      struct buf *out) MUST_CHECK;
/* NULL while none was reported. */
const struct token_usage *answer_usage(const struct answer *a);
int64_t answer_deltas(const struct answer *a); /* content-bearing pieces so far, for estimates */
/* A line that keeps an idle stream alive. */
struct slice answer_keepalive(enum wire_api api);

#endif
