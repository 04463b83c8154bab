/* An OpenAI request (chat completions, completions, embeddings) scanned once: the members that
 * routing needs are remembered by offset, and the body that goes upstream is spliced from pieces of
 * the client's own bytes. Nothing else is looked at or re-formatted. Pure. Sources: OpenAI API
 * reference, "Create chat completion", "Create completion", "Create embeddings". */
#ifndef BACKENDS_WIRE_OPENAI_REQUEST_H
#define BACKENDS_WIRE_OPENAI_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/wire.h"
#include "base/arena.h"
#include "base/json_scan.h"

/* What is asked of a stream's server about its tokens, whatever the client asked. */
enum openai_usage_wish {
    OPENAI_USAGE_AS_WRITTEN,
    OPENAI_USAGE_AT_END,
    OPENAI_USAGE_THROUGHOUT, /* and in each chunk, so that a stream that is left is billed exactly:
                                stream_options.continuous_usage_stats (vLLM, SGLang) */
};

/* What weir asks of tokens for its own sake: the limit of the completions API, and enough to tell a
 * margin and an entropy. */
#define OPENAI_TOP_LOGPROBS "5"

struct openai_request {
    enum wire_api api;
    struct slice body;        /* borrowed: the client's bytes */
    struct json_member model; /* value is a string; text "" when the member is missing (an error) */
    struct slice model_name;  /* decoded; in the arena */
    struct json_member messages; /* or prompt, or input, as the API has it */
    struct json_member stream_options, tools, response_format; /* value.text.n == 0 when absent */
    bool stream;                                               /* "stream": true */
    bool include_usage; /* stream_options.include_usage is true: the client asked for it */
    bool has_stream_options;
    bool logprobs; /* asked for */
    int64_t n;     /* choices the answer will have: n, 1 when absent, times the prompts of a batch
                      (completions) */
    int64_t max_tokens;          /* max_completion_tokens or max_tokens; -1 when absent */
    bool has_image, has_audio;   /* content parts */
    struct slice last_user_text; /* raw JSON string text (with quotes) of the last user message or
                                    prompt, or of the last text part when its content is a list of
                                    parts; "" when there is none */
    int64_t prompt_tokens;       /* estimate: body bytes / 4, an image or a sound 1,000 at most */
    /* Private: the places where the splice may put something else; in the arena. */
    const struct openai_mark *marks;
    size_t mark_count;
};

/* ERR_BAD_JSON (with byte offset in t) or ERR_BAD_REQUEST (wrong type or missing: names the field
 * in t and *param, as OpenAI's errors do). Strict where routing depends on it (model, stream,
 * stream_options.include_usage, n), silent elsewhere: the upstream judges the rest. Duplicate
 * members: the last wins, and the splice replaces every occurrence (more than a few dozen are
 * ERR_BAD_REQUEST). */
enum err openai_request_scan(enum wire_api api, struct slice body, struct arena *a,
                             struct openai_request *out, const char **param,
                             struct err_text *t) MUST_CHECK;

/* The body for one attempt: model replaced by upstream_model (raw UTF-8, is JSON-encoded here);
 * on a stream, with a wish, stream_options.include_usage is set to true (the member is added, or
 * its include_usage replaced or added; the rest of it kept), and continuous_usage_stats put beside
 * it unless the client wrote one of these. ask_logprobs: where the client did not ask for
 * log-probabilities, OPENAI_TOP_LOGPROBS of them are asked for (its null or false replaced). pieces
 * in the arena point into body or the arena. Returns the number of pieces; *total_bytes their sum.
 */
size_t openai_request_splice(const struct openai_request *r, struct slice upstream_model,
                             enum openai_usage_wish usage, bool ask_logprobs, struct arena *a,
                             struct slice **pieces, size_t *total_bytes);

#endif
