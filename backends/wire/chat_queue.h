/* The blocks of one choice, put in order: a dialect may interleave parallel tool calls, chat events
 * may not. What belongs to the open block goes out at once; the rest is held back, in order of
 * first appearance, until its turn comes. A block's turn is over when another one waits and, for a
 * tool call, its arguments are a whole JSON value; or when the answer ends. Pure but for its
 * buffers. */
#ifndef BACKENDS_WIRE_CHAT_QUEUE_H
#define BACKENDS_WIRE_CHAT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/chat_event.h"

#define CHAT_QUEUE_MAX_BLOCKS 1024 /* of one choice */
#define CHAT_QUEUE_MAX_LABEL  512  /* bytes of a tool call's id and name together */

/* Where events go, and what all queues of an answer share. */
struct chat_queue_sink {
    chat_event_fn fn;
    void *ctx;                         /* borrowed by fn */
    struct slice answer_id;            /* for calls without an id; borrowed */
    struct slice thinking_name;        /* of thinking blocks that open; static, or "" */
    size_t held_bytes, max_held_bytes; /* now, at most */
    bool stopped;                      /* fn wants no more: nothing is delivered or kept */
};

struct chat_queue_block;

struct chat_queue {
    struct chat_queue_sink *sink; /* borrowed */
    int choice;
    struct chat_queue_block *blocks; /* owned */
    size_t count, open;              /* blocks before open are over */
    size_t calls;                    /* tool calls among them */
};

/* A fragment of a tool call as a dialect reports it; empty slices where it says nothing. */
struct chat_queue_call {
    int64_t index; /* -1: none */
    struct slice id, name, arguments;
    bool fresh; /* a call of its own, whatever index and id say */
};

void chat_queue_init(struct chat_queue *q, struct chat_queue_sink *sink, int choice);
void chat_queue_clear(struct chat_queue *q);
/* Text of that kind follows. ERR_UPSTREAM_TOO_LARGE beyond a limit. */
enum err chat_queue_text(struct chat_queue *q, enum chat_block kind, struct slice text,
                         struct slice logprobs) MUST_CHECK;
/* Which call is meant, in this order: the call with that id; a new call, when there is a name and
 * the index is new, or is held by a call of another id; the last call of that index; the last call
 * of all. ERR_UPSTREAM_PROTOCOL when there is none, or it is over already. */
enum err chat_queue_call(struct chat_queue *q, const struct chat_queue_call *call) MUST_CHECK;
/* Nothing more follows: delivers and closes all. */
enum err chat_queue_finish(struct chat_queue *q) MUST_CHECK;

#endif
