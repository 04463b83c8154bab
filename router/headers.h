/* Which header fields cross the gateway. Pure.
 *
 * To the upstream: what the client sent, without what belongs to the connection (RFC 9110 7.6.1),
 * to the client's own account (Authorization, API keys, cookies, openai-organization,
 * openai-project: weir authenticates with its own key), to framing, and without weir's own
 * x-weir-*. To the client: what the upstream sent (rate limits, retry hints, provider ids), without
 * connection, framing, cookies and the fields that weir sets itself (x-request-id, x-weir-*, Date,
 * Server). The upstream's x-request-id (Anthropic's request-id) goes on as
 * x-weir-upstream-request-id. */
#ifndef ROUTER_HEADERS_H
#define ROUTER_HEADERS_H

#include "base/arena.h"
#include "base/http1.h"

/* Views into head; the array is in the arena with room for `spare` more entries at its end. */
size_t headers_to_upstream(const struct http1_head *head, struct arena *a, size_t spare,
                           struct http1_header **out);
/* Copies into the arena: a response head is gone after its callback. */
size_t headers_to_client(const struct http1_head *head, struct arena *a, size_t spare,
                         struct http1_header **out);

#endif
