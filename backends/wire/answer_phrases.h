/* Phrases by which answers give themselves away: refusals at their beginning, doubt at their end.
 * English, as models write when they refuse in any language less often than one would think; other
 * languages go unnoticed. Precise rather than complete, and a signal among others, never a verdict.
 * Pure. */
#ifndef BACKENDS_WIRE_ANSWER_PHRASES_H
#define BACKENDS_WIRE_ANSWER_PHRASES_H

#include <stdbool.h>
#include "base/slice.h"

/* Does one of the first 200 bytes begin a refusal? ASCII case does not matter; U+2019 is an
 * apostrophe. */
bool answer_phrases_refuse(struct slice text);
/* Does the last sentence, or what there is of it in the last 200 bytes, doubt? */
bool answer_phrases_hedge(struct slice text);

#endif
