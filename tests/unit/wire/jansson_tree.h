/* The second opinion on requests: jansson, in a file of its own because its names and
 * base/json_scan.h's collide. */
#ifndef TESTS_UNIT_WIRE_JANSSON_TREE_H
#define TESTS_UNIT_WIRE_JANSSON_TREE_H

#include <stdbool.h>
#include "base/slice.h"

/* jansson refuses some legal JSON: \u0000, lone surrogates, reals out of range, integers beyond 64
 * bits. */
enum jansson_verdict { JANSSON_REFUSES, JANSSON_SAME, JANSSON_DIFFERENT };

/* Is the spliced text the body with "model" set and, with ask, stream_options.include_usage true?
 */
enum jansson_verdict jansson_compare(struct slice body, struct slice spliced, const char *model,
                                     bool ask);
bool jansson_accepts_object(struct slice text);

#endif
