/* Regular expressions in the dialect of JSON Schema and JavaScript (ECMA-262), searched anywhere in
 * a text. The one place that knows PCRE2. A pattern may come from a peer: a search has limits of
 * time and memory, and says so when it meets them. Immutable once made: any thread. */
#ifndef BASE_PATTERN_H
#define BASE_PATTERN_H

#include "base/err.h"
#include "base/slice.h"

#define PATTERN_MAX_BYTES 4096

struct pattern;

/* NULL, with the reason and its place in *why, for what is no pattern or longer than
 * PATTERN_MAX_BYTES. text is UTF-8. */
struct pattern *pattern_new(struct slice text, struct err_text *why);
void pattern_free(struct pattern *p); /* NULL is fine */

enum pattern_found {
    PATTERN_ABSENT,
    PATTERN_FOUND,
    PATTERN_UNDECIDED /* a limit was met, or text is not UTF-8 */
};
enum pattern_found pattern_search(const struct pattern *p, struct slice text);

#endif
