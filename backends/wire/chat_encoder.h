/* The encoder of a client's API: chat events -> its stream, a collected answer -> its whole reply.
 * Chosen once, by API; which one it is concerns nobody else. Pure; belongs to whoever embeds it. */
#ifndef BACKENDS_WIRE_CHAT_ENCODER_H
#define BACKENDS_WIRE_CHAT_ENCODER_H

#include "backends/wire/anthropic_encode.h"
#include "backends/wire/openai_encode.h"
#include "backends/wire/responses_encode.h"
#include "backends/wire/wire.h"

struct chat_encoder {
    enum wire_api api; /* CHAT, MESSAGES, RESPONSES */
    union {
        struct openai_encode openai;
        struct anthropic_encode anthropic;
        struct responses_encode responses;
    } as;
};

void chat_encoder_init(struct chat_encoder *e, enum wire_api api,
                       const struct chat_encode_options *options);
void chat_encoder_clear(struct chat_encoder *e);
/* Errors as openai_encode_on and its sisters. */
enum err chat_encoder_on(struct chat_encoder *e, const struct chat_event *event,
                         struct buf *out) MUST_CHECK;
enum err chat_encoder_reply(enum wire_api api, const struct chat_answer *answer,
                            const struct chat_encode_options *options, struct buf *out) MUST_CHECK;

#endif
