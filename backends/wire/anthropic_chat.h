/* Anthropic Messages requests to and from the neutral chat. Pure.
 * Sources: Anthropic API reference, "Create a Message", "Count tokens in a Message"; guides "Tool
 * use", "Extended thinking", "Effort", "Structured outputs", "OpenAI SDK compatibility".
 *
 * How a chat is said in this dialect:
 * - System and developer messages go, in order, to `system`, wherever they stood (what Anthropic's
 *   own compatibility layer does; models before Claude Opus 4.8 refuse them among the messages,
 *   where this dialect may have them too). Neighbours of one side become one message; in a user's
 * turn the tool results come first, as the API demands. Texts of white space only, which it
 * refuses, are left out.
 * - max_tokens is required: the client's, else the model's largest, else 4096.
 * - A tool call's arguments must be a JSON object ("" is {}); tool-call ids with other characters
 *   than the API's are mapped (tool_id.h).
 * - An image as a data: URL becomes a base64 source. Its `detail`, a hint at how many tokens to
 *   spend, is left out.
 * - response_format json_schema becomes output_config.format (generally available); its name is
 *   left out. json_object has no counterpart and is refused.
 * - reasoning_effort becomes output_config.effort with adaptive thinking, or, for models without
 *   it, a budget: 10 % of max_tokens for minimal, 20 low, 50 medium, 80 high, 95 above; 1,024 at
 *   least. Where the conversation stands in the middle of a tool loop whose thinking is not sent
 *   along, a budget is left out: the API wants such a turn to begin with its thinking. Beside
 *   thinking a temperature other than 1, a top_p below 0.95, top_k, and with a budget a tool_choice
 *   that forces a tool are refused.
 * - Names of tools are 1 to 128 letters, digits, _ and -; calls and results go in pairs
 *   (tool_pairs.h). What the API would refuse in this is refused here, by its name.
 * - Thinking goes back only to the model that thought, with its signature; unsigned thinking is
 *   another vendor's and is left out. */
#ifndef BACKENDS_WIRE_ANTHROPIC_CHAT_H
#define BACKENDS_WIRE_ANTHROPIC_CHAT_H

#include "backends/wire/chat.h"
#include "base/buf.h"

enum anthropic_call {
    ANTHROPIC_MESSAGES,
    ANTHROPIC_COUNT_TOKENS
}; /* the latter needs no max_tokens */

/* ERR_BAD_JSON, or ERR_BAD_REQUEST with the member's name in *param (static or in the arena). */
enum err anthropic_chat_parse(enum anthropic_call call, struct slice body, struct arena *a,
                              struct chat *out, const char **param, struct err_text *t) MUST_CHECK;

struct anthropic_target {
    struct slice model;        /* the upstream's name for it */
    int64_t max_output_tokens; /* of the model; 0 or less when unknown */
    bool adaptive_thinking;    /* the model takes thinking.type adaptive and output_config.effort */
    bool keep_thinking;        /* the model that thought is the one that is asked */
    bool no_sampling;          /* API version 2026-10-21: no temperature, top_p, top_k */
};

/* Appends the body to out. ERR_UNTRANSLATABLE with *param when the dialect cannot say a member;
 * ERR_TOO_LARGE when out is full. */
enum err anthropic_chat_write(const struct chat *c, const struct anthropic_target *to,
                              struct arena *a, struct buf *out, const char **param,
                              struct err_text *t) MUST_CHECK;

#endif
