/* The answer of an attempt, read along while it goes to the client, in the form in which it can be
 * given again or compared: a whole reply in the server's dialect (backends/wire/answer_record.h).
 * Only where somebody wants it: the cache, or a request of weir's own. threads: the worker's. */
#ifndef ROUTER_RECORDING_H
#define ROUTER_RECORDING_H

#include "backends/wire/answer_record.h"

struct request;

#define RECORDING_MAX_BYTES ((size_t)1 << 20) /* of one answer */

/* A stream began; its bytes; it is of no use (another attempt follows, or the request is over). */
void recording_open(struct request *r);
void recording_feed(struct request *r, struct slice data);
void recording_forget(struct request *r);
/* The last attempt's answer is whole. GOOD: it is appended to out. At least one attempt was made.
 */
enum answer_worth recording_end(struct request *r, struct buf *out);

#endif
