/* OpenAI Chat Completions requests to and from the neutral chat. Pure.
 * Sources: OpenAI API reference, "Create chat completion"; what servers add to or take away from it
 * is in quirks.def.
 *
 * How a chat is said in this dialect:
 * - Several texts in a row are an array of text parts, one alone is a string; for servers that take
 *   only strings they are joined by a blank line.
 * - A tool result is a message of its own, before the rest of its user turn; the result of a failed
 *   call begins with "Error: ", because the dialect has no is_error. Images in results are refused.
 * - Thinking is left out, unless the same model is asked again and its server reads it back
 *   (quirks: thinking_key); its signatures never leave their vendor.
 * - cache_control marks are left out (caching is automatic there), but for servers that read them.
 * - Anthropic's thinking budget becomes an effort by its share of max_tokens: up to 35 % low, up to
 *   65 % medium, above that high. A budget permits thinking and commands none:
 *   servers that have no word for effort are sent nothing. `disabled` and `adaptive` without an
 *   effort say what such a model does unasked, and become nothing as well.
 * - Of a stream, usage is asked for at its end, and in each chunk where the server has that.
 * - A turn that Anthropic's client began for the assistant goes to servers that continue it. */
#ifndef BACKENDS_WIRE_OPENAI_CHAT_H
#define BACKENDS_WIRE_OPENAI_CHAT_H

#include "backends/wire/chat.h"
#include "backends/wire/quirks.h"
#include "base/buf.h"

/* ERR_BAD_JSON, or ERR_BAD_REQUEST with the member's name in *param (static or in the arena). */
enum err openai_chat_parse(struct slice body, struct arena *a, struct chat *out, const char **param,
                           struct err_text *t) MUST_CHECK;

struct openai_target {
    const struct quirks *quirks;
    struct slice model; /* the upstream's name for it */
    bool ask_usage;     /* on a stream, also when the client did not ask */
    bool ask_logprobs;  /* the client did not */
    bool keep_thinking; /* the model that thought is the one that is asked */
};

/* Appends the body to out. ERR_UNTRANSLATABLE with *param when the server cannot honour a member;
 * ERR_TOO_LARGE when out is full. */
enum err openai_chat_write(const struct chat *c, const struct openai_target *to, struct arena *a,
                           struct buf *out, const char **param, struct err_text *t) MUST_CHECK;

#endif
