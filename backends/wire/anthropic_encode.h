/* Chat events -> Anthropic messages: the events of a stream, or a whole message. Pure; belongs to
 * whoever embeds it.
 *
 * A stream is message_start, then per block content_block_start, deltas of that block's type and
 * content_block_stop, then one message_delta with stop_reason and the whole usage, then
 * message_stop, which only an answer that has ended gets. input_tokens of message_start is the
 * upstream's where it is told early, else the caller's estimate; message_delta has the true counts.
 * stop_reason is refusal after a refusal. Logprobs have no place here: the request side refuses to
 * ask for them.
 *
 * Source: Anthropic API reference (Messages, streaming). */
#ifndef BACKENDS_WIRE_ANTHROPIC_ENCODE_H
#define BACKENDS_WIRE_ANTHROPIC_ENCODE_H

#include "backends/wire/chat_answer.h"
#include "backends/wire/chat_encode.h"
#include "backends/wire/chat_event.h"
#include "base/buf.h"

struct anthropic_encode {
    struct chat_encode_options options;
    struct buf stop_sequence;
    int blocks; /* that were opened */
    bool started, finished;
    bool ended; /* message_stop or an error was written: nothing follows */
    bool refused;
    enum chat_finish finish;
    int64_t deltas; /* tokens of the output as far as one can tell without usage */
    bool has_usage;
    struct token_usage usage;
};

void anthropic_encode_init(struct anthropic_encode *e, const struct chat_encode_options *options);
void anthropic_encode_clear(struct anthropic_encode *e);
/* Appends what the client shall read. ERR_UPSTREAM_TOO_LARGE, and out as it was, when it does not
 * fit; ERR_INTERNAL for events out of order, such as the END of an answer that never finished.
 * Events of choices beyond the first are passed over. */
enum err anthropic_encode_on(struct anthropic_encode *e, const struct chat_event *event,
                             struct buf *out) MUST_CHECK;

/* The whole message. ERR_INTERNAL when the answer is not complete; ERR_UPSTREAM_PROTOCOL when the
 * model wrote tool arguments that are no JSON object: this dialect cannot carry them. (Of an answer
 * that was cut they are left empty, as Anthropic does.) */
enum err anthropic_encode_reply(const struct chat_answer *a,
                                const struct chat_encode_options *options,
                                struct buf *out) MUST_CHECK;

#endif
