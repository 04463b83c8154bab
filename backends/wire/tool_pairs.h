/* Do the tool calls and the tool results of a chat belong together? Pure.
 *
 * Both dialects want each call answered before the conversation goes on, and each answer to have
 * its call: OpenAI by tool messages right behind the assistant's message, Anthropic in the user's
 * turn behind the assistant's, where neighbours of one side are one turn and system messages stand
 * elsewhere. Within a turn Anthropic wants ids to differ; where two are equal an OpenAI server is
 * given as many answers as calls.
 * Sources: "An assistant message with 'tool_calls' must be followed by tool messages responding to
 * each 'tool_call_id'", "messages with role 'tool' must be a response to a preceeding message with
 * 'tool_calls'" (OpenAI); "`tool_use` ids were found without `tool_result` blocks immediately
 * after", "unexpected `tool_use_id` found in `tool_result` blocks", "`tool_use` ids must be unique"
 * (Anthropic). */
#ifndef BACKENDS_WIRE_TOOL_PAIRS_H
#define BACKENDS_WIRE_TOOL_PAIRS_H

#include "backends/wire/chat.h"

enum tool_pairs_by { TOOL_PAIRS_BY_MESSAGE, TOOL_PAIRS_BY_TURN };

/* The first call or result that stands alone. */
struct tool_pairs_fault {
    const struct chat_message *message;
    const struct chat_part *part; /* a call or a result */
    const char *why;              /* a sentence; static */
};

/* true: none. Costs n log n in the calls of a turn. */
bool tool_pairs_match(const struct chat *c, enum tool_pairs_by by, struct arena *a,
                      struct tool_pairs_fault *out);

#endif
