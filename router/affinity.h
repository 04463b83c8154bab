/* What names a conversation, so that its turns go to the endpoint that holds its KV cache. Pure. */
#ifndef ROUTER_AFFINITY_H
#define ROUTER_AFFINITY_H

#include "backends/wire/ask.h"

/* Hash over the beginning of the conversation (backends/rendezvous.h): the same for every turn of
 * it, and for every conversation with the same system prompt and first question. salt: the model.
 */
uint64_t affinity_prefix(const struct ask *ask, struct slice salt);

/* The same as a key for the ledger, by tenant ("": none): requests with it belong together. 0:
 * nothing names the conversation (other APIs than chat and messages; a request without one). */
uint64_t affinity_conversation(const struct ask *ask, struct slice tenant);

#endif
