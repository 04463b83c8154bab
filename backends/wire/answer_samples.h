/* A whole answer of one or several choices, read for what each of them says, not for a client.
 * Pure. */
#ifndef BACKENDS_WIRE_ANSWER_SAMPLES_H
#define BACKENDS_WIRE_ANSWER_SAMPLES_H

#include "backends/wire/answer_signals.h"
#include "backends/wire/wire.h"
#include "base/arena.h"

struct answer_samples {
    bool has_usage;
    struct token_usage usage; /* of all choices together */
    int64_t output_bytes;     /* of their texts, for estimates */
    int count;
};

/* Of each choice in turn; valid during the call. */
typedef void (*answer_samples_fn)(void *ctx, const struct answer_signals *said);

/* body: a 200 of that server to a request of its own API `asked`; max_bytes: of one choice's text.
 * Errors as answer_read_whole; fn may have been called before one. */
enum err answer_samples_read(enum wire_api asked, enum wire_dialect server, struct slice body,
                             size_t max_bytes, struct arena *a, answer_samples_fn fn, void *ctx,
                             struct answer_samples *out) MUST_CHECK;

#endif
