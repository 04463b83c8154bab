/* Where a conversation stands: who spoke last, and what the user asked. From the scanned body of
 * any API, without a tree. What the encoder classifies, and what the semantic cache compares, is
 * `text`. Pure. */
#ifndef BACKENDS_WIRE_ASK_TURN_H
#define BACKENDS_WIRE_ASK_TURN_H

#include "backends/wire/wire.h"
#include "base/json_scan.h"

enum ask_speaker {
    ASK_BY_NOBODY,    /* no messages, or a form that is not known */
    ASK_BY_USER,      /* text is set, unless the user sent no text at all */
    ASK_BY_ASSISTANT, /* the answer is to be continued */
    ASK_BY_TOOL,      /* the last message holds a tool's result */
    ASK_BY_SYSTEM,
};

struct ask_turn {
    enum ask_speaker speaker;
    struct slice text; /* raw JSON string with quotes, inside the body: the last user message, or
                          its last text part; also when somebody spoke after it. {NULL, 0}: none */
    int user_turns;    /* messages of the user, tool results not counted */
};

/* body was validated as an object (ask_scan). */
struct ask_turn ask_turn_of(enum wire_api api, struct slice body);

#endif
