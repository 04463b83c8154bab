/* Runs an upstream's answer through a decoder and what a client of each dialect reads of it. For
 * tests; works with any bytes. */
#ifndef TESTS_UNIT_WIRE_ANSWER_RUN_H
#define TESTS_UNIT_WIRE_ANSWER_RUN_H

#include "backends/wire/anthropic_decode.h"
#include "backends/wire/anthropic_encode.h"
#include "backends/wire/openai_decode.h"
#include "backends/wire/openai_encode.h"
#include "backends/wire/responses_encode.h"

enum answer_dialect { RUN_OPENAI, RUN_ANTHROPIC, RUN_RESPONSES, RUN_DIALECTS };

struct answer_run {
    struct chat_encode_options options;
    struct openai_encode openai;
    struct anthropic_encode anthropic;
    struct responses_encode responses;
    struct chat_answer answer;
    struct buf trace;                 /* the events, one per line */
    struct buf streams[RUN_DIALECTS]; /* what clients read while it arrives */
    struct buf replies[RUN_DIALECTS]; /* and when they asked for it whole */
    enum err replied[RUN_DIALECTS];
    enum err err; /* of the decoder */
    struct err_text error;
};

/* Options that show everything. */
struct chat_encode_options answer_run_options(void);
/* in as a stream of that dialect (RUN_OPENAI or RUN_ANTHROPIC), first `cut` bytes, then the
 * rest; step > 0: in pieces of that size instead. Each piece is in a block of its own, so that a
 * sanitizer sees reads beyond it. */
void answer_run_stream(struct answer_run *r, enum answer_dialect from, struct slice in, size_t cut,
                       size_t step, int64_t n);
void answer_run_whole(struct answer_run *r, enum answer_dialect from, struct slice in);
void answer_run_clear(struct answer_run *r);
/* One event as one line, its line end included. */
void answer_run_print(const struct chat_event *e, struct buf *out);

#endif
