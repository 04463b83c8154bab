/* The usage object of OpenAI-like replies -> disjoint token kinds. Pure. Sources: OpenAI API
 * reference (completion usage), DeepSeek (prompt_cache_hit_tokens), OpenRouter and
 * Anthropic-compatible servers (cache writes). */
#ifndef BACKENDS_WIRE_OPENAI_USAGE_H
#define BACKENDS_WIRE_OPENAI_USAGE_H

#include <stdbool.h>
#include "base/json_scan.h"
#include "base/tokens.h"

/* False when nothing usable is reported: no token counts, or counts that are negative, fractional
 * or above 1e12. The kinds of *out are disjoint and never negative; source USAGE_REPORTED. usage
 * must be validated JSON of any type. */
bool openai_usage_read(struct json_value usage, struct token_usage *out);

#endif
