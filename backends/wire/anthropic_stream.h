/* Anthropic streams: a filter between the upstream's bytes and the client's, for the same dialect
 * on both sides; the twin of openai_stream. Watches for completeness and usage. Pure; belongs to
 * whoever embeds it.
 *
 * Complete: a stop_reason came in message_delta, or message_stop after message_start. message_stop
 * is held back and written by anthropic_stream_end, for a complete answer only; what comes after it
 * is dropped.
 *
 * Bytes: message_start is rewritten when the model is renamed; every other event passes untouched,
 * unknown ones too. Comments, blank lines and pings pass once an event was emitted; before that
 * they are dropped, because a byte sent ends escalation and a keep-alive is not worth that. An
 * error event is not emitted.
 *
 * Source: Anthropic API reference (Messages, streaming). */
#ifndef BACKENDS_WIRE_ANTHROPIC_STREAM_H
#define BACKENDS_WIRE_ANTHROPIC_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/answer_signals.h"
#include "backends/wire/sse_relay.h"
#include "base/tokens.h"

struct anthropic_stream {
    struct sse_relay relay;
    struct slice rename; /* model name to show, or {NULL,0} to leave the upstream's; borrowed */
    struct buf stop;     /* message_stop as it came */
    bool started;        /* message_start came */
    bool reason_seen;    /* stop_reason did */
    bool truncated;      /* and is max_tokens */
    bool stop_seen;      /* message_stop did */
    bool failed;         /* an error event did */
    bool has_usage;
    struct token_usage usage;       /* partial, and growing with the deltas, until message_delta */
    int64_t deltas;                 /* content-bearing, for partial estimates */
    int64_t output_bytes;           /* JSON text bytes of delta contents */
    struct answer_signals *signals; /* set after init: reads along; borrowed; NULL: nobody does */
    struct slice error_data; /* of an error event: valid until the next call, while the input of the
                                last feed lives */
};

void anthropic_stream_init(struct anthropic_stream *s, struct slice rename, size_t max_event_bytes);
void anthropic_stream_clear(struct anthropic_stream *s);
/* Feeds upstream body bytes; appends what the client shall get to out. ERR_OK;
 * ERR_UPSTREAM_PROTOCOL on an event that is not JSON; what an error event means, as classified;
 * ERR_UPSTREAM_TOO_LARGE. After an error nothing more is emitted. */
enum err anthropic_stream_feed(struct anthropic_stream *s, struct slice in,
                               struct buf *out) MUST_CHECK;
/* May the answer be called whole, if the upstream says no more? */
bool anthropic_stream_complete(const struct anthropic_stream *s);
/* Nothing can come any more. */
bool anthropic_stream_exhausted(const struct anthropic_stream *s);
/* message_stop, as the upstream wrote it if it did; ERR_INTERNAL, and nothing, when the answer is
 * not complete. */
enum err anthropic_stream_end(struct anthropic_stream *s, struct buf *out) MUST_CHECK;
/* "event: error", with no message_stop after it. message NULL: err_text(e). */
enum err anthropic_stream_error(enum err e, const char *message, struct slice request_id,
                                struct buf *out) MUST_CHECK;

#endif
