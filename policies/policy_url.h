/* URLs and addresses of a policy, taken apart and checked (RFC 3986, http and https only). Pure;
 * strings go into the arena. Like policy_value: NULL when fine, else what is wrong, as the end of a
 * sentence. */
#ifndef POLICIES_POLICY_URL_H
#define POLICIES_POLICY_URL_H

#include "base/arena.h"
#include "policies/policy.h"

const char *url_endpoint(struct slice text, struct arena *a, struct policy_endpoint *out,
                         const char **hint);
/* Only the form; http, https, socks5 and socks5h. */
const char *url_proxy(struct slice text, const char **hint);
/* scheme://host[:port], nothing behind. */
const char *url_origin(struct slice text, const char **hint);
/* "8080", "127.0.0.1:8080", "[::1]:8080", "name:8080". */
const char *url_address(struct slice text, struct arena *a, struct policy_address *out,
                        const char **hint);
/* localhost, 127.0.0.0/8 or ::1; other names are not looked up. */
bool url_loopback(struct slice host);

#endif
