/* The neutral form of an answer while it arrives: what every dialect's stream says, in order,
 * without its framing. Decoders (openai_decode, anthropic_decode) turn upstream bytes into these;
 * encoders (openai_encode, anthropic_encode, responses_encode) turn these into the client's stream
 * or, collected, into a whole reply. Pure data; slices are valid during the callback that delivers
 * the event.
 *
 * Order: START, then blocks one after the other (BLOCK_START, deltas, BLOCK_STOP; blocks never
 * interleave: a decoder whose dialect interleaves parallel tool calls holds back what is not its
 * turn), then FINISH, then at most one USAGE that is final, then END. ERROR ends an answer at any
 * point instead. Events of choices beyond the first carry choice > 0 and their own blocks; dialects
 * without choices refuse n > 1 in the request. */
#ifndef BACKENDS_WIRE_CHAT_EVENT_H
#define BACKENDS_WIRE_CHAT_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"
#include "base/tokens.h"

enum chat_event_kind {
    CHAT_START, /* id, model, and usage so far (input tokens) when the dialect tells it early */
    CHAT_BLOCK_START, /* block; for a tool call: id, name */
    CHAT_DELTA, /* text: of the open block (for tool calls: a fragment of the arguments' JSON text)
                 */
    CHAT_SIGNATURE, /* text: of the open thinking block */
    CHAT_LOGPROBS,  /* text: raw JSON of the OpenAI logprobs content array for the deltas since the
                       last one */
    CHAT_BLOCK_STOP,
    CHAT_FINISH, /* finish, stop_sequence (text) */
    CHAT_USAGE,  /* usage, cumulative; the last one counts */
    CHAT_PING,   /* the upstream's keep-alive */
    CHAT_ERROR,  /* err, text: message */
    CHAT_END,    /* the true end of a whole answer */
};

enum chat_block {
    CHAT_BLOCK_TEXT,
    CHAT_BLOCK_REFUSAL,
    CHAT_BLOCK_THINKING,
    CHAT_BLOCK_REDACTED_THINKING,
    CHAT_BLOCK_TOOL_CALL
};

/* OpenAI: stop, length, tool_calls, content_filter. Anthropic: end_turn/stop_sequence, max_tokens,
 * tool_use, refusal, pause_turn. */
enum chat_finish {
    CHAT_FINISH_STOP,
    CHAT_FINISH_STOP_SEQUENCE,
    CHAT_FINISH_LENGTH,
    CHAT_FINISH_TOOL_CALLS,
    CHAT_FINISH_FILTER,
    CHAT_FINISH_PAUSE
};

struct chat_event {
    enum chat_event_kind kind;
    int choice;            /* 0 but for n > 1 */
    enum chat_block block; /* BLOCK_START, DELTA, SIGNATURE, BLOCK_STOP */
    int block_index;       /* 0.. within the choice, in order of BLOCK_START */
    struct slice id,
        name; /* START: id and model (in name); BLOCK_START of a tool call: its id and name */
    struct slice text; /* UTF-8, decoded */
    enum chat_finish finish;
    struct token_usage usage;
    enum err err;
};

/* Returns false to stop: the decoder then drops the rest of its input. */
typedef bool (*chat_event_fn)(const struct chat_event *e, void *ctx);

#endif
