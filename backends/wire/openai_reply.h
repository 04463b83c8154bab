/* OpenAI replies: whole bodies, read for what weir must know (usage, finish reasons, errors),
 * otherwise passed on byte for byte. Streams and errors have their own files, included here. Pure.
 * Sources: OpenAI API reference (chat completion object, completion object, list of embeddings). */
#ifndef BACKENDS_WIRE_OPENAI_REPLY_H
#define BACKENDS_WIRE_OPENAI_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/openai_error.h"
#include "backends/wire/openai_stream.h"
#include "backends/wire/wire.h"
#include "base/arena.h"
#include "base/json_scan.h"
#include "base/tokens.h"

struct openai_reply {
    bool has_usage;
    struct token_usage usage;       /* disjoint kinds; source USAGE_REPORTED when has_usage */
    struct json_value choices;      /* text.n == 0 when absent */
    struct json_member model;       /* for REPLY_MODEL_REQUESTED; value.text.n == 0 when absent */
    struct json_member id, created; /* likewise */
    bool truncated;                 /* some finish_reason is "length" */
    bool is_error;                  /* 200 with only an error member, or with a choice that failed:
                                       openai_error_classify(200, body) */
    int64_t output_bytes;           /* of content texts, for estimates */
};
/* ERR_UPSTREAM_PROTOCOL when the body is not JSON or not a reply of this API (no choices, or no
 * data array, and no error). signals reads along; NULL: nobody does. */
enum err openai_reply_scan(enum wire_api api, struct slice body, struct answer_signals *signals,
                           struct openai_reply *out) MUST_CHECK;
/* body with the model's value replaced by name (absent, or name.p NULL: left), and, when mute
 * (their text.n > 0) is given, with null for the log-probabilities of these choices; pieces in the
 * arena; number of pieces. */
size_t openai_reply_splice(struct slice body, const struct json_member *model, struct slice name,
                           struct json_value mute, struct arena *a, struct slice **pieces);

/* Estimates where nothing was reported: prompt = ceil(bytes/4), output = deltas seen, or
 * ceil(bytes/4) for whole texts. */
int64_t openai_estimate_tokens(int64_t bytes);

#endif
