/* An answer decoded from the server's dialect and encoded in the client's: a decoder, an encoder,
 * and the callback between them. Pure. Used by answer.c; its options also by answer_replay.c. */
#ifndef BACKENDS_WIRE_ANSWER_TRANSLATE_H
#define BACKENDS_WIRE_ANSWER_TRANSLATE_H

#include "backends/wire/answer.h"
#include "backends/wire/chat_encode.h"

/* What an encoder must be told of these options. */
struct chat_encode_options answer_encode_options(const struct answer_options *opt);

struct answer_translation *answer_translation_new(const struct answer_options *opt);
void answer_translation_free(struct answer_translation *t);
enum err answer_translation_feed(struct answer_translation *t, struct slice in,
                                 struct buf *out) MUST_CHECK;
bool answer_translation_complete(const struct answer_translation *t);
bool answer_translation_ended(const struct answer_translation *t);
bool answer_translation_exhausted(const struct answer_translation *t);
enum err answer_translation_end(struct answer_translation *t, struct buf *out) MUST_CHECK;
enum err answer_translation_error(struct answer_translation *t, enum err e, const char *message,
                                  struct buf *out) MUST_CHECK;
const struct token_usage *answer_translation_usage(const struct answer_translation *t);
int64_t answer_translation_deltas(const struct answer_translation *t);

/* A whole body; the reply in the client's API is in the arena. */
enum err answer_translate_whole(const struct answer_options *opt, struct slice body,
                                struct arena *a, struct answer_whole *out) MUST_CHECK;

#endif
