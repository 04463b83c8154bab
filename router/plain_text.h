/* Texts compared as a reader would: without case, without the marks around them. Pure. */
#ifndef ROUTER_PLAIN_TEXT_H
#define ROUTER_PLAIN_TEXT_H

#include <stdbool.h>
#include "base/slice.h"

/* Without white space, quotes, full stops and the like around it: "**Paris.**" is Paris. A text of
 * nothing else stays as it is. */
struct slice plain_text_core(struct slice s);
/* Equal but for the case of ASCII letters and the length of white space? */
bool plain_text_same(struct slice a, struct slice b);

#endif
