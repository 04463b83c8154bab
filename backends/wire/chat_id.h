/* Ids that a client reads, made from the upstream's: the same answer always has the same id, in the
 * form of the client's dialect (msg_..., chatcmpl-..., resp_...). Pure. */
#ifndef BACKENDS_WIRE_CHAT_ID_H
#define BACKENDS_WIRE_CHAT_ID_H

#include <stddef.h>
#include <stdint.h>
#include "base/slice.h"

#define CHAT_ID_BYTES 96 /* NUL included */

/* The part of an id behind its dialect's prefix. The upstream's own where it is 1 to 64 letters,
 * digits, '_' and '-'; a digest of it where it is anything else; made of fallback in the same way
 * when the upstream gave none. out is NUL-terminated. */
void chat_id_body(struct slice upstream, struct slice fallback, char out[CHAT_ID_BYTES]);

/* prefix and 24 letters and digits, for the tool call of that number in the answer of that id: for
 * servers that give calls no id. */
void chat_id_of_call(struct slice answer_id, int64_t number, char out[CHAT_ID_BYTES]);

#endif
