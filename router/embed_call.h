/* An attempt without a server: POST /v1/embeddings answered by weir's own encoder
 * (platform.openai.com/docs/api-reference/embeddings). One text or a list of texts; what the model
 * cannot read whole is refused, never cut; tokens of other vocabularies and other dimensions are
 * refused by name.
 *
 * Texts go to the encoder service a few at a time, so that one request does not fill its queue.
 * threads: the request's worker; answers come through its mailbox. */
#ifndef ROUTER_EMBED_CALL_H
#define ROUTER_EMBED_CALL_H

#include <stdbool.h>
#include "base/err.h"

struct request;

/* attempt_done follows, later. ERR_BAD_REQUEST with r->why; ERR_UPSTREAM_BUSY: the encoder's queue
 * is full. */
enum err embed_call_check(struct request *r);
enum err embed_call_start(struct request *r);
/* Ends it; answers that are still to come are dropped. true: some text was encoded, or is being. */
bool embed_call_abort(struct request *r);

#endif
