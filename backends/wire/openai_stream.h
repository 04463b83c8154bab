/* OpenAI streams: a filter between the upstream's bytes and the client's. Strips what weir asked
 * for, watches for completeness. Pure; belongs to whoever embeds it.
 *
 * Complete: every choice that appeared (and at least n of them) had its finish_reason, or [DONE]
 * came after some choice. [DONE] is held back and written by openai_stream_end, for a complete
 * answer only; what comes after it is dropped.
 *
 * Bytes: a chunk is rewritten only when it must be (usage or log-probabilities stripped, model
 * renamed); else its raw
 * bytes are emitted untouched, line ends included. Comments and blank lines: sse_relay.h.
 *
 * Usage the client did not ask for: a chunk without choices that carries a usage object is dropped
 * whole; a usage member beside choices is cut out with its comma. Usage is booked from wherever it
 * is reported: its own chunk (OpenAI), the last chunk with content (Mistral), every chunk
 * (continuous usage: the last counts), x_groq.usage, choices[].usage (Moonshot).
 *
 * Log-probabilities the client did not ask for: null in their place, as servers write for those who
 * did not ask.
 *
 * Sources: OpenAI API reference (chunk object, streaming). */
#ifndef BACKENDS_WIRE_OPENAI_STREAM_H
#define BACKENDS_WIRE_OPENAI_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/answer_signals.h"
#include "backends/wire/sse_relay.h"
#include "backends/wire/wire.h"
#include "base/tokens.h"

struct openai_stream {
    enum wire_api api;
    struct sse_relay relay;
    bool include_usage;     /* the client asked for it: pass usage on; else strip it */
    bool asked_usage;       /* weir added include_usage */
    struct slice rename;    /* model name to show, or {NULL,0} to leave the upstream's; borrowed */
    int64_t n;              /* choices expected */
    bool done_seen;         /* data: [DONE] */
    bool failed;            /* an error event came */
    bool usage_final;       /* usage came at the end, not only along the way */
    int64_t finished;       /* choices with a finish_reason */
    uint64_t finished_mask; /* of the first 64 indices */
    uint64_t seen_mask;     /* choices that appeared, of the first 64 indices */
    bool choice_seen;
    bool has_usage;
    struct token_usage usage;
    int64_t deltas; /* content-bearing, for partial estimates; each choice of a chunk counts */
    int64_t output_bytes; /* JSON text bytes of delta contents */
    /* Set after init: */
    struct answer_signals *signals; /* reads along; borrowed; NULL: nobody does */
    bool strip_logprobs;            /* weir asked for them, the client did not */
    struct slice error_data; /* of an in-band error event: valid until the next call, while the
                                input of the last feed lives */
};

void openai_stream_init(struct openai_stream *s, enum wire_api api, int64_t n, bool include_usage,
                        bool asked_usage, struct slice rename, size_t max_event_bytes);
void openai_stream_clear(struct openai_stream *s);
/* Feeds upstream body bytes; appends what the client shall get to out. ERR_OK;
 * ERR_UPSTREAM_PROTOCOL on a chunk that is not JSON; ERR_UPSTREAM_SERVER_ERROR (or as classified)
 * on an error event (the event itself is not emitted; the caller writes the final error);
 * ERR_UPSTREAM_TOO_LARGE. After an error nothing more is emitted. */
enum err openai_stream_feed(struct openai_stream *s, struct slice in, struct buf *out) MUST_CHECK;
/* May the answer be called whole, if the upstream says no more? */
bool openai_stream_complete(const struct openai_stream *s);
/* Nothing can come any more but [DONE]: complete, and the usage that was asked for has been seen
 * (or was not asked for). */
bool openai_stream_exhausted(const struct openai_stream *s);
/* "data: [DONE]\n\n"; ERR_INTERNAL, and nothing, when the answer is not complete. */
enum err openai_stream_end(struct openai_stream *s, struct buf *out) MUST_CHECK;
/* "data: {"error":{...}}\n\n", with no [DONE] after it: the client must see that the answer is not
 * whole. */
enum err openai_stream_error(enum err e, const char *message, struct buf *out) MUST_CHECK;

#endif
