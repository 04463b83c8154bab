/* Chat events -> OpenAI chat completions: chunks of a stream, or a whole reply. Pure; belongs to
 * whoever embeds it.
 *
 * A stream begins with a chunk that has the role; each chunk has the same id, created and model; a
 * tool call's id and name are in its first chunk only, its index in all; usage comes last, without
 * choices, when the client asked; [DONE] only after END. Thinking is reasoning_content (DeepSeek,
 * vLLM), or what the server called it. What this dialect has no place for is not said: signatures
 * and redacted thinking, which only their own vendor can read.
 *
 * Source: OpenAI API reference (chat completion object, chunk object). */
#ifndef BACKENDS_WIRE_OPENAI_ENCODE_H
#define BACKENDS_WIRE_OPENAI_ENCODE_H

#include "backends/wire/chat_answer.h"
#include "backends/wire/chat_encode.h"
#include "backends/wire/chat_event.h"
#include "base/buf.h"

struct openai_encode_choice;

struct openai_encode {
    struct chat_encode_options options;
    struct buf head;                      /* of each chunk, up to its choices */
    struct openai_encode_choice *choices; /* owned; by index */
    size_t choice_count;
    bool has_usage;
    struct token_usage usage;
    size_t finished; /* choices */
    bool ended;      /* END or ERROR was written: nothing follows */
};

void openai_encode_init(struct openai_encode *e, const struct chat_encode_options *options);
void openai_encode_clear(struct openai_encode *e);
/* Appends what the client shall read. ERR_UPSTREAM_TOO_LARGE, and out as it was, when it does not
 * fit; ERR_INTERNAL for events out of order, such as the END of an answer that never finished. */
enum err openai_encode_on(struct openai_encode *e, const struct chat_event *event,
                          struct buf *out) MUST_CHECK;

/* The whole reply. ERR_INTERNAL when the answer is not complete. */
enum err openai_encode_reply(const struct chat_answer *a, const struct chat_encode_options *options,
                             struct buf *out) MUST_CHECK;

#endif
