/* OpenAI-like chat completions, streamed or whole -> chat events. For answers that are translated;
 * the same dialect on both sides passes through openai_stream instead. Pure; belongs to whoever
 * embeds it.
 *
 * Forgiving where servers differ and nothing is lost: reasoning_content or reasoning; content as
 * text or as parts (Mistral); tool calls numbered wrongly, numbered not at all or without ids;
 * finish_reason early, twice, or "stop" after a tool call; usage in any place that openai_stream
 * knows; [DONE] missing. Parallel tool calls that arrive interleaved come out one after the other:
 * a later one is held back until the arguments of the earlier one are a whole JSON value, or the
 * answer ends.
 *
 * FINISH, USAGE and END come from openai_decode_end: until then nobody knows that no more text
 * follows, and the end of an answer is the caller's to declare.
 *
 * Sources: OpenAI API reference (chat completion object, chunk object); vLLM (reasoning_content,
 * reasoning, stop_reason), DeepSeek (reasoning_content, insufficient_system_resource), OpenRouter
 * (reasoning, finish_reason error), Mistral (content parts, model_length). */
#ifndef BACKENDS_WIRE_OPENAI_DECODE_H
#define BACKENDS_WIRE_OPENAI_DECODE_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/chat_event.h"
#include "backends/wire/chat_id.h"
#include "backends/wire/chat_queue.h"
#include "backends/wire/sse.h"

struct openai_decode_choice;

struct openai_decode_options {
    int64_t n;                /* choices expected */
    struct slice fallback_id; /* the request's: tool calls without ids get some made of the answer's
                                 id, or of this. Borrowed */
    size_t max_event_bytes;   /* of one SSE event */
    size_t max_held_bytes;    /* of blocks whose turn has not come */
};

struct openai_decode {
    struct openai_decode_options options;
    struct sse_parser sse;
    struct chat_queue_sink sink;          /* fn and ctx; the choices' queues point to it, so the
                                             decoder stays where it is */
    struct openai_decode_choice *choices; /* owned; by index */
    size_t choice_count;
    struct buf id, name, text; /* decoded strings of the chunk under way */
    char answer_id[CHAT_ID_BYTES];
    bool whole;       /* one reply: each element of tool_calls is a call */
    bool started;     /* START was delivered */
    bool ended;       /* END was */
    bool done_seen;   /* data: [DONE]; what comes after it is dropped */
    bool usage_final; /* usage came at the end, not only along the way */
    bool lossy;       /* see chat_event.h */
    bool has_usage;
    struct token_usage usage;
    enum err err;
    struct err_text error; /* what the upstream said, where err is its own; else "" */
};

void openai_decode_init(struct openai_decode *d, const struct openai_decode_options *options,
                        chat_event_fn fn, void *ctx);
void openai_decode_clear(struct openai_decode *d);
/* Upstream body bytes, in any split. ERR_OK; ERR_UPSTREAM_PROTOCOL (not JSON, tool calls that
 * cannot be told apart); ERR_UPSTREAM_TOO_LARGE; or what an error event means. Errors stick. */
enum err openai_decode_feed(struct openai_decode *d, struct slice in) MUST_CHECK;
/* May the answer be called whole, if the upstream says no more? */
bool openai_decode_complete(const struct openai_decode *d);
/* Nothing can come any more but [DONE]. */
bool openai_decode_exhausted(const struct openai_decode *d);
/* The upstream says no more, or need not: delivers what is held back, FINISH, USAGE and END, once.
 * Of an answer that is not complete ERR_UPSTREAM_CUT, and nothing. */
enum err openai_decode_end(struct openai_decode *d) MUST_CHECK;

/* A whole reply as the same events. Errors as above, of a reply with status 200 that is an error
 * too; *error (may be NULL) as in struct openai_decode. */
enum err openai_decode_whole(struct slice body, struct slice fallback_id, chat_event_fn fn,
                             void *ctx, struct err_text *error) MUST_CHECK;

#endif
