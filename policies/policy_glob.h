/* Patterns in which '*' stands for any characters, also none. Pure; linear memory-free matching. */
#ifndef POLICIES_POLICY_GLOB_H
#define POLICIES_POLICY_GLOB_H

#include "base/slice.h"

/* Also answers whether one pattern covers another: give the narrower as text. A '*' in text is
 * matched only by a '*' of the pattern, and a pattern that takes a character no other text has
 * takes any characters in its place. */
bool glob_match(struct slice pattern, struct slice text);
bool glob_is(struct slice pattern); /* holds a '*' */

#endif
