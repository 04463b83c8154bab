/* The request target (RFC 9112 3.2) taken apart: origin form "/path?query", absolute form
 * "http://host/path?query" (as a client that thinks it speaks to a proxy sends it; the authority is
 * dropped, 3.2.2), and "*" for OPTIONS. Pure; views into the input. */
#ifndef GATEWAY_HTTP_TARGET_H
#define GATEWAY_HTTP_TARGET_H

#include <stdbool.h>
#include "base/slice.h"

#define HTTP_TARGET_MAX_BYTES 8192 /* RFC 9110 4.1 asks for at least 8000 */

/* false and *why (a static sentence) when it is none of these forms. *query is empty when there is
 * none. */
bool http_target_split(struct slice method, struct slice target, struct slice *path,
                       struct slice *query, const char **why);

#endif
