/* An Anthropic request (messages, count_tokens) scanned once: the members that routing needs are
 * remembered by offset, and the body that goes upstream is spliced from pieces of the client's own
 * bytes. Nothing else is looked at or re-formatted. The twin of openai_request. Pure. Sources:
 * Anthropic API reference, "Create a Message", "Count tokens in a Message"; guide "Extended
 * thinking". */
#ifndef BACKENDS_WIRE_ANTHROPIC_REQUEST_H
#define BACKENDS_WIRE_ANTHROPIC_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/json_scan.h"

struct anthropic_request {
    struct slice body;        /* borrowed: the client's bytes */
    struct json_member model; /* value is a string */
    struct slice model_name;  /* decoded; in the arena or the body */
    struct json_member messages, system, tools, output_config; /* value.text.n == 0 when absent */
    bool stream;                                               /* "stream": true */
    int64_t max_tokens;                                        /* -1 when absent or no integer */
    bool has_image, has_document; /* blocks of messages, those of tool results included */
    bool has_thinking;            /* blocks of messages: thinking, redacted_thinking */
    bool has_format;              /* output_config.format: structured output */
    bool has_budget;              /* thinking.type is enabled */
    bool in_tool_loop;            /* the last message answers tool calls */
    struct slice last_user_text;  /* raw JSON string text (with quotes) of the last user message, or
                                     of its last text block; "" when there is none */
    int64_t prompt_tokens;        /* estimate: body bytes / 4 */
    /* Private: where the splice may put something else or nothing; in the arena, in text order. */
    const struct anthropic_mark *marks;
    size_t mark_count;
};

/* ERR_BAD_JSON (with byte offset in t) or ERR_BAD_REQUEST (wrong type or missing: names the field
 * in t and *param). Strict where routing depends on it (model, messages, stream), silent elsewhere:
 * the upstream judges the rest. Duplicate members: the last wins, and the splice replaces each. */
enum err anthropic_request_scan(struct slice body, struct arena *a, struct anthropic_request *out,
                                const char **param, struct err_text *t) MUST_CHECK;

/* The body for one attempt: model replaced by upstream_model (raw UTF-8, is JSON-encoded here).
 * With drop_thinking (another model than the one that thought is asked: its signatures would be
 * refused) thinking blocks are cut out, and messages that consist of nothing else. Where the
 * conversation then stands in the middle of a tool loop, a thinking budget goes too, because such a
 * turn would have to begin with its thinking, and with it the edits that clear thinking, which the
 * API refuses without one. pieces in the arena point into body or the arena. Returns the number of
 * pieces; *total_bytes their sum. */
size_t anthropic_request_splice(const struct anthropic_request *r, struct slice upstream_model,
                                bool drop_thinking, struct arena *a, struct slice **pieces,
                                size_t *total_bytes);

/* Context management that takes old thinking away and does nothing else? Any JSON value. */
bool anthropic_clears_thinking_only(struct json_value context_management);

#endif
