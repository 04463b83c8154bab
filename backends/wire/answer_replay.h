/* A kept answer (answer_record.h) given again, to any client of its API: whole, or as the stream
 * that the client asked for. Its words, usage and finish reasons are the kept ones; id and creation
 * time are this request's, and what a response repeats of its request (Responses) is this client's.
 * Bytes come out only when the whole of it was read without fault. Pure.
 *
 * Options as for the live answer; `server` is the dialect in which it was kept. */
#ifndef BACKENDS_WIRE_ANSWER_REPLAY_H
#define BACKENDS_WIRE_ANSWER_REPLAY_H

#include "backends/wire/answer.h"

/* ERR_BAD_CACHE_ENTRY when body is no reply, or none that this API can say. out->pieces lie in the
 * arena or point into body. */
enum err answer_replay_whole(const struct answer_options *opt, struct slice body, struct arena *a,
                             struct answer_whole *out) MUST_CHECK;
/* Appends the stream, its end included. Errors as above, and out as it was. */
enum err answer_replay_stream(const struct answer_options *opt, struct slice body,
                              struct buf *out) MUST_CHECK;

#endif
