/* An answer in Anthropic's words: whole messages, their streams, and models. Pure. */
#ifndef FLEET_RENDER_MESSAGES_H
#define FLEET_RENDER_MESSAGES_H

#include "tests/fleet/render.h"

struct slice render_messages_whole(const struct render *r);
/* message_start, the blocks in order (a ping after the first start), message_delta, message_stop.
 */
struct reply_event *render_messages_stream(const struct render *r, size_t *n);
/* {"type":"model", "id":..., ...} */
void render_messages_model(const struct model *m, struct buf *out);

#endif
