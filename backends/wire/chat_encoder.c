/* Which encoder serves an API. Completions and embeddings have none: they are never translated
 * (wire_upstream_api). Called for each event of an answer that is translated or replayed. */
#include "backends/wire/chat_encoder.h"

void chat_encoder_init(struct chat_encoder *e, enum wire_api api,
                       const struct chat_encode_options *options)
{
    e->api = api;
    if (api == WIRE_MESSAGES)
        anthropic_encode_init(&e->as.anthropic, options);
    else if (api == WIRE_RESPONSES)
        responses_encode_init(&e->as.responses, options);
    else
        openai_encode_init(&e->as.openai, options);
}

void chat_encoder_clear(struct chat_encoder *e)
{
    if (e->api == WIRE_MESSAGES)
        anthropic_encode_clear(&e->as.anthropic);
    else if (e->api == WIRE_RESPONSES)
        responses_encode_clear(&e->as.responses);
    else
        openai_encode_clear(&e->as.openai);
}

enum err chat_encoder_on(struct chat_encoder *e, const struct chat_event *event, struct buf *out)
{
    if (e->api == WIRE_MESSAGES)
        return anthropic_encode_on(&e->as.anthropic, event, out);
    if (e->api == WIRE_RESPONSES)
        return responses_encode_on(&e->as.responses, event, out);
    return openai_encode_on(&e->as.openai, event, out);
}

enum err chat_encoder_reply(enum wire_api api, const struct chat_answer *answer,
                            const struct chat_encode_options *options, struct buf *out)
{
    if (api == WIRE_MESSAGES)
        return anthropic_encode_reply(answer, options, out);
    if (api == WIRE_RESPONSES)
        return responses_encode_reply(answer, options, out);
    return openai_encode_reply(answer, options, out);
}
