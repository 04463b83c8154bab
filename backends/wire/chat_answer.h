/* A whole answer, collected from its events: what a reply that is not streamed is written from.
 * Pure but for its memory, which grows to a maximum given at init. */
#ifndef BACKENDS_WIRE_CHAT_ANSWER_H
#define BACKENDS_WIRE_CHAT_ANSWER_H

#include <stdbool.h>
#include "backends/wire/chat_event.h"
#include "base/arena.h"
#include "base/buf.h"

struct chat_answer_block {
    int choice;
    enum chat_block kind;
    struct slice id, name; /* as in chat_event.h; in the answer's arena */
    struct buf text;       /* of a tool call: its arguments' JSON text, "" when it has none; of
                              redacted thinking: its data */
    struct buf signature;
    struct buf logprobs; /* elements of OpenAI's array, without its brackets */
};

struct chat_answer_choice {
    bool refused; /* has a refusal */
    bool finished;
    enum chat_finish finish;
    struct slice stop_sequence;
};

struct chat_answer {
    struct arena arena;
    struct slice id, model;
    struct chat_answer_block *blocks; /* owned; in order of their start */
    size_t count;
    struct chat_answer_choice *choices; /* owned; by index */
    size_t choice_count;
    bool has_usage;
    struct token_usage usage;
    bool complete; /* END came */
    bool lossy;    /* and said so */
    size_t bytes, max_bytes;
};

void chat_answer_init(struct chat_answer *a, size_t max_bytes);
void chat_answer_clear(struct chat_answer *a);
/* ERR_UPSTREAM_TOO_LARGE beyond max_bytes; ERR_INTERNAL for events out of order. ERROR and PING
 * change nothing. */
enum err chat_answer_add(struct chat_answer *a, const struct chat_event *e) MUST_CHECK;

#endif
