/* One GET of a whole JSON answer, for commands that ask a running server. Runs its own loop until
 * the answer is there. Single-threaded. */
#ifndef GATEWAY_CLI_FETCH_H
#define GATEWAY_CLI_FETCH_H

#include "base/buf.h"
#include "base/err.h"

#define FETCH_BYTES ((size_t)16 << 20)

/* base_url as a client library takes it ("http://127.0.0.1:8080/v1"), path is appended. The body of
 * any answer goes to `body` and its status to *status. ERR_BAD_REQUEST for a URL that is none;
 * ERR_UPSTREAM_* when no answer came; t says why. */
enum err fetch_get(const char *base_url, const char *path, const char *api_key, struct buf *body,
                   int *status, struct err_text *t) MUST_CHECK;

#endif
