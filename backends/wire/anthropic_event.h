/* One event of an Anthropic stream, taken apart; what the pass-through filter and the decoder both
 * read. Pure. Source: Anthropic API reference (Messages, streaming); by its versioning policy there
 * may be further events at any time, which are to be passed over. */
#ifndef BACKENDS_WIRE_ANTHROPIC_EVENT_H
#define BACKENDS_WIRE_ANTHROPIC_EVENT_H

#include <stdbool.h>
#include "backends/wire/chat_event.h"
#include "backends/wire/sse.h"
#include "base/json_scan.h"

enum anthropic_event_kind {
    ANTHROPIC_MESSAGE_START,
    ANTHROPIC_BLOCK_START,
    ANTHROPIC_BLOCK_DELTA,
    ANTHROPIC_BLOCK_STOP,
    ANTHROPIC_MESSAGE_DELTA,
    ANTHROPIC_MESSAGE_STOP,
    ANTHROPIC_PING,
    ANTHROPIC_ERROR,
    ANTHROPIC_UNKNOWN
};

struct anthropic_event {
    enum anthropic_event_kind kind;
    struct json_value message, block, delta, usage, index; /* text.n == 0 when absent */
};

/* Reads the data's type member, or the event: line where there is none. False: not a JSON
 * object. */
bool anthropic_event_read(const struct sse_event *e, struct anthropic_event *out);
/* What a stop_reason (a string) means; false: unknown, *finish is then CHAT_FINISH_STOP. */
bool anthropic_event_finish(struct json_value reason, enum chat_finish *finish);

#endif
