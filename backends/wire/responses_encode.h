/* Chat events -> OpenAI Responses: the events of a stream, or a whole response object. Pure;
 * belongs to whoever embeds it.
 *
 * Each block is an output item of its own: text and refusals are messages of one part, thinking is
 * a reasoning item whose text stands in its summary (what the model's server showed of it), tool
 * calls are function_call items. Sequence numbers count from 0. A stream ends with exactly one of
 * response.completed (also with tool calls pending), response.incomplete, response.failed, or, when
 * nothing was said before, error; there is no [DONE]. Signatures and redacted thinking are in
 * encrypted_content, when the client asked for it: a summary beside it makes it a signature.
 *
 * Source: OpenAI API reference (response object, streaming events). */
#ifndef BACKENDS_WIRE_RESPONSES_ENCODE_H
#define BACKENDS_WIRE_RESPONSES_ENCODE_H

#include "backends/wire/chat_answer.h"
#include "backends/wire/chat_encode.h"
#include "backends/wire/chat_event.h"
#include "backends/wire/chat_id.h"
#include "base/buf.h"

struct responses_encode {
    struct chat_encode_options options;
    struct chat_answer answer; /* so far: the last events repeat it */
    char id[CHAT_ID_BYTES];    /* that all ids share */
    struct buf delta_head;     /* of the open item's deltas, up to the sequence number */
    struct buf delta_item;     /* and from there to the text */
    int64_t sequence;          /* number of the next event */
    bool started;
    bool part_open; /* the open item has begun its part */
    bool item_done; /* the last item is closed, but for saying so: its status waits for what follows
                     */
    bool ended;     /* nothing follows */
};

void responses_encode_init(struct responses_encode *e, const struct chat_encode_options *options);
void responses_encode_clear(struct responses_encode *e);
/* Appends what the client shall read. ERR_UPSTREAM_TOO_LARGE, and out as it was, when it does not
 * fit there or the answer is longer than options.max_answer_bytes; ERR_INTERNAL for events out of
 * order. After an error only an ERROR event may follow. Events of choices beyond the first are
 * passed over. */
enum err responses_encode_on(struct responses_encode *e, const struct chat_event *event,
                             struct buf *out) MUST_CHECK;

/* The whole response object. ERR_INTERNAL when the answer is not complete. */
enum err responses_encode_reply(const struct chat_answer *a,
                                const struct chat_encode_options *options,
                                struct buf *out) MUST_CHECK;

#endif
