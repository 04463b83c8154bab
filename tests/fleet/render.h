/* An answer in OpenAI's words: whole bodies and stream chunks of the three endpoints. Anthropic's
 * are in render_messages.h. Pure. */
#ifndef FLEET_RENDER_H
#define FLEET_RENDER_H

#include "tests/fleet/answer.h"
#include "tests/fleet/reply.h"

struct render {
    const struct question *q;
    const struct answer *answer;
    const struct model *model;
    const struct fault_set *faults;
    struct arena *arena;
    uint64_t serial; /* makes the id */
    int64_t created_s;
    int64_t chunk_tokens; /* pieces per chunk, >= 1 */
};

struct slice render_whole(const struct render *r);
struct reply_event *render_stream(const struct render *r, size_t *n);
struct slice render_embeddings(const struct render *r);
/* {"id":..., "object":"model", ...} */
void render_model(const struct model *m, struct buf *out);

#endif
