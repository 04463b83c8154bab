/* Anthropic's usage object -> disjoint token kinds. Its kinds are disjoint already: input_tokens
 * counts neither what was read from the cache nor what was written to it; only thinking is a part
 * of output_tokens (output_tokens_details.thinking_tokens, where it is told apart). Pure. Source:
 * Anthropic API reference (Messages, usage; message_delta: the counts are cumulative). */
#ifndef BACKENDS_WIRE_ANTHROPIC_USAGE_H
#define BACKENDS_WIRE_ANTHROPIC_USAGE_H

#include <stdbool.h>
#include "base/json_scan.h"
#include "base/tokens.h"

/* Counts that are there replace those in *usage, whose source becomes USAGE_REPORTED; counts that
 * are absent, null, negative, fractional or above 1e12 change nothing. False when none was
 * usable. usage: validated JSON of any type. */
bool anthropic_usage_read(struct json_value v, struct token_usage *usage);

#endif
