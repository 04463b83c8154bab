/* What a kept answer (answer_record.h) says, as plain text, for comparing it with another: the
 * texts of its choices, refusals as well, and its tool calls with their arguments; no thinking, no
 * ids, no usage. Pure. */
#ifndef BACKENDS_WIRE_ANSWER_SAID_H
#define BACKENDS_WIRE_ANSWER_SAID_H

#include "backends/wire/wire.h"
#include "base/buf.h"

/* Appends to out. ERR_BAD_CACHE_ENTRY: body is no such answer, or says nothing (embeddings);
 * ERR_TOO_LARGE: it is longer than out takes. */
enum err answer_said(enum wire_api api, enum wire_dialect server, struct slice body,
                     struct buf *out) MUST_CHECK;

#endif
