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

/* A stream tells the prompt's tokens at its start, with a token or so of the answer's, and all at
 * its end. Makes what was read from message_start partial; false when not even the prompt's were
 * told, so that there is no usage yet. */
bool anthropic_usage_begin(struct token_usage *usage);
/* While usage is partial, the answer has at least as many tokens as pieces that came. */
void anthropic_usage_pieces(struct token_usage *usage, int64_t pieces);
/* The answer is whole: usage that is still partial is an estimate. */
void anthropic_usage_settle(struct token_usage *usage);

#endif
