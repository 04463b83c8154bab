/* Cross-origin resource sharing (WHATWG Fetch, "CORS protocol") for browser clients. Pure. Off
 * unless the policy names origins. */
#ifndef GATEWAY_CORS_H
#define GATEWAY_CORS_H

#include "base/buf.h"
#include "base/http1.h"
#include "policies/policy.h"

/* Appends header lines for a reply to this request; preflight: also what an OPTIONS asks for.
 * Nothing when the origin is not allowed. */
enum err cors_headers(const struct policy_server *s, const struct http1_head *request,
                      bool preflight, struct buf *out) MUST_CHECK;

#endif
