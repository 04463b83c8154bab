/* OpenAI's text completions as the cache keeps them: streams collected into a whole reply, and a
 * whole reply written as a stream. The API is never translated, so nothing else reads its texts.
 * Streams with logprobs are not collected (lossy), unless they are to be dropped. Pure; belongs to
 * whoever embeds it. Source: OpenAI API reference (completion object). */
#ifndef BACKENDS_WIRE_TEXT_COMPLETION_H
#define BACKENDS_WIRE_TEXT_COMPLETION_H

#include "backends/wire/answer_record.h"
#include "backends/wire/chat_encode.h"
#include "backends/wire/sse.h"

struct text_completion_choice;

struct text_completion {
    struct sse_parser sse;
    struct text_completion_choice *choices; /* owned; by index */
    size_t choice_count;
    struct buf model, usage; /* raw JSON, the last that was said; empty: nothing was */
    size_t bytes, max_bytes;
    bool drop_logprobs;
    bool lossy;
    bool done_seen; /* data: [DONE] */
    enum err err;   /* sticks */
};

void text_completion_init(struct text_completion *t, bool drop_logprobs, size_t max_bytes,
                          size_t max_event_bytes);
void text_completion_clear(struct text_completion *t);
enum err text_completion_feed(struct text_completion *t, struct slice in) MUST_CHECK;
/* As answer_record_end; n choices are expected. */
enum answer_worth text_completion_end(struct text_completion *t, int64_t n, int64_t created_s,
                                      struct buf *out);

/* Is a whole reply worth keeping? */
enum answer_worth text_completion_judge(struct slice body, int64_t n);
/* A whole reply as a stream, [DONE] included. ERR_UPSTREAM_PROTOCOL: it is none;
 * ERR_UPSTREAM_TOO_LARGE. */
enum err text_completion_stream(struct slice body, const struct chat_encode_options *options,
                                struct buf *out) MUST_CHECK;

#endif
