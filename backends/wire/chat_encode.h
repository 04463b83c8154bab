/* What every encoder of answers must be told; the gateway fills it in from the client's request.
 * Slices are borrowed as long as the encoder lives. */
#ifndef BACKENDS_WIRE_CHAT_ENCODE_H
#define BACKENDS_WIRE_CHAT_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/slice.h"

struct chat_encode_options {
    struct slice model;       /* to show; empty: the upstream's */
    struct slice fallback_id; /* for answers without an id of their own: the request's */
    int64_t created_s;        /* Unix time that OpenAI's dialects show */
    bool include_usage;       /* OpenAI streams: the client asked for the usage chunk */
    int64_t input_tokens;     /* estimate for Anthropic's message_start, where the upstream tells
                                 the count only at the end; 0: none */
    struct slice echo;        /* Responses: members of the request that a response repeats, raw JSON
                                 "key":value,... ; empty: their defaults */
    bool encrypted_reasoning; /* Responses: the client asked for reasoning.encrypted_content, in
                                 which signatures travel */
    size_t max_answer_bytes;  /* Responses streams repeat the whole answer at their end */
};

#endif
