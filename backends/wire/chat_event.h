/* The neutral form of an answer while it arrives: what every dialect's stream says, in order,
 * without its framing. Decoders (openai_decode, anthropic_decode) turn upstream bytes into these;
 * encoders (openai_encode, anthropic_encode, responses_encode) turn these into the client's stream;
 * chat_answer collects them into a whole reply. Pure data; slices are valid during the callback
 * that delivers the event.
 *
 * Order: START, then blocks one after the other (BLOCK_START, deltas, BLOCK_STOP; the blocks of one
 * choice never interleave: a decoder whose dialect interleaves parallel tool calls holds back what
 * is not its turn), then FINISH, then at most one USAGE, then END. Choices beyond the first have
 * choice > 0 and blocks and FINISH of their own; dialects without choices refuse n > 1 in the
 * request and their encoders pass over them.
 *
 * ERROR ends an answer at any point instead. Decoders never make one: they return the error, and
 * whoever drives them decides whether the client reads it or another attempt follows. */
#ifndef BACKENDS_WIRE_CHAT_EVENT_H
#define BACKENDS_WIRE_CHAT_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"
#include "base/tokens.h"

#define CHAT_MAX_CHOICES 128 /* OpenAI's limit of n */

enum chat_event_kind {
    CHAT_START,       /* id, name (the model), and usage when the dialect tells input tokens early
                         (usage.source is then not USAGE_NONE) */
    CHAT_BLOCK_START, /* block; of a tool call: id, name; of redacted thinking: text, all its data;
                         of thinking: name, the member that held it, where that is not the usual */
    CHAT_DELTA,       /* text: of the open block (of a tool call: a fragment of the arguments' JSON
                         text); logprobs. Either may be empty */
    CHAT_SIGNATURE,   /* text: of the open thinking block */
    CHAT_BLOCK_STOP,
    CHAT_FINISH, /* finish, never STOP after a tool call; text: the stop sequence, where known */
    CHAT_USAGE,  /* usage of the whole answer */
    CHAT_PING,   /* the upstream's keep-alive */
    CHAT_ERROR,  /* err; text: message for the client, or empty */
    CHAT_END,    /* the true end of a whole answer; lossy */
};

enum chat_block {
    CHAT_BLOCK_TEXT,
    CHAT_BLOCK_REFUSAL,
    CHAT_BLOCK_THINKING,
    CHAT_BLOCK_REDACTED_THINKING,
    CHAT_BLOCK_TOOL_CALL
};

/* OpenAI: stop, length, tool_calls, content_filter. Anthropic: end_turn, stop_sequence, max_tokens,
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
    int choice;            /* 0 but for n > 1; below CHAT_MAX_CHOICES */
    enum chat_block block; /* BLOCK_START, DELTA, SIGNATURE, BLOCK_STOP */
    int block_index;       /* 0.. within the choice, in order of BLOCK_START */
    struct slice id, name; /* START: id and model; BLOCK_START of a tool call: its id and name */
    struct slice text;     /* UTF-8, decoded */
    struct slice logprobs; /* DELTA: OpenAI's logprobs.content of these tokens, a raw JSON array */
    enum chat_finish finish;
    struct token_usage usage;
    enum err err;
    bool lossy; /* END: something of the answer was not understood, or has no event */
};

/* Returns false to stop: the decoder then drops the rest of its input. */
typedef bool (*chat_event_fn)(const struct chat_event *e, void *ctx);

/* What a decoder makes of a reason: servers that say "stop" after a tool call are many; clients
 * that wait for "tool_calls" or "tool_use" are more. An answer that was cut stays so. */
static inline enum chat_finish chat_finish_settle(enum chat_finish finish, bool tool_sent)
{
    bool said_stop = finish == CHAT_FINISH_STOP || finish == CHAT_FINISH_STOP_SEQUENCE;

    return tool_sent && said_stop ? CHAT_FINISH_TOOL_CALLS : finish;
}

/* Did the model stop before it had said all? */
static inline bool chat_finish_is_cut(enum chat_finish finish)
{
    return finish == CHAT_FINISH_LENGTH || finish == CHAT_FINISH_PAUSE;
}

#endif
