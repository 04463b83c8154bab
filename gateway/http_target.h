/* The request target (RFC 9112 3.2) taken apart: origin form "/path?query", absolute form
 * "http://host/path?query" (as a client that thinks it speaks to a proxy sends it; the authority is
 * dropped, 3.2.2), and "*" for OPTIONS. Pure; views into the input. */
#ifndef GATEWAY_HTTP_TARGET_H
#define GATEWAY_HTTP_TARGET_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/slice.h"

#define HTTP_TARGET_MAX_BYTES 8192 /* RFC 9110 4.1 asks for at least 8000 */

/* false and *why (a static sentence) when it is none of these forms. *query is empty when there is
 * none. */
bool http_target_split(struct slice method, struct slice target, struct slice *path,
                       struct slice *query, const char **why);

/* %41 and the like; false when a '%' stands without two hex digits behind it. */
bool http_target_decode(struct slice in, struct arena *a, struct slice *out);
/* The next "key=value" of a query, both decoded ('+' is a space there); *query moves behind it. A
 * key alone has the value "". false: there is none, or *wrong says what is wrong (static). */
bool http_target_next(struct slice *query, struct arena *a, struct slice *key, struct slice *value,
                      const char **wrong);

#endif
