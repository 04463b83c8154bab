/* Anthropic messages, streamed or whole -> chat events. For answers that are translated; the same
 * dialect on both sides passes through anthropic_stream instead. Pure; belongs to whoever embeds
 * it.
 *
 * Deltas must be of their block's type. What chat events cannot say is an error where it is a part
 * of the answer (blocks of server-side tools) and passed over where the dialect says so (unknown
 * events and deltas, citations beside their text).
 *
 * Sources: Anthropic API reference (Messages, streaming, extended thinking, tool use). */
#ifndef BACKENDS_WIRE_ANTHROPIC_DECODE_H
#define BACKENDS_WIRE_ANTHROPIC_DECODE_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/anthropic_event.h"
#include "backends/wire/chat_event.h"
#include "backends/wire/sse.h"

struct anthropic_decode {
    struct sse_parser sse;
    chat_event_fn fn;
    void *ctx;                 /* borrowed by fn */
    struct buf id, name, text; /* decoded strings of the event under way */
    struct buf input;          /* of a tool call that came whole with its start */
    enum chat_block block;     /* the open one, when block_open */
    int block_count;           /* blocks that were opened */
    int64_t block_index;       /* of the open one, as the upstream numbers it */
    bool block_open;
    bool called;    /* some block was a tool call */
    bool started;   /* START was delivered */
    bool finished;  /* FINISH was */
    bool stop_seen; /* message_stop; what comes after it is dropped */
    bool ended;     /* END was delivered */
    bool stopped;   /* fn wants no more */
    bool lossy;     /* see chat_event.h */
    bool has_usage;
    struct token_usage usage; /* of a stream: partial, and growing with the deltas, until its end */
    int64_t deltas;
    enum err err;
    struct err_text error; /* what the upstream said, where err is its own; else "" */
};

void anthropic_decode_init(struct anthropic_decode *d, size_t max_event_bytes, chat_event_fn fn,
                           void *ctx);
void anthropic_decode_clear(struct anthropic_decode *d);
/* Upstream body bytes, in any split. ERR_OK; ERR_UPSTREAM_PROTOCOL; ERR_UPSTREAM_TOO_LARGE; or
 * what an error event means. Errors stick. */
enum err anthropic_decode_feed(struct anthropic_decode *d, struct slice in) MUST_CHECK;
/* May the answer be called whole, if the upstream says no more? With a stop_reason it may, even
 * without message_stop. */
bool anthropic_decode_complete(const struct anthropic_decode *d);
/* Nothing can come any more. */
bool anthropic_decode_exhausted(const struct anthropic_decode *d);
/* The upstream says no more, or need not: delivers USAGE and END, once. ERR_UPSTREAM_CUT, and
 * nothing, when the answer is not complete. */
enum err anthropic_decode_end(struct anthropic_decode *d) MUST_CHECK;

/* A whole message as the same events. Errors as above; *error (may be NULL) as in struct
 * anthropic_decode. */
enum err anthropic_decode_whole(struct slice body, chat_event_fn fn, void *ctx,
                                struct err_text *error) MUST_CHECK;

#endif
